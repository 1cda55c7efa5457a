"""Hypothesis strategies: columns of Polars, pandas and Arrow over all their types.

Each gives the type's name and the column; None where the library refuses the cells.
"""

import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

_START = 1_600_000_000
_ZONES = (None, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11)))

# --- cells ---

_text = st.one_of(
    st.sampled_from(["a", "b", "1", "01", "1.0", "2.5", "1e5", "", " ", "nan", "None", "view"]),
    st.sampled_from(["2024-01-31", "2024-01-31T10:00:00Z", "Drama|War", "a\nb", "é", "\x00"]),
    st.text(max_size=5),
)
_utf8 = st.one_of(_text.filter(lambda text: text.isascii() or text == "é"))
_small = st.integers(0, 5)
_int = st.one_of(_small, st.integers(_START, _START + 10**6), st.integers(-(2**63), 2**63 - 1))
_big = st.one_of(_int, st.integers(-(2**70), 2**127 - 1))
_float = st.one_of(
    _small.map(float), st.floats(), st.floats(1, 5, width=32), st.sampled_from([17850.0, 1e300])
)
_decimal = st.one_of(
    st.decimals(-1000, 1000, places=2), _small.map(Decimal), st.decimals(allow_nan=True)
)
_moment = st.builds(
    lambda moment, zone: moment.replace(tzinfo=zone),
    st.one_of(st.datetimes(datetime(2020, 1, 1), datetime(2024, 1, 1)), st.datetimes()),
    st.sampled_from(_ZONES),
)
_naive = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))
_date = st.one_of(st.dates(date(2020, 1, 1), date(2024, 1, 1)), st.dates())
_delta = st.timedeltas(timedelta(days=-99), timedelta(days=9999))
_labels = st.lists(_utf8, max_size=3)
_object = st.one_of(
    _text, _big, _float, _decimal, _moment, _date, _delta, st.times(), st.booleans(),
    st.binary(max_size=3), _labels, st.sets(_text, max_size=2), st.complex_numbers(),
    st.dictionaries(_utf8, _small, max_size=2), st.uuids(), st.just(object),
    st.sampled_from([pd.NaT, pd.NA, np.nan, None, np.datetime64("NaT"), np.timedelta64("NaT")]),
    st.sampled_from([pd.Timestamp(0, tz="Asia/Tokyo"), pd.Timedelta(1), np.datetime64(2**60, "s")]),
    st.sampled_from([np.int8(3), np.float16(2), np.str_("x"), np.bool_(True)]),
    st.sampled_from([np.array([1, 2]), np.array(["a"]), np.array(3)]),
    st.sampled_from([pd.Period("2024-01"), pd.Interval(0, 1), Decimal("1E+9999"), 10**5000]),
)  # fmt: skip


def _cells(n: int, cells: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A list of n cells; a few are drawn and repeated, which is faster than drawing n."""
    few = st.lists(cells, min_size=1, max_size=5)
    return few.map(lambda drawn: [drawn[place % len(drawn)] for place in range(n)])


def _column(n: int, cells: st.SearchStrategy[Any], missing: Any = None) -> st.SearchStrategy[Any]:
    """A list of n cells, none or some of them missing."""
    return st.one_of(_cells(n, cells), _cells(n, st.one_of(cells, st.just(missing))))


def _ids(n: int) -> st.SearchStrategy[Any]:
    """Cells that give valid columns of most types."""
    return st.one_of(
        _cells(n, _small),
        _cells(n, st.sampled_from(["a", "b", "view", "3"])),
        _cells(n, st.integers(_START, _START + 99)),
    )


# --- columns of n rows ---

Columns = st.SearchStrategy[tuple[str, Any]]
_REFUSED = (ArithmeticError, NotImplementedError, TypeError, ValueError, pl.exceptions.PolarsError)


def _made(kind: Any, cells: st.SearchStrategy[Any], make: Callable[[Any], Any]) -> Columns:
    """Columns that a library creates from a list of cells."""

    def made(cells: Any) -> tuple[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return str(kind), make(cells)
            except _REFUSED:
                return str(kind), None

    return cells.map(made)


def _polars_ticks(kind: Any, ticks: list[int]) -> pl.Series:
    return pl.Series(ticks, dtype=pl.Int64).cast(kind)


def _pandas_ticks(unit: str, ticks: list[int]) -> Any:
    return pd.Series(np.array(ticks, np.int64).view(f"M8[{unit}]"))


def _arrow_ticks(kind: Any, ticks: list[int]) -> Any:
    return pa.array(ticks, pa.int64()).cast(kind)


@cache
def polars_columns(n: int) -> Columns:
    kinds: list[tuple[Any, st.SearchStrategy[Any]]] = [
        *((kind, st.integers(0, 100)) for kind in (pl.Int8, pl.Int16, pl.UInt8, pl.UInt16)),
        *((kind, _small) for kind in (pl.Int32, pl.UInt32, pl.Float16)),
        (pl.Int64, _int),
        (pl.UInt64, st.integers(0, 2**64 - 1)),
        (pl.Int128, st.integers(-(2**127), 2**127 - 1)),
        (pl.UInt128, st.integers(0, 2**127)),
        (pl.Float32, st.floats(width=32)),
        (pl.Float64, _float),
        (pl.Decimal(20, 2), st.decimals(-1000, 1000, places=2)),
        (pl.Decimal(38, 0), st.integers(-(10**30), 10**30).map(Decimal)),
        (pl.Decimal(38, 10), _small.map(Decimal)),
        (pl.Boolean, st.booleans()),
        (pl.String, _utf8),
        (pl.Categorical, _utf8),
        (pl.Enum(["a", "b", "view"]), st.sampled_from(["a", "b", "view"])),
        (pl.Binary, st.binary(max_size=3)),
        (pl.Date, _date),
        (pl.Time, st.times()),
        (pl.Duration("us"), _delta),
        (pl.Datetime("us"), _naive),
        (pl.Datetime("ns", "Europe/Berlin"), _naive),
        (pl.List(pl.String), _labels),
        (pl.List(pl.Categorical), _labels),
        (pl.List(pl.Int64), st.lists(_small, max_size=2)),
        (pl.List(pl.List(pl.String)), st.lists(_labels, max_size=2)),
        (pl.List(pl.Date), st.lists(_date, max_size=2)),
        (pl.Array(pl.Int64, 2), st.lists(_small, min_size=2, max_size=2)),
        (pl.Array(pl.String, 0), st.just([])),
        (pl.Struct({"a": pl.Int64, "b": pl.Binary}), st.fixed_dictionaries({"a": _small})),
        (pl.Null, st.none()),
        (pl.Object, _object),
    ]
    ticks = st.integers(-(2**63) + 1, 2**63 - 1)
    typed = [
        _made(kind, _column(n, cells), partial(pl.Series, dtype=kind, strict=False))
        for kind, cells in kinds
    ]
    far = [
        _made(
            f"far {kind}",
            _cells(n, ticks),
            partial(_polars_ticks, kind),
        )
        for kind in (pl.Datetime("ms"), pl.Datetime("us", "UTC"), pl.Datetime("ns"))
    ]
    days = _cells(n, st.integers(-(2**31), 2**31 - 1))
    far.append(_made("far Date", days, lambda c: pl.Series(c, dtype=pl.Int32).cast(pl.Date)))
    usual = _made("usual", _ids(n), pl.Series)
    return st.one_of(usual, st.one_of(*typed, *far))


@cache
def pandas_columns(n: int) -> Columns:
    def series(kind: Any, cells: st.SearchStrategy[Any], missing: Any = None) -> Columns:
        return _made(kind, _column(n, cells, missing), lambda c: pd.Series(c, dtype=kind))

    numbers = [
        _made(k, _cells(n, _small), partial(pd.Series, dtype=k))
        for k in ("int8", "uint16", "int32", "uint64", ">i4", "float16", "complex64", "longdouble")
    ]
    typed = [
        series(object, _object),
        series(object, st.one_of(_moment, _date)),
        series(object, st.one_of(_big, _decimal)),
        series(object, _labels),
        series(object, _text),
        series(object, st.one_of(st.booleans(), _small)),
        series("int64", _int, 0),
        series("uint64", st.integers(0, 2**64 - 1), 0),
        series("float64", _float, np.nan),
        series("float32", st.floats(width=32), np.nan),
        series("bool", st.booleans(), False),
        *(series(k, _small) for k in ("Int8", "Int64", "UInt64", "Float32", "Float64")),
        series("boolean", st.booleans()),
        *(series(kind, _utf8) for kind in ("string", "str", "string[pyarrow]", "category")),
        series("category", _small),
        series("category", _naive),
        series("category", st.booleans()),
        *(series(f"datetime64[{unit}]", _naive, pd.NaT) for unit in ("s", "ms", "us", "ns")),
        series("datetime64[us, Asia/Kolkata]", _naive, pd.NaT),
        series("timedelta64[ns]", _delta, pd.NaT),
        series("period[M]", st.sampled_from([pd.Period("2024-01", "M"), pd.Period("1001", "M")])),
        series("period[D]", st.just(pd.Period("2024-01-01", "D"))),
        series("interval", st.sampled_from([pd.Interval(0, 1), pd.Interval(2, 3)])),
        series("Sparse[float]", st.sampled_from([0.0, 1.0]), np.nan),
        series("Sparse[int]", _small, 0),
        series(pd.ArrowDtype(pa.int64()), _small),
        series(pd.ArrowDtype(pa.string()), _utf8),
        series(pd.ArrowDtype(pa.timestamp("s", "UTC")), _naive),
        series(pd.ArrowDtype(pa.date32()), _date),
        series(pd.ArrowDtype(pa.decimal128(20, 3)), _small.map(Decimal)),
        series(pd.ArrowDtype(pa.list_(pa.string())), _labels),
        series(pd.ArrowDtype(pa.time64("us")), st.times()),
    ]
    ticks = _cells(n, st.integers(-(2**63), 2**63 - 1))
    far = [_made(f"far {u}", ticks, partial(_pandas_ticks, u)) for u in ("s", "ms", "us", "ns")]
    cut = _made(
        "cut",
        _cells(n, _small),
        lambda c: pd.cut(pd.Series(c, dtype="int64"), [-1, 2, 9]),
    )
    usual = _made("usual", _ids(n), lambda c: pd.Series(c, dtype=None if c else object))
    return st.one_of(usual, st.one_of(cut, *numbers, *typed, *far))


@cache
def arrow_columns(n: int) -> Columns:
    kinds: list[tuple[Any, st.SearchStrategy[Any]]] = [
        *((kind, _small) for kind in (pa.int8(), pa.uint16(), pa.int32(), pa.uint64())),
        (pa.int64(), _int),
        (pa.float16(), st.sampled_from([np.float16(1), np.float16(2.5)])),
        (pa.float32(), st.floats(width=32)),
        (pa.float64(), _float),
        (pa.bool_(), st.booleans()),
        *((kind, _utf8) for kind in (pa.string(), pa.large_string(), pa.string_view())),
        *((k, st.binary(max_size=3)) for k in (pa.binary(), pa.large_binary(), pa.binary_view())),
        (pa.binary(2), st.just(b"ab")),
        (pa.date32(), _date),
        (pa.date64(), _date),
        *((pa.timestamp(unit), _naive) for unit in ("s", "ms", "us", "ns")),
        (pa.timestamp("us", "Europe/Berlin"), _naive),
        (pa.timestamp("ms", "nowhere"), _naive),
        (pa.time32("s"), st.times()),
        (pa.duration("us"), _delta),
        (pa.month_day_nano_interval(), st.just((1, 2, 3))),
        (pa.decimal128(10, 2), _small.map(Decimal)),
        (pa.decimal256(40, 2), _small.map(Decimal)),
        (pa.null(), st.none()),
        (pa.dictionary(pa.int8(), pa.string()), _utf8),
        (pa.dictionary(pa.int32(), pa.int64()), _small),
        (pa.dictionary(pa.int32(), pa.timestamp("us")), _naive),
        (pa.list_(pa.string()), _labels),
        (pa.large_list(pa.int64()), st.lists(_small, max_size=2)),
        (pa.list_view(pa.string()), _labels),
        (pa.list_(pa.string(), 1), st.lists(_utf8, min_size=1, max_size=1)),
        (pa.list_(pa.dictionary(pa.int8(), pa.string())), _labels),
        (pa.list_(pa.struct({"a": pa.int8()})), st.just([{"a": 1}])),
        (pa.struct({"a": pa.int64()}), st.fixed_dictionaries({"a": _small})),
        (pa.map_(pa.string(), pa.int8()), st.just([("a", 1)])),
    ]
    typed = [_made(kind, _column(n, cells), partial(pa.array, type=kind)) for kind, cells in kinds]
    ticks = _cells(n, st.integers(-(2**63), 2**63 - 1))
    far = [
        _made(f"far {kind}", ticks, partial(_arrow_ticks, kind))
        for kind in (pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.timestamp("ns"))
    ]
    nothing = st.just(None)
    odd = [
        _made("runs", nothing, lambda _: pa.RunEndEncodedArray.from_arrays([n], ["a"])),
        _made("union", nothing, lambda _: pa.UnionArray.from_sparse(zeros, [pa.nulls(n)])),
        _made("uuid", nothing, lambda _: pa.ExtensionArray.from_storage(pa.uuid(), uuids)),
        _made("chunks", _ids(n), lambda c: pa.chunked_array([pa.array(c)] * (n > 0))),
    ]
    zeros = pa.array([0] * n, pa.int8())
    uuids = pa.array([b"0" * 16] * n, pa.binary(16))
    usual = _made("usual", _ids(n), lambda c: pa.array(c, None if c else pa.string()))
    return st.one_of(usual, st.one_of(*odd, *typed, *far))


@cache
def usual_columns(library: str, n: int) -> Columns:
    """A column that can be an id and a moment."""
    makers = {"polars": pl.Series, "pandas": pd.Series, "arrow": pa.array}
    make: Callable[[Any], Any] = makers[library]
    cells = _cells(n, st.integers(_START, _START + 99))
    return cells.map(lambda c: ("usual", make(np.array(c, np.int64))))
