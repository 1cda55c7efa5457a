"""Conversion of Arrow columns to Polars columns, without importing pyarrow."""

import re
from typing import Any

import polars as pl

from tastemaker.data.column_types import unreadable_type
from tastemaker.data.plain import microseconds
from tastemaker.data.python_objects import objects_series

_TEXT = r"(?:large_)?string(?:_view)?"
_DIRECT = re.compile(
    rf"u?int(?:8|16|32|64)|halffloat|float|double|bool|null|{_TEXT}|date32\[day\]|date64\[ms\]|"
    rf"decimal(?:32|64|128)\(.*\)|"
    rf"(?:large_)?list<\w+: (?:{_TEXT}|u?int\d+|float|double)(?: not null)?>"
)
"""Types that Polars converts directly."""
_REFUSED = re.compile(
    r"(?:large_|fixed_size_)?binary.*|time(?:32|64).*|duration.*|month_.*|struct.*|map.*|"
    r".*union.*"
)


def arrow_series(column: Any) -> pl.Series:
    """An Arrow array or chunked array as a Polars series; missing is null, moments are in UTC."""
    name = str(column.type)
    if name.startswith("timestamp"):
        ticks = pl.Series("cell", column.cast("int64")).to_frame()
        return ticks.select(microseconds(pl.col("cell"), column.type.unit)).to_series()
    if _DIRECT.fullmatch(name):
        return pl.Series(column)
    if name.startswith("dictionary"):
        return _decoded(column)
    if _REFUSED.fullmatch(name):
        return pl.Series([None] * len(column), dtype=unreadable_type(name))
    try:
        cells = column.to_pylist()
    except (ArithmeticError, NotImplementedError, TypeError, ValueError):  # no Python value
        return pl.Series([None] * len(column), dtype=unreadable_type(name))
    return objects_series(cells, name)


def _decoded(column: Any) -> pl.Series:
    """The values of a dictionary-encoded column; text becomes categories."""
    cells = arrow_series(column.cast(column.type.value_type))
    return cells.cast(pl.Categorical) if cells.dtype == pl.String else cells
