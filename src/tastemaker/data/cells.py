"""Cells of a column → ids and numbers; each cell is read by its own form.

What cannot be read becomes null; whoever calls compares with `missing` and reports it.
"""

from dataclasses import dataclass

import polars as pl

from tastemaker.data.column_types import type_name
from tastemaker.data.schema import Decimal
from tastemaker.data.table import Table
from tastemaker.errors import DataError

_MISSING = r"^\s*(?:[nN][aA][nN]|[nN][uU][lL][lL]|[nN]one|<NA>|\\N)?\s*$"
_CONTROL = r"[\x00-\x1f\x7f]"
_FLOAT = r"^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$"
_WHOLE_FLOAT = r"^(-?\d+)\.0+$"
_TRUE, _FALSE = ["true", "t", "yes", "y"], ["false", "f", "no", "n"]
# a comma that can only be a decimal mark, or only part thousands; "1,234" may be either
_DECIMAL_COMMA = r"^[+-]?(?:\d*,(?:\d{1,2}|\d{4,})|0,\d{3}|\d{4,},\d{3})$"
_COMMA_THOUSANDS = r"^[+-]?\d{1,3}(?:(?:,\d{3}){2,}|(?:,\d{3})+\.\d+)$"
_EITHER_COMMA = r"^[+-]?[1-9]\d{0,2},\d{3}$"
_POINT_THOUSANDS = r"^[+-]?\d{1,3}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})$"
_EITHER_POINT = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"


@dataclass(frozen=True, slots=True)
class Ids:
    """A column of ids as expressions over its table.

    Attributes:
        id: integers or text; an id that a float holds exactly is written as the integer.
        problem: why an id cannot be used, or null.
        whole_float: whether it was written as a float, such as `17850.0`.
    """

    id: pl.Expr
    problem: pl.Expr
    whole_float: pl.Expr


def missing(column: str, types: pl.Schema) -> pl.Expr:
    """Whether each cell says nothing: null, NaN, blank, or a usual word for null."""
    cell, kind = pl.col(column), types[column]
    if kind == pl.String:
        return cell.is_null() | cell.str.contains(_MISSING)
    if kind.is_float():
        return cell.is_null() | cell.is_nan()
    return cell.is_null()


def ids(table: Table, ours: str, column: str, types: pl.Schema) -> Ids:
    """A column of ids.

    Args:
        table: the source.
        ours: `user_id` or `item_id`, for messages.
        column: what the source calls it.
        types: the table's types.

    Raises:
        DataError: the column cannot hold ids.
    """
    cell, kind = pl.col(column), types[column]
    absent = pl.when(missing(column, types)).then(pl.lit(f"missing {ours}"))
    if kind.is_integer():
        return Ids(cell, absent.otherwise(None), pl.lit(False))
    if kind.is_float():
        exact = cell.is_finite() & (cell == cell.round()) & (cell.abs() < _largest_exact(kind))
        whole = cell.cast(pl.Int64, strict=False)
        problem = absent.when(~exact).then(pl.lit(f"float {ours}")).otherwise(None)
        id_ = pl.when(exact).then(whole.cast(pl.String)).otherwise(cell.cast(pl.String))
        return Ids(id_, problem, exact.fill_null(False))
    if kind not in (pl.String, pl.Categorical, pl.Enum):
        raise DataError(
            f"{table.source}: the column '{column}' ({ours}) holds {type_name(kind)}; write ids as "
            "integers or text"
        )
    text = cell.cast(pl.String)
    whole_float = text.str.contains(_WHOLE_FLOAT).fill_null(False)
    id_ = text.str.replace(_WHOLE_FLOAT, "${1}")
    problem = (
        absent.when(id_.str.contains(_FLOAT))
        .then(pl.lit(f"float {ours}"))
        .when(text.str.contains(_CONTROL))
        .then(pl.lit(f"line break or control character in {ours}"))
        .otherwise(None)
    )
    return Ids(id_, problem, whole_float)


def _largest_exact(kind: pl.DataType) -> int:
    """Below it every whole number has a float of its own."""
    return 1 << 53 if kind == pl.Float64 else 1 << 24 if kind == pl.Float32 else 1 << 11


def numbers(table: Table, column: str, types: pl.Schema, decimal: Decimal) -> pl.Expr:
    """A column as finite numbers, float64; null where unreadable.

    Text may hold a decimal comma or separated thousands; a cell such as `1,234` is read as the
    other cells of the column show, and is unreadable where they show nothing. True is 1.

    Args:
        table: the source.
        column: what the source calls it.
        types: the table's types.
        decimal: the decimal mark of text.

    Raises:
        DataError: the column cannot hold numbers.
    """
    cell, kind = pl.col(column), types[column]
    if kind.is_numeric() or kind in (pl.Boolean, pl.Null):
        number = cell.cast(pl.Float64, strict=False)
    elif kind in (pl.String, pl.Categorical, pl.Enum):
        number = _number_of_text(cell.cast(pl.String).str.strip_chars(), decimal)
    else:
        raise DataError(
            f"{table.source}: the column '{column}' holds {type_name(kind)}, where numbers are "
            "expected; map another column, or none"
        )
    return pl.when(number.is_finite()).then(number)


def _number_of_text(text: pl.Expr, decimal: Decimal) -> pl.Expr:
    lowered = text.str.to_lowercase()
    without_commas = text.str.replace_all(",", "", literal=True)
    without_points = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    comma_marks = text.str.contains(_DECIMAL_COMMA).any() | pl.lit(decimal == ",")
    comma_parts = text.str.contains(_COMMA_THOUSANDS).any() | pl.lit(decimal == ".")
    point_parts = text.str.contains(_POINT_THOUSANDS).any() | pl.lit(decimal == ",")
    written = (
        pl.when(lowered.is_in(_TRUE))
        .then(pl.lit("1"))
        .when(lowered.is_in(_FALSE))
        .then(pl.lit("0"))
        .when(text.str.contains(_POINT_THOUSANDS) & pl.lit(decimal != "."))
        .then(without_points)
        .when(text.str.contains(_EITHER_POINT) & point_parts & pl.lit(decimal != "."))
        .then(without_points)
        .when(text.str.contains(_COMMA_THOUSANDS) & pl.lit(decimal != ","))
        .then(without_commas)
        .when(text.str.contains(_DECIMAL_COMMA) & pl.lit(decimal != "."))
        .then(text.str.replace(",", ".", literal=True))
        .when(text.str.contains(_EITHER_COMMA) & comma_marks & ~comma_parts)
        .then(text.str.replace(",", ".", literal=True))
        .when(text.str.contains(_EITHER_COMMA) & comma_parts & ~comma_marks)
        .then(without_commas)
        .otherwise(text)
    )
    return written.cast(pl.Float64, strict=False)
