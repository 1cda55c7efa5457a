"""A store is written again without empty pages, by a copy that takes its place when it is whole."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError

from tastemaker.errors import StoreError
from tastemaker.store import Store, compacting
from tastemaker.store.counters import EVENTS, counted
from tastemaker.store.look import look
from tastemaker.store.removing import EventFilter
from tests.store.conftest import row
from tests.store.test_importing import sums
from tests.store.test_removing import fill


def test_compacting_gives_the_room_back(path: Path) -> None:
    with Store(path) as store:
        fill(store)
        store.append([row(item_id=f"z{n}" * 50) for n in range(3_000)]).result()
        store.remover().remove_events(EventFilter(users=("u",)))
        before = store.size()
        assert before.used < before.file
        store.compact()
        assert store.size().file < before.file
        assert store.count() == 39


def test_a_compacted_store_is_private_and_goes_on(path: Path) -> None:
    with Store(path) as store:
        fill(store)
        id_, state = store.id, path.stat().st_ino
        store.compact()
        assert path.stat().st_ino != state
        assert store.id == id_
        assert store.append([row()]).result().new == 1
        with Store(path) as other:  # nobody is kept out any more
            assert other.append([row()]).result().new == 1
        assert {p.name: p.stat().st_mode & 0o777 for p in path.parent.glob("store.db*")} == {
            **dict.fromkeys(("store.db", "store.db-wal", "store.db-shm"), 0o600),
            "store.db-open": (path.parent / "store.db-open").stat().st_mode & 0o777,
        }
    with Store(path) as store:
        assert store.count() == 41
        assert sums(store.path, "pairs") == sums(store.path, "events")


def test_compacting_leaves_a_database_that_others_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "_PATIENCE_SECONDS", 0.1)
    with Store(path) as store, closing(sqlite3.connect(path)) as other:
        fill(store)
        other.execute("SELECT * FROM about").fetchall()
        with pytest.raises(StoreError, match=r"another process has it open"):
            store.compact()
        assert store.append([row()]).result().new == 1
        assert not list(path.parent.glob("*.part"))


@pytest.mark.parametrize(
    "problem",
    [
        sqlite3.OperationalError("disk I/O error"),
        OperationalError("VACUUM", None, sqlite3.OperationalError("disk I/O error")),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_compacting_that_fails_names_the_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def failing(_: Path) -> None:
        raise problem

    with Store(path) as store:
        fill(store)
        monkeypatch.setattr(compacting, "_replace", failing)
        with pytest.raises(StoreError) as refused:
            store.compact()
        assert f"its copy is written to {path.parent} (" in str(refused.value)
        assert store.append([row()]).result().new == 1


def test_compacting_needs_room_for_one_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(path) as store:
        fill(store)
        used = store.size().used
        told = SimpleNamespace(f_bavail=used - 1, f_frsize=1)
        monkeypatch.setattr(compacting.os, "statvfs", lambda _: told)
        with pytest.raises(StoreError, match=r"MB in .*: make room, or remove events with"):
            store.compact()
        told.f_bavail = store.size().used
        store.compact()


def test_compacting_sums_up_events_that_an_older_version_added(path: Path) -> None:
    with Store(path) as store:
        fill(store)
    older = (
        "INSERT INTO events (user, item, kind, time, received, source) VALUES (1, 1, 1, 1, 1, 0)"
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(older)
    assert look(path).sums_differ
    with Store(path) as store:
        store.compact()
        assert sums(store.path, "pairs") == sums(store.path, "events")
        with store.reading() as connection:
            assert counted(connection, EVENTS).rows == 40
    assert not look(path).sums_differ
