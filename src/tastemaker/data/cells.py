"""Parsing of cells as ids and numbers; the format is detected per cell.

Unreadable cells become null; callers compare with `missing` and report them.
"""

from dataclasses import dataclass
from functools import partial

import polars as pl

from tastemaker.data.column_types import type_name
from tastemaker.data.id_forms import CONTROL, EXACT, FLOAT, MISSING, WHOLE_FLOAT
from tastemaker.data.schema import Decimal
from tastemaker.data.table import Table
from tastemaker.errors import DataError

_TRUTHS = {1.0: ["true", "t", "yes", "y"], 0.0: ["false", "f", "no", "n"]}
# a comma that can only be a decimal mark or only a thousands separator; "1,234" may be either
_DECIMAL_COMMA = r"^[+-]?(?:\d*,(?:\d{1,2}|\d{4,})|0,\d{3}|\d{4,},\d{3})$"
_COMMA_THOUSANDS = r"^[+-]?\d{1,3}(?:(?:,\d{3}){2,}|(?:,\d{3})+\.\d+)$"
_MANY = 10
_EITHER_COMMA = r"^[+-]?[1-9]\d{0,2},\d{3}$"
_POINT_THOUSANDS = r"^[+-]?\d{1,3}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})$"
_EITHER_POINT = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"


@dataclass(frozen=True, slots=True)
class Ids:
    """A column of ids as Polars expressions.

    Attributes:
        id: integers or text; a float that is a whole number is written as the integer.
        problem: why an id is invalid, or null.
        whole_float: whether it was written as a float, such as `17850.0`.
    """

    id: pl.Expr
    problem: pl.Expr
    whole_float: pl.Expr


def missing(column: str, types: pl.Schema) -> pl.Expr:
    """Whether each cell is missing: null, NaN, blank, or a common word for null."""
    cell, kind = pl.col(column), types[column]
    if kind in (pl.String, pl.Categorical, pl.Enum):
        return cell.is_null() | cell.cast(pl.String).str.contains(MISSING)
    if kind.is_float():
        return cell.is_null() | cell.is_nan()
    return cell.is_null()


def ids(table: Table, ours: str, column: str, types: pl.Schema) -> Ids:
    """A column of ids.

    Args:
        table: the source.
        ours: `user_id` or `item_id`, for messages.
        column: the column's name in the source.
        types: the table's types.

    Raises:
        DataError: the column's type cannot hold ids.
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
    whole_float = text.map_batches(_are_whole_floats, return_dtype=pl.Boolean)
    id_ = text.map_batches(_without_zeros, return_dtype=pl.String)
    problem = (
        absent.when(id_.str.contains(FLOAT))
        .then(pl.lit(f"float {ours}"))
        .when(text.str.contains(CONTROL))
        .then(pl.lit(f"line break or control character in {ours}"))
        .otherwise(None)
    )
    return Ids(id_, problem, whole_float)


def _are_whole_floats(texts: pl.Series, **_: object) -> pl.Series:
    """Whether each text is a whole number written with zero decimals."""
    if not texts.str.contains(".", literal=True).any():  # the usual case, three times as fast
        return pl.Series(texts.name, [False], pl.Boolean).new_from_index(0, len(texts))
    return texts.str.contains(WHOLE_FLOAT).fill_null(False)


def _without_zeros(texts: pl.Series, **_: object) -> pl.Series:
    """Text ids with `17850.0` written as `17850`."""
    if not texts.str.contains(".", literal=True).any():
        return texts
    return texts.str.replace(WHOLE_FLOAT, "${1}")


def _largest_exact(kind: pl.DataType) -> int:
    """The bound below which the float type represents every whole number exactly."""
    return EXACT if kind == pl.Float64 else 1 << 24 if kind == pl.Float32 else 1 << 11


def numbers(table: Table, column: str, types: pl.Schema, decimal: Decimal) -> pl.Expr:
    """A column as finite numbers, float64; null if unreadable.

    Text may contain a decimal comma or thousands separators. A cell such as `1,234` is read like
    the other cells of the column, and is unreadable if they do not decide. True is 1.

    Args:
        table: the source.
        column: the column's name in the source.
        types: the table's types.
        decimal: the decimal mark of text.

    Raises:
        DataError: the column's type cannot hold numbers.
    """
    cell, kind = pl.col(column), types[column]
    if kind.is_numeric() or kind in (pl.Boolean, pl.Null):
        number = cell.cast(pl.Float64, strict=False)
    elif kind in (pl.String, pl.Categorical, pl.Enum):
        read = partial(numbers_of_texts, decimal=decimal)  # of the whole column at once
        number = cell.cast(pl.String).map_batches(
            lambda cells, **_: read(cells), return_dtype=pl.Float64
        )
    else:
        raise DataError(
            f"{table.source}: the column '{column}' holds {type_name(kind)}, but numbers are "
            "expected; map another column, or none"
        )
    return pl.when(number.is_finite()).then(number)


def numbers_of_texts(cells: pl.Series, decimal: Decimal = "auto") -> pl.Series:
    """Texts as numbers, float64, parsed as in `numbers`; null if unreadable."""
    texts = cells.str.strip_chars()
    number = texts.cast(pl.Float64, strict=False)
    points = _has(texts, _POINT_THOUSANDS) if decimal == "auto" else decimal == ","
    if number.null_count() == texts.null_count() and not points:
        return number
    commas = decimal == "," or _has(texts, _DECIMAL_COMMA)
    parts = decimal == "." or _has(texts, _COMMA_THOUSANDS)
    without_commas = texts.str.replace_all(",", "", literal=True)
    with_point = texts.str.replace(",", ".", literal=True)
    without_points = texts.str.replace_all(".", "", literal=True).str.replace(
        ",", ".", literal=True
    )
    forms = []
    if decimal != ".":
        forms += [(_POINT_THOUSANDS, without_points), (_DECIMAL_COMMA, with_point)]
        forms += [(_EITHER_POINT, without_points)] if points else []
    if decimal != ",":
        forms.append((_COMMA_THOUSANDS, without_commas))
    if not commas and not parts:  # many groups of three digits are not a coincidence
        parts = int(texts.str.contains(_EITHER_COMMA).sum()) >= _MANY
    if commas != parts:
        forms.append((_EITHER_COMMA, with_point if commas else without_commas))
    for pattern, written in forms:
        fits = texts.str.contains(pattern).fill_null(False)
        if fits.any():
            number = number.set(fits, None).fill_null(_where(written, fits).cast(pl.Float64))
    lowered = texts.str.to_lowercase()
    for truth, words in _TRUTHS.items():
        number = number.set(lowered.is_in(words).fill_null(False), truth)
    return number


def _has(texts: pl.Series, pattern: str) -> bool:
    return bool(texts.str.contains(pattern).any())


def _where(texts: pl.Series, fits: pl.Series) -> pl.Series:
    """The texts for which `fits` is true; null for the others."""
    return texts.set(~fits, None)
