"""Parsing and formatting of durations and moments; internally, both are int64 microseconds."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from tastemaker.errors import SettingError

MICROSECONDS = {
    "s": 10**6,
    "m": 60 * 10**6,
    "h": 3600 * 10**6,
    "d": 86400 * 10**6,
    "w": 7 * 86400 * 10**6,
}
OLD_LOG_MICROSECONDS = 30 * MICROSECONDS["d"]
"""A log whose latest event is older than this gets a warning."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LONGEST_NUMBER = 30
_DATE = r"(19[7-9]\d|20\d\d|2100)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_HOUR = r"([01]\d|2[0-3])([0-5]\d)"
CALENDAR = (
    (19_700_101, 21_001_231, rf"^{_DATE}$", "${1}-${2}-${3}"),
    (197001010000, 210012312359, rf"^{_DATE}{_HOUR}$", "${1}-${2}-${3}T${4}:${5}"),
    (
        *(19700101000000, 21001231235959, rf"^{_DATE}{_HOUR}([0-5]\d)$"),
        "${1}-${2}-${3}T${4}:${5}:${6}",
    ),
    (1500, 2100, r"^(1[5-9]\d\d|20\d\d|2100)$", "${1}-01-01"),
)
"""Numbers that are dates rather than epoch times: lowest, highest, pattern, and as ISO 8601."""
ISO_VARIANTS = (
    (r"^(\d{4})(\d\d)(\d\d)[Tt ](\d)", "${1}-${2}-${3}T${4}"),
    (r"(:\d\d),(\d+)", "${1}.${2}"),
)
"""Variants of ISO 8601 text: pattern, and its standard form."""
_ISO = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"([Tt ](?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d+))?)?"
    r" ?([zZ]|UTC|(?P<sign>[+-])(?P<zone_hour>\d\d)(:?(?P<zone_minute>\d\d)?))?)?)?",
    re.ASCII,
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def parse_duration(text: str, name: str) -> int:
    """A duration such as `30d`, `36h` or `1.5h` in microseconds.

    Args:
        text: a number and one of s, m, h, d, w.
        name: the setting it belongs to, for the message.

    Raises:
        SettingError: it has another format, is zero, or is longer than 146,000 years.

    >>> parse_duration("2d", "half_life")
    172800000000
    """
    match = _DURATION.fullmatch(text.strip())
    length = float(match[1]) * MICROSECONDS[match[2]] if match else 0.0
    if not 1 <= length < 1 << 62:
        raise SettingError(
            f"'{name}' must be a duration such as '30d', '12h' or '90m', got {text!r}"
        )
    return round(length)


def format_duration(length: int) -> str:
    """A duration in microseconds as text in a suitable unit, such as `30d`."""
    for unit in ("d", "h", "m"):
        if length >= 2 * MICROSECONDS[unit] or length == MICROSECONDS[unit]:
            break
    else:
        unit = "s"
    number = length / MICROSECONDS[unit]
    return f"{number:.0f}{unit}" if number >= 1000 else f"{number:.3g}{unit}"


def format_moment(time: int) -> str:
    """A moment (microseconds, UTC) as ISO 8601.

    >>> format_moment(0)
    '1970-01-01T00:00:00Z'
    """
    moment = _EPOCH + timedelta(microseconds=int(time))
    return moment.isoformat().replace("+00:00", "Z")


def parse_moment(value: Any) -> int | None:
    """One moment in microseconds UTC, parsed like a column of one cell in `data.moments`.

    Args:
        value: ISO 8601 text, or seconds, milliseconds, microseconds or nanoseconds by their
            size, or a date as YYYYMMDD, or a year; also as text. Text without a time zone is UTC.

    Returns:
        The moment; None if the value has none of these formats.

    >>> parse_moment("1970-01-01T00:00:01Z"), parse_moment(1), parse_moment("soon")
    (1000000, 1000000, None)
    """
    if isinstance(value, str):
        value = value.strip()
        if not _NUMBER.fullmatch(value):
            return parse_iso(value)
        value = float(value) if set(value) & set(".eE") else int(value[:_LONGEST_NUMBER])
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1 << 62:
        return None
    if value == value // 1:
        for low, high, pattern, iso in CALENDAR:
            if low <= value <= high and re.match(pattern, str(int(value))):
                return parse_iso(re.sub(pattern, _python(iso), str(int(value))))
    # until the year 5138, seconds are below 10^11, and the finer units below 10^14 and 10^17
    size = abs(value)
    if size >= 1e17:
        return int(value) // 1000
    return round(value * (10**6 if size < 1e11 else 10**3 if size < 1e14 else 1))


def parse_iso(text: str) -> int | None:
    """ISO 8601 text as microseconds UTC, parsed as in `parse_moment`; None for other text."""
    match = _ISO.fullmatch(text)
    for pattern, written in ISO_VARIANTS:
        match = match or _ISO.fullmatch(re.sub(pattern, _python(written), text, count=1))
    if match is None:
        return None
    fields = match.groupdict()
    fraction, sign = (fields.pop("fraction") or "")[:6], fields.pop("sign")
    part = {name: int(digits or 0) for name, digits in fields.items()}
    part["day"] = 1 if fields["day"] is None else part["day"]  # a month is its first day
    ahead = timedelta(hours=part["zone_hour"], minutes=part["zone_minute"])
    try:
        moment = datetime(
            part["year"], part["month"], part["day"], part["hour"], part["minute"], tzinfo=UTC
        )
    except ValueError:
        return None
    if part["second"] > 60 or part["zone_hour"] > 23 or part["zone_minute"] > 59:  # 60 leaps
        return None
    since = moment - _EPOCH + timedelta(seconds=part["second"])
    since += ahead if sign == "-" else -ahead
    return since // timedelta(microseconds=1) + int(fraction.ljust(6, "0"))


def _python(replacement: str) -> str:
    """A Polars replacement string in the syntax of `re`."""
    return re.sub(r"\$\{(\d)\}", r"\\g<\1>", replacement)


def now() -> int:
    """The current moment in microseconds, UTC."""
    return int(datetime.now(UTC).timestamp() * 1e6)
