import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from tastemaker.data.schema import EventKind, Schema
from tastemaker.errors import StoreError
from tastemaker.store import SERVED, Added, Decision, Store, StoredEvents
from tastemaker.store import store as store_module
from tastemaker.store.history import newest_events
from tests.store.conftest import NOW, row, rows
from tests.store.test_decision import assert_same, realistic

VIEWS = Schema(kinds={"view": EventKind()})
ODD_IDS = [
    "it's", 'say "hi"', "a/b/c", r"a\b", "a:b:c", "😀", "é", "e\u0301", "%", "_", "?", ":user_id",
    "'; DROP TABLE events; --", "' OR '1'='1", "x' UNION SELECT * FROM users --", "NaNa", "01", "1",
    "a b", "A", "a",
]  # fmt: skip


def sql(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def ids_of(store: Store, found: StoredEvents) -> list[str]:
    names, keys = store.item_keys()
    known = dict(zip(keys.tolist(), names))
    return [known[key] for key in found.item.tolist()]


# --- events ---


def test_other_connections_see_an_acknowledged_event_at_once(store: Store, path: Path) -> None:
    with Store(path) as other:
        for n in range(20):
            store.append([row(item_id=f"i{n}")]).result()
            assert len(other.history("u")) == other.count() == n + 1


def test_a_history_has_all_events_of_one_user_in_log_order(store: Store) -> None:
    store.append([
        row(item_id="b", time=NOW + 5, value=4.5, kind="rating"),
        row(item_id="x", user_id="other"),
        row(item_id="a", time=NOW),
    ]).result()  # fmt: skip
    store.append([row(item_id="b", time=NOW + 1)]).result()
    found = store.history("u")
    assert ids_of(store, found) == ["b", "a", "b"]
    kinds = store.kind_keys()
    assert found.kind.tolist() == [kinds["rating"], kinds["view"], kinds["view"]]
    np.testing.assert_array_equal(found.value, np.array([4.5, np.nan, np.nan], np.float32))
    assert found.time.tolist() == [NOW + 5, NOW, NOW + 1]
    assert (np.diff(found.sequence) > 0).all()


def test_an_unknown_user_has_an_empty_history(store: Store) -> None:
    store.append([row()]).result()
    found = store.history("stranger")
    assert len(found) == 0
    assert found.value.dtype == np.float32
    assert found.sequence.dtype == found.item.dtype == found.time.dtype == np.int64


def test_the_first_event_with_an_id_in_a_post_wins(store: Store) -> None:
    posted = [row(event_id="e", item_id="first"), row(event_id="e", item_id="second"), row()]
    added = store.append(posted).result()
    assert (added.new, added.duplicates, [index for index, _ in added.conflicts]) == (2, 0, [1])
    assert ids_of(store, store.history("u")) == ["first", "i"]


def test_the_first_event_with_an_id_across_posts_wins(store: Store) -> None:
    assert store.append([row(event_id="e", item_id="first")]).result() == Added(1)
    assert store.append([row(event_id="e", item_id="second"), row()]).result().new == 1
    assert ids_of(store, store.history("u")) == ["first", "i"]


def test_posts_in_one_commit_are_counted_separately(store: Store) -> None:
    futures = [store.append(rows([f"{n % 7}", f"x{n}"])) for n in range(50)]
    added = [future.result() for future in futures]
    assert added == [Added(2)] * 7 + [Added(1, 1)] * 43
    assert store.count() == 57


def test_an_empty_post_is_accepted(store: Store) -> None:
    assert store.append([]).result() == Added(0)
    assert store.append([row()]).result() == Added(1)


@pytest.mark.parametrize("id_", ODD_IDS)
def test_ids_with_any_characters_stay_distinct(store: Store, id_: str) -> None:
    others = [row(user_id=other, item_id=other) for other in ODD_IDS if other != id_]
    store.append(others).result()
    store.append([row(user_id=id_, item_id=id_, event_id=id_, session=id_)]).result()
    store.put_item(id_, {"title": id_}).result()
    assert ids_of(store, store.history(id_)) == [id_]
    (item,) = store.items_since(0)
    assert (item.item_id, item.attributes) == (id_, {"title": id_})
    again = row(user_id=id_, item_id=id_, event_id=id_)
    assert store.append([again]).result() == Added(0, 1)
    data = store.dataset(VIEWS)
    assert sorted(data.users.ids(range(len(data.users)))) == sorted(ODD_IDS)
    assert store.count() == len(ODD_IDS)


@pytest.fixture(scope="module")
def filling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that is shared by several examples."""
    with Store(tmp_path_factory.mktemp("filling") / "store.db") as opened:
        yield opened


@given(text=st.text(min_size=1, max_size=8))
def test_any_text_round_trips_as_an_id(filling: Store, text: str) -> None:
    known = set(filling.item_keys()[0])
    filling.append([row(user_id=text, item_id=text)]).result()
    assert set(filling.item_keys()[0]) == known | {text}
    assert set(ids_of(filling, filling.history(text))) == {text}


def test_many_threads_lose_no_events_and_the_sequence_grows(store: Store) -> None:
    threads, posts = 8, 40
    last: dict[int, int] = {}

    def post(number: int) -> int:
        added = 0
        for n in range(posts):
            # every second event is also posted by the next thread
            shared = f"shared-{n}-{(number + n % 2) // 2}"
            own = [row(user_id=f"u{number}", item_id=f"{number}-{n}"), row(event_id=shared)]
            added += store.append(own).result().new
            sequence = store.history(f"u{number}").sequence
            assert len(sequence) == n + 1
            assert sequence[-1] > last.get(number, 0)
            last[number] = int(sequence[-1])
        return added

    with ThreadPoolExecutor(threads) as pool:
        added = sum(pool.map(post, range(threads)))
    every = store.served_since(0)
    assert (np.diff(every.sequence) > 0).all()
    assert added == store.count() == len(every)
    seen = Counter(ids_of(store, every))
    assert all(seen[f"{t}-{n}"] == 1 for t in range(threads) for n in range(posts))


def test_an_event_id_counts_once_across_processes(store: Store, path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tastemaker.store import Store
from tests.store.conftest import rows
with Store(Path(sys.argv[1])) as store:
    futures = [
        store.append(rows([f"shared-{n}", f"{sys.argv[2]}-{n}"], user_id=sys.argv[2]))
        for n in range(200)
    ]
    print(sum(future.result().new for future in futures))
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), name], stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[2],
        )
        for name in ("one", "two")
    ]  # fmt: skip
    added = [int(process.communicate(timeout=300)[0]) for process in processes]
    assert sum(added) == store.count() == 600
    assert (np.diff(store.served_since(0).sequence) > 0).all()


def test_served_events_since_a_sequence_are_in_log_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([row(item_id=f"i{n}", user_id=f"u{n}", time=NOW - n) for n in range(9)]).result()
    every = store.served_since(0)
    assert ids_of(store, every) == [f"i{n}" for n in range(9)]
    assert ids_of(store, store.served_since(int(every.sequence[5]))) == ["i6", "i7", "i8"]
    assert len(store.served_since(int(every.sequence[-1]))) == 0
    monkeypatch.setattr(store_module, "_MOST_TO_READ", 4)
    assert ids_of(store, store.served_since(int(every.sequence[1]))) == ["i2", "i3", "i4", "i5"]


def test_events_after_a_sequence_are_counted(store: Store) -> None:
    store.append(rows(["a", "b", "c"])).result()
    assert store.count() == 3
    assert store.count_served(after=int(store.history("u").sequence[1])) == 1


def test_users_are_listed_oldest_first(store: Store) -> None:
    for name in ("b", "a", "c"):
        store.append([row(user_id=name)]).result()
    assert store.users(2) == ["b", "a"]


def test_a_history_is_read_from_one_index(store: Store) -> None:
    with store._read() as connection:
        query = text(f"EXPLAIN QUERY PLAN {newest_events([1, 2]).text}")
        values = {"user_id": "u", "most": 10}
        plan = [str(step.detail) for step in connection.execute(query, values)]
    search = "SEARCH events USING COVERING INDEX events_by_time (user=? AND kind=?)"
    assert plan.count(search) == 2
    # only the found events are sorted, by sequence
    assert [step for step in plan if "TEMP B-TREE" in step] == ["USE TEMP B-TREE FOR ORDER BY"]


# --- items ---


def test_an_item_is_new_once(store: Store) -> None:
    assert store.put_item("i", {"title": "One"}).result() is True
    assert store.put_item("i", {"title": "Two"}).result() is False
    (item,) = store.items_since(0)
    assert (item.attributes, item.source) == ({"title": "Two"}, SERVED)


def test_an_undescribed_item_is_new_when_it_is_put(store: Store) -> None:
    store.append([row(item_id="i")]).result()
    assert store.items_since(0) == []
    assert store.put_item("i", {}).result() is True
    (item,) = store.items_since(0)
    assert item.item == store.history("u").item[0]


def test_items_since_a_change_are_listed_in_order(store: Store) -> None:
    for item in ("a", "b", "c", "a"):
        store.put_item(item, {"n": [1.5, None, "é"]}).result()
    every = store.items_since(0)
    assert [item.item_id for item in every] == ["b", "c", "a"]
    assert every[0].attributes == {"n": [1.5, None, "é"]}
    assert [item.item_id for item in store.items_since(every[0].changed)] == ["c", "a"]
    assert store.items_since(every[-1].changed) == []


# --- decisions ---


def test_a_decision_can_be_read_before_and_after_its_write(store: Store, path: Path) -> None:
    decisions = [realistic(seed) for seed in range(3)]
    futures = [store.log(decision) for decision in decisions]
    for decision in decisions:
        found = store.decision(decision.recommendation_id)
        assert found is not None
        assert_same(found, decision)
    for future in futures:
        future.result()
    with Store(path) as other:
        for decision in decisions:
            found = other.decision(decision.recommendation_id)
            assert found is not None
            assert_same(found, decision)


def test_an_unknown_id_has_no_decision(store: Store) -> None:
    assert store.decision("' OR 1=1 --") is None


def test_the_latest_decisions_come_first(store: Store) -> None:
    for n in (2, 0, 1):
        store.log(replace(realistic(n), recommendation_id=f"r{n}", time=NOW + n)).result()
    assert [one.recommendation_id for one in store.latest_decisions(2)] == ["r2", "r1"]


def test_a_damaged_decision_is_reported(store: Store, path: Path) -> None:
    store.log(realistic(0)).result()
    id_ = realistic(0).recommendation_id
    sql(path, "UPDATE decisions SET content = x'544432' || zeroblob(40)")
    with pytest.raises(StoreError, match="a decision in the store cannot be read"):
        store.decision(id_)


def test_a_refused_decision_cannot_be_read(store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match="the store is closed"):
        store.log(realistic(0))
    assert store.decision_log._unwritten == {}


# --- closing, and errors ---


def test_closing_writes_what_was_appended(path: Path) -> None:
    store = Store(path)
    futures = [store.append([row(item_id=f"i{n}")]) for n in range(500)]
    store.close()
    assert [future.result(0) for future in futures] == [Added(1)] * 500
    with Store(path) as again:
        assert again.count() == 500


READS: dict[str, Callable[[Store], object]] = {
    "history": lambda store: store.history("u"),
    "served_since": lambda store: store.served_since(0),
    "items_since": lambda store: store.items_since(0),
    "item_keys": lambda store: store.item_keys(),
    "kind_keys": lambda store: store.kind_keys(),
    "dataset": lambda store: store.dataset(VIEWS),
    "count": lambda store: store.count(),
    "count_served": lambda store: store.count_served(0),
    "id": lambda store: store.id,
    "check": lambda store: store.check(),
    "users": lambda store: store.users(1),
    "decision": lambda store: store.decision("r"),
}
WRITES: dict[str, Callable[[Store], object]] = {
    "append": lambda store: store.append([row()]).result(),
    "put_item": lambda store: store.put_item("i", {}).result(),
}


@pytest.mark.parametrize("name", [*READS, *WRITES])
def test_a_closed_store_refuses_everything(store: Store, name: str) -> None:
    store.append([row()]).result()
    store.close()
    with pytest.raises(StoreError, match=r"^the store is closed$"):
        (READS | WRITES)[name](store)


def test_closing_twice_is_allowed(store: Store) -> None:
    store.close()
    store.close()


@pytest.mark.parametrize("name", ["history", "served_since", "dataset", "count"])
def test_read_errors_name_the_file(store: Store, path: Path, name: str) -> None:
    store.append([row()]).result()
    sql(path, "DROP TABLE events")
    with pytest.raises(StoreError, match=r"store\.db: cannot be read \(no such table: events\)"):
        READS[name](store)
    assert "no such table" in str(store.append([row()]).exception())


def test_check_detects_a_damaged_database(path: Path) -> None:
    with Store(path) as store:
        store.append([row(item_id=f"item {n}", context=json.dumps("x" * 500)) for n in range(2000)])
    with Store(path) as store:
        assert store.check() is None
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20_000] = os.urandom(20_000)
    path.write_bytes(content)
    with Store(path) as store:
        assert store.check() is not None


def test_a_reader_sees_a_consistent_snapshot_of_the_log(store: Store) -> None:
    store.append([row(user_id="left"), row(user_id="right")]).result()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            # always both or none
            store.append([row(user_id="left"), row(user_id="right")]).result()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for _ in range(20):
            data = store.dataset(VIEWS)
            left, right = np.diff(data.events.offsets)
            assert left == right
    finally:
        stop.set()
        writing.join()


def test_a_decision_logged_twice_is_stored_once(store: Store) -> None:
    decision: Decision = realistic(1)
    store.log(decision).result()
    store.log(replace(decision, seed=99)).result()
    found = store.decision(decision.recommendation_id)
    assert found is not None
    assert found.seed == decision.seed


# --- discarding ---


def test_a_store_without_served_data_can_be_discarded(path: Path) -> None:
    Store(path).discard()
    assert not path.exists()
    with Store(path) as again:
        assert again.count() == 0


def test_a_store_open_in_another_process_is_not_discarded(path: Path) -> None:
    with Store(path) as other:
        Store(path).discard()
        other.append([row()]).result()
    assert path.exists()
    with Store(path) as store:
        assert store.count() == 1


def test_a_store_with_served_data_is_not_discarded(path: Path) -> None:
    with Store(path) as store:
        store.append([row()]).result()
    Store(path).discard()
    with Store(path) as store:
        assert store.count() == 1


def test_a_store_with_a_put_item_is_not_discarded(path: Path) -> None:
    with Store(path) as store:
        store.put_item("a", {"title": "put"}).result()
    Store(path).discard()
    with Store(path) as store:
        assert [item.item_id for item in store.items_since(0)] == ["a"]
