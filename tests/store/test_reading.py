from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tastemaker.data.catalogue import NO_TIME
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import EventKind, Schema
from tastemaker.errors import DataError, StoreError
from tastemaker.store import Store
from tests.store.conftest import HEADER, Shop, contents, lines, row

NO_IDS = HEADER.removesuffix(",event_id")


def stored(shop: Shop) -> Dataset:
    shop.source.open().close()
    return shop.source.read()


def without_ids(rows: list[str]) -> list[str]:
    return [line.rpartition(",")[0] for line in rows]


# --- the same dataset ---


def test_the_store_gives_the_same_dataset_as_the_files(shop: Shop, tmp_path: Path) -> None:
    files = shop.project.read()
    found = stored(shop)
    assert contents(found, tmp_path) == contents(files, tmp_path)
    assert len(files.events) == 400
    assert set(files.catalogue.columns) == {"title", "genres", "brand", "price", "made"}
    assert (files.sequence, files.store) == (0, "")
    with shop.source.open_as_it_is() as store:
        assert (found.sequence, found.store) == (400, store.id)


@pytest.mark.parametrize(
    "change",
    [
        ('clock = "absolute"', 'clock = "ordinal"'),
        ('clock = "absolute"', 'clock = "none"'),
        ('users = "users.csv"\n', ""),
        ('clock = "absolute"', 'clock = "absolute"\ntime_unit = "ms"'),
        ("[events.buy]\nweight = 6.0", '[events.buy]\nrole = "exposure"'),
        ("brand = { role", "# brand = { role"),
        ('price = { role = "number" }', 'price = { role = "text" }'),
    ],
)
def test_the_dataset_is_the_same_for_any_project_settings(
    shop: Shop, tmp_path: Path, change: tuple[str, str]
) -> None:
    shop.change(*change)
    files = shop.project.read()
    assert contents(stored(shop), tmp_path) == contents(files, tmp_path)


def test_the_dataset_is_the_same_without_event_ids(shop: Shop, tmp_path: Path) -> None:
    shop.write(without_ids(lines(200)), NO_IDS)
    assert contents(stored(shop), tmp_path) == contents(shop.project.read(), tmp_path)


def test_the_dataset_is_the_same_with_integer_ids(shop: Shop, tmp_path: Path) -> None:
    frame = {
        "who": [3, 20, 3, 3], "what": [9, 10, 9, 11], "event_type": ["view"] * 4,
        "value": [None, 1.5, None, 0.1], "timestamp": [5, 4, 5, 2], "event_id": [1, 2, 1, None],
    }  # fmt: skip
    pl.DataFrame(frame).write_parquet(shop.folder / "events.parquet")
    shop.change("events.csv", "events.parquet")
    files = shop.project.read()
    assert len(files.events) == 3
    assert contents(stored(shop), tmp_path) == contents(files, tmp_path)


def test_the_dataset_is_the_same_with_list_tags(shop: Shop, tmp_path: Path) -> None:
    table = {
        "sku": ["b", "a", "z"], "genres": [["x", " y "], [], None], "title": ["", None, "Z"],
        "brand": ["p", None, ""], "price": [1, None, 3], "made": [None, 1_700_000_000, None],
    }  # fmt: skip
    pl.DataFrame(table).write_parquet(shop.folder / "items.parquet")
    shop.change("items.csv", "items.parquet")
    assert contents(stored(shop), tmp_path) == contents(shop.project.read(), tmp_path)


def test_the_dataset_is_the_same_without_an_item_table(shop: Shop, tmp_path: Path) -> None:
    shop.change('items = "items.csv"\n', "")
    for name in ("title", "genres", "brand", "price", "made"):
        shop.change(f"{name} = ", f"# {name} = ")
    assert contents(stored(shop), tmp_path) == contents(shop.project.read(), tmp_path)


# --- served events and items ---


def test_served_events_are_included_in_time_order(shop: Shop) -> None:
    before = stored(shop)
    served: list[dict[str, Any]] = [
        {"user_id": "u1", "item_id": "b", "kind": "buy", "time": 1_700_000_100_000_000},
        {"user_id": "u1", "item_id": "a", "kind": "view", "time": 1_600_000_000_000_000},
        {"user_id": "new", "item_id": "fresh", "kind": "rating", "value": 4.5},
    ]
    with shop.source.open() as store:
        store.append([row(**event) for event in served]).result()
    after = shop.source.read()
    assert len(after.events) == len(before.events) + 3
    assert (after.users.index("new") >= 0, before.users.index("new")) == (True, -1)
    assert after.catalogue.items.index("fresh") >= 0
    u1 = after.users.index("u1")
    events = slice(after.events.offsets[u1], after.events.offsets[u1 + 1])
    time = after.events.time[events]
    assert (np.diff(time) >= 0).all()
    assert after.catalogue.items.id(int(after.events.item[events][0])) == "a"
    place = np.searchsorted(time, 1_700_000_100_000_000, side="right") - 1
    bought = after.catalogue.items.id(int(after.events.item[events][place]))
    assert (bought, after.events.kind[events][place]) == ("b", 1)
    rated = after.events.offsets[after.users.index("new")]
    assert (after.events.value[rated], after.events.weight[rated]) == (4.5, 1.0)
    assert after.sequence == before.sequence + 3


def test_a_served_event_follows_imported_events_of_the_same_time(shop: Shop) -> None:
    shop.write(["u,first,view,,1700000000,", "u,second,view,,1700000000,"])
    with shop.source.open() as store:
        store.append([row(item_id="third", time=1_700_000_000_000_000)]).result()
    data = shop.source.read()
    assert data.catalogue.items.ids(data.events.item) == ["first", "second", "third"]


def test_without_times_to_sort_by_served_events_come_last(shop: Shop) -> None:
    shop.change('clock = "absolute"', 'clock = "ordinal"')
    shop.write(["u,first,view,,,", "u,second,view,,,"])
    with shop.source.open() as store:
        for item in ("third", "fourth"):
            store.append([row(item_id=item)]).result()
    data = shop.source.read()
    assert data.catalogue.items.ids(data.events.item) == ["first", "second", "third", "fourth"]


def test_with_clock_none_served_events_have_no_times(shop: Shop) -> None:
    shop.change('clock = "absolute"', 'clock = "none"')
    with shop.source.open() as store:
        store.append([row()]).result()
    assert set(shop.source.read().events.time.tolist()) == {0}


def test_put_items_are_in_the_catalogue(shop: Shop) -> None:
    shop.source.open().close()
    put = {"title": "New", "genres": ["red", "black"], "brand": "C", "price": 2, "made": -5}
    with shop.source.open() as store:
        store.put_item("b", {"price": 9.5}).result()
        store.put_item("fresh", put).result()
    catalogue = shop.source.read().catalogue
    b, fresh = catalogue.items.index("b"), catalogue.items.index("fresh")
    columns: dict[str, Any] = catalogue.columns
    assert [columns["title"].texts[row] for row in (b, fresh)] == ["", "New"]
    assert columns["price"].values[[b, fresh]].tolist() == [9.5, 2.0]
    assert columns["made"].values[[b, fresh]].tolist() == [NO_TIME, -5]
    labels = columns["genres"].labels
    assert labels.ids(columns["genres"].codes[fresh]) == ["black", "red"]
    assert columns["brand"].labels.ids(columns["brand"].codes[fresh]) == ["C"]


def test_a_put_value_of_another_column_type_is_missing(shop: Shop) -> None:
    with shop.source.open() as store:
        store.put_item("b", {"title": "B", "brand": "C", "price": 2.5, "genres": ["x"]}).result()
    shop.change('brand = { role = "category" }', 'brand = { role = "tags", separator = "|" }')
    shop.change('price = { role = "number" }', 'price = { role = "tags", separator = "|" }')
    shop.change('genres = { role = "tags", separator = "|" }', 'genres = { role = "number" }')
    catalogue = shop.source.read().catalogue
    b, columns = catalogue.items.index("b"), catalogue.columns
    assert columns["title"].texts[b] == "B"  # type: ignore[union-attr]
    for name in ("brand", "price"):
        assert len(columns[name].codes[b]) == 0  # type: ignore[union-attr]
    assert np.isnan(columns["genres"].values[b])  # type: ignore[union-attr]


# --- invalid data ---


def test_events_of_undeclared_types_are_skipped_and_reported(shop: Shop) -> None:
    with shop.source.open() as store:
        served = [row(kind="buy"), row(kind="buy"), row(kind="view"), row(kind="gone")]
        store.append(served).result()
        schema = shop.project.schema
        kinds = {name: kind for name, kind in schema.kinds.items() if name != "buy"}
        data = store.dataset(schema.model_copy(update={"kinds": kinds}))
    of_buy = 400 // 5 + 2
    assert len(data.events) == 404 - of_buy - 1
    assert list(data.kinds) == ["view", "rating", "hide"]
    (report,) = data.reports
    assert (report.source, report.read, report.kept) == ("store", 404, 404 - of_buy - 1)
    assert report.reasons == {"unknown event_type": of_buy + 1}
    assert data.sequence == 404


def test_event_types_in_another_order_keep_their_events(shop: Shop) -> None:
    before = stored(shop)
    with shop.source.open_as_it_is() as store:
        schema = shop.project.schema
        turned = dict(reversed(schema.kinds.items()))
        after = store.dataset(schema.model_copy(update={"kinds": turned}))
    np.testing.assert_array_equal(3 - after.events.kind, before.events.kind)
    np.testing.assert_array_equal(after.events.weight, before.events.weight)


def test_reading_a_store_without_events_is_an_error(store: Store) -> None:
    with pytest.raises(DataError, match="store: no usable event is left"):
        store.dataset(Schema(kinds={"view": EventKind()}))
    store.append([row(kind="gone")]).result()
    with pytest.raises(DataError, match="store: no usable event is left"):
        store.dataset(Schema(kinds={"view": EventKind()}))


def test_reading_works_after_a_refused_read(shop: Shop) -> None:
    with shop.source.open() as store:
        with pytest.raises(DataError):
            store.dataset(Schema(kinds={"another": EventKind()}))
        store.append([row()]).result()
        assert len(store.dataset(shop.project.schema).events) == 401


def test_a_partly_imported_table_cannot_be_read(shop: Shop) -> None:
    with shop.source.open() as store:
        importer = store.importer()
        nonsense = pl.DataFrame({"nonsense": [1]})
        with pytest.raises(pl.exceptions.ColumnNotFoundError):
            importer.replace("items", "print", nonsense, shop.project.schema)
        with pytest.raises(
            StoreError, match="the import of 'items' is incomplete or still running"
        ):
            store.dataset(shop.project.schema)
    assert len(shop.source.read().events) == 400
