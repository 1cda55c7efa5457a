"""Decisions are counted, limited, and removed when they are too old or too many."""

import sqlite3
import tracemalloc
from concurrent.futures import wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, text

from tastemaker.component import Features
from tastemaker.errors import BusyError
from tastemaker.project.sections import StoreSection
from tastemaker.store import Decision, Store, decision_log
from tastemaker.store import capacity as capacities
from tastemaker.store.capacity import Capacity
from tastemaker.store.decision import COMPACT_BYTES, compact_bytes
from tests.store.conftest import NOW
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


def test_the_oldest_decisions_are_removed_first(store: Store) -> None:
    log(store, 10)
    assert store.decision_log.prune(NOW + 4, 1 << 40, 3).result() == 3
    assert store.decision_log.prune(NOW + 4, 1 << 40, 3).result() == 1
    assert store.decision_log.prune(NOW + 4, 1 << 40, 3).result() == 0
    assert [one.time - NOW for one in store.latest_decisions(20)] == [9, 8, 7, 6, 5, 4]


def test_decisions_beyond_the_maximum_size_are_removed(store: Store) -> None:
    log(store, 10)
    each = store.decision_log.totals().bytes // 10
    most = each * 4 + each // 2
    assert store.decision_log.is_prunable(0, most)
    assert store.decision_log.prune(0, most).result() == 6
    assert store.decision_log.totals().bytes <= most
    assert not store.decision_log.is_prunable(0, most)


@pytest.mark.parametrize("seed", range(3))
def test_a_compact_decision_uses_at_most_4_kb(seed: int, store: Store) -> None:
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


def test_upgrading_from_schema_2_counts_decisions(path: Path) -> None:
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


# --- limits of the store ---


def test_decisions_stop_below_the_reserve_with_one_log_message(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = 10
    monkeypatch.setattr(capacities, "free_bytes", lambda *_: (free, 20))
    capacity = Capacity(store, StoreSection())
    for _ in range(3):
        capacity.look_at_disk()
    assert capacity.problem is not None
    assert len(caplog.records) == 1
    free = 30
    capacity.look_at_disk()
    assert capacity.problem is None
    assert caplog.records[-1].message == "decisions are logged again"


def test_pruning_removes_all_old_decisions(store: Store) -> None:
    log(store, 250)  # of June 2025
    capacity = Capacity(store, StoreSection(keep_decisions="1d"))
    assert [capacity.prune(), capacity.prune(), capacity.prune()] == [200, 50, 0]


# --- queued decisions ---


def test_queued_decisions_are_bounded_by_bytes(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    each = realistic(0).held_bytes
    monkeypatch.setattr(decision_log, "MAX_UNWRITTEN_BYTES", 10 * each + each // 2)
    made = [replace(realistic(0), recommendation_id=f"{n:032x}") for n in range(40)]
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        kept, dropped = [], 0
        for one in made:
            try:
                kept.append(store.log(one))
            except BusyError:
                dropped += 1
        assert (len(kept), dropped) == (10, 30)
        assert store.decision(made[-1].recommendation_id) is None
        other.execute("COMMIT")
    for done in kept:
        done.result()
    store.log(replace(made[-1], recommendation_id="later")).result()
    assert store.decision_log.totals().rows == 11
    lines = [r.message for r in caplog.records if "dropped" in r.message]
    assert len(lines) == 1  # a minute
    assert "MB of decisions are waiting for the disk already" in lines[0]


def test_the_memory_of_a_decision_is_estimated() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = [realistic(n) for n in range(50)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.5 < sum(one.held_bytes for one in made) / (after - before) < 2


def test_reading_a_decision_reads_only_its_feature_names(store: Store) -> None:
    names = [(f"feature {n}",) for n in range(30)]
    features = [Features(name, np.ones((1, 1), np.float32)) for name in names]
    logged = [store.log(replace(decision(n), features=f)) for n, f in enumerate(features)]
    assert not wait(logged).not_done
    read: list[Any] = []
    event.listen(
        store._reading, "before_cursor_execute", lambda *arguments: read.append(arguments[2:4])
    )
    found = store.decision(decision(7).recommendation_id)
    assert found is not None
    assert found.features.names == ("feature 7",)
    (parameters,) = [values for statement, values in read if "feature_names" in statement]
    assert parameters == (found.names_digest,)
    assert sorted(one.features.names for one in store.latest_decisions(30)) == sorted(names)


def test_decisions_of_a_user_are_found_by_an_index(store: Store) -> None:
    log(store, 3)
    with store.reading() as connection:
        query = "EXPLAIN QUERY PLAN SELECT content FROM decisions WHERE user_id IN ('u', 'v')"
        (plan,) = connection.execute(text(query)).all()
    assert "decisions_by_user" in plan.detail
