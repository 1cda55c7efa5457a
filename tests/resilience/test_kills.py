"""After a process is killed, the next one finds a consistent state and reports its recovery.

That an import, a promotion and acknowledged events survive a kill at any moment is shown in
tests/store/test_importing.py, tests/registry/test_registry.py and tests/serving/test_kill.py.
"""

import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tastemaker.project import load_project
from tastemaker.registry import Registry
from tastemaker.store import EventSource
from tests.resilience.stage import Ran, serving

pytestmark = pytest.mark.slow

Run = Callable[..., Ran]
HEAD = """
import os, signal, sys
from pathlib import Path
import tastemaker.artifact, tastemaker.disk
from tastemaker.pipeline import Recommender
from tastemaker.registry import Registry
from tastemaker.registry.pointer import Pointer
from tastemaker.store.importing import Importer
from tastemaker.cli import main

def deadly(place, name, calls):
    "Kills the process at the given call of a function."
    real, left = getattr(place, name), [calls]
    def call(*arguments, **named):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    setattr(place, name, call)
"""


def killed(films: Path, at: str, verb: str = "train") -> None:
    """Runs a command in a process that kills itself."""
    code = f"{HEAD}{at}\nsys.argv = ['tastemaker', {verb!r}, '--project', sys.argv[1]]\nmain()"
    if verb == "serve":
        code = code.replace("sys.argv[1]]", "sys.argv[1], '--port', '0']")
    ended = subprocess.run([sys.executable, "-c", code, str(films)], capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


def remarks(ran: Ran) -> list[str]:
    """The messages of a command, without its progress and times."""
    assert ran.code == 0, ran
    return [line for line in ran.err.splitlines() if " … " not in line]


def test_without_a_kill_nothing_is_reported(films: Path, run: Run) -> None:
    with serving(films) as server:
        server.post("click")
        server.end()
        announced = ("serving ", "warning: the newest event is", "Ctrl-C stops")
        assert all(line.startswith(announced) for line in server.said.splitlines()), server.said
    assert remarks(run("train")) == []


def test_a_killed_server_is_reported_with_its_stored_events(films: Path, run: Run) -> None:
    told = (
        "a write-ahead log was left next to store.db, by a process that was killed or while "
        "another process was reading; no committed data is lost: {} events"
    )
    with serving(films) as server:
        assert server.post("one")[0] == 200
        beside = run("train", "--no-promote")
        server.end(signal.SIGKILL)
    assert remarks(beside) == [
        f"it does not serve yet: run `tastemaker versions promote {newest(films)}`"
    ]
    with serving(films) as server:
        assert server.said.splitlines()[0] == told.format(241)
        assert server.post("two")[0] == 200
        server.end(signal.SIGKILL)
    assert remarks(run("train")) == [told.format(242)]
    assert remarks(run("train")) == []


def newest(films: Path) -> str:
    return Registry(films.parent / ".tastemaker").versions()[0].name


@pytest.mark.parametrize(
    "at",
    [
        "deadly(Importer, '_keys', 1)",
        "deadly(Importer, '_write', 3)",
        "deadly(Importer, '_put_entities', 1)",
        "deadly(Importer, '_write', 4)",
    ],
    ids=["before-keys", "before-rows", "before-items", "amid-items"],
)
def test_a_killed_import_is_repeated_and_reported(films: Path, run: Run, at: str) -> None:
    killed(films, at, "serve")
    said = remarks(run("train", "--no-promote"))[:-1]
    assert "a write-ahead log was left next to store.db" in said[0]
    tables = [line.removeprefix("the import of ").split(" ")[0] for line in said[1:]]
    # a kill between two tables leaves no partial table
    assert tables == ([] if "_put" in at else ["items"] if "4" in at else ["events"])
    assert all("was interrupted: its partial rows were removed" in line for line in said[1:])
    assert "240 events" in run("doctor").out
    assert remarks(run("train", "--no-promote"))[:-1] == []


@pytest.mark.parametrize(
    ("at", "left"),
    [
        ("deadly(Recommender, 'fit', 1)", False),
        ("deadly(tastemaker.artifact.np, 'save', 4)", True),
        ("deadly(tastemaker.artifact, 'flush', 3)", True),
        ("deadly(Registry, '_put', 1)", True),
        ("deadly(Pointer, 'write', 1)", False),
    ],
    ids=["fitting", "saving", "flushing", "before-its-name", "before-promoting"],
)
def test_a_killed_training_keeps_the_version_and_is_reported(
    films: Path, run: Run, at: str, left: bool
) -> None:
    registry = Registry(films.parent / ".tastemaker")
    before = registry.current()
    killed(films, at)
    assert registry.current() == before
    assert all(version.problem is None for version in registry.versions())
    assert run("recommend", "--user", "user-0").code == 0
    said = remarks(run("train"))
    told = "1 folder was left behind by killed runs: `tastemaker versions prune --keep 3`"
    assert [line.startswith(told) for line in said] == [True] * left
    assert registry.load().version == registry.current() != before
    assert run("versions", "prune", "--keep", "3").code == 0
    assert remarks(run("train")) == []
    assert {path.name for path in registry.artifacts.iterdir()} == {
        version.name for version in registry.versions()
    }


def test_a_server_reports_the_rest_of_a_killed_training(films: Path) -> None:
    killed(films, "deadly(tastemaker.artifact.np, 'save', 4)")
    with serving(films) as server:
        assert server.said.startswith("1 folder was left behind by killed runs")
        assert server.recommends()


def test_waiting_for_an_import_names_its_process(
    films: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    lock = films.parent / ".tastemaker" / "store.db-import"
    code = """
import select, sys
from pathlib import Path
from tastemaker.errors import StoreError
from tastemaker.lock import locked
with locked(Path(sys.argv[1]), StoreError):
    print("held", flush=True)
    select.select([sys.stdin], [], [], 60)
"""
    EventSource(load_project(films)).open().close()
    with (films.parent / "events.csv").open("a") as events:
        events.write("user-1,horror-1,1760000000\n")
    holding = logging.getLogger("tastemaker.lock")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        release = logging.Handler()
        release.emit = lambda _: holder.stdin.close()  # type: ignore[method-assign, union-attr]
        holding.addHandler(release)
        try:
            ran = run("train", "--no-promote")
        finally:
            holding.removeHandler(release)
    assert caplog.messages == [f"waiting for process {holder.pid}, which holds {lock}"]
    assert ran.code == 0
