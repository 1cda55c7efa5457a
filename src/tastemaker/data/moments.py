"""Parsing of time columns as microseconds UTC; the format is detected per cell."""

from functools import partial

import polars as pl

from tastemaker.data.column_types import type_name
from tastemaker.data.schema import TimeUnit
from tastemaker.data.table import Table
from tastemaker.data.times import CALENDAR, ISO_VARIANTS
from tastemaker.errors import DataError

_NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
_YEAR = r"^(?:1[5-9]|20)\d\d$"
_LIMIT = 1 << 62
# seconds stay below 10^11 until the year 5138, milliseconds below 10^14, microseconds below 10^17
_SIZES = {"s": 1e11, "ms": 1e14, "us": 1e17, "ns": float("inf")}
_PER_MICROSECOND = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_FIRST_LIKELY = 6e14
"""1989: later numbers are treated as moments in their own unit, earlier ones as relative times."""
_NEARLY_ALL = 0.9
_STRAY = 1e8
"""If most times are written as text, smaller numbers are codes such as 0, not moments."""


def moments(
    table: Table, column: str, types: pl.Schema, unit: TimeUnit, form: str | None = None
) -> pl.Expr:
    """A column as microseconds UTC, int64; null if unreadable, ±2^62 if out of range.

    Args:
        table: the source.
        column: times as text, numbers, dates or datetimes.
        types: the table's types.
        unit: the unit of numbers and text. `auto` detects the format per cell: ISO 8601, or a
            number of seconds, milliseconds, microseconds or nanoseconds by its size. If nearly all
            numbers of a column match YYYYMMDD, YYYYMMDDhhmmss or a year, they are dates.
        form: a `strptime` pattern for text, such as `%d/%m/%Y %H:%M`; for cells that do not match
            it, the format is detected.

    Raises:
        DataError: the column's type cannot hold times.
    """
    cell, kind = pl.col(column), types[column]
    if isinstance(kind, pl.Datetime):
        moment = cell if kind.time_zone is None else cell.dt.convert_time_zone("UTC")
        return moment.dt.timestamp("us")
    if kind == pl.Date:
        return cell.cast(pl.Datetime("us")).dt.timestamp("us")
    if kind.is_numeric():
        read = partial(times_of_numbers, unit=unit)
    elif kind in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        cell, read = cell.cast(pl.String), partial(_of_texts, unit=unit, form=form)
    else:
        raise DataError(
            f"{table.source}: the column '{column}' holds {type_name(kind)}; write times as "
            "ISO 8601 text or as epoch numbers"
        )
    # on the whole column at once; Polars may pass additional arguments
    return cell.map_batches(lambda cells, **_: read(cells), return_dtype=pl.Int64)


def _of_texts(cells: pl.Series, unit: TimeUnit, form: str | None) -> pl.Series:
    """Text as microseconds."""
    if form is None and unit != "iso":
        whole = cells.cast(pl.Int64, strict=False)
        if whole.null_count() == cells.null_count():
            return times_of_numbers(whole, unit)
    texts = cells.str.strip_chars()
    if form is not None:
        found = texts.str.to_datetime(form, strict=False, time_unit="us").dt.timestamp("us")
        if found.null_count() == texts.null_count():
            return found
        return found.fill_null(_of_texts(texts.set(found.is_not_null(), None), unit, None))
    if unit == "iso":
        return _iso(texts)
    numeric = texts.str.contains(_NUMBER).fill_null(False)
    present = int((texts != "").sum())
    if numeric.sum() == present:
        return times_of_numbers(texts, unit)
    if unit != "auto":
        return times_of_numbers(texts.set(~numeric, None), unit)
    written = texts
    if 2 * numeric.sum() < present:  # a few numbers among dates: a year, a code, or a moment
        years = texts.str.contains(_YEAR).fill_null(False)
        written = texts.set(years, None).fill_null(texts + "-01-01") if years.any() else texts
        size = texts.cast(pl.Float64, strict=False).abs()
        numeric = numeric & (size >= _STRAY)
    found = _iso(written)
    if not numeric.any():
        return found
    return found.fill_null(times_of_numbers(texts.set(~numeric, None), unit))


def times_of_numbers(cells: pl.Series, unit: TimeUnit) -> pl.Series:
    """Numbers, or text with numbers, as int64 microseconds; null if unreadable."""
    if unit == "iso":  # a number is not ISO 8601 text
        return pl.Series(cells.name, [None] * len(cells), pl.Int64)
    if unit == "auto" and (plain := _usual(cells)) is not None:
        return plain
    number = cells.cast(pl.Float64, strict=False).fill_nan(None)
    whole = cells.cast(pl.Int64, strict=False)
    if not cells.dtype.is_integer():
        whole = whole.set((whole.cast(pl.Float64) != number).fill_null(False), None)
    if unit != "auto":
        return _scaled(number, whole, unit)
    size = number.abs()
    middle = size.median()
    if not isinstance(middle, float):
        return pl.Series(cells.name, [None] * len(cells), pl.Int64)
    found = _of_calendar(whole, number)
    if found is not None:  # other numbers may still be moments in their own unit
        others = number.set(found.is_not_null(), None)
        return _with_own_units(found, others, whole, "")
    usual = _unit_of(middle)
    found = _scaled(number, whole, usual)
    if middle * _PER_MICROSECOND[usual] < _FIRST_LIKELY:  # relative times: one unit for all
        return found
    return _with_own_units(found, number, whole, usual)


def _with_own_units(found: pl.Series, number: pl.Series, whole: pl.Series, usual: str) -> pl.Series:
    """Moments, with the numbers that are probably moments in another unit converted again."""
    size, below = number.abs(), 0.0
    for unit, above in _SIZES.items():
        least = max(below, _FIRST_LIKELY / _PER_MICROSECOND[unit])
        own = ((size >= least) & (size < above)).fill_null(False)
        if unit != usual and own.any():
            found = found.set(own, None).fill_null(_scaled(number, whole, unit).set(~own, None))
        below = above
    return found


def _of_calendar(whole: pl.Series, number: pl.Series) -> pl.Series | None:
    """Numbers such as 20241231 as dates; None unless nearly all numbers match."""
    present = number.len() - number.null_count()
    for low, high, pattern, iso in CALENDAR:
        if whole.is_between(low, high).sum() < _NEARLY_ALL * present:
            continue
        text = whole.cast(pl.String)
        fits = text.str.contains(pattern).fill_null(False)
        if fits.sum() >= _NEARLY_ALL * present:
            return _iso(text.set(~fits, None).str.replace(pattern, iso))
    return None


def _usual(cells: pl.Series) -> pl.Series | None:
    """The common case, whole numbers in one unit, detected by their extremes; None otherwise."""
    if not cells.dtype.is_integer() or cells.null_count() == len(cells):
        return None
    low, high = float(cells.min()), float(cells.max())  # type: ignore[arg-type]
    unit = _unit_of(high)
    if _unit_of(low) != unit or low * _PER_MICROSECOND[unit] < _FIRST_LIKELY or high > _LIMIT:
        return None
    whole = cells.cast(pl.Int64)
    return whole // 1000 if unit == "ns" else whole * int(_PER_MICROSECOND[unit])


def _unit_of(size: float) -> str:
    """The epoch unit of a number, by its size."""
    return next((unit for unit, limit in _SIZES.items() if size < limit), "ns")


def _scaled(number: pl.Series, whole: pl.Series, unit: str) -> pl.Series:
    """Numbers of a unit as int64 microseconds; exact for whole numbers that are not too large."""
    factor = _PER_MICROSECOND[unit]
    exact = whole // 1000 if unit == "ns" else whole
    if factor > 1:
        limit = _LIMIT // int(factor)
        exact = whole.set(~whole.is_between(-limit, limit).fill_null(False), None) * int(factor)
    if exact.null_count() == number.null_count():
        return exact
    rounded = (number * factor).round().clip(-float(_LIMIT), float(_LIMIT))
    return exact.fill_null(rounded.cast(pl.Int64, strict=False))


def _iso(text: pl.Series) -> pl.Series:
    """ISO 8601 text as microseconds UTC; UTC if it has no time zone; a date means midnight."""
    found = _extended_iso(text)
    for pattern, written in ISO_VARIANTS:
        varied = text.set(found.is_not_null(), None)
        if varied.str.contains(pattern).any():
            found = found.fill_null(_extended_iso(varied.str.replace(pattern, written)))
    return found


def _extended_iso(text: pl.Series) -> pl.Series:
    text = text.str.replace(r"^(\d{4}-\d\d)$", "${1}-01")
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d)[ t]", "${1}T")
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00:00")
    text = text.str.replace(r"T(\d\d:\d\d)($|[ zZU+-])", "T${1}:00${2}")
    text = text.str.replace(r" ?(?:[zZ]|UTC)$", "+00:00")
    text = text.str.replace(r"(:\d\d(?:\.\d+)?) ?([+-]\d\d):?(\d\d)?$", "${1}${2}:${3}")
    text = text.str.replace(r"([+-]\d\d):$", "${1}:00")
    zoned = text.str.contains(r"[+-]\d\d:\d\d$").fill_null(True)
    text = text if zoned.all() else text.set(~zoned, None).fill_null(text + "+00:00")
    moment = text.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%:z", strict=False, time_zone="UTC", time_unit="us"
    )
    return moment.dt.timestamp("us")
