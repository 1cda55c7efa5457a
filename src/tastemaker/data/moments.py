"""Columns of times, each cell read by its own form, as microseconds UTC."""

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
"""1989: from here on a number is taken for a moment of its own unit, not for a count from zero."""
_NEARLY_ALL = 0.9
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
            whose numbers nearly all read as YYYYMMDD, YYYYMMDDhhmmss or years holds dates.
        form: a `strptime` pattern for text, such as `%d/%m/%Y %H:%M`; cells that it does not fit
            are read by their own form.

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
        read = partial(times_of_numbers, unit=unit)
    elif kind in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        cell, read = cell.cast(pl.String), partial(_of_texts, unit=unit, form=form)
    else:
        raise DataError(
            f"{table.source}: the column '{column}' holds {type_name(kind)}; write times as "
            "ISO 8601 text or as epoch numbers"
        )
    # of the whole column at once; Polars may pass arguments of its own
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
    """Numbers, or text that holds numbers, as int64 microseconds; null where unreadable."""
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
    if found is not None:  # what is no date may still be a moment of its own unit
        others = number.set(found.is_not_null(), None)
        return _with_own_units(found, others, whole, "")
    usual = _unit_of(middle)
    found = _scaled(number, whole, usual)
    if middle * _PER_MICROSECOND[usual] < _FIRST_LIKELY:  # a count from zero: one unit for all
        return found
    return _with_own_units(found, number, whole, usual)


def _with_own_units(found: pl.Series, number: pl.Series, whole: pl.Series, usual: str) -> pl.Series:
    """Moments, those numbers read again that are likely moments of another than the usual unit."""
    size, below = number.abs(), 0.0
    for unit, above in _SIZES.items():
        least = max(below, _FIRST_LIKELY / _PER_MICROSECOND[unit])
        own = ((size >= least) & (size < above)).fill_null(False)
        if unit != usual and own.any():
            found = found.set(own, None).fill_null(_scaled(number, whole, unit).set(~own, None))
        below = above
    return found


def _of_calendar(whole: pl.Series, number: pl.Series) -> pl.Series | None:
    """Numbers such as 20241231 as their date; None unless nearly all numbers read so."""
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
    """Whole numbers that are moments of one unit, as nearly always: by their extremes alone."""
    if not cells.dtype.is_integer() or cells.null_count() == len(cells):
        return None
    low, high = float(cells.min()), float(cells.max())  # type: ignore[arg-type]
    unit = _unit_of(high)
    if _unit_of(low) != unit or low * _PER_MICROSECOND[unit] < _FIRST_LIKELY or high > _LIMIT:
        return None
    whole = cells.cast(pl.Int64)
    return whole // 1000 if unit == "ns" else whole * int(_PER_MICROSECOND[unit])


def _unit_of(size: float) -> str:
    """The epoch unit that a number's size tells."""
    return next((unit for unit, limit in _SIZES.items() if size < limit), "ns")


def _scaled(number: pl.Series, whole: pl.Series, unit: str) -> pl.Series:
    """Numbers of a unit as int64 microseconds, exactly where they are whole and not too large."""
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
    """ISO 8601 text as microseconds UTC; a moment without a zone is UTC, a date its midnight."""
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
