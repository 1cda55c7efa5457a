"""Polars, pandas and Arrow frames: columns of all types can be read."""

import warnings
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings

from benchmarks.frame_strategy import Example, examples, outcome
from tastemaker.data.catalogue import TagsColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.frames import as_polars
from tastemaker.data.schema import ColumnRole, EventKind, Schema

SCHEMA = Schema(kinds={"view": EventKind()}, default_kind="view", clock="none")
TIMED = SCHEMA.model_copy(update={"clock": "absolute"})
EAST = timezone(timedelta(hours=5))
NOON = datetime(2024, 1, 31, 12)
MICROSECONDS = 1_706_702_400_000_000


def frame_of(column: Any, name: str = "user_id", **others: Any) -> Any:
    """A frame of the library that the column belongs to."""
    n = len(column)
    columns = {"user_id": ["u"] * n, "item_id": ["i"] * n, **others, name: column}
    if isinstance(column, pl.Series):
        return pl.DataFrame(columns)
    if isinstance(column, pd.Series):
        return pd.DataFrame(columns)
    return pa.table(columns)


def users_of(column: Any) -> list[str]:
    data = Dataset.from_frames(frame_of(column), schema=SCHEMA)
    return data.users.ids(range(len(data.users)))


def runs(cells: Any) -> Any:
    return pa.RunEndEncodedArray.from_arrays(list(range(1, len(cells) + 1)), cells)


# --- supported types ---

SEVEN_AND_EIGHT = {
    **{f"polars {k}": pl.Series([7, 8], dtype=k) for k in (pl.Int8, pl.UInt64, pl.Int128)},
    "polars text": pl.Series(["7", "8"]),
    "polars categories": pl.Series(["7", "8"], dtype=pl.Categorical),
    "polars enum": pl.Series(["7", "8"], dtype=pl.Enum(["8", "7"])),
    "polars decimals": pl.Series([Decimal("7.00"), Decimal("8.00")]),
    "polars objects": pl.Series([7, "8"], dtype=pl.Object),
    **{f"pandas {k}": pd.Series([7, 8], dtype=k) for k in ("int8", "uint64", ">i4")},
    **{f"pandas {k}": pd.Series([7, 8], dtype=k) for k in ("Int64", "UInt8")},
    **{f"pandas text {k}": pd.Series(["7", "8"], dtype=k) for k in ("str", "string", object)},
    "pandas objects": pd.Series([7, np.int16(8)], dtype=object),
    "pandas decimals": pd.Series([Decimal("7.0"), Decimal(8)], dtype=object),
    "pandas text and numbers": pd.Series([7, "8"], dtype=object),
    "pandas categories": pd.Series(["8", "7"], dtype="category"),
    "pandas categories of integers": pd.Series([8, 7], dtype="category"),
    "pandas sparse": pd.Series([7, 8], dtype="Sparse[int]"),
    "pandas of Arrow integers": pd.Series([7, 8], dtype=pd.ArrowDtype(pa.int32())),
    "pandas of Arrow text": pd.Series(["7", "8"], dtype=pd.ArrowDtype(pa.large_string())),
    **{f"arrow {k}": pa.array([7, 8], k) for k in (pa.int8(), pa.uint64(), pa.decimal128(9, 0))},
    **{f"arrow {k}": pa.array(["7", "8"], k) for k in (pa.large_string(), pa.string_view())},
    "arrow decimals of 256 bits": pa.array([Decimal(7), Decimal(8)], pa.decimal256(60, 2)),
    "arrow dictionary": pa.array(["8", "7"]).dictionary_encode(),
    "arrow dictionary of integers": pa.array([8, 7]).dictionary_encode(),
    "arrow chunks": pa.chunked_array([[7], [], [8]]),
    "arrow runs": runs(["7", "8"]),
}  # fmt: skip


@pytest.mark.parametrize("column", SEVEN_AND_EIGHT.values(), ids=SEVEN_AND_EIGHT.keys())
def test_ids_of_all_types_become_the_same_text(column: Any) -> None:
    assert users_of(column) == ["7", "8"]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([2**70, 1], dtype=pl.Int128),
        pl.Series([Decimal(2**70), Decimal(1)], dtype=pl.Decimal(38, 0)),
        pd.Series([2**70, 1], dtype=object),
        pd.Series([2**70, Decimal(1)], dtype=object),
        pa.array([Decimal(2**70), Decimal(1)], pa.decimal256(50, 0)),
    ],
)
def test_integers_beyond_64_bits_keep_all_digits(column: Any) -> None:
    assert users_of(column) == ["1", str(2**70)]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([2**63 + 1], dtype=pl.UInt64),
        pd.Series([2**63 + 1], dtype="uint64"),
        pd.Series([2**63 + 1], dtype=object),
        pa.array([2**63 + 1], pa.uint64()),
    ],
)
def test_unsigned_integers_above_2_to_63_keep_all_digits(column: Any) -> None:
    assert users_of(column) == [str(2**63 + 1)]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([UUID(int=1)], dtype=object),
        pa.array([UUID(int=1).bytes], pa.uuid()),
    ],
    ids=["pandas", "arrow"],
)
def test_uuids_are_read_as_text(column: Any) -> None:
    assert users_of(column) == ["00000000-0000-0000-0000-000000000001"]


MOMENTS = {
    **{f"polars {u}": pl.Series([NOON], dtype=pl.Datetime(u)) for u in ("ms", "us", "ns")},
    "polars zone": pl.Series([NOON]).dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
    "polars text": pl.Series(["2024-01-31T12:00:00Z"]),
    "polars milliseconds": pl.Series([MICROSECONDS // 1000]),
    **{f"pandas {u}": pd.Series([NOON], dtype=f"M8[{u}]") for u in ("s", "ms", "us", "ns")},
    "pandas zone": pd.Series([NOON]).dt.tz_localize("UTC").dt.tz_convert("America/New_York"),
    "pandas objects": pd.Series([NOON], dtype=object),
    "pandas zones": pd.Series([datetime(2024, 1, 31, 17, tzinfo=EAST)], dtype=object),
    "pandas NumPy": pd.Series([np.datetime64("2024-01-31T12", "h")], dtype=object),
    "pandas hours": pd.Series([pd.Period("2024-01-31 12:00", "h")]),
    "pandas of Arrow": pd.Series([NOON], dtype=pd.ArrowDtype(pa.timestamp("ms"))),
    "pandas categories": pd.Series([NOON], dtype="category"),
    **{f"arrow {u}": pa.array([NOON], pa.timestamp(u)) for u in ("s", "ms", "us", "ns")},
    "arrow zone": pa.array([MICROSECONDS], pa.timestamp("us", "Europe/Berlin")),
    "arrow unknown zone": pa.array([MICROSECONDS], pa.timestamp("us", "nowhere")),
    "arrow dictionary": pa.array([NOON]).dictionary_encode(),
}  # fmt: skip


@pytest.mark.parametrize("column", MOMENTS.values(), ids=MOMENTS.keys())
def test_moments_of_all_types_become_equal(column: Any) -> None:
    data = Dataset.from_frames(frame_of(column, "timestamp"), schema=TIMED)
    assert data.events.time.tolist() == [MICROSECONDS]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([NOON.date()]),
        pd.Series([NOON.date()], dtype=object),
        pd.Series([pd.Period("2024-01-31", "D")]),
        pd.Series([NOON.date()], dtype=pd.ArrowDtype(pa.date32())),
        pa.array([NOON.date()], pa.date32()),
        pa.array([NOON.date()], pa.date64()),
    ],
)
def test_a_date_means_midnight_utc(column: Any) -> None:
    data = Dataset.from_frames(frame_of(column, "timestamp"), schema=TIMED)
    assert data.end - 1 == int(datetime(2024, 1, 31, tzinfo=UTC).timestamp()) * 10**6


def test_moments_of_several_zones_and_dates_can_be_mixed() -> None:
    mixed = [datetime(2024, 1, 31, 17, tzinfo=EAST), NOON, pd.Timestamp(NOON, tz="UTC"), pd.NaT]
    column = pd.Series([*mixed, None, date(2024, 1, 31)], dtype=object)
    read = as_polars(pd.DataFrame({"when": column}), "events")["when"]
    assert read.dtype == pl.Datetime("us")
    assert read.to_list() == [NOON, NOON, NOON, None, None, datetime(2024, 1, 31)]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([["a", "b"], None]),
        pl.Series([["a", "b"], None], dtype=pl.List(pl.Categorical)),
        pl.Series([["a", "b"], None], dtype=pl.Array(pl.String, 2)),
        pd.Series([["a", "b"], None], dtype=object),
        pd.Series([("a", "b"), np.nan], dtype=object),
        pd.Series([{"b", "a"}, pd.NA], dtype=object),
        pd.Series([np.array(["a", "b"]), None], dtype=object),
        pd.Series([["a", "b"], None], dtype=pd.ArrowDtype(pa.list_(pa.string()))),
        pa.array([["a", "b"], None], pa.large_list(pa.large_string())),
        pa.array([["a", "b"], None], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.array([["a", "b"], None], pa.list_view(pa.string())),
    ],
)
def test_label_lists_of_all_types_are_tags(column: Any) -> None:
    events = pl.DataFrame({"user_id": ["u"], "item_id": ["x"]})
    items = frame_of(column, "tags", item_id=["x", "y"])
    role = ColumnRole(role="tags", separator="|")
    schema = SCHEMA.model_copy(update={"item_roles": {"tags": role}})
    data = Dataset.from_frames(events, items=items, schema=schema)
    tags = data.catalogue.columns["tags"]
    assert isinstance(tags, TagsColumn)
    assert [tags.labels.ids(tags.codes[row]) for row in range(2)] == [["a", "b"], []]


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        (pl.Series([1.5, 2], dtype=pl.Float16), [1.5, 2]),
        (pl.Series([Decimal("1.50"), Decimal(2)]), [1.5, 2]),
        (pl.Series(["1.5", "2"], dtype=pl.Categorical), [1.5, 2]),
        (pl.Series([True, False]), [1, 0]),
        (pd.Series([1.5, 2], dtype="float16"), [1.5, 2]),
        (pd.Series([1.5, 2], dtype="longdouble"), [1.5, 2]),
        (pd.Series([1.5, 2], dtype="Float32"), [1.5, 2]),
        (pd.Series([1.5, Decimal(2)], dtype=object), [1.5, 2]),
        (pd.Series([True, None], dtype="boolean"), [1, None]),
        (pd.Series([1.5, 2], dtype="Sparse[float]"), [1.5, 2]),
        (pa.array([np.float16(1.5), np.float16(2)], pa.float16()), [1.5, 2]),
        (pa.array([Decimal("1.50"), Decimal(2)], pa.decimal128(38, 2)), [1.5, 2]),
    ],
)
def test_numbers_of_all_types_are_values(column: Any, numbers: list[float]) -> None:
    data = Dataset.from_frames(frame_of(column, "value"), schema=SCHEMA)
    assert [None if np.isnan(v) else v for v in data.events.value.tolist()] == numbers


def test_intervals_are_categories() -> None:
    ages = pd.cut(pd.Series([3, 30]), [0, 18, 99])
    read = as_polars(pd.DataFrame({"cut": ages, "plain": pd.arrays.IntervalArray(ages)}), "users")
    assert read["cut"].dtype == pl.Categorical
    assert read["cut"].to_list() == read["plain"].to_list() == ["(0, 18]", "(18, 99]"]


@pytest.mark.parametrize(
    "missing", [None, np.nan, pd.NA, pd.NaT, Decimal("NaN"), np.float32("nan")]
)
def test_all_missing_value_markers_are_missing(missing: Any) -> None:
    column = pd.Series(["a", missing] + ["a"] * 198, dtype=object)
    data = Dataset.from_frames(frame_of(column), schema=SCHEMA)
    assert data.reports[0].reasons == {"missing user_id": 1}


# --- pandas names and indexes ---

PLAIN = pd.DataFrame({"user_id": ["u", "v"], "item_id": ["i", "j"], "value": [1.0, 2.0]})


@pytest.mark.parametrize(
    "frame",
    [
        PLAIN.set_index("user_id"),
        PLAIN.set_index(["user_id", "item_id"]),
        PLAIN.set_index(["item_id", "user_id"], append=True),
        PLAIN.set_index("user_id", drop=False),
        PLAIN.set_axis(pd.MultiIndex.from_product([PLAIN.columns, [""]]), axis=1),
        PLAIN.set_axis(
            pd.MultiIndex.from_tuples([("user", "id"), ("item", "id"), ("x", 1)]), axis=1
        ),
    ],
)
def test_ids_in_an_index_or_a_multi_level_name_are_found(frame: pd.DataFrame) -> None:
    data = Dataset.from_frames(frame, schema=SCHEMA)
    assert data.users.ids(range(2)) == ["u", "v"]
    assert data.catalogue.items.ids(range(2)) == ["i", "j"]


def test_column_names_that_are_not_text_are_read_as_text() -> None:
    frame = PLAIN.rename(columns={"user_id": 0, "item_id": 1, "value": 2})
    schema = SCHEMA.model_copy(update={"event_columns": {"user_id": "0", "item_id": "1"}})
    assert Dataset.from_frames(frame, schema=schema).users.ids(range(2)) == ["u", "v"]


# --- all types at once ---


@settings(max_examples=150)
@given(examples())
def test_a_frame_becomes_a_data_set_or_a_data_error(example: Example) -> None:
    assert outcome(example)


def test_reading_a_frame_gives_no_warning() -> None:
    frame = PLAIN.assign(other=pd.Series([1.5, None], dtype="float16"), when=pd.Timestamp(NOON))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dataset.from_frames(pa.Table.from_pandas(frame), items=frame, schema=SCHEMA)
