"""Resource limits: memory for training and scoring, processors for two workers."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.load import storm
from benchmarks.server import Server, serving
from tastemaker.component import FitOptions
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import MemoryBudgetError
from tastemaker.project import load_project
from tastemaker.project.find_files import find_tables
from tastemaker.project.project_text import project_text
from tastemaker.project.propose import propose_project
from tastemaker.store import EventSource

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("resources")]
GIBIBYTE = 1 << 30
SMALL = {"users": 3_000, "items": 3_000, "events": 100_000, "tastes": 20, "seed": 3}
BUDGET = 'memory = "1GiB"\nrequests = 4000\n'


@dataclass(frozen=True)
class Ran:
    """The result of a command.

    Attributes:
        code: the exit code.
        told: standard error.
        result: standard output as JSON; None if there is none.
        peak: the peak memory of the command in bytes.
    """

    code: int
    told: str
    result: Any
    peak: int


def run(*arguments: object) -> Ran:
    return program("-c", "from tastemaker.cli import main; main()", *arguments)


def program(*arguments: object) -> Ran:
    command = [sys.executable, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    held = [0]
    looking = threading.Thread(target=look, args=(process, "\0".join(command), held))
    looking.start()
    out, told = process.communicate(timeout=900)
    looking.join()
    return Ran(process.returncode, told, json.loads(out) if out.strip() else None, held[0])


def look(process: "subprocess.Popen[str]", command: str, held: list[int]) -> None:
    """Records the peak private memory of a process."""
    about = Path(f"/proc/{process.pid}")
    while process.poll() is None:
        try:
            if (about / "cmdline").read_bytes().rstrip(b"\0") != command.encode():
                continue  # still a copy of this process
            _, resident, shared, *_ = (about / "statm").read_text().split()
        except OSError:
            return
        held[0] = max(held[0], (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE"))
        time.sleep(0.005)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that `init` proposes for 100,000 events of 3,000 items, with 1 GiB of memory."""
    folder = tmp_path_factory.mktemp("budget")
    synthetic = SyntheticWorld(**SMALL)
    synthetic.events.write_parquet(folder / "events.parquet")
    synthetic.items.write_csv(folder / "items.csv")
    text = project_text(propose_project(find_tables(folder)), folder)
    assert 'ranker = "main"' in text
    told = text if "[training]\n" in text else text + "[training]\n"
    path = folder / "tastemaker.toml"
    path.write_text(told.replace("[training]\n", f"[training]\n{BUDGET}"))
    return path


@pytest.fixture(scope="module")
def trained(project: Path) -> Ran:
    """The result of its training."""
    return run("train", "--project", project, "--json")


def test_training_and_scoring_all_users_stay_within_a_gibibyte(project: Path, trained: Ran) -> None:
    assert trained.code == 0, trained.told
    assert 100 << 20 < trained.peak <= GIBIBYTE
    everybody = project.with_name("all.parquet")
    scored = run("recommend", "--all", "--output", everybody, "--project", project, "--json")
    assert scored.code == 0, scored.told
    assert scored.result["users"] > 2_900
    assert 100 << 20 < scored.peak <= GIBIBYTE


def test_a_quadratic_model_over_budget_is_rejected_with_an_estimate(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    events = {
        "user_id": rng.integers(0, 20_000, 100_000),
        "item_id": np.concatenate([np.arange(20_000), rng.integers(0, 20_000, 80_000)]),
        "timestamp": 1_700_000_000 + np.arange(100_000),
    }
    pl.DataFrame(events).write_parquet(tmp_path / "events.parquet")
    (tmp_path / "tastemaker.toml").write_text(
        '[data]\nevents = "events.parquet"\n[data.defaults]\nevent_type = "view"\n[events.view]\n'
        '[retrievers.ease]\ntype = "ease"\n[placements.home]\nretrievers = { ease = 50 }\n'
        '[training]\nmemory = "1GiB"\n'
    )
    refused = run("train", "--project", tmp_path / "tastemaker.toml")
    assert refused.code == 1
    assert "EASE on 20,000 items needs about" in refused.told
    assert "the memory budget is 1.1 GB; use SparseEASE" in refused.told
    assert "Traceback" not in refused.told
    assert refused.peak < GIBIBYTE // 2


def test_a_log_too_long_for_the_budget_is_refused_before_it_is_read(
    project: Path, tmp_path: Path
) -> None:
    rows = 20_000_000
    frame = pl.select(
        user_id=pl.lit(1).repeat_by(1).explode(), item_id=pl.lit(2), timestamp=pl.lit(1_700_000_000)
    )
    pl.concat([frame] * 1_000).select(pl.all().repeat_by(rows // 1_000).explode()).write_parquet(
        tmp_path / "events.parquet"
    )
    for name in ("tastemaker.toml", "items.csv"):
        shutil.copy(project.with_name(name), tmp_path)
    refused = run("train", "--project", tmp_path / "tastemaker.toml")
    assert refused.code == 1
    assert "reading events.parquet, items.csv needs about 3.2 GB" in refused.told
    assert "shorter period of the event log" in refused.told
    assert refused.peak < GIBIBYTE // 2


READ = """
import json
import sys
from pathlib import Path
from tastemaker.machine import held_bytes
from tastemaker.project import load_project, project
from tastemaker.store import EventSource, source
estimates = []
project.require_memory = lambda needed, *_: estimates.append(needed)
source = EventSource(load_project(Path(sys.argv[1])))
held = held_bytes()
source.read()
print(json.dumps({"estimate": estimates[-1], "held": held}))
"""


def write_shop(folder: Path, case: str) -> Path:
    """A project with some hundreds of megabytes of data: long texts or many events."""
    titles, rows = 4_000, 1_500_000
    if case in ("texts", "texts in csv", "labels", "store"):
        rows = 10_000
        title = "word|" * 1_000 if case == "labels" else "what it is about " * 1_000
        texts = pl.DataFrame({"item_id": range(titles), "title": [title] * titles})
    else:
        texts = pl.DataFrame({"item_id": [0], "title": ["short"]})
    events = pl.select(
        user_id=pl.int_range(rows) // 50, item_id=pl.int_range(rows) % 1_000,
        timestamp=1_700_000_000,
    )  # fmt: skip
    names = ["events.parquet", "items.csv" if case == "texts in csv" else "items.parquet"]
    if case == "csv":
        names[0] = "events.csv"
    if case == "gzip":
        names[0] = "events.csv.gz"
        (folder / names[0]).write_bytes(gzip.compress(events.write_csv().encode(), 1))
    for name, table in zip(names, (events, texts)):
        if name.endswith(".csv"):
            table.write_csv(folder / name)
        elif name.endswith(".parquet"):
            table.write_parquet(folder / name)
    role = 'role = "tags", separator = "|"' if case == "labels" else 'role = "text"'
    path = folder / "tastemaker.toml"
    path.write_text(
        f'[data]\nevents = "{names[0]}"\nitems = "{names[1]}"\n'
        '[data.defaults]\nevent_type = "view"\n[events.view]\n'
        f"[items.roles]\ntitle = {{ {role} }}\n"
        '[retrievers.popular]\ntype = "popular"\n'
        "[placements.home]\nretrievers = { popular = 1000 }\n"
    )
    return path


@pytest.mark.parametrize(
    "case", ["parquet", "csv", "gzip", "texts", "texts in csv", "labels", "store"]
)
def test_reading_takes_about_the_predicted_memory(tmp_path: Path, case: str) -> None:
    path = write_shop(tmp_path, case)
    if case == "store":
        EventSource(load_project(path)).open().close()
    ran = program("-c", READ, path)
    assert ran.code == 0, ran.told
    taken = ran.peak - ran.result["held"]
    assert taken > 100 << 20
    assert 0.7 < ran.result["estimate"] / taken < 2.5


def test_long_texts_in_a_small_file_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = write_shop(tmp_path, "texts")
    assert path.with_name("items.parquet").stat().st_size < 1 << 20
    with path.open("a") as project:
        project.write('[training]\nmemory = "256MiB"\n')
    refused = run("train", "--project", path)
    assert refused.code == 1
    assert len(refused.told.splitlines()) <= 2
    assert "reading events.parquet, items.parquet needs about 410" in refused.told
    assert refused.peak < 256 << 20


def test_lists_for_all_users_are_streamed_to_the_file(tmp_path: Path) -> None:
    users, n = 6_000, 1_000
    pl.select(
        user_id=pl.int_range(users), item_id=pl.int_range(users) % 1_500, timestamp=1_700_000_000
    ).write_parquet(tmp_path / "events.parquet")
    path = tmp_path / "tastemaker.toml"
    path.write_text(
        '[data]\nevents = "events.parquet"\n[data.defaults]\nevent_type = "view"\n[events.view]\n'
        '[retrievers.popular]\ntype = "popular"\n'
        "[placements.home]\nretrievers = { popular = 1000 }\n"
    )
    assert run("train", "--project", path, "--json").code == 0
    everybody = tmp_path / "all.parquet"
    scored = run("recommend", "--all", "--n", n, "--output", everybody, "--project", path, "--json")
    assert scored.code == 0, scored.told
    assert scored.result["rows"] == users * n
    assert pl.scan_parquet(everybody).select(pl.len()).collect().item() == users * n
    assert scored.peak < 300 << 20


def test_too_many_training_requests_are_rejected_after_the_first_ones(
    project: Path, tmp_path: Path
) -> None:
    for name in ("events.parquet", "items.csv"):
        shutil.copy(project.with_name(name), tmp_path)
    settings = 'memory = "1GiB"\nrequests = 30000\nnegatives = 300\n'
    (tmp_path / "tastemaker.toml").write_text(project.read_text().replace(BUDGET, settings))
    refused = run("train", "--project", tmp_path / "tastemaker.toml")
    assert refused.code == 1
    assert "learning to rank from 30,000 requests needs about" in refused.told
    assert "lower 'requests' or 'negatives'" in refused.told
    assert refused.peak <= GIBIBYTE


def test_the_default_budget_is_three_quarters_of_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tastemaker.machine.memory_bytes", lambda: 4 * GIBIBYTE)
    monkeypatch.setattr(
        "tastemaker.machine.held_bytes", lambda: 1 << 20
    )  # independent of earlier tests
    FitOptions().require_memory(2 * GIBIBYTE, "this", "do that")
    with pytest.raises(MemoryBudgetError, match=r"the memory budget is 3\.2 GB"):
        FitOptions().require_memory(3 * GIBIBYTE, "this", "do that")


def busy_threads(pids: list[int], seconds: float) -> Counter[int]:
    """Process → the number of its threads that use more than a fifth of its CPU time.

    Measures until each process has used some seconds, or for half a minute.

    A library thread computes, or waits busily, as much as its caller. A thread that only writes the
    log stays far below. The shares do not depend on the load of the machine.
    """
    ticks = os.sysconf("SC_CLK_TCK")

    def spent() -> dict[tuple[int, str], float]:
        found = {}
        for pid in pids:
            for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
                fields = stat.read_text().rsplit(")", 1)[1].split()
                found[pid, stat.parent.name] = (int(fields[11]) + int(fields[12])) / ticks
        return found

    before, whole = spent(), dict.fromkeys(pids, 0.0)
    end = time.monotonic() + 30
    while min(whole.values()) < seconds and time.monotonic() < end:
        time.sleep(0.1)
        after = {of: now - before.get(of, 0.0) for of, now in spent().items()}
        whole = {pid: sum(now for (of, _), now in after.items() if of == pid) for pid in pids}
    return Counter(pid for (pid, _), now in after.items() if now > 0.2 * whole[pid])


def test_two_workers_compute_on_two_threads_each_at_most(project: Path, trained: Ran) -> None:
    """One thread reads requests and one answers them. Libraries start no other busy threads."""
    assert trained.code == 0, trained.told
    with serving(project, workers=2) as server:
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():  # each burst uses new connections
                storm(server.port, 300.0, 2.0, [{"user_id": f"u{n}"} for n in range(99)])

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            time.sleep(2.0)
            busy = busy_threads(workers_of(server), 0.5)
        finally:
            done.set()
            asking.join()
    assert len(busy) == 2, "both workers answer"
    assert max(busy.values()) <= 2


def workers_of(server: Server) -> list[int]:
    """The worker processes of the server, without the supervisor."""
    return [pid for pid in server.pids() if pid != server.pid]
