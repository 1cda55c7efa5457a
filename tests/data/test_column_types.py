"""Errors for unsupported columns and frames name them."""

from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import ColumnRole
from tastemaker.errors import DataError
from tests.data.test_frames import NOON, SCHEMA, TIMED, frame_of

NO_IDS = {
    "Binary": pl.Series([b"a"]),
    "Boolean": pl.Series([True]),
    "Duration": pl.Series([timedelta(1)]),
    "Time": pl.Series([time(1)]),
    "List": pl.Series([["a"]]),
    r"List\(List": pl.Series([[["a"]]]),
    "Struct": pl.Series([{"a": 1}]),
    "Date": pl.Series([date(2024, 1, 1)]),
    "nothing but missing values": pl.Series([None]),
    "Python objects": pl.Series([object()], dtype=pl.Object),
    "complex128": pd.Series([1j]),
    "timedelta64": pd.Series([timedelta(1)], dtype="m8[ns]"),
    "dict": pd.Series([{"a": 1}], dtype=object),
    "bytes": pd.Series([b"a"], dtype=object),
    "bytes, time": pd.Series([b"a", time(1)], dtype=object),
    "time64": pd.Series([time(1)], dtype=pd.ArrowDtype(pa.time64("us"))),
    "large_binary": pa.array([b"a"], pa.large_binary()),
    "fixed_size_binary": pa.array([b"a"], pa.binary(1)),
    "duration": pa.array([timedelta(1)]),
    "month_day_nano": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    "struct": pa.array([{"a": 1}]),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
    "sparse_union": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "column"), NO_IDS.items(), ids=NO_IDS.keys())
def test_a_column_that_cannot_hold_ids_is_rejected(kind: str, column: Any) -> None:
    message = rf"^events: the column 'user_id' \(user_id\) holds {kind}.*; write ids as integers"
    with pytest.raises(DataError, match=message):
        Dataset.from_frames(frame_of(column), schema=SCHEMA)


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("value", pl.Series([NOON]), r"'value' holds Datetime.*, but numbers are expected"),
        (
            "value",
            pd.Series([b"1"], dtype=object),
            r"'value' holds bytes, but numbers are expected",
        ),
        ("event_type", pl.Series([["view"]]), r"\(event_type\) holds List.*; write event types as"),
        ("event_id", pl.Series([True]), r"\(event_id\) holds Boolean; write ids as integers"),
        ("event_id", pa.array([{"a": 1}]), r"\(event_id\) holds struct.*; write ids as integers"),
        ("timestamp", pl.Series([time(1)]), "'timestamp' holds Time; write times as ISO 8601"),
        ("timestamp", pa.array([timedelta(1)]), "'timestamp' holds duration.*; write times as"),
    ],
)
def test_a_column_is_refused_by_its_type_where_it_is_used(
    name: str, column: Any, message: str
) -> None:
    schema = TIMED if name == "timestamp" else SCHEMA
    schema = schema.model_copy(update={"event_columns": {name: name}})
    with pytest.raises(DataError, match=message):
        Dataset.from_frames(frame_of(column, name), schema=schema)
    if name not in ("timestamp", "value"):  # a proposal uses these only if they hold some
        with pytest.raises(DataError, match=message):
            Dataset.from_frames(frame_of(column, name))


@pytest.mark.parametrize("role", ["text", "category", "number", "time", "tags"])
def test_an_attribute_is_refused_by_its_type(role: Any) -> None:
    described = ColumnRole(role=role, separator="|" if role == "tags" else None)
    schema = SCHEMA.model_copy(update={"item_roles": {"x": described}})
    events = pl.DataFrame({"user_id": ["u"], "item_id": ["i"]})
    items = pl.DataFrame({"item_id": ["i"], "x": [b"a"]})
    with pytest.raises(DataError, match=r"items: the column 'x' .*holds Binary(?:; w|, but)"):
        Dataset.from_frames(events, items=items, schema=schema)


@pytest.mark.parametrize("column", NO_IDS.values(), ids=NO_IDS.keys())
def test_an_unused_column_of_any_type_is_accepted(column: Any) -> None:
    n = 200
    if isinstance(column, pl.Series):
        other = pl.concat([column.head(1)] * n)
    elif isinstance(column, pd.Series):
        other = pd.concat([column.head(1)] * n, ignore_index=True)
    else:
        other = column.take(pa.array([0] * n))
    frame = frame_of(other, "other", user_id=["", *["u"] * (n - 1)])
    data = Dataset.from_frames(frame, schema=SCHEMA)
    assert data.reports[0].reasons == {"missing user_id": 1}


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([["a", "b", "c"]], columns=["user_id", "item_id", "item_id"]),
        pd.DataFrame([["a", "b", "c"]], columns=["user_id", ("item_id", ""), ("item_id",)]),
        pa.table([["a"], ["b"], ["c"]], ["user_id", "item_id", "item_id"]),
        pa.table([["a"], ["b"], ["c"]], ["user_id", "item_id", "item_id"]).to_reader(),
    ],
)
def test_a_column_name_that_occurs_twice_is_refused(frame: Any) -> None:
    with pytest.raises(DataError, match="events: the column 'item_id' occurs more than once"):
        Dataset.from_frames(frame, schema=SCHEMA)


@pytest.mark.parametrize("name", ["__line__", "*", "^item.*$"])
def test_a_reserved_column_name_is_rejected(name: str) -> None:
    frame = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], name: [1]})
    with pytest.raises(DataError, match="events: a column must not be named '"):
        Dataset.from_frames(frame, schema=SCHEMA)


def test_an_attribute_must_not_have_the_name_of_the_ids() -> None:
    schema = SCHEMA.model_copy(update={"item_roles": {"item_id": ColumnRole(role="text")}})
    frame = pl.DataFrame({"user_id": ["u"], "item_id": ["i"]})
    with pytest.raises(DataError, match="items: 'item_id' is the id column"):
        Dataset.from_frames(frame, items=frame, schema=schema)


@pytest.mark.parametrize("frame", [pl.DataFrame(), pd.DataFrame(), pa.table({}), pl.LazyFrame()])
def test_a_frame_without_columns_is_refused(frame: Any) -> None:
    with pytest.raises(DataError, match="events: the frame has no columns"):
        Dataset.from_frames(frame)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ("events.csv", r"got the str 'events.csv'; to read a file, use Dataset.from_files"),
        (Path("events.csv"), r"'events.csv'; to read a file, use Dataset.from_files"),
        ({"user_id": [1]}, r"got dict; pass polars.DataFrame\(...\) or pandas.DataFrame\(...\)"),
        ([{"user_id": 1}], r"got list; pass polars.DataFrame"),
        (pl.Series([1]), "got the single column Series; pass a frame with columns such as user_id"),
        (pd.Series([1]), "got the single column Series; pass a frame"),
        (pa.array([1]), "got the single column Int64Array; pass a frame"),
        (pa.chunked_array([[1]]), "got the single column ChunkedArray; pass a frame"),
        (np.array([[1]]), "got the single column ndarray; pass a frame"),
        (7, "got int"),
        (None, "got NoneType"),
    ],
)
def test_a_value_that_is_not_a_frame_is_rejected_with_a_fix(thing: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"events: expected a Polars, pandas or Arrow .*{message}"):
        Dataset.from_frames(thing)


def test_a_lazy_frame_whose_plan_fails_is_refused() -> None:
    fails = pl.LazyFrame({"user_id": ["u"], "item_id": ["i"]}).cast({"user_id": pl.Int64})
    with pytest.raises(DataError, match=r"^events: the LazyFrame cannot be read .*conversion"):
        Dataset.from_frames(fails)


def test_a_stream_that_fails_is_refused() -> None:
    def batches() -> Any:
        yield pa.record_batch({"user_id": ["u"], "item_id": ["i"]})
        raise ValueError("connection lost")

    schema = pa.schema({"user_id": pa.string(), "item_id": pa.string()})
    stream = pa.RecordBatchReader.from_batches(schema, batches())
    with pytest.raises(DataError, match=r"RecordBatchReader cannot be read .*connection lost"):
        Dataset.from_frames(stream)
