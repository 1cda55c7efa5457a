"""The limits of a store: they count new rows only and are shared by all processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tastemaker.errors import StoreFullError
from tastemaker.project.sections import StoreSection
from tastemaker.store import Added, Store
from tastemaker.store import limits as limiting
from tastemaker.store.capacity import Capacity
from tastemaker.store.limits import Limits
from tastemaker.store.removing import EventFilter
from tests.store.conftest import Shop, row, rows


def limits(store: Store, **settings: int) -> Limits:
    return Limits(store.path, StoreSection(**settings))  # type: ignore[arg-type]


def test_events_beyond_the_limit_are_refused(store: Store) -> None:
    most = limits(store, max_events=3)
    store.append([row()], limits=most).result()
    refused = store.append([row() for _ in range(3)], limits=most)
    with pytest.raises(StoreFullError, match=r"s = 3: remove some with `tastemaker store events"):
        refused.result()
    assert store.append([row(), row()], limits=most).result().new == 2
    with pytest.raises(StoreFullError, match=r"holds 3 events received over HTTP, 1 more would"):
        store.append([row()], limits=most).result()
    store.remover().remove_events(EventFilter(users=("u",)))
    assert store.append([row()], limits=most).result().new == 1


def test_a_full_store_recognizes_acknowledged_events(store: Store) -> None:
    most = limits(store, max_events=2)
    sent = rows(["a", "b"])
    store.append(sent, limits=most).result()
    assert store.append(sent, limits=most).result() == Added(0, 2)
    (conflict,) = store.append([row(event_id="a", item_id="x")], limits=most).result().conflicts
    assert conflict[0] == 0


def test_duplicates_and_refused_events_use_no_capacity(store: Store) -> None:
    most = limits(store, max_events=4)
    for _ in range(9):
        store.append(rows(["a", "b"]), limits=most).result()
        with pytest.raises(StoreFullError):
            store.append([row() for _ in range(9)], limits=most).result()
    assert store.append([row(), row()], limits=most).result().new == 2


def test_a_full_catalogue_accepts_new_attributes_of_its_items(store: Store) -> None:
    most = limits(store, max_items=2)
    assert [store.put_item(id_, {}, limits=most).result() for id_ in "aba"] == [True, True, False]
    for new in ("c", "d"):
        with pytest.raises(StoreFullError, match=r"holds 2 described items, \[store\] max_items"):
            store.put_item(new, {}, limits=most).result()
    assert store.put_item("b", {"title": "again"}, limits=most).result() is False
    assert store.item_count() == 2
    store.remover().remove_items(["a"])
    assert store.put_item("c", {}, limits=most).result() is True


def test_undescribed_item_ids_are_limited(store: Store) -> None:
    most = limits(store, max_items=3)
    store.put_item("known", {}, limits=most).result()
    store.append([row(item_id=f"invented-{n}") for n in range(3)], limits=most).result()
    known = [row(item_id="known"), row(item_id="invented-1")]
    assert store.append(known, limits=most).result().new == 2
    with pytest.raises(
        StoreFullError, match=r"3 item ids that only occur in events, 1 more would.*--und"
    ):
        store.append([row(item_id="invented-3"), *known], limits=most).result()
    store.remover().remove_items(["invented-0"])
    assert store.append([row(item_id="invented-3")], limits=most).result().new == 1


def test_a_store_beyond_its_maximum_size_refuses_events(store: Store) -> None:
    sent = [row(item_id=f"{n}" * 200) for n in range(4_000)]
    store.append(sent).result()
    most = limits(store, max_size=1 << 20)
    with pytest.raises(StoreFullError, match=r"max_size is 1\.0 MB: .*tastemaker store events rem"):
        store.append([row()], limits=most).result()
    assert store.append(sent[:1], limits=most).result() == Added(0, 1)
    capacity = Capacity(store, StoreSection(max_size=1 << 20))  # type: ignore[arg-type]
    assert capacity.problem is not None


def test_two_processes_share_one_limit(path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tastemaker.errors import StoreFullError
from tastemaker.project.sections import StoreSection
from tastemaker.store import Store
from tastemaker.store.limits import Limits
from tests.store.conftest import row
with Store(Path(sys.argv[1])) as store:
    limits = Limits(store.path, StoreSection(max_events=50))
    futures = [
        store.append([row(event_id=f"{sys.argv[2]}-{n}")], limits=limits) for n in range(40)
    ]
    print(sum(not isinstance(one.exception(), StoreFullError) for one in futures))
"""
    Store(path).close()
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(n)], stdout=subprocess.PIPE)
        for n in range(2)
    ]
    accepted = [int(worker.communicate(timeout=120)[0]) for worker in workers]
    assert sum(accepted) == 50
    with Store(path) as store:
        assert store.count() == 50


def test_items_of_a_file_imported_twice_count_once(shop: Shop) -> None:
    with shop.source.open() as store:
        described = store.item_count()
        assert described == len(store.items_since(0)) == 5
    shop.table("items", ["sku,title,genres,brand,price,made", "b,New,,,,", "new,Newer,,,,"])
    with shop.source.open() as store:
        assert store.item_count() == len(store.items_since(0)) == 2


def test_a_disk_below_the_floor_refuses_events(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = 300_000
    monkeypatch.setattr(limiting, "free_bytes", lambda *_: (free, 1_000_000))
    capacity = Capacity(store, StoreSection())
    most = capacity.limits
    assert store.append([row(event_id="kept")], limits=most).result().new == 1
    with pytest.raises(StoreFullError, match=r"250\.0 kB are reserved for training and removals"):
        store.append([row() for _ in range(100)], limits=most).result()
    free = 249_999
    for refused in (store.append([row()], limits=most), store.put_item("a", {}, limits=most)):
        assert isinstance(refused.exception(), StoreFullError)
    assert store.append([row(event_id="kept")], limits=most).result() == Added(0, 1)
    for _ in range(2):
        capacity.look_at_disk()
    assert capacity.warning is not None
    assert "events and items are refused: 250.0 kB are free" in capacity.warning
    assert len([r for r in caplog.records if "are refused" in r.message]) == 1
    free = 10**9
    capacity.look_at_disk()
    assert capacity.warning is None
    assert store.count() == 1


def test_a_transaction_plans_its_disk_space_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiting, "free_bytes", lambda *_: (270_000, 1_000_000))
    most = limits(store)
    futures = [store.append([row()], limits=most) for _ in range(3)]
    with store._writing.begin():  # so that the rest are written together
        futures += [store.append([row()], limits=most) for _ in range(30)]
    refused = sum(isinstance(one.exception(), StoreFullError) for one in futures)
    assert 0 < refused < 33


def test_a_full_disk_is_reported_like_a_full_store(store: Store) -> None:
    with store._writing.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    refused = store.append([row(context="x" * 9_000) for _ in range(50)]).exception()
    assert isinstance(refused, StoreFullError)
    assert str(refused).startswith("nothing was written (database or disk is full); make room on")
    assert "or remove events with `tastemaker store events remove`" in str(refused)
