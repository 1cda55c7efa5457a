"""Similar items come from the first source that knows the item."""

import polars as pl
import pytest

from tastemaker.component import FitOptions
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import EventKind, Schema
from tastemaker.pipeline import Recommender
from tastemaker.project import Placement
from tastemaker.retrieval import EASE, Content, ItemKNN

SCHEMA = Schema(
    kinds={"like": EventKind()},
    item_roles={"genre": {"role": "category"}},  # type: ignore[dict-item]
)
ITEMS = [f"{genre}-{place}" for genre in ("red", "blue") for place in range(5)]


@pytest.fixture(scope="module")
def fitted() -> Recommender:
    rows = [
        (f"u{u}", ITEMS[5 * (u % 2) + (u + k) % 4], u * 9 + k) for u in range(8) for k in (0, 1)
    ]
    events = pl.DataFrame(rows, schema=("user_id", "item_id", "timestamp"), orient="row")
    events = events.with_columns(event_type=pl.lit("like"))
    items = pl.DataFrame({"item_id": ITEMS, "genre": [item.split("-")[0] for item in ITEMS]})
    sources = {"knn": ItemKNN(), "ease": EASE(), "content": Content()}
    home = Placement(retrievers=dict.fromkeys(sources, 10))
    data = Dataset.from_frames(events, items=items, schema=SCHEMA)
    return Recommender(sources, {"home": home}).fit(data, FitOptions(threads=1))


def similar(recommender: Recommender, item: str, source: str | None = None) -> tuple[str, set[str]]:
    name, found = recommender.similar(item, n=3, retriever=source)
    ids = recommender.inventory.catalogue.items.ids(found.item)
    return name, {id_.split("-")[0] for id_ in ids}


def test_an_item_with_events_uses_the_first_source(fitted: Recommender) -> None:
    assert similar(fitted, "red-0") == ("knn", {"red"})


def test_an_added_item_uses_a_source_with_new_items(fitted: Recommender) -> None:
    fitted.add_items(["new"], {"genre": ["blue"]})
    assert similar(fitted, "new") == ("content", {"blue"})


def test_an_item_without_events_uses_content(fitted: Recommender) -> None:
    assert similar(fitted, "red-4", "knn") == ("knn", set())
    assert similar(fitted, "red-4")[1] == {"red"}


def test_a_given_source_is_always_used(fitted: Recommender) -> None:
    fitted.add_items(["newer"], {"genre": ["blue"]})
    assert similar(fitted, "newer", "knn") == ("knn", set())
