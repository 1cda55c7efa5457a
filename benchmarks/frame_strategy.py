"""Hypothesis strategies: frames of Polars, pandas and Arrow over all their types, and schemas.

Used by the test of `Dataset.from_frames` and by the target FUZZ_FRAMES.
"""

import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.errors import DataError

_ROWS = (3, 1, 2, 8, 30, 0)
_KNOWN = {
    "events": "user_id userId item_id movieId event_type action rating value count timestamp date "
    "event_id",
    "items": "item_id id sku title genres price year timestamp name",
    "users": "user_id id uid age country date tags",
}
_STRANGE = ("", "a b", "é", "None", "Unnamed: 0", "reason", "row", "kind", "time", "=title", "=x")
_FORBIDDEN = ("*", "^x$", "__line__")
_START = 1_600_000_000
_ZONES = (None, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11)))


@dataclass(frozen=True, slots=True)
class Example:
    """What `Dataset.from_frames` is called with, and how it was made.

    Attributes:
        arguments: the keyword arguments.
        made_of: library and column types of each frame, for the report.
    """

    arguments: dict[str, Any]
    made_of: str

    def __repr__(self) -> str:
        return self.made_of


def outcome(example: Example) -> str:
    """Reads an example: "dataset", or the shape of the message of the DataError.

    Raises:
        AssertionError: the rows of a report do not add up, or there was a warning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            data = Dataset.from_frames(**example.arguments)
        except DataError as problem:
            message = str(problem)
            assert "\n" not in message, f"more than one line: {message!r}"
            return message_shape(message)
    for report in data.reports:
        counted = report.kept + report.duplicates + report.quarantined
        assert counted == report.read, f"{report.source}: {counted} of {report.read} rows"
        assert report.quarantined == report.quarantine.height
    assert len(data.events) == data.reports[0].kept
    return "dataset"


def message_shape(message: str) -> str:
    """A message without what differs between examples."""
    shape = re.sub(r"'[^']*'", "'…'", message)
    shape = re.sub(r"\b(?:events|items|users): ", "TABLE: ", shape)
    shape = re.sub(r"holds [^;]*;", "holds …;", shape)
    shape = re.sub(r"\(\d.*?\); first.*? in .*?\. At most", "(…). At most", shape)
    shape = re.sub(r"known: .*?(?=, which|$)", "known: …", shape)
    shape = re.sub(r"among .*; name it", "among …; name it", shape)
    shape = re.sub(r"among .*", "among …", shape) if "name it" not in shape else shape
    return re.sub(r"[+-]?\d[\d.,e+-]*", "N", shape)[:160]


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
    """A list of n cells; a few are drawn and repeated, which is quicker than n of them."""
    few = st.lists(cells, min_size=1, max_size=5)
    return few.map(lambda drawn: [drawn[place % len(drawn)] for place in range(n)])


def _column(n: int, cells: st.SearchStrategy[Any], missing: Any = None) -> st.SearchStrategy[Any]:
    """A list of n cells, none or some of them missing."""
    return st.one_of(_cells(n, cells), _cells(n, st.one_of(cells, st.just(missing))))


def _ids(n: int) -> st.SearchStrategy[Any]:
    """Cells that make usable columns of most kinds."""
    return st.one_of(
        _cells(n, _small),
        _cells(n, st.sampled_from(["a", "b", "view", "3"])),
        _cells(n, st.integers(_START, _START + 99)),
    )


# --- columns of each library: n rows → (type, column), None where the library refuses the cells ---

Columns = st.SearchStrategy[tuple[str, Any]]
_REFUSED = (ArithmeticError, NotImplementedError, TypeError, ValueError, pl.exceptions.PolarsError)


def _made(kind: Any, cells: st.SearchStrategy[Any], make: Callable[[Any], Any]) -> Columns:
    """Columns that a library makes of a list of cells."""

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
def _polars(n: int) -> Columns:
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
def _pandas(n: int) -> Columns:
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
def _arrow(n: int) -> Columns:
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


# --- frames ---

_rarely = st.sampled_from([False] * 6 + [True])


@st.composite
def frames(draw: st.DrawFn, table: str) -> tuple[str, Any]:
    """What it is made of, and a frame for one of the tables `events`, `items`, `users`."""
    n = draw(st.sampled_from(_ROWS))
    library = draw(st.sampled_from(["polars", "pandas", "arrow"]))
    of_library = {"polars": _polars, "pandas": _pandas, "arrow": _arrow}[library](n)
    known = draw(st.lists(st.sampled_from(_KNOWN[table].split()), max_size=6, unique=True))
    usual = {"events": ["user_id", "item_id", "timestamp"], "items": ["item_id"], "users": ["uid"]}
    if not draw(_rarely):
        known = [*usual[table], *(name for name in known if name not in usual[table])]
    strange = draw(st.lists(st.sampled_from(_STRANGE), max_size=2, unique=True))
    if draw(_rarely) and draw(_rarely):
        strange.append(draw(st.sampled_from(_FORBIDDEN)))
    usable = not draw(_rarely)  # the leading columns as they usually are
    columns = []
    for name in [*known, *strange]:
        plain = usable and name in usual[table]
        kind, column = draw(_usual(library, n) if plain else of_library)
        if column is not None:
            columns.append((name, kind, column))
    frame, shapes = _FRAMES[library](columns, n)
    if draw(_rarely):
        shape = draw(st.sampled_from(sorted(shapes)))
        with suppress(IndexError, NotImplementedError, TypeError, ValueError):
            frame, library = shapes[shape](), f"{library} ({shape})"
    made_of = ", ".join(f"{name!r}: {kind}" for name, kind, _ in columns)
    return f"{table} = {library} of {n} rows ({made_of})", frame


@cache
def _usual(library: str, n: int) -> Columns:
    """A column that can be an id and a moment."""
    makers = {"polars": pl.Series, "pandas": pd.Series, "arrow": pa.array}
    make: Callable[[Any], Any] = makers[library]
    cells = _cells(n, st.integers(_START, _START + 99))
    return cells.map(lambda c: ("usual", make(np.array(c, np.int64))))


Named = list[tuple[str, str, Any]]
Shapes = dict[str, Callable[[], Any]]


def _polars_frame(columns: Named, n: int) -> tuple[Any, Shapes]:
    frame = pl.DataFrame([column.alias(name) for name, _, column in columns])
    shapes: Shapes = {
        "lazy": frame.lazy,
        "lazy that fails": lambda: frame.lazy().select(pl.lit("x").cast(pl.Int64)),
    }
    return frame, shapes


def _pandas_frame(columns: Named, n: int) -> tuple[Any, Shapes]:
    names = [name for name, _, _ in columns]
    frame = pd.concat([c for _, _, c in columns], axis=1) if columns else pd.DataFrame()
    frame.columns = pd.Index(names, dtype=object)
    levels = [(name, "") for name in names]
    shapes: Shapes = {
        "index": lambda: frame.set_index(names[0]),
        "index of levels": lambda: frame.set_index(names[:2]),
        "names of levels": lambda: frame.set_axis(pd.MultiIndex.from_tuples(levels), axis=1),
        "names of integers": lambda: frame.set_axis([*range(len(names))], axis=1),
        "a name twice": lambda: pd.concat([frame, frame.iloc[:, :1]], axis=1),
    }
    return frame, shapes


def _arrow_frame(columns: Named, n: int) -> tuple[Any, Shapes]:
    names, arrays = [name for name, _, _ in columns], [column for _, _, column in columns]
    table = pa.table(arrays, names)
    shapes: Shapes = {
        "stream": table.to_reader,
        "batch": lambda: table.combine_chunks().to_batches()[0],
        "names twice": lambda: pa.table(arrays * 2, names * 2),
    }
    return table, shapes


_FRAMES = {"polars": _polars_frame, "pandas": _pandas_frame, "arrow": _arrow_frame}


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """A schema that fits some of the frames."""
    kinds: dict[str, EventKind] = {"view": EventKind()}
    if draw(st.booleans()):
        kinds["rating"] = EventKind(like=4, dislike=2)
    roles = st.dictionaries(
        st.sampled_from([*_KNOWN["items"].split(), *_KNOWN["users"].split(), *_STRANGE]),
        st.sampled_from(
            [ColumnRole(role=role) for role in ("text", "category", "number", "time")]
            + [ColumnRole(role="tags", separator="|")]
        ),
        max_size=2,
    )
    return Schema(
        kinds=kinds,
        default_kind=draw(st.sampled_from(["view", list(kinds)[-1], None])),
        clock=draw(st.sampled_from(["absolute", "order", "none"])),
        time_unit=draw(st.sampled_from(["auto", "s", "ms", "us", "iso"])),
        item_roles=draw(roles),
        user_columns=draw(st.sampled_from([{}, {"user_id": "uid"}])),
        user_roles=draw(roles),
    )


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Arguments of `Dataset.from_frames`."""
    arguments: dict[str, Any] = {}
    made_of = []
    for table in ("events", "items", "users"):
        if table == "events" or not draw(st.integers(0, 2)):
            described, arguments[table] = draw(frames(table))
            made_of.append(described)
    if draw(st.booleans()):
        arguments["schema"] = draw(schemas())
        made_of.append(f"schema = {arguments['schema']!r}")
    return Example(arguments, "; ".join(made_of))
