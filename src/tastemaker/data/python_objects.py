"""Conversion of lists of Python objects, such as a column of dtype object, to Polars columns.

Cells that do not fit the rest of their column start with `SUBSTITUTE`, so that the cleaner finds an
invalid row rather than a missing value.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl

from tastemaker.data.arguments import is_missing, moment
from tastemaker.data.column_types import LATEST, SUBSTITUTE, unreadable_type
from tastemaker.data.times import format_moment
from tastemaker.errors import SettingError

_EXACT = 1 << 53
"""Up to this bound, float64 represents every integer exactly."""
_LONGEST_NUMBER = 1_000
"""Digits; longer numbers are not formatted."""
_FAMILIES: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("bool", (bool, np.bool_)),
    ("int", (int, np.integer)),
    ("float", (float, np.floating, Decimal)),
    ("text", (str, UUID)),
    ("moment", (datetime, np.datetime64)),
    ("date", (date,)),
    ("list", (list, tuple, set, frozenset, np.ndarray)),
)


def objects_series(cells: Sequence[Any], kind: str | None = None) -> pl.Series:
    """Python objects as a column.

    Args:
        cells: text, numbers, moments, lists of labels, or a mix; None, NaN, NaT and NA are missing.
        kind: the name of the type in messages; by default the types of the objects.

    Returns:
        Booleans, integers, floats, dates, moments (microseconds UTC; UTC if they have no time
        zone), lists of text, or text; mixed types become text. The placeholder type if no cell can
        be read.
    """
    if set(map(type, cells)) <= {str, type(None)}:
        return _text_series(cells, readable_text)
    present = [None if is_missing(cell) else cell for cell in cells]
    types = set(map(type, present)) - {type(None)}
    families = {_family(type_) for type_ in types}
    if not families:
        return pl.Series(present, dtype=pl.Null)
    if families == {"other"}:
        names = ", ".join(sorted(type_.__name__ for type_ in types))
        return pl.Series([None] * len(cells), dtype=unreadable_type(kind or names))
    made = None
    if families == {"bool"}:
        made = pl.Series([None if cell is None else bool(cell) for cell in present])
    elif families <= {"int", "float"}:
        made = _numbers(present)
    elif families == {"date"}:
        made = pl.Series(present, dtype=pl.Date)
    elif families <= {"moment", "date"}:
        made = _moments(present)
    elif families == {"list"}:
        made = _lists(present)
        if made is None:
            named = kind or "lists of other things than text"
            return pl.Series([None] * len(cells), dtype=unreadable_type(named))
    return _text_series(present, _cell_text) if made is None else made


def readable_text(text: str) -> str:
    """Text that can be encoded as UTF-8; lone surrogates are replaced by `SUBSTITUTE`."""
    plain = str.__str__(text)
    if plain.isascii():
        return plain
    return "".join(SUBSTITUTE if "\ud800" <= letter <= "\udfff" else letter for letter in plain)


def _family(type_: type) -> str:
    return next((name for name, types in _FAMILIES if issubclass(type_, types)), "other")


def _text_series(cells: Sequence[Any], text: Callable[[Any], str]) -> pl.Series:
    return pl.Series([None if cell is None else text(cell) for cell in cells], dtype=pl.String)


def _numbers(cells: Sequence[Any]) -> pl.Series | None:
    """Integers or floats; None if neither preserves every digit."""
    if all(cell is None or _is_whole(cell) for cell in cells):
        return _integers([None if cell is None else int(cell) for cell in cells])
    exact = (cell for cell in cells if isinstance(cell, int | np.integer | Decimal))
    if any(not -_EXACT <= cell <= _EXACT for cell in exact):
        return None
    with np.errstate(over="ignore"):  # a long double beyond float64 is infinite
        floats = [None if cell is None else float(cell) for cell in cells]
    return pl.Series(floats, dtype=pl.Float64)


def _is_whole(number: Any) -> bool:
    """Whether a number is an integer or a whole decimal; floats are left to the cleaner."""
    if isinstance(number, Decimal):
        short = number.is_finite() and number.adjusted() < _LONGEST_NUMBER
        return short and number == number.to_integral_value()
    return isinstance(number, int | np.integer)


def _integers(numbers: Sequence[int | None]) -> pl.Series | None:
    present = [number for number in numbers if number is not None]
    low, high = min(present), max(present)
    if low >= -(1 << 63) and high < 1 << 63:
        return pl.Series(numbers, dtype=pl.Int64)
    if low >= 0 and high < 1 << 64:
        return pl.Series(numbers, dtype=pl.UInt64)
    return None


def _moments(cells: Sequence[Any]) -> pl.Series | None:
    """Moments in microseconds; None if one is out of range."""
    try:
        times = [None if cell is None else moment(cell, "cell") for cell in cells]
    except SettingError:
        return None
    if any(time is not None and abs(time) > LATEST for time in times):
        return None
    return pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("us"))


def _lists(cells: Sequence[Any]) -> pl.Series | None:
    """Lists of labels; None if a list contains anything but text and numbers."""
    made = [None if cell is None else _labels(cell) for cell in cells]
    if any(cell is not None and labels is None for cell, labels in zip(cells, made)):
        return None
    return pl.Series(made, dtype=pl.List(pl.String))


def _labels(cell: Any) -> list[str] | None:
    elements: Any = cell.tolist() if isinstance(cell, np.ndarray) else cell
    if not isinstance(elements, Iterable):
        return None  # an array without dimensions
    present = [element for element in elements if not is_missing(element)]
    if any(_family(type(element)) not in ("text", "int", "float", "bool") for element in present):
        return None
    labels = [str(e) if isinstance(e, bool | np.bool_) else _cell_text(e) for e in present]
    return sorted(labels) if isinstance(cell, set | frozenset) else labels


def _cell_text(cell: Any) -> str:
    """A cell of a mixed column as text."""
    family = _family(type(cell))
    if isinstance(cell, str):
        return readable_text(cell)
    if isinstance(cell, UUID):
        return str(cell)
    if family == "int" and abs(int(cell)).bit_length() < 3 * _LONGEST_NUMBER:
        return str(int(cell))
    if family == "float":
        return _number_text(cell)
    try:
        if family == "date":
            return str(cell)
        if family == "moment":
            return format_moment(moment(cell, "cell"))
    except (SettingError, OverflowError):
        pass
    return f"{SUBSTITUTE}{type(cell).__name__}"


def _number_text(number: Any) -> str:
    """A float with a decimal point; a whole decimal number without one."""
    if isinstance(number, Decimal):
        if _is_whole(number):
            return str(int(number))
        digits = number.as_tuple()
        if isinstance(digits.exponent, int) and -_LONGEST_NUMBER < digits.exponent < 0:
            return f"{number:f}"
    with np.errstate(over="ignore"):
        number = float(number)
    if not np.isfinite(number):
        return f"{SUBSTITUTE}{number}"
    text = repr(number)
    return text if "." in text else text.replace("e", ".0e")
