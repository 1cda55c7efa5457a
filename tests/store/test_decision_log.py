"""Decisions are counted, bounded, and removed when too old or too many."""

from dataclasses import replace
from pathlib import Path

import pytest

from tastemaker.errors import StoreFullError
from tastemaker.project.sections import StoreSection
from tastemaker.store import Decision, Store
from tastemaker.store import room as rooms
from tastemaker.store.decision import COMPACT_BYTES, compact_bytes
from tastemaker.store.room import Room
from tests.store.conftest import NOW, row
from tests.store.test_decision import PLAIN, realistic


def decision(n: int) -> Decision:
    return replace(PLAIN, recommendation_id=f"{n:032x}", time=NOW + n)


def log(store: Store, count: int) -> None:
    for done in [store.log(decision(n)) for n in range(count)]:
        done.result()


def test_decisions_are_counted_once(store: Store) -> None:
    log(store, 5)
    store.log(decision(0)).result()
    totals = store.decision_log.totals()
    assert (totals.rows, totals.oldest) == (5, NOW)
    assert totals.bytes > 5 * len(PLAIN.encoded())


def test_the_oldest_decisions_go_first(store: Store) -> None:
    log(store, 10)
    assert store.decision_log.prune(NOW + 4, 1 << 40, 3).result() == 3
    assert store.decision_log.prune(NOW + 4, 1 << 40, 3).result() == 1
    assert store.decision_log.prune(NOW + 4, 1 << 40, 3).result() == 0
    assert [one.time - NOW for one in store.latest_decisions(20)] == [9, 8, 7, 6, 5, 4]


def test_decisions_beyond_the_size_go(store: Store) -> None:
    log(store, 10)
    each = store.decision_log.totals().bytes // 10
    most = each * 4 + each // 2
    assert store.decision_log.is_prunable(0, most)
    assert store.decision_log.prune(0, most).result() == 6
    assert store.decision_log.totals().bytes <= most
    assert not store.decision_log.is_prunable(0, most)


@pytest.mark.parametrize("seed", range(3))
def test_a_compact_decision_takes_at_most_four_kilobytes(seed: int, store: Store) -> None:
    large = realistic(seed)
    assert len(large.encoded()) > COMPACT_BYTES >= len(large.encoded_within(COMPACT_BYTES))
    store.log(large, compact_bytes(20)).result()
    kept = store.latest_decisions(1)[0]
    assert [i["item_id"] for i in kept.items] == [i["item_id"] for i in large.items]
    assert [i["score"] for i in kept.items] == [i["score"] for i in large.items]
    assert len(kept.features) < len(large.features)
    smallest = large.encoded_within(1)
    names = {large.names_digest: large.features.names}
    assert len(Decision.decoded(smallest, names).items) == len(large.items)
    full = replace(large, candidates=[{"item_id": "a", "score": 1.0}])
    assert full.encoded_within(1) == full.encoded()


def test_a_store_of_the_second_schema_counts_its_decisions(path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with Store(path) as store:
        log(store, 3)
        before = store.decision_log.totals()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TABLE totals; DROP TABLE removals; DROP TABLE removed_items;"
            "UPDATE about SET value = '2' WHERE name = 'schema';"
        )
    with Store(path) as store:
        assert store.decision_log.totals() == before
        assert store.remover().removals() == []


# --- what a store may hold ---


def test_events_beyond_the_limit_are_refused(store: Store) -> None:
    store.append([row()]).result()
    room = Room(store, StoreSection(max_events=3))
    room.require_events(2)
    with pytest.raises(StoreFullError, match=r"max_events = 3: remove some with"):
        room.require_events(1)


def test_items_beyond_the_limit_are_refused(store: Store) -> None:
    store.put_item("a", {}).result()
    store.append([row(item_id=f"only-an-event-{n}") for n in range(9)]).result()
    Room(store, StoreSection(max_items=2)).require_item()
    store.put_item("b", {}).result()
    with pytest.raises(StoreFullError, match="max_items = 2"):
        Room(store, StoreSection(max_items=2)).require_item()


def test_a_store_beyond_its_size_refuses(store: Store) -> None:
    store.append([row(item_id=f"{n}" * 200) for n in range(4_000)]).result()
    room = Room(store, StoreSection(max_size=1 << 20))
    with pytest.raises(StoreFullError, match=r"max_size is 1\.0 MB"):
        room.require_events(1)
    assert room.problem is not None


def test_decisions_stop_below_the_reserve_logged_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = 10
    monkeypatch.setattr(rooms, "free_bytes", lambda *_: (free, 20))
    room = Room(store, StoreSection())
    for _ in range(3):
        room.look_at_disk()
    assert room.problem is not None
    assert len(caplog.records) == 1
    free = 30
    room.look_at_disk()
    assert room.problem is None
    assert caplog.records[-1].message == "decisions are logged again"


def test_pruning_by_the_settings_removes_all_that_is_old(store: Store) -> None:
    log(store, 250)  # of June 2025
    room = Room(store, StoreSection(keep_decisions="1d"))
    assert [room.prune(), room.prune(), room.prune()] == [200, 50, 0]
