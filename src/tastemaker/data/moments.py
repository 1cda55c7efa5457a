"""Columns of times, however they are written, as microseconds UTC."""

from dataclasses import replace

import polars as pl

from tastemaker.data.column_types import type_name
from tastemaker.data.read import Table
from tastemaker.data.schema import TimeUnit
from tastemaker.errors import DataError

_TO_MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1}
_SAMPLE = 10_000


def moments(table: Table, column: str, types: pl.Schema, unit: TimeUnit) -> pl.Expr:
    """A column as microseconds UTC, int64; null where unreadable, ±2^62 where absurdly large.

    Args:
        table: the source; its beginning is looked at where `unit` is `auto`.
        column: times as text, numbers, dates or datetimes.
        types: the table's types.
        unit: how to read numbers and text.

    Raises:
        DataError: the column cannot hold times, or holds dates written as numbers.
    """
    cell, kind = pl.col(column), types[column]
    if isinstance(kind, pl.Datetime):
        moment = cell if kind.time_zone is None else cell.dt.convert_time_zone("UTC")
        return moment.dt.timestamp("us")
    if kind == pl.Date:
        return cell.cast(pl.Datetime("us")).dt.timestamp("us")
    if not (kind.is_numeric() or kind in (pl.String, pl.Null)):
        raise DataError(
            f"{table.source}: the column '{column}' holds {type_name(kind)}; write times as "
            "ISO 8601 text or as epoch numbers"
        )
    if unit == "auto":
        unit = _guess_unit(table, column)
    if unit == "iso":
        return _iso(cell.cast(pl.String))
    scale, limit = _TO_MICROSECONDS[unit], 1 << 62
    number = cell.cast(pl.Float64, strict=False) * scale
    rounded = number.round().clip(-float(limit), float(limit)).cast(pl.Int64, strict=False)
    if kind.is_float():
        return rounded
    whole = cell.cast(pl.Int64, strict=False)
    fits = whole.is_between(-limit // scale, limit // scale)
    return pl.coalesce(pl.when(fits).then(whole * scale), rounded)


def _guess_unit(table: Table, column: str) -> TimeUnit:
    """Epoch unit by the size of the first numbers, or ISO 8601 if they are none.

    Seconds stay below 10^11 until the year 5138, milliseconds below 10^14 likewise.
    """
    cells = replace(table, frame=table.frame.head(_SAMPLE)).collect(pl.col(column))[column]
    sample = cells.cast(pl.Float64, strict=False).drop_nulls().drop_nans()
    middle = sample.median()
    if not isinstance(middle, float):
        return "iso"
    if _looks_like_dates(sample):
        raise DataError(
            f"{table.source}: the column '{column}' holds dates such as {sample[0]:.0f}; write "
            "them as 2024-12-31, or set the time unit if they are epoch seconds"
        )
    return "s" if abs(middle) < 1e11 else "ms" if abs(middle) < 1e14 else "us"


def _looks_like_dates(numbers: pl.Series) -> bool:
    """Whether all numbers read as YYYYMMDD, which as epoch seconds would all lie in 1970."""
    year, month, day = numbers // 10_000, numbers // 100 % 100, numbers % 100
    in_range = year.is_between(1970, 2100) & month.is_between(1, 12) & day.is_between(1, 31)
    return bool(in_range.all())


def _iso(text: pl.Expr) -> pl.Expr:
    """ISO 8601 text as microseconds UTC; a moment without a zone is UTC, a date its midnight."""
    text = text.str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d)[ t]", "${1}T")
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
