"""Conversion of Polars columns of any type to the types that the cleaner reads.

These are Boolean, integers of at most 64 bits, Float32, Float64, String, Categorical, Enum, Date,
Datetime in microseconds UTC, List of String, Null, and the placeholder of unsupported types.
"""

import polars as pl

from tastemaker.data.column_types import LATEST, is_unreadable, unreadable_type
from tastemaker.data.python_objects import objects_series

_LATEST_DAY = LATEST // (86_400 * 10**6)
_PER_MICROSECOND = {"ns": 1000}
_MICROSECONDS = {"us": 1, "ms": 10**3, "s": 10**6}
_EXACT_DIGITS = 15
"""Decimal digits that float64 always preserves."""
_INT64_DIGITS = 18
_KEPT = (pl.Boolean, pl.Float32, pl.Float64, pl.String, pl.Categorical, pl.Enum, pl.Null)
_LABELS = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Null)
_WIDE = (pl.Int128, pl.UInt128)


def plain_series(column: pl.Series) -> pl.Series:
    """A column as one of the types that the cleaner reads.

    Args:
        column: of any type.

    Returns:
        The column under its name. Numbers of more than 64 bits become text.
    """
    kind = column.dtype
    if kind == pl.Object:
        return plain_series(objects_series(column.to_list(), "Python objects").alias(column.name))
    if is_unreadable(kind):
        return column
    if kind in _WIDE:
        column = column.shrink_dtype()
    elif isinstance(kind, pl.Decimal):
        column = _shorter_decimal(column, kind)
    cell = plain_expression(pl.col("cell"), column.dtype)
    return column.to_frame("cell").with_columns(cell.alias("cell")).to_series().alias(column.name)


def plain_frame(frame: pl.LazyFrame) -> pl.LazyFrame:
    """A lazy frame, such as the scan of a file, with its columns converted to these types."""
    return frame.with_columns(
        plain_expression(pl.col(name), kind).alias(name)
        for name, kind in frame.collect_schema().items()
        if not _is_plain(kind)
    )


def _is_plain(kind: pl.DataType) -> bool:
    return kind in _KEPT or (kind.is_integer() and kind not in _WIDE)


def plain_expression(cell: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Like `plain_series`, for a column of a lazy frame of any type except Object.

    Args:
        cell: the column.
        kind: its type.
    """
    if kind in _WIDE:
        return cell.cast(pl.String)
    if kind == pl.Float16:
        return cell.cast(pl.Float32)
    if _is_plain(kind):
        return cell
    if isinstance(kind, pl.Decimal):
        if kind.scale == 0 and kind.precision <= _INT64_DIGITS:
            return cell.cast(pl.Int64)
        exact = kind.scale > 0 and kind.precision <= _EXACT_DIGITS
        return cell.cast(pl.Float64 if exact else pl.String)
    if isinstance(kind, pl.Datetime):
        return microseconds(cell.to_physical(), kind.time_unit)
    if kind == pl.Date:
        return cell.to_physical().clip(-_LATEST_DAY, _LATEST_DAY).cast(pl.Date)
    if isinstance(kind, pl.List | pl.Array) and (kind.inner in _LABELS or kind.inner.is_numeric()):
        listed = cell.arr.to_list() if isinstance(kind, pl.Array) else cell
        return listed.cast(pl.List(pl.String))
    return pl.lit(None, unreadable_type(str(kind)))


def microseconds(ticks: pl.Expr, unit: str) -> pl.Expr:
    """Ticks since 1970 as Datetime in microseconds, clipped instead of overflowing.

    Args:
        ticks: int64.
        unit: `s`, `ms`, `us` or `ns`.
    """
    if unit in _PER_MICROSECOND:
        return (ticks // _PER_MICROSECOND[unit]).cast(pl.Datetime("us"))
    scale = _MICROSECONDS[unit]
    return (ticks.clip(-(LATEST // scale), LATEST // scale) * scale).cast(pl.Datetime("us"))


def _shorter_decimal(column: pl.Series, kind: pl.Decimal) -> pl.Series:
    """Decimals reduced to the digits that their values need."""
    if kind.scale and (column == column.round(0)).all():
        column = column.cast(pl.Decimal(kind.precision, 0), strict=False)
    scale = column.dtype.scale if isinstance(column.dtype, pl.Decimal) else 0
    digits = column.cast(pl.String).str.count_matches(r"\d").max()
    needed = min(38, max(scale + 1, digits if isinstance(digits, int) else 1))
    return column.cast(pl.Decimal(needed, scale), strict=False)
