"""Ids, moments and durations of all types that frames return."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tastemaker.data.arguments import (
    duration,
    id_text,
    ids_text,
    indices_of,
    is_moment,
    moment,
    moments_of,
    whole_number,
)
from tastemaker.data.times import MICROSECONDS
from tastemaker.data.vocabulary import Vocabulary
from tastemaker.errors import SettingError

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
TIME = 1_706_702_400_000_000
MIDNIGHT = TIME - 12 * MICROSECONDS["h"]


@pytest.mark.parametrize(
    "value",
    [
        "17850", 17850, 17850.0, Decimal("17850"), Decimal("17850.00"), Decimal("1785E1"),
        np.str_("17850"), np.int64(17850), np.uint16(17850), np.float64(17850), np.float32(17850),
        np.array(17850), np.array("17850"), "17850.0", pa.scalar(17850), pa.scalar("17850"),
        pa.scalar(17850.0), pa.scalar("17850", pa.large_string()),
        pa.scalar(Decimal("17850.0")), pd.Series([17850]).iloc[0], pl.Series([17850.0])[0],
    ],
)  # fmt: skip
def test_an_id_of_any_type_is_the_same_text(value: Any) -> None:
    assert id_text(value) == "17850"
    assert type(id_text(value)) is str


@pytest.mark.parametrize("id_", ["", "007", "1.5", "1.0.0", " 1", "\ud800", "é"])
def test_text_stays_as_it_is(id_: str) -> None:
    assert id_text(id_) == id_text(np.str_(id_)) == id_


def test_a_uuid_is_its_text() -> None:
    assert id_text(UUID(int=7)) == "00000000-0000-0000-0000-000000000007"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "got None"),
        (float("nan"), "got nan"),
        (pd.NA, "got <NA>"),
        (pd.NaT, "got NaT"),
        (Decimal("NaN"), "got Decimal"),
        (pa.scalar(None), "got <pyarrow.NullScalar"),
        (np.datetime64("NaT"), "got np.datetime64"),
        (True, "got True"),
        (np.bool_(False), "got np.False_"),
        (1.5, "got the float 1.5; write it as text"),
        (np.float32(0.5), "got the float 0.5"),
        (1e300, "got the float 1e"),
        (float("inf"), "got the float inf"),
        (Decimal("1.5"), "got the float 1.5"),
        (b"a", "got b'a'"),
        (NOON, "got datetime"),
        (["a"], r"got \['a'\]"),
        (np.array([1]), "got array"),
        ({"a": 1}, "got {"),
        (1 << 9_000, "got an integer of 9,001 bits"),
    ],
)
def test_an_invalid_id_is_rejected(value: Any, message: str) -> None:
    with pytest.raises(SettingError, match=f"^'item_id' must be text or an integer, {message}"):
        id_text(value, "'item_id'")


LISTS = [
    ["7", "8"], ("7", "8"), [7, "8"], (id_ for id_ in "78"), range(7, 9), {"7": 1, "8": 2}.keys(),
    np.array([7, 8]), np.array(["7", "8"]), np.array([7, "8"], object), np.array([7.0, 8.0]),
    pd.Series([7, 8]), pd.Series(["7", "8"]), pd.Series(["7", "8"], dtype="category"),
    pd.Series([7, 8], dtype="Int64"), pd.Series([7, 8], dtype=pd.ArrowDtype(pa.int8())),
    pd.Series([7.0, 8.0], index=[3, 3]), pd.Index([7, 8]), pd.Index(["7", "8"]),
    pl.Series([7, 8]), pl.Series(["7", "8"]), pl.Series(["7", "8"], dtype=pl.Categorical),
    pl.Series([7, 8], dtype=pl.Int128), pl.Series([7, "8"], dtype=pl.Object),
    pa.array([7, 8]), pa.array(["7", "8"], pa.string_view()), pa.chunked_array([[7], [8]]),
    pa.array(["7", "8"]).dictionary_encode(),
]  # fmt: skip


@pytest.mark.parametrize("values", LISTS, ids=lambda values: type(values).__name__)
def test_ids_of_every_kind_of_list_are_the_same_texts(values: Any) -> None:
    assert ids_text(values, "history") == ["7", "8"]


@pytest.mark.parametrize("id_", ["17850.0", "-3.00", "1.5", "a.0", "007", "", "1.0.0", 7, 7.0])
def test_one_id_and_a_list_of_ids_are_the_same_text(id_: Any) -> None:
    assert ids_text([id_], "history") == [id_text(id_)]
    vocabulary = Vocabulary.of(["17850", "-3", "1.5", "a.0", "007", "", "1.0.0", "7"])
    assert vocabulary.indices([id_]).tolist() == [vocabulary.index(id_)]
    assert vocabulary.index(id_) >= 0


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), pa.scalar(3), pl.Series([3])[0]])
def test_a_whole_number_of_any_type_is_the_same(value: Any) -> None:
    assert whole_number(value, "n", 3) == 3
    with pytest.raises(SettingError, match=r"^'n' must be at least 4, got 3$"):
        whole_number(value, "n", 4)


@pytest.mark.parametrize(
    "value", [3.0, np.float64(3), True, np.bool_(True), "3", None, pa.NULL, []]
)
def test_a_value_that_is_not_a_whole_number_is_rejected(value: Any) -> None:
    with pytest.raises(SettingError, match=r"^'n' must be an integer, got "):
        whole_number(value, "n", 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("78", "must be a list, got the text '78'"),
        (b"78", "must be a list, got the bytes b'78'"),
        (7, "must be a list, got int"),
        ({"7", "8"}, "must be a list, got a set, which has no order; sort it"),
        ({"7": 1}, "must be a list, got dict"),
        (np.array([["7"]]), "must be a list, got ndarray"),
        (np.array(7), "must be a list, got ndarray"),
        (pd.DataFrame({"a": [7]}), "must be a list, got DataFrame; pass one of its columns"),
        (pl.DataFrame({"a": [7]}), "must be a list, got DataFrame; pass one of its columns"),
        (pl.LazyFrame({"a": [7]}), "must be a list, got LazyFrame; pass one of its columns"),
        (pa.table({"a": [7]}), "must be a list, got Table; pass one of its columns"),
        (pd.Series(["7", None]), "the id at position 1 must be text or an integer"),
        ([7, float("nan")], "the id at position 1 must be text or an integer, got nan"),
        (np.array([7, 1.5]), "the id at position 1 .* got the float 1.5"),
        ([True], "the id at position 0 must be text or an integer, got True"),
    ],
)
def test_a_value_that_is_not_a_list_of_ids_is_rejected(values: Any, message: str) -> None:
    with pytest.raises(SettingError, match=f"^'history':? ?{message}"):
        ids_text(values, "history")


@pytest.mark.parametrize(
    "value",
    [
        TIME, np.int64(TIME), np.uint64(TIME), pa.scalar(TIME),
        NOON, NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=-11))),
        *(np.datetime64("2024-01-31T12", unit) for unit in ("h", "m", "s", "ms", "us", "ns")),
        pd.Timestamp("2024-01-31T12"), pd.Timestamp("2024-01-31T12", tz="UTC"),
        pd.Timestamp("2024-01-31T17:30", tz="Asia/Kolkata"),
        pd.Timestamp(TIME, unit="us").as_unit("s"), np.str_("2024-01-31T12:00"),
        "2024-01-31T12:00:00Z", "2024-01-31 12:00", "2024-01-31T13:00:00+01:00",
        pl.Series([NOON])[0], pa.scalar(NOON), pa.scalar(NOON, pa.timestamp("ns", "Asia/Tokyo")),
        pa.scalar("2024-01-31T12:00:00Z"),
    ],
)  # fmt: skip
def test_a_moment_of_any_type_is_the_same(value: Any) -> None:
    assert moment(value, "at") == TIME
    assert type(moment(value, "at")) is int


@pytest.mark.parametrize(
    "value",
    [
        date(2024, 1, 31), "2024-01-31", np.datetime64("2024-01-31"), pd.Timestamp("2024-01-31"),
        pa.scalar(date(2024, 1, 31)), pl.Series([date(2024, 1, 31)])[0], pa.scalar(MIDNIGHT),
    ],
)  # fmt: skip
def test_a_date_means_midnight(value: Any) -> None:
    assert moment(value, "at") == MIDNIGHT


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (np.datetime64("2024"), 1_704_067_200_000_000),
        (np.datetime64("2024-02"), 1_706_745_600_000_000),
        (np.datetime64(1, "W"), MICROSECONDS["w"]),
        (np.datetime64(-1, "ns"), -1),
        (np.datetime64(1_999_999, "ps"), 1),
        (datetime.max, 253_402_300_799_999_999),
        (datetime.min, -62_135_596_800_000_000),
        (0, 0),
        (-5, -5),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_moments_of_all_units_are_exact(value: Any, time: int) -> None:
    assert moment(value, "at") == time


@pytest.mark.parametrize(
    "value",
    [
        None, pd.NaT, pd.NA, float("nan"), np.datetime64("NaT"),
        pa.scalar(None, pa.timestamp("us")),
        True, np.bool_(True), "soon", "", "1706702400", b"2024-01-31", [TIME], timedelta(1),
        np.datetime64(2**60, "s"), np.datetime64(2**60, "Y"), 2**63, Decimal(5),
    ],
)  # fmt: skip
def test_a_value_that_is_not_a_moment_is_rejected(value: Any) -> None:
    with pytest.raises(
        SettingError, match=r"^'at' must be a moment \(microseconds since 1970 .* got"
    ):
        moment(value, "at")


@pytest.mark.parametrize("value", [1.7e9, np.float64(5)])
def test_a_float_is_not_a_moment_as_it_may_be_seconds(value: Any) -> None:
    with pytest.raises(SettingError, match="a float may be seconds"):
        moment(value, "at")


@pytest.mark.parametrize(
    "values",
    [
        [NOON, TIME], np.array([TIME, TIME]), np.array([TIME, TIME], np.uint64),
        np.array(["2024-01-31T12"] * 2, "M8[h]"), pd.Series([NOON, NOON]),
        pd.DatetimeIndex([NOON, NOON]), pl.Series([NOON, NOON]), pa.array([NOON, NOON]),
        pa.chunked_array([[NOON], [NOON]]), ("2024-01-31 12:00", NOON),
    ],
)  # fmt: skip
def test_moments_of_every_kind_of_list_are_the_same(values: Any) -> None:
    times = moments_of(values, "moments")
    assert times.dtype == np.int64
    assert times.tolist() == [TIME, TIME]


def test_a_missing_moment_in_a_list_is_refused() -> None:
    with pytest.raises(SettingError, match="'moments' must be a moment"):
        moments_of(pd.Series([NOON, None]), "moments")


@pytest.mark.parametrize(
    "value",
    [
        "2d", timedelta(days=2), np.timedelta64(2, "D"), np.timedelta64(48, "h"),
        pd.Timedelta(days=2), pa.scalar(timedelta(days=2)), pl.Series([timedelta(days=2)])[0],
    ],
)  # fmt: skip
def test_a_duration_of_any_type_is_the_same(value: Any) -> None:
    assert duration(value, "test") == 2 * MICROSECONDS["d"]


@pytest.mark.parametrize(
    "value",
    [
        None, pd.NaT, np.timedelta64("NaT"), timedelta(0), timedelta(-1), 5, 0.5, "soon", "2",
        np.timedelta64(2**60, "D"), np.timedelta64(2, "Y"), True, NOON,
    ],
)  # fmt: skip
def test_a_value_that_is_not_a_duration_is_rejected(value: Any) -> None:
    with pytest.raises(SettingError, match=r"^'test' must be a duration such as '30d'"):
        duration(value, "test")


@pytest.mark.parametrize(
    "value", [NOON, NOON.date(), pd.Timestamp(NOON), "2024-01-31", pa.scalar(NOON)]
)
def test_dates_and_iso_text_are_moments(value: Any) -> None:
    assert is_moment(value)


@pytest.mark.parametrize(
    "value", ["30d", 0.2, 5, timedelta(1), None, "soon", np.timedelta64(1, "D")]
)
def test_durations_and_numbers_are_not_taken_for_moments(value: Any) -> None:
    assert not is_moment(value)


@pytest.mark.parametrize(
    "values",
    [[0, 2], np.array([0, 2], np.int8), pd.Series([0, 2]), pl.Series([0, 2]), pa.array([0, 2])],
)
def test_indices_of_every_kind_of_list_are_the_same(values: Any) -> None:
    assert indices_of(values, 3, "users").tolist() == [0, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([-1, 0], "must be indices from 0 to 2, got -1 to 0; an unknown id has the index -1"),
        ([3], "must be indices from 0 to 2, got 3 to 3"),
        (["a"], "must be a list of indices"),
        ([0.5], "must be a list of indices"),
        ([[0]], "must be a list of indices"),
        (1, "must be a list, got int"),
    ],
)
def test_an_index_without_a_user_is_rejected(values: Any, message: str) -> None:
    with pytest.raises(SettingError, match=f"^'users' {message}"):
        indices_of(values, 3, "users")
