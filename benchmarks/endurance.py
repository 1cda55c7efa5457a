"""ENDURANCE: half an hour at 50 answers and 20 events per second with retention enabled. File size,
RSS and p99, sampled every ten seconds, must stay flat.
"""

import json
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.data import DataAbsent
from benchmarks.harness import RESULTS, Options, Result, isolated
from benchmarks.load import storm
from benchmarks.server import Caller, Server, serving
from benchmarks.strangers import PROJECT, make, verb_run

ID = "ENDURANCE"
WHAT = "half an hour at 50 answers and 20 events a second with retention on; a plot"
DATA = ()
PEERS = ()
MINUTES = 33.0
ANSWERS, EVENTS = 50.0, 20.0
_SECONDS, _QUICK_SECONDS = 1_800.0, 120.0
_SAMPLE_SECONDS = 10.0
_KEEP = {False: "5m", True: "30s"}
_FLAT = 1.25
"""The last third may be so many times the middle one."""
_ROUNDING = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample after some time.

    Attributes:
        seconds: since the beginning.
        file_mb: the store's file and its write-ahead log.
        rss_mb: what the server's process held.
        p99_ms: of the answers since the sample before.
        answered: how many of them there were.
        shed: how many the server refused with 503, as more came than it could answer in time.
        other: how many had any other status.
    """

    seconds: float
    file_mb: float
    rss_mb: float
    p99_ms: float
    answered: int
    shed: int
    other: int


def run(options: Options) -> Result:
    """One server and one load generator; the plot and all samples are saved."""
    if not find_spec("matplotlib"):
        raise DataAbsent("there is no matplotlib to draw with; pip install 'tastemaker[bench]'")
    length = _QUICK_SECONDS if options.quick else _SECONDS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        isolated(make, folder, 20, options.seed)
        project = PROJECT.format(rule="") + f'[store]\nkeep_decisions = "{_KEEP[options.quick]}"\n'
        (folder / "tastemaker.toml").write_text(project)
        trained = verb_run(folder, "train")
        with serving(folder / "tastemaker.toml") as server:
            isolated(storm, server.port, ANSWERS, 10.0, [{"user_id": "u1"}])  # warm
            samples, refused = _endured(server, folder, length, options.seed)
    picture = RESULTS / f"ENDURANCE{'-quick' if options.quick else ''}.svg"
    draw(samples, picture)
    ours = {"events refused": float(refused), "other answers": float(sum(s.other for s in samples))}
    must = dict.fromkeys(ours, 0.0)
    ours["shed"] = float(sum(sample.shed for sample in samples))
    for name in ("file_mb", "rss_mb", "p99_ms"):
        middle, last = (
            float(np.median([getattr(sample, name) for sample in part]))
            for part in np.array_split(np.array(samples, object), 3)[1:]
        )
        ours[f"{name} middle third"], ours[f"{name} last third"] = middle, last
        must[f"{name} last third"] = _FLAT * middle + _ROUNDING
    return Result(
        ID,
        ours=ours,
        peer={},
        ratio={},
        must=must,
        met=all(ours[name] <= bar for name, bar in must.items()) and trained["code"] == 0,
        seconds=length,
        peak_mb=max(sample.rss_mb for sample in samples),
        notes=f"{ANSWERS:.0f} answers and {EVENTS:.0f} events a second for {length:,.0f} s, the "
        f"load generator on the same cores; decisions are kept for {_KEEP[options.quick]}, so that "
        f"they reach their steady state early; medians of thirds; plot: {picture.name}",
        runs={"samples": [asdict(sample) for sample in samples]},
    )


def _endured(server: Server, folder: Path, length: float, seed: int) -> tuple[list[Sample], int]:
    """A sample every ten seconds, and the number of rejected events."""
    done, refused = threading.Event(), [0]
    poster = threading.Thread(target=_post, args=(server, done, refused))
    poster.start()
    rng, samples, begun = np.random.default_rng(seed), list[Sample](), time.perf_counter()
    try:
        while time.perf_counter() - begun < length:
            bodies = [{"user_id": f"u{user}"} for user in rng.integers(0, 20_000, 200)]
            replies = storm(
                server.port, ANSWERS, _SAMPLE_SECONDS, bodies, int(rng.integers(1 << 30))
            )
            good = [one.seconds * 1e3 for one in replies if one.status == 200]
            shed = sum(one.status == 503 for one in replies)
            files = [folder / ".tastemaker" / f"store.db{ending}" for ending in ("", "-wal")]
            samples.append(
                Sample(
                    time.perf_counter() - begun,
                    sum(file.stat().st_size for file in files if file.exists()) / 1e6,
                    _rss_mb(server.pid),
                    float(np.percentile(good, 99)) if good else float("nan"),
                    len(good),
                    shed,
                    len(replies) - len(good) - shed,
                )
            )
    finally:
        done.set()
        poster.join()
    return samples, refused[0]


def _post(server: Server, done: threading.Event, refused: list[int]) -> None:
    """Events of known users on known items, at their rate."""
    caller, rng, due = Caller(server), np.random.default_rng(1), time.perf_counter()
    while not done.is_set():
        user, item = rng.integers(0, 20_000), rng.integers(0, 6_000)
        event = {"user_id": f"u{user}", "item_id": f"i{item}", "event_type": "click"}
        status, replies = caller.call("POST", "/v1/events", event)
        refused[0] += status != 200 or json.dumps(replies).count('"accepted": 1') != 1
        due += 1 / EVENTS
        done.wait(max(0.0, due - time.perf_counter()))
    caller.close()


def _rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def draw(samples: list[Sample], path: Path) -> None:
    """Plots the three figures over time, one above the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    minutes = [sample.seconds / 60 for sample in samples]
    drawn = (("file_mb", "store, MB"), ("rss_mb", "RSS, MB"), ("p99_ms", "p99, ms"))
    for place, (name, label) in enumerate(drawn):
        axes = figure.add_subplot(3, 1, place + 1)
        axes.plot(minutes, [getattr(sample, name) for sample in samples], marker=".")
        axes.set(xlabel="minutes", ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
