"""Compacting replaces a store by a copy without empty pages."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError

from tastemaker.errors import StoreError
from tastemaker.store import Store, compacting
from tastemaker.store.counters import EVENTS, count_of
from tastemaker.store.look import look
from tastemaker.store.removing import EventFilter
from tests.store.conftest import row
from tests.store.test_importing import sums
from tests.store.test_removing import fill


def test_compacting_frees_disk_space(path: Path) -> None:
    with Store(path) as store:
        fill(store)
        store.append([row(item_id=f"z{n}" * 50) for n in range(3_000)]).result()
        store.remover().remove_events(EventFilter(users=("u",)))
        before = store.size()
        assert before.used < before.file
        store.compact()
        assert store.size().file < before.file
        assert store.count() == 39


def test_a_compacted_store_is_private_and_usable(path: Path) -> None:
    with Store(path) as store:
        fill(store)
        id_, state = store.id, path.stat().st_ino
        store.compact()
        assert path.stat().st_ino != state
        assert store.id == id_
        assert store.append([row()]).result().new == 1
        with Store(path) as other:  # other processes can open it again
            assert other.append([row()]).result().new == 1
        assert {p.name: p.stat().st_mode & 0o777 for p in path.parent.glob("store.db*")} == {
            **dict.fromkeys(("store.db", "store.db-wal", "store.db-shm"), 0o600),
            "store.db-open": (path.parent / "store.db-open").stat().st_mode & 0o777,
        }
    with Store(path) as store:
        assert store.count() == 41
        assert sums(store.path, "pairs") == sums(store.path, "events")


def test_compacting_refuses_a_database_in_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_failed_compaction_names_the_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def failing(_: Path) -> None:
        raise problem

    with Store(path) as store:
        fill(store)
        monkeypatch.setattr(compacting, "_replace", failing)
        with pytest.raises(StoreError) as refused:
            store.compact()
        assert f"the copy is written to {path.parent} (" in str(refused.value)
        assert store.append([row()]).result().new == 1


def test_compacting_needs_disk_space_for_one_copy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(path) as store:
        fill(store)
        used = store.size().used
        disk = SimpleNamespace(f_bavail=used - 1, f_frsize=1)
        monkeypatch.setattr(compacting.os, "statvfs", lambda _: disk)
        with pytest.raises(StoreError, match=r"MB in .*: free disk space, or remove events with"):
            store.compact()
        disk.f_bavail = store.size().used
        store.compact()


def test_compacting_recomputes_sums_of_older_versions(path: Path) -> None:
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
            assert count_of(connection, EVENTS).rows == 40
    assert not look(path).sums_differ
