"""Reasons for items, with text of limited length."""

import polars as pl

from tastemaker.component import FitOptions
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Pipeline
from tastemaker.pipeline.reasons import LONGEST_TITLE_IN_REASON
from tastemaker.retrieval import ItemKNN


def test_a_long_title_is_cut_in_a_reason() -> None:
    schema = Schema(
        kinds={"view": EventKind()}, clock="none", item_roles={"title": ColumnRole(role="text")}
    )
    pairs = [(f"u{user}", f"i{item}") for user in range(8) for item in range(3)]
    events = pl.DataFrame(pairs, ["user_id", "item_id"], orient="row")
    titles = {"item_id": ["i0", "i1", "i2"], "title": ["long " * 1_000] * 3}
    data = Dataset.from_frames(events, items=pl.DataFrame(titles), schema=schema)
    pipeline = Pipeline({"knn": ItemKNN().fit(data, FitOptions())}, {"knn": 2})
    payload = pipeline.recommend(Requests.of([[0]]), 2, inventory=Inventory.of(data)).to_dict()
    because = [item["reasons"][0] for item in payload["items"]]
    assert [reason["kind"] for reason in because] == ["because_you_liked"] * 2
    assert all(
        "long long" in reason["text"] and len(reason["text"]) < LONGEST_TITLE_IN_REASON + 50
        for reason in because
    )
