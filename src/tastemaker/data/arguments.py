"""Arguments of the public API: ids, moments and durations of all types that frames return.

Values from Polars, pandas, Arrow and NumPy are accepted. Of these libraries, only NumPy is
imported.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.id_forms import EXACT, WHOLE_FLOAT
from tastemaker.data.times import parse_duration, parse_iso
from tastemaker.errors import SettingError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (1 << 63) - 1
"""The last moment that int64 microseconds can represent."""
_LONGEST_DURATION = 1 << 62
_LONGEST_BITS = 8_000
"""Longer integers are not valid ids; formatting them is too slow."""
_SHOWN = 80
_MICROSECONDS_OF_UNIT = {
    "us": 1,
    "ms": 10**3,
    "s": 10**6,
    "m": 60 * 10**6,
    "h": 3600 * 10**6,
    "D": 86400 * 10**6,
    "W": 7 * 86400 * 10**6,
}
_TICKS_PER_MICROSECOND = {"ns": 10**3, "ps": 10**6, "fs": 10**9, "as": 10**12}


def id_text(value: Any, name: str = "an id") -> str:
    """An external id as text: the integer 1, the float 1.0 and the text "1.0" are "1".

    Args:
        value: text, an integer, a whole float or decimal number, a UUID; from Python, NumPy or
            Arrow.
        name: the name used in error messages.

    Raises:
        SettingError: the value is missing, a boolean, a float with a fraction, or of another type.

    >>> id_text(7), id_text(np.float64(17850.0)), id_text("007")
    ('7', '17850', '007')
    """
    if type(value) is str:
        whole = re.fullmatch(WHOLE_FLOAT, value) if "." in value else None
        return whole[1] if whole else value
    plain = value.as_py() if hasattr(value, "as_py") else value
    if isinstance(plain, np.ndarray) and plain.ndim == 0:
        plain = plain[()]
    if isinstance(plain, str):
        return id_text(str.__str__(plain), name)
    if isinstance(plain, UUID):
        return str(plain)
    if isinstance(plain, int | np.integer) and not isinstance(plain, bool):
        if abs(int(plain)).bit_length() <= _LONGEST_BITS:
            return str(int(plain))
    elif isinstance(plain, float | np.floating | Decimal):
        if _is_exact(plain):
            return str(int(plain))
        if plain == plain:
            raise SettingError(
                f"{name} must be text or an integer, got the float {plain}; write it as text"
            )
    raise SettingError(f"{name} must be text or an integer, got {_shown(value)}")


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas' NA."""
    if value is None:
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, float | np.floating | np.datetime64 | np.timedelta64):
        return bool(value != value)
    return type(value).__name__ in ("NAType", "NaTType")


def _shown(value: Any) -> str:
    """A value as shown in a message."""
    if isinstance(value, int) and value.bit_length() > _LONGEST_BITS:
        return f"an integer of {value.bit_length():,} bits"
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_exact(number: Any) -> bool:
    """Whether a float or decimal number is whole and exactly represented."""
    if isinstance(number, Decimal):
        short = number.is_finite() and number.adjusted() < _LONGEST_BITS // 4
        return short and number == number.to_integral_value()
    return bool(-EXACT < number < EXACT) and float(number).is_integer()


def ids_text(values: Any, name: str) -> list[str]:
    """Several external ids as text; see `id_text`.

    Args:
        values: a list, tuple, generator, array or series of ids, in their order.
        name: the setting they belong to, for the message.

    Raises:
        SettingError: it is a single text, a mapping, a set or a frame, or one id is invalid.

    >>> ids_text(np.array([3, 1]), "history"), ids_text(["17850.0"], "history")
    (['3', '1'], ['17850'])
    """
    return [
        id_
        if type(id_) is str and "." not in id_
        else id_text(id_, f"'{name}': the id at position {place}")
        for place, id_ in enumerate(listed(values, name))
    ]


def listed(values: Any, name: str) -> list[Any]:
    """The values of a list, array or series, in their order.

    Args:
        values: a list, tuple, generator, NumPy array, pandas Series or Index, Polars Series, Arrow
            Array or ChunkedArray.
        name: the setting they belong to, for the message.

    Raises:
        SettingError: it is of another type.
    """
    if type(values) is list:
        return values
    if isinstance(values, str | bytes):
        kind = "text" if isinstance(values, str) else "bytes"
        raise SettingError(f"'{name}' must be a list, got the {kind} {_shown(values)}")
    if isinstance(values, set | frozenset):
        raise SettingError(f"'{name}' must be a list, got a set, which has no order; sort it")
    is_frame = hasattr(type(values), "columns") or getattr(values, "ndim", 1) != 1
    if not is_frame and not isinstance(values, Mapping):
        for method in ("to_pylist", "to_list", "tolist"):
            if hasattr(values, method):
                return list(getattr(values, method)())
        try:
            return list(values)
        except TypeError:
            pass
    fix = "; pass one of its columns" if is_frame else ""
    raise SettingError(f"'{name}' must be a list, got {type(values).__name__}{fix}")


def whole_number(value: Any, name: str, least: int) -> int:
    """A count or a seed, from Python, NumPy or Arrow.

    Args:
        value: an integer.
        name: the setting it belongs to, for the message.
        least: the smallest valid value.

    Raises:
        SettingError: it is not an integer, or less than `least`.

    >>> whole_number(np.int32(3), "seed", 0)
    3
    """
    number = scalar(value)
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise SettingError(f"'{name}' must be an integer, got {_shown(value)}")
    if number < least:
        raise SettingError(f"'{name}' must be at least {least}, got {_shown(int(number))}")
    return int(number)


def indices_of(values: Any, count: int, name: str) -> NDArray[np.int64]:
    """Indices below `count`, int64[n].

    Args:
        values: a list, array or series of integers.
        count: the number of entries that can be indexed.
        name: the name of the indexed entries.

    Raises:
        SettingError: they are not indices, or one is out of range.
    """
    given = values if isinstance(values, np.ndarray) else np.asarray(listed(values, name))
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise SettingError(f"'{name}' must be a list of indices, such as {name}.indices(ids)")
    if given.size and not 0 <= given.min() <= given.max() < count:
        raise SettingError(
            f"'{name}' must be indices from 0 to {count - 1}, got {given.min()} to {given.max()}; "
            "an unknown id has the index -1"
        )
    return given.astype(np.int64)


def moment(value: Any, name: str) -> int:
    """One moment of any type in microseconds UTC.

    Args:
        value: an integer (microseconds), a datetime or date from Python, pandas, NumPy, Polars or
            Arrow, or ISO 8601 text; UTC if it has no time zone; a date means midnight.
        name: the setting it belongs to, for the message.

    Raises:
        SettingError: it is missing, a float, other text, or more than 292,000 years from 1970.

    >>> moment("1970-01-01T00:00:01Z", "at"), moment(date(1970, 1, 2), "at"), moment(5, "at")
    (1000000, 86400000000, 5)
    """
    time = value if type(value) is int else _microseconds(scalar(value))
    if time is None or not -_LAST <= time <= _LAST:
        hint = ""
        if isinstance(value, float | np.floating) and value == value:
            hint = "; a float may be seconds: multiply it, and write int(...)"
        raise SettingError(
            f"'{name}' must be a moment (microseconds since 1970 as an integer, a datetime, a date "
            f"or ISO 8601 text), got {_shown(value)}{hint}"
        )
    return time


def is_moment(value: Any) -> bool:
    """Whether a value is a date, a datetime or ISO 8601 text, not a duration or a number."""
    value = scalar(value)
    if isinstance(value, str):
        return parse_iso(value.strip()) is not None
    return isinstance(value, date | np.datetime64)


def moments_of(values: Any, name: str) -> NDArray[np.int64]:
    """Several moments of any type in microseconds UTC, int64[n].

    Args:
        values: a list, array or series of moments; see `moment`.
        name: the setting they belong to, for the message.

    Raises:
        SettingError: one of them is not a moment.
    """
    if isinstance(values, np.ndarray) and values.dtype == np.int64:
        return values
    return np.fromiter((moment(value, name) for value in listed(values, name)), np.int64)


def scalar(value: Any) -> Any:
    """The Python or NumPy value of a pandas or Arrow scalar."""
    try:
        if hasattr(value, "as_py"):
            value = value.as_py()
        if hasattr(value, "to_datetime64"):
            return value.to_datetime64()
    except (ValueError, OverflowError, ImportError):
        return None  # nanoseconds without pandas, or out of range
    return value


def _microseconds(value: Any) -> int | None:
    """Microseconds UTC; None if the value is not a moment."""
    if isinstance(value, bool | np.bool_) or value is None:
        return None
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, str):
        return parse_iso(value.strip())
    if isinstance(value, np.datetime64):
        return _whole_microseconds(value, "datetime64")
    if isinstance(value, datetime):
        zoned = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return (zoned - _EPOCH) // timedelta(microseconds=1) if zoned == zoned else None
    if isinstance(value, date):
        return (value - _EPOCH.date()) // timedelta(microseconds=1)
    return None


def _whole_microseconds(value: np.datetime64 | np.timedelta64, family: str) -> int | None:
    """A NumPy moment or duration of any unit in microseconds; None for NaT and on overflow."""
    if np.isnat(value):
        return None
    unit, step = np.datetime_data(value.dtype)
    ticks = int(value.astype(np.int64))
    if unit in _TICKS_PER_MICROSECOND:
        return ticks * step // _TICKS_PER_MICROSECOND[unit]
    if unit in _MICROSECONDS_OF_UNIT:
        return ticks * step * _MICROSECONDS_OF_UNIT[unit]
    if unit in ("Y", "M") and family == "datetime64" and abs(ticks) < 10**6:
        return int(value.astype("datetime64[us]").astype(np.int64))
    return None


def duration(value: Any, name: str) -> int:
    """A duration of any type in microseconds.

    Args:
        value: text such as `30d`, a timedelta from Python, pandas or NumPy, or an Arrow scalar.
        name: the setting it belongs to, for the message.

    Raises:
        SettingError: it is not a duration, is not positive, or is longer than 146,000 years.

    >>> duration(timedelta(days=2), "test")
    172800000000
    """
    given = value
    value = scalar(value)
    if isinstance(value, np.timedelta64):
        value = _whole_microseconds(value, "timedelta64")
    elif isinstance(value, timedelta):
        value = value // timedelta(microseconds=1) if value == value else None  # NaT
    elif isinstance(value, str):
        return parse_duration(value, name)
    else:
        value = None
    if not isinstance(value, int) or not 0 < value < _LONGEST_DURATION:
        raise SettingError(
            f"'{name}' must be a duration such as '30d' or a positive timedelta, got "
            f"{_shown(given)}"
        )
    return value
