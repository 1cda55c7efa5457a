"""A large batch is written in parts: others can write in between, and each event counts once."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from tastemaker.errors import BusyError, StoreFullError
from tastemaker.project.sections import StoreSection
from tastemaker.store import Added, EventRow, Store, batches, write_queue
from tastemaker.store.limits import Limits
from tastemaker.store.opening import connect
from tastemaker.store.write_queue import Piece
from tastemaker.store.writer import Writer
from tests.store.conftest import row, rows
from tests.store.test_writer import SECONDS, Held


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of three events."""
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(write_queue, "ROWS_AT_ONCE", 3)


def ids(store: Store) -> list[str]:
    with store.reading() as connection:
        found = connection.execute(text("SELECT event_id FROM events ORDER BY sequence"))
        return list(found.scalars())


def test_a_batch_is_stored_completely_and_in_order(store: Store) -> None:
    sent = rows([f"{n:02}" for n in range(10)])
    assert store.append(sent).result() == Added(10)
    assert ids(store) == [event.event_id for event in sent]
    assert store.append(sent).result() == Added(0, 10)
    assert store.append([]).result() == Added(0)


def test_conflicts_and_duplicates_are_counted_across_parts(store: Store) -> None:
    store.append(rows(["a"])).result()
    sent = [*rows(["b", "c", "d", "b", "a"]), row(event_id="c", item_id="other")]
    added = store.append(sent).result()
    assert (added.new, added.duplicates) == (3, 2)
    assert [index for index, _ in added.conflicts] == [5]
    assert ids(store) == ["a", "b", "c", "d"]


def test_another_client_can_write_between_two_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, begun, go = batches.add_events, threading.Event(), threading.Event()

    def held(connection: Connection, rows: Sequence[EventRow], **options: Any) -> Added:
        if rows[0].event_id == "batch-0":
            begun.set()
            assert go.wait(SECONDS)
        return add(connection, rows, **options)

    monkeypatch.setattr(batches, "add_events", held)
    batch = store.append(rows([f"batch-{n}" for n in range(9)]), caller="many")
    assert begun.wait(SECONDS)
    single = store.append(rows(["single"]), caller="one")
    go.set()
    assert (batch.result(SECONDS), single.result(SECONDS)) == (Added(9), Added(1))
    assert ids(store).index("single") == 3


def test_events_beyond_the_limit_are_listed_and_the_rest_is_stored(store: Store) -> None:
    most = Limits(store.path, StoreSection(max_events=4))
    added = store.append(rows([f"{n}" for n in range(8)]), limits=most).result(SECONDS)
    assert (added.new, added.duplicates, added.conflicts) == (3, 0, ())
    assert added.unwritten == (3, 4, 5, 6, 7)
    assert "max_events = 4" in str(added.problem)
    assert ids(store) == ["0", "1", "2"]


def test_a_batch_without_a_storable_event_fails(store: Store) -> None:
    most = Limits(store.path, StoreSection(max_events=1))
    with pytest.raises(StoreFullError, match="max_events = 1"):
        store.append(rows([f"{n}" for n in range(8)]), limits=most).result(SECONDS)
    assert ids(store) == []


def test_nothing_is_written_after_a_failed_part(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, tried = batches.add_events, list[str]()

    def broken(connection: Connection, rows: Sequence[EventRow], **options: Any) -> Added:
        tried.append(rows[0].event_id)
        if rows[0].event_id == "3":
            raise ZeroDivisionError("once")
        return add(connection, rows, **options)

    monkeypatch.setattr(batches, "add_events", broken)
    added = store.append(rows([f"{n}" for n in range(12)])).result(SECONDS)
    assert (added.new, added.unwritten) == (3, tuple(range(3, 12)))
    assert isinstance(added.problem, ZeroDivisionError)
    assert set(tried) == {"0", "3"}
    assert ids(store) == ["0", "1", "2"]
    assert store.append(rows(["later"])).result(SECONDS) == Added(1)


def test_a_batch_waits_once_for_a_locked_database(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions, commit = list[int](), Writer._commit

    def counted(writer: Writer, group: list[Piece]) -> None:
        transactions.append(len(group))
        commit(writer, group)

    monkeypatch.setattr(Writer, "_commit", counted)
    with Store(path, patience=0.1) as store:
        other, reading = connect(path)
        with other.begin():
            failed = store.append(rows([f"{n}" for n in range(60)])).exception(SECONDS)
        assert transactions == [1], "later parts waited for the lock too"
        assert "database is locked" in str(failed)
        other.dispose()
        reading.dispose()


def test_a_queued_batch_cannot_be_cancelled(store: Store) -> None:
    with Held(store._writer):
        batch = store.append(rows([f"{n}" for n in range(9)]))
        assert not batch.cancel()
    assert batch.result(SECONDS) == Added(9)


def test_a_batch_beyond_the_queue_limit_is_refused_completely(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "MAX_QUEUED_ROWS", 6)
    with Held(store._writer):
        waits = store.append(rows([f"{n}" for n in range(8)]), caller="many")
        with pytest.raises(BusyError):
            store.append(rows(["late-1", "late-2", "late-3", "late-4"]), caller="many")
    assert waits.result() == Added(8)
    assert ids(store) == [f"{n}" for n in range(8)]
