import numpy as np
import polars as pl
import pytest

from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.errors import ClockError
from tastemaker.inventory import Inventory

SCHEMA = Schema(
    kinds={"view": EventKind()},
    time_unit="us",
    item_roles={"title": ColumnRole(role="text")},
)


def data(clock: str = "absolute") -> Dataset:
    events = pl.DataFrame(
        {
            "user_id": ["a", "a", "b", "b"],
            "item_id": ["x", "y", "x", "z"],
            "timestamp": [10, 20, 30, 40],
        }
    )
    items = pl.DataFrame({"item_id": ["x", "y", "z", "new"], "title": ["X", "Y", "Z", "New"]})
    schema = SCHEMA.model_copy(update={"clock": clock})
    return Dataset.from_frames(events, items=items, schema=schema)


def liked(inventory: Inventory, moment: int) -> dict[str, float]:
    catalogue = inventory.catalogue.items
    items = np.arange(len(catalogue), dtype=np.int32)
    found = inventory.statistics.at(items, np.full(len(items), moment, np.int64))
    return {catalogue.id(int(item)): float(count) for item, count in zip(items, found)}


def test_an_inventory_has_all_items_and_events() -> None:
    inventory = Inventory.of(data())
    assert liked(inventory, inventory.watermark) == {"x": 2, "y": 1, "z": 1, "new": 0}


def test_the_watermark_is_just_after_the_last_event() -> None:
    inventory = Inventory.of(data())
    assert inventory.watermark == 41
    assert liked(inventory, 40)["z"] == 0
    assert liked(inventory, inventory.watermark)["z"] == 1


def test_an_inventory_at_a_moment_has_no_later_events() -> None:
    inventory = Inventory.of(data(), at=30)
    assert inventory.watermark == 21
    assert liked(inventory, 10**9) == {"x": 1, "y": 1, "z": 0, "new": 0}


@pytest.mark.parametrize("clock", ["ordinal", "none"])
def test_an_inventory_at_a_moment_needs_a_clock(clock: str) -> None:
    assert Inventory.of(data(clock)).clock == clock
    with pytest.raises(ClockError, match=f"clock is '{clock}'"):
        Inventory.of(data(clock), at=30)


def test_added_items_come_after_the_fitted_ones_without_events() -> None:
    inventory = Inventory.of(data())
    grown = inventory.with_items(["fresh", "fresher"], {"title": ["Fresh", None]})
    assert len(grown.catalogue) == grown.statistics.n_items == 6
    assert grown.catalogue.n_fitted == 4
    assert grown.catalogue.title(4) == "Fresh"
    assert grown.catalogue.title(5) is None
    assert liked(grown, 100) == {**liked(inventory, 100), "fresh": 0, "fresher": 0}
    assert grown.statistics.decayed(100, 5)[4:].tolist() == [0, 0]
    assert grown.watermark == inventory.watermark


def test_adding_items_does_not_change_the_inventory() -> None:
    inventory = Inventory.of(data())
    inventory.with_items(["fresh"])
    assert len(inventory.catalogue) == inventory.statistics.n_items == 4
    assert inventory.catalogue.items.index("fresh") == -1
