"""Cells that do not fit their column are quarantined, not lost."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tastemaker.data.catalogue import TagsColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import ColumnRole
from tastemaker.errors import DataError
from tests.data.test_frames import NOON, SCHEMA, TIMED, frame_of


@pytest.mark.parametrize(
    ("name", "cell", "reason"),
    [
        ("user_id", True, "user_id"),
        ("user_id", {"a": 1}, "user_id"),
        ("user_id", b"a", "user_id"),
        ("user_id", ["a"], "user_id"),
        ("user_id", 1j, "user_id"),
        ("user_id", 1.5, "user_id"),
        ("user_id", 1e300, "user_id"),
        ("user_id", float("inf"), "user_id"),
        ("user_id", "half \ud800", "user_id"),
        pytest.param("user_id", 10**5000, "user_id", id="long integer"),
        ("user_id", Decimal("1E+9999"), "user_id"),
        ("value", "much", "unreadable value"),
        ("value", [1], "unreadable value"),
        ("value", NOON, "unreadable value"),
        ("timestamp", b"2024", "unreadable timestamp"),
        ("timestamp", np.datetime64(2**60, "s"), "unreadable timestamp"),
        ("timestamp", timedelta(1), "unreadable timestamp"),
        ("event_type", ("view",), "unknown event_type"),
    ],
)
def test_a_cell_that_does_not_fit_is_quarantined(name: str, cell: Any, reason: str) -> None:
    usual = {"user_id": "u", "value": "1", "timestamp": "2024-01-31", "event_type": "view"}[name]
    n = 200
    column = pd.Series([usual] * n, dtype=object)
    column.iat[7] = cell
    frame = frame_of(column, name, **({} if name == "timestamp" else {"timestamp": [NOON] * n}))
    schema = TIMED.model_copy(update={"event_columns": {name: name}})
    report = Dataset.from_frames(frame, schema=schema).reports[0]
    assert (report.read, report.kept, report.quarantined) == (n, n - 1, 1)
    assert reason in next(iter(report.reasons))
    assert "missing" not in next(iter(report.reasons))
    assert report.quarantine["__line__"].to_list() == [8]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([2**62], dtype=pl.Int64).cast(pl.Datetime("ms")),
        pl.Series([2**31 - 1], dtype=pl.Int32).cast(pl.Date),
        pd.Series(np.array([2**61]).view("M8[s]")),
        pa.array([2**61]).cast(pa.timestamp("s")),
        pa.array([2**63 - 1]).cast(pa.timestamp("us", "UTC")),
    ],
)
def test_a_moment_out_of_range_is_quarantined(column: Any) -> None:
    with pytest.raises(DataError, match="1 timestamp in the future"):
        Dataset.from_frames(frame_of(column, "timestamp"), schema=TIMED)


def test_a_label_that_cannot_be_read_is_missing() -> None:
    items = pd.DataFrame({"item_id": ["x", "y"], "colour": pd.Series(["red", b"r"], dtype=object)})
    events = pd.DataFrame({"user_id": ["u"], "item_id": ["x"]})
    schema = SCHEMA.model_copy(update={"item_roles": {"colour": ColumnRole(role="category")}})
    colour = Dataset.from_frames(events, items=items, schema=schema).catalogue.columns["colour"]
    assert isinstance(colour, TagsColumn)
    assert colour.labels.ids(range(len(colour.labels))) == ["red"]
