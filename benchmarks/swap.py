"""Promotes and rolls back versions under 50 requests per second; no answer may fail or mix."""

import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Options, Result, isolated
from benchmarks.server import Caller, Server, serving
from tastemaker.cli.demo import prepare
from tastemaker.component import FitOptions
from tastemaker.data import times
from tastemaker.pipeline import Recommender
from tastemaker.project import load_project
from tastemaker.registry import Registry
from tastemaker.store import EventSource

ID = "SWAP"
WHAT = "promote and roll back every two seconds under 50 requests a second"
DATA = ()
PEERS = ()
MINUTES = 3.0
_RATE = 50
_CALLERS = 10
_SECONDS = 60
_EVERY_SECONDS = 2.0
_HISTORY = ["2571", "1196", "260"]


def run(options: Options) -> Result:
    """The number of failures, and of lists that match no version."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "films"
        versions = isolated(train_two, folder)
        answers, switches, failures = _under_load(folder, versions, 10 if options.quick else 60)
    lists = {version: {shown for by, shown, _ in answers if by == version} for version in versions}
    own = {version: next(iter(shown), ()) for version, shown in lists.items()}
    mixed = sum(shown != own[by] for by, shown, _ in answers)
    seconds = [spent for _, _, spent in answers]
    ours = {
        "failed requests": float(failures),
        "mixed answers": float(mixed),
        "versions that answered": float(sum(bool(shown) for shown in lists.values())),
    }
    return Result(
        ID,
        ours=ours
        | {
            "requests": float(len(answers)),
            "switches": float(switches),
            "p50 ms": float(np.percentile(seconds, 50)) * 1e3,
            "p99 ms": float(np.percentile(seconds, 99)) * 1e3,
            "slowest ms": max(seconds) * 1e3,
        },
        peer={},
        ratio={},
        must={"failed requests": 0.0, "mixed answers": 0.0},
        met=not failures and not mixed and ours["versions that answered"] == 2,
        seconds=float(sum(seconds)),
        peak_mb=0.0,
        notes=f"{_CALLERS} connections, one anonymous history, the bundled films; two versions "
        f"whose answers differ, switched every {_EVERY_SECONDS:g} s",
    )


def train_two(folder: Path) -> tuple[str, str]:
    """Two versions of one project with different answers; the first serves."""
    project = prepare(folder, ends=times.now())
    EventSource(project).open().close()
    registry, path = Registry(project.state), project.path
    settings = path.read_text(encoding="utf-8")
    settings = settings.replace('rerankers = ["fresh"]', "rerankers = []")  # nothing drawn
    path.write_text(settings, encoding="utf-8")
    first = _train(path, registry)
    path.write_text(settings.replace('ranker = "main"', '# ranker = "main"'), encoding="utf-8")
    second = _train(path, registry)
    path.write_text(settings, encoding="utf-8")
    registry.promote(first)
    return first, second


def _train(path: Path, registry: Registry) -> str:
    data = EventSource(load_project(path)).read()
    return registry.add(Recommender.from_project(path).fit(data, FitOptions()))


def _under_load(
    folder: Path, versions: tuple[str, str], seconds: int
) -> tuple[list[tuple[str, tuple[str, ...], float]], int, int]:
    """(version, list, seconds) of every answer; how often versions changed; how many failed."""
    answers: list[tuple[str, tuple[str, ...], float]] = []
    failures: list[str] = []
    done = threading.Event()
    registry = Registry(folder / ".tastemaker")

    def ask(server: Server, delay: float) -> None:
        caller = Caller(server)
        due = time.perf_counter() + delay
        while not done.is_set():
            time.sleep(max(0.0, due - time.perf_counter()))
            due += _CALLERS / _RATE
            begun = time.perf_counter()
            try:
                status, answer = caller.call("POST", "/v1/recommendations", {"history": _HISTORY})
            except OSError as problem:
                failures.append(str(problem))
                caller = Caller(server)
                continue
            if status != 200:
                failures.append(str(answer))
                continue
            shown = tuple(item["item_id"] for item in answer["items"])
            answers.append((answer["model_version"], shown, time.perf_counter() - begun))

    with serving(folder / "tastemaker.toml") as server:
        threads = [
            threading.Thread(target=ask, args=(server, place / _RATE)) for place in range(_CALLERS)
        ]
        for thread in threads:
            thread.start()
        end, switches = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            time.sleep(_EVERY_SECONDS)
            if switches % 2:
                registry.rollback()
            else:
                registry.promote(versions[1])
            switches += 1
        done.set()
        for thread in threads:
            thread.join()
    shutil.rmtree(folder, ignore_errors=True)
    return answers, switches, len(failures)
