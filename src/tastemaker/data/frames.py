"""Conversion of Polars, pandas and Arrow frames to Polars frames of plain types."""

from pathlib import PurePath
from typing import Any

import polars as pl

from tastemaker.data.arrow_frame import arrow_series
from tastemaker.data.pandas_frame import is_pandas, pandas_columns
from tastemaker.data.plain import plain_series
from tastemaker.data.table import refuse_reserved_names
from tastemaker.errors import DataError

_FOREIGN = (Exception, pl.exceptions.PanicException)
"""The errors that another library may raise during the conversion."""


def as_polars(frame: Any, name: str) -> pl.DataFrame:
    """A Polars, pandas or Arrow frame as a Polars frame of plain types; see `data.plain`.

    Args:
        frame: the frame. A stream is read to its end.
        name: its name in messages.

    Raises:
        DataError: it is not a frame, cannot be read, or has no columns or ambiguous columns.
    """
    columns = _columns(frame, name)
    if not columns:
        raise DataError(f"{name}: the frame has no columns")
    seen = set[str]()
    for column, _ in columns:
        if column in seen:
            raise DataError(
                f"{name}: the column '{column}' occurs more than once; rename or drop one of them"
            )
        refuse_reserved_names([column], name)
        seen.add(column)
    return pl.DataFrame({column: plain_series(cells) for column, cells in columns})


def _columns(frame: Any, name: str) -> list[tuple[str, pl.Series]]:
    """The names and columns of a frame of any library."""
    try:
        if isinstance(frame, pl.LazyFrame):
            frame = frame.collect()
        if isinstance(frame, pl.DataFrame):
            return [(column.name, column) for column in frame.get_columns()]
        if is_pandas(frame, "DataFrame"):
            return pandas_columns(frame)
        if hasattr(frame, "read_all"):
            frame = frame.read_all()  # a stream of record batches
        if hasattr(frame, "to_table"):
            frame = frame.to_table()  # an Arrow dataset
        if _is_arrow(frame):
            return [*zip(frame.schema.names, map(arrow_series, frame.columns))]
        if hasattr(frame, "__arrow_c_stream__") and not _is_single_column(frame):
            return [(column.name, column) for column in pl.DataFrame(frame).get_columns()]
    except _FOREIGN as problem:
        raise DataError(
            f"{name}: the {type(frame).__name__} cannot be read ({_one_line(problem)})"
        ) from None
    raise DataError(
        f"{name}: expected a Polars, pandas or Arrow frame, got {_described(frame)}"
    ) from None


def _is_arrow(thing: Any) -> bool:
    """Whether a value is a pyarrow Table or RecordBatch."""
    is_pyarrow = type(thing).__module__.split(".")[0] == "pyarrow"
    return is_pyarrow and hasattr(thing, "schema") and hasattr(thing, "columns")


def _is_single_column(thing: Any) -> bool:
    return hasattr(thing, "to_pylist") or hasattr(thing, "to_list") or hasattr(thing, "tolist")


def _described(thing: Any) -> str:
    """A description of a value that is not a frame, and how to fix the call."""
    kind = type(thing).__name__
    if isinstance(thing, str | PurePath):
        return f"the {kind} {str(thing)!r}; to read a file, use Dataset.from_files"
    if isinstance(thing, dict | list | tuple):
        return f"{kind}; pass polars.DataFrame(...) or pandas.DataFrame(...) of it"
    if is_pandas(thing, "Series") or _is_single_column(thing):
        return f"the single column {kind}; pass a frame with columns such as user_id and item_id"
    return kind


def _one_line(problem: BaseException) -> str:
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text[:200]}" if text else type(problem).__name__
