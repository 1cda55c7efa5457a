"""Sources with time decay: the same order at any age, and no subnormal scores."""

import numpy as np
import polars as pl
import pytest

from tastemaker.component import FitOptions, Retriever
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.schema import EventKind, Schema
from tastemaker.inventory import Inventory
from tastemaker.retrieval import Content, SessionKNN, Trending

DAY = 86_400_000_000
TINY = np.finfo(np.float32).tiny
SCHEMA = Schema(
    kinds={"like": EventKind()},
    item_roles={"genre": {"role": "category"}},  # type: ignore[dict-item]
)
MAKERS = {
    "trending": lambda: Trending(half_life="1d"),
    "content": lambda: Content(popularity_half_life="1d"),
    "stan": lambda: SessionKNN(method="stan", age_decay="1d"),
}


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(3)
    rows = [
        (f"u{user}", f"i{item}", (15_000 + int(day)) * DAY + place)
        for user, day in enumerate(np.sort(rng.uniform(1, 60, 40)))
        for place, item in enumerate(rng.choice(20, 4, replace=False))
    ]
    events = pl.DataFrame(rows, schema=("user_id", "item_id", "timestamp"), orient="row")
    items = pl.DataFrame({"item_id": [f"i{i}" for i in range(20)], "genre": ["a", "b"] * 10})
    log = events.with_columns(event_type=pl.lit("like"))
    return Dataset.from_frames(log, items=items, schema=SCHEMA)


@pytest.mark.parametrize("years", [1, 20, 100])
@pytest.mark.parametrize("name", MAKERS)
def test_the_order_is_the_same_long_after_the_log(data: Dataset, name: str, years: int) -> None:
    source: Retriever = MAKERS[name]().fit(data, FitOptions(threads=1))  # type: ignore[no-untyped-call]
    inventory, liked = Inventory.of(data), [0, 1, 5]
    end = inventory.watermark // DAY * DAY + DAY  # a whole tick of every source
    found, later = (
        source.retrieve(Requests.of([liked], time=moment, exclude=[liked]), 20, inventory)
        for moment in (end, end + years * 365 * DAY)
    )
    assert len(found.item) > 5
    assert later.item.tolist() == found.item.tolist()
    assert (later.score >= TINY).all()


def test_weights_of_old_interactions_are_not_subnormal(data: Dataset) -> None:
    weights = data.interactions(half_life=DAY // 24).data
    assert len(weights) == len(data.events)
    assert (weights >= TINY).all()
