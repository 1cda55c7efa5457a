"""A large batch is written in parts: others come between, and every event is counted once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from tastemaker.errors import BusyError, StoreFullError
from tastemaker.project.sections import StoreSection
from tastemaker.store import Added, Store, batches, waiting
from tastemaker.store.limits import Limits
from tests.store.conftest import row, rows
from tests.store.test_writer import Held


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of three events."""
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(waiting, "ROWS_AT_ONCE", 3)


def ids(store: Store) -> list[str]:
    with store.reading() as connection:
        found = connection.execute(text("SELECT event_id FROM events ORDER BY sequence"))
        return list(found.scalars())


def test_a_batch_is_stored_whole_and_in_its_order(store: Store) -> None:
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


def test_another_client_is_written_between_two_parts(store: Store) -> None:
    with Held(store._writer):
        batch = store.append(rows([f"batch-{n}" for n in range(9)]), caller="many")
        single = store.append(rows(["single"]), caller="one")
    assert batch.result() == Added(9)
    assert single.result() == Added(1)
    assert ids(store).index("single") <= 3


def test_what_finds_no_room_is_named_and_the_rest_is_stored(store: Store) -> None:
    most = Limits(store.path, StoreSection(max_events=4))
    added = store.append(rows([f"{n}" for n in range(8)]), limits=most).result()
    assert (added.new, added.duplicates, added.conflicts) == (3, 0, ())
    # the last part has two events, for which there is no room either
    assert [index for index, _ in added.unwritten] == [3, 4, 5, 6, 7]
    assert "max_events = 4" in added.unwritten[0][1]
    assert ids(store) == ["0", "1", "2"]


def test_a_batch_of_which_nothing_can_be_stored_fails(store: Store) -> None:
    most = Limits(store.path, StoreSection(max_events=1))
    with pytest.raises(StoreFullError, match="max_events = 1"):
        store.append(rows([f"{n}" for n in range(8)]), limits=most).result()
    assert ids(store) == []


def test_a_batch_for_which_there_is_no_place_in_the_queue_is_refused_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 6)
    with Held(store._writer):
        waits = store.append(rows([f"{n}" for n in range(8)]), caller="many")
        with pytest.raises(BusyError):
            store.append(rows(["late-1", "late-2", "late-3", "late-4"]), caller="many")
    assert waits.result() == Added(8)
    assert ids(store) == [f"{n}" for n in range(8)]


def test_a_part_that_breaks_does_not_take_the_others_with_it(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add: Callable[..., Added] = batches.add_events

    def broken(connection: Connection, rows: list[object], **options: object) -> Added:
        if rows[0].event_id == "3":  # type: ignore[attr-defined]
            raise ZeroDivisionError("once")
        return add(connection, rows, **options)

    monkeypatch.setattr(batches, "add_events", broken)
    added = store.append(rows([f"{n}" for n in range(7)])).result()
    assert added == Added(4, 0, (), ((3, "once"), (4, "once"), (5, "once")))
    assert ids(store) == ["0", "1", "2", "6"]
