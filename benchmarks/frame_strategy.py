"""Hypothesis strategies: frames of Polars, pandas and Arrow over all their types, and schemas.

Used by the test of `Dataset.from_frames` and by the target FUZZ_FRAMES.
"""

import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

from benchmarks.frame_columns import arrow_columns, pandas_columns, polars_columns, usual_columns
from tastemaker.data.arguments import is_missing
from tastemaker.data.column_types import is_unreadable
from tastemaker.data.dataset import Dataset
from tastemaker.data.frames import as_polars
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


@dataclass(frozen=True, slots=True)
class Example:
    """The arguments of `Dataset.from_frames`, and how they were created.

    Attributes:
        arguments: the keyword arguments.
        made_of: library and column types of each frame, for the report.
    """

    arguments: dict[str, Any]
    made_of: str

    def __repr__(self) -> str:
        return self.made_of


def outcome(example: Example) -> str:
    """The outcome of an example: "dataset", or the pattern of the DataError's message.

    Raises:
        AssertionError: the rows of a report do not add up, a cell was lost, or there was a warning.
    """
    for table in ("events", "items", "users"):
        _assert_nothing_lost(example.arguments.get(table))
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


def _assert_nothing_lost(frame: Any) -> None:
    """No further cell becomes missing; an unsupported column is rejected by its type."""
    if isinstance(frame, pl.DataFrame):
        given = {column.name: _missing_in_polars(column) for column in frame.get_columns()}
    elif isinstance(frame, pd.DataFrame) and frame.columns.is_unique:
        given = {str(name): _missing_in_pandas(frame[name]) for name in frame.columns}
    elif isinstance(frame, pa.Table) and len(set(frame.column_names)) == frame.num_columns:
        given = {name: _missing_in_arrow(frame[name]) for name in frame.column_names}
    else:
        return  # a stream can be read only once
    try:
        read = as_polars(frame, "frame")
    except DataError:
        return
    for name in set(read.columns) & given.keys():
        if not is_unreadable(read.schema[name]):
            missing = _missing_in_polars(read[name])
            assert missing == given[name], f"{name}: {missing} cells missing, given {given[name]}"


def _missing_in_polars(column: pl.Series) -> int:
    if column.dtype == pl.Object:
        return sum(map(is_missing, column.to_list()))
    column = column.alias("cell")  # a name such as ^x$ is a pattern
    return column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0)


def _missing_in_pandas(column: Any) -> int:
    if column.dtype == object:
        return sum(map(is_missing, column.tolist()))
    return int(column.isna().sum())


def _missing_in_arrow(column: Any) -> int:
    missing = column.is_null(nan_is_null=pa.types.is_floating(column.type))
    return sum(missing.to_pylist())


def message_shape(message: str) -> str:
    """A message without the parts that differ between examples."""
    shape = re.sub(r"'[^']*'", "'…'", message)
    shape = re.sub(r"\b(?:events|items|users): ", "TABLE: ", shape)
    shape = re.sub(r"holds [^;]*;", "holds …;", shape)
    shape = re.sub(r"\(\d.*?\); first.*? in .*?\. At most", "(…). At most", shape)
    shape = re.sub(r"known: .*?(?=, which|$)", "known: …", shape)
    shape = re.sub(r"among .*; name it", "among …; name it", shape)
    shape = re.sub(r"among .*", "among …", shape) if "name it" not in shape else shape
    return re.sub(r"[+-]?\d[\d.,e+-]*", "N", shape)[:160]


# --- frames ---

_COLUMNS = {"polars": polars_columns, "pandas": pandas_columns, "arrow": arrow_columns}
_rarely = st.sampled_from([False] * 6 + [True])


@st.composite
def frames(draw: st.DrawFn, table: str) -> tuple[str, Any]:
    """A description, and a frame for one of the tables `events`, `items`, `users`."""
    n = draw(st.sampled_from(_ROWS))
    library = draw(st.sampled_from(["polars", "pandas", "arrow"]))
    of_library = _COLUMNS[library](n)
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
        kind, column = draw(usual_columns(library, n) if plain else of_library)
        if column is not None:
            columns.append((name, kind, column))
    frame, shapes = _FRAMES[library](columns, n)
    if draw(_rarely):
        shape = draw(st.sampled_from(sorted(shapes)))
        with suppress(IndexError, NotImplementedError, TypeError, ValueError):
            frame, library = shapes[shape](), f"{library} ({shape})"
    made_of = ", ".join(f"{name!r}: {kind}" for name, kind, _ in columns)
    return f"{table} = {library} of {n} rows ({made_of})", frame


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


_FRAMES = {
    "polars": _polars_frame,
    "pandas": _pandas_frame,
    "arrow": _arrow_frame,
}


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """A schema that fits some of the frames."""
    kinds: dict[str, EventKind] = {"view": EventKind()}
    if draw(st.booleans()):
        kinds["rating"] = EventKind(positive_threshold=4, negative_threshold=2)
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
        clock=draw(st.sampled_from(["absolute", "ordinal", "none"])),
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
