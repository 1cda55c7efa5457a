"""Columns of times, each cell read by its own form, as microseconds UTC."""

import polars as pl

from tastemaker.data.column_types import type_name
from tastemaker.data.schema import TimeUnit
from tastemaker.data.table import Table
from tastemaker.errors import DataError

_NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
_LIMIT = 1 << 62
# seconds stay below 10^11 until the year 5138, milliseconds below 10^14, microseconds below 10^17
_SIZES = (1e11, 1e14, 1e17)
_PER_MICROSECOND = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_FIRST_LIKELY = 6e14
"""1989: from here on a number is taken for a moment of its own unit, not for a count from zero."""
_STRAY = 1e8
"""Numbers below, a few among times written as text, are codes such as 0 and no moments."""


def moments(
    table: Table, column: str, types: pl.Schema, unit: TimeUnit, form: str | None = None
) -> pl.Expr:
    """A column as microseconds UTC, int64; null where unreadable, ±2^62 where absurdly large.

    Args:
        table: the source.
        column: times as text, numbers, dates or datetimes.
        types: the table's types.
        unit: how to read numbers and text; `auto` reads each cell by its own form: ISO 8601, or a
            number of seconds, milliseconds, microseconds or nanoseconds by its size. A column
            whose numbers all read as YYYYMMDD, or all as years, holds dates.
        form: a `strptime` pattern for text, such as `%d/%m/%Y %H:%M`; it outweighs the unit.

    Raises:
        DataError: the column cannot hold times.
    """
    cell, kind = pl.col(column), types[column]
    if isinstance(kind, pl.Datetime):
        moment = cell if kind.time_zone is None else cell.dt.convert_time_zone("UTC")
        return moment.dt.timestamp("us")
    if kind == pl.Date:
        return cell.cast(pl.Datetime("us")).dt.timestamp("us")
    if kind.is_numeric():
        return _of_numbers(cell, unit, is_float=not kind.is_integer())
    if kind not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise DataError(
            f"{table.source}: the column '{column}' holds {type_name(kind)}; write times as "
            "ISO 8601 text or as epoch numbers"
        )
    text = cell.cast(pl.String).str.strip_chars()
    if form is not None:
        return text.str.to_datetime(form, strict=False, time_unit="us").dt.timestamp("us")
    if unit == "iso":
        return _iso(text)
    number = pl.when(text.str.contains(_NUMBER)).then(text)
    if unit != "auto":
        return _of_numbers(number, unit, is_float=True)
    few = number.count() * 2 < text.count()
    size = number.cast(pl.Float64, strict=False).abs()
    of_number = pl.when(~(few & (size < _STRAY))).then(_of_numbers(number, unit, is_float=True))
    year = pl.when(few & text.str.contains(r"^(?:1[5-9]|20)\d\d$")).then(text + "-01-01")
    return pl.coalesce(_iso(pl.coalesce(year, text)), of_number)


def _of_numbers(cell: pl.Expr, unit: TimeUnit, *, is_float: bool) -> pl.Expr:
    """Numbers, or text that holds numbers, as microseconds."""
    number = cell.cast(pl.Float64, strict=False).fill_nan(None)
    whole = cell.cast(pl.Int64, strict=False)
    if unit != "auto":
        return _scaled(number, whole, pl.lit(unit), is_float)
    size = number.abs()
    own, usual = _unit_of(size), _unit_of(size.median())
    is_absolute = size.median() * _factor(usual) >= _FIRST_LIKELY
    chosen = pl.when(is_absolute & (size * _factor(own) >= _FIRST_LIKELY)).then(own)
    moment = _scaled(number, whole, chosen.otherwise(usual), is_float)
    year, month, day = whole // 10_000, whole // 100 % 100, whole % 100
    fits = year.is_between(1970, 2100) & month.is_between(1, 12) & day.is_between(1, 31)
    dates = (fits & (number == whole)).fill_null(number.is_null()).all() & (number.count() > 0)
    years = whole.is_between(1500, 2100).fill_null(number.is_null()).all() & (number.count() > 0)
    return (
        pl.when(dates)
        .then(_iso(_joined(year, month, day)))
        .when(years)
        .then(_iso(_joined(whole, pl.lit(1), pl.lit(1))))
        .otherwise(moment)
    )


def _joined(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    parts = [part.cast(pl.String).str.zfill(2) for part in (month, day)]
    return pl.concat_str(year.cast(pl.String), *parts, separator="-")


def _unit_of(size: pl.Expr) -> pl.Expr:
    """The epoch unit that a number's size tells."""
    seconds, milliseconds, microseconds, nanoseconds = map(pl.lit, _PER_MICROSECOND)
    return (
        pl.when(size < _SIZES[0])
        .then(seconds)
        .when(size < _SIZES[1])
        .then(milliseconds)
        .when(size < _SIZES[2])
        .then(microseconds)
        .otherwise(nanoseconds)
    )


def _factor(unit: pl.Expr) -> pl.Expr:
    return unit.replace_strict(_PER_MICROSECOND, return_dtype=pl.Float64)


def _scaled(number: pl.Expr, whole: pl.Expr, unit: pl.Expr, is_float: bool) -> pl.Expr:
    """Numbers of a unit as int64 microseconds, exactly where they are whole and not too large."""
    rounded = (number * _factor(unit)).round().clip(-float(_LIMIT), float(_LIMIT))
    rough = rounded.cast(pl.Int64, strict=False)
    if is_float:
        whole = pl.when(number == whole).then(whole)
    exact = (
        pl.when((unit == "s") & whole.is_between(-_LIMIT // 10**6, _LIMIT // 10**6))
        .then(whole * 10**6)
        .when((unit == "ms") & whole.is_between(-_LIMIT // 10**3, _LIMIT // 10**3))
        .then(whole * 10**3)
        .when((unit == "us") & whole.is_between(-_LIMIT, _LIMIT))
        .then(whole)
        .when(unit == "ns")
        .then(whole // 10**3)
    )
    return pl.coalesce(exact, rough)


def _iso(text: pl.Expr) -> pl.Expr:
    """ISO 8601 text as microseconds UTC; a moment without a zone is UTC, a date its midnight."""
    text = text.str.replace(r"^(\d{4}-\d\d)$", "${1}-01")
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d)[ t]", "${1}T")
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00:00")
    text = text.str.replace(r"T(\d\d:\d\d)($|[ zZU+-])", "T${1}:00${2}")
    text = text.str.replace(r" ?(?:[zZ]|UTC)$", "+00:00")
    text = text.str.replace(r"(:\d\d(?:\.\d+)?) ?([+-]\d\d):?(\d\d)?$", "${1}${2}:${3}")
    text = text.str.replace(r"([+-]\d\d):$", "${1}:00")
    text = pl.when(text.str.contains(r"[+-]\d\d:\d\d$")).then(text).otherwise(text + "+00:00")
    moment = text.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%:z", strict=False, time_zone="UTC", time_unit="us"
    )
    return moment.dt.timestamp("us")
