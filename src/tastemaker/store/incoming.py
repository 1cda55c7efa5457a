"""Validation of one incoming event, by the same rules as for the rows of a file."""

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tastemaker.data.id_forms import CONTROL, EXACT, FLOAT, MISSING, WHOLE_FLOAT
from tastemaker.data.schema import EventKind
from tastemaker.data.times import MICROSECONDS, parse_moment
from tastemaker.data.vocabulary import Vocabulary
from tastemaker.errors import DataError, did_you_mean
from tastemaker.store.new_ids import NewIds

FIELDS = (
    "event_id",
    "user_id",
    "item_id",
    "event_type",
    "value",
    "timestamp",
    "session",
    "recommendation_id",
    "position",
    "context",
)
LONGEST_ID = 1_000
LARGEST_CONTEXT = 10_000
LAST_POSITION = 100_000
_NEW_ID = NewIds()
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class EventRow:
    """A valid event, ready to be stored.

    Attributes:
        event_id: identifies duplicates of the event.
        user_id: the user.
        item_id: the item; it can be new.
        kind: name of a declared event type.
        value: None where it is missing.
        time: when it happened, microseconds; never later than `received`.
        received: when it was received, microseconds.
        session: the session it belongs to.
        recommendation_id: the response that showed the item.
        position: the position of the item in that response, from 1.
        context: additional data, as JSON.
    """

    event_id: str
    user_id: str
    item_id: str
    kind: str
    value: float | None
    time: int
    received: int
    session: str | None = None
    recommendation_id: str | None = None
    position: int | None = None
    context: str | None = None


def check_event(
    fields: Mapping[str, Any],
    kinds: Mapping[str, EventKind],
    default_kind: str | None,
    now: int,
) -> EventRow:
    """Validates an event.

    Args:
        fields: `user_id`, `item_id` and any other of `FIELDS`.
        kinds: the declared event types.
        default_kind: the event type of an event without one.
        now: the current time, microseconds; replaces a missing timestamp.

    Returns:
        The event as it is stored.

    Raises:
        DataError: the event is invalid; the message names the field and the value.
    """
    for name in fields:
        if name not in FIELDS:
            raise DataError(f"unknown field {_shown(name)}{did_you_mean(name, FIELDS)}")
    kind = _kind(fields.get("event_type"), kinds, default_kind)
    context = fields.get("context")
    return EventRow(
        _event_id(fields.get("event_id")),
        checked_id(fields.get("user_id"), "user_id"),
        checked_id(fields.get("item_id"), "item_id"),
        kind,
        _value(fields.get("value"), kind, kinds),
        now if fields.get("timestamp") is None else _time(fields["timestamp"], now),
        now,
        _optional_text(fields, "session"),
        _optional_text(fields, "recommendation_id"),
        _position(fields.get("position")),
        None if context is None else _context(context),
    )


def checked_id(value: Any, name: str) -> str:
    """An external id as text.

    Raises:
        DataError: it is missing, a float, too long, or contains invalid characters.
    """
    id_ = "" if value is None else _text(value, name)
    if _is_missing(id_):
        raise DataError(f"missing {name}{f', got {value!r}' if id_ else ''}")
    if whole := re.fullmatch(WHOLE_FLOAT, id_):
        return whole[1]
    if re.fullmatch(FLOAT, id_):
        raise DataError(f"float {name} {_shown(id_)}: write ids as integers or text")
    if re.search(CONTROL, id_):
        raise DataError(f"line break or control character in {name} {_shown(id_)}")
    return id_


def ids_in(name: str, values: Sequence[str], items: Vocabulary) -> list[str]:
    """The item ids in texts that contain one id or several ids separated by commas.

    Args:
        name: the name of the argument in error messages.
        values: the texts; a text that equals a known id is one id, even if it contains commas.
        items: the known ids.

    Raises:
        DataError: a part is not a valid id.
    """
    ids: list[str] = []
    for value in values:
        is_one = "," not in value or items.index(value) >= 0
        parts = [value] if is_one else value.split(",")
        ids += [checked_id(part.strip() if len(parts) > 1 else part, name) for part in parts]
    return ids


def _event_id(value: Any) -> str:
    """The id of an event, or a new id if it is missing. Any text is valid, even `null`."""
    if value is None:
        return _NEW_ID()
    text = _text(value, "event_id")
    if not text.strip():
        raise DataError(f"empty event_id {text!r}: omit it, or set an id")
    return text


def _optional_text(fields: Mapping[str, Any], name: str) -> str | None:
    """A field that is only compared and never interpreted: any text is valid."""
    value = fields.get(name)
    text = None if value is None else _text(value, name)
    return None if text is None or _is_missing(text) else text


def _text(value: Any, name: str) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"'{name}' must be text or an integer, got {_shown(value)}")
    # an integer of thousands of digits is not converted: that would be slow
    is_too_long = isinstance(value, int) and value.bit_length() > 8 * LONGEST_ID
    text = "" if is_too_long else str(value)
    if _SURROGATE.search(text):
        raise DataError(f"unpaired surrogate in {name} {_shown(text)}: send valid UTF-8")
    if is_too_long or len(text.encode()) > LONGEST_ID:
        raise DataError(f"'{name}' is longer than {LONGEST_ID:,} bytes: {_shown(value)}")
    return text


def _is_missing(text: str) -> bool:
    return re.fullmatch(MISSING, text) is not None


def _time(value: Any, now: int) -> int:
    moment = parse_moment(value)
    if moment is None:
        raise DataError(f"unreadable timestamp {_shown(value)}: use ISO 8601 or an epoch number")
    if moment < 0:
        raise DataError(f"timestamp before 1970: {_shown(value)}")
    if moment > now + MICROSECONDS["d"]:
        raise DataError(f"timestamp in the future: {_shown(value)}")
    return min(moment, now)


def _kind(name: Any, kinds: Mapping[str, EventKind], default_kind: str | None) -> str:
    if name is None or (default_kind is not None and isinstance(name, str) and _is_missing(name)):
        if default_kind is None:
            raise DataError(f"missing event_type: use one of {', '.join(kinds)}")
        return default_kind
    is_number = isinstance(name, int) and not isinstance(name, bool)
    event_type = name if isinstance(name, str) else _shown(name) if is_number else ""
    if event_type not in kinds:
        raise DataError(
            f"unknown event_type {_shown(name)}{did_you_mean(event_type[:_MAX_SHOWN], kinds)}"
        )
    return event_type


def _value(value: Any, kind: str, kinds: Mapping[str, EventKind]) -> float | None:
    if value is None or value != value:  # null or NaN
        if kinds[kind].positive_threshold is not None:
            raise DataError(f"event_type '{kind}' is a rating and requires a 'value'")
        return None
    if isinstance(value, int | float):  # True is 1 and False is 0, as in a file
        try:
            kept: float = struct.unpack("<f", struct.pack("<f", float(value)))[0]
            if abs(kept) < float("inf"):
                return kept
        except OverflowError:
            pass
    raise DataError(f"'value' must be a finite number, got {_shown(value)}")


def _position(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LAST_POSITION:
        raise DataError(
            f"'position' must be an integer from 1 to {LAST_POSITION:,}, got {_shown(value)}"
        )
    return value


def _context(value: Any) -> str:
    if not isinstance(value, dict):
        raise DataError(f"'context' must be an object, got {_shown(value)}")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        raise DataError(f"'context' must be valid JSON, got {_shown(value)}") from None
    if len(text) > LARGEST_CONTEXT:
        raise DataError(f"'context' is longer than {LARGEST_CONTEXT:,} characters: {_shown(text)}")
    return text


def _shown(value: Any) -> str:
    """A value as error messages show it, truncated if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python does not print an integer of thousands of digits
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
