"""One event as it comes in, checked by the rules that hold for the rows of a file."""

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
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event that can be stored.

    Attributes:
        event_id: by it a second copy is recognized.
        user_id: who.
        item_id: with what; need not be known.
        kind: name of a declared kind.
        value: None where there is none.
        time: when it happened, microseconds; not after it came in, however fast a clock goes.
        received: when it came in, microseconds.
        session: the visit it belongs to.
        recommendation_id: the answer that showed the item.
        position: where in that answer it stood, from 1.
        context: whatever else was told, as JSON.
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
    """An event as it came, if it can be used.

    Args:
        fields: `user_id` and `item_id`, and whichever of `FIELDS` there are.
        kinds: the kinds declared.
        default_kind: the event type of an event that has none.
        now: the present moment, microseconds; it stands for a missing timestamp.

    Raises:
        DataError: the event cannot be used; the message names the field and the value.
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
        DataError: it is missing, a float, too long, or holds what no id may hold.
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
    """The item ids in texts that hold an id, or ids separated by commas.

    Args:
        name: what messages call them.
        values: the texts; one that is the id of an item is that id, whatever commas it has.
        items: the known ids.

    Raises:
        DataError: a part is not an id.
    """
    ids: list[str] = []
    for value in values:
        is_one = "," not in value or items.index(value) >= 0
        parts = [value] if is_one else value.split(",")
        ids += [checked_id(part.strip() if len(parts) > 1 else part, name) for part in parts]
    return ids


def _event_id(value: Any) -> str:
    """The id of an event: any text, also a word such as `null`; a new one where there is none."""
    if value is None:
        return _NEW_ID()
    text = _text(value, "event_id")
    if not text.strip():
        raise DataError(f"empty event_id {text!r}: leave it out, or give the event an id")
    return text


def _optional_text(fields: Mapping[str, Any], name: str) -> str | None:
    """What is only ever compared, never read: any text will do."""
    value = fields.get(name)
    text = None if value is None else _text(value, name)
    return None if text is None or _is_missing(text) else text


def _text(value: Any, name: str) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"'{name}' must be text or an integer, got {_shown(value)}")
    # a number of thousands of digits is not written out: that takes its time
    long = isinstance(value, int) and value.bit_length() > 8 * LONGEST_ID
    text = "" if long else str(value)
    if _SURROGATE.search(text):
        raise DataError(f"half a character in {name} {_shown(text)}: write UTF-8")
    if long or len(text.encode()) > LONGEST_ID:
        raise DataError(f"'{name}' is longer than {LONGEST_ID:,} bytes: {_shown(value)}")
    return text


def _is_missing(text: str) -> bool:
    return re.fullmatch(MISSING, text) is not None


def _time(value: Any, now: int) -> int:
    moment = parse_moment(value)
    if moment is None:
        raise DataError(f"unreadable timestamp {_shown(value)}: ISO 8601 or an epoch number")
    if moment < 0:
        raise DataError(f"timestamp before 1970: {_shown(value)}")
    if moment > now + MICROSECONDS["d"]:
        raise DataError(f"timestamp in the future: {_shown(value)}")
    return min(moment, now)


def _kind(name: Any, kinds: Mapping[str, EventKind], default_kind: str | None) -> str:
    if name is None or (default_kind is not None and isinstance(name, str) and _is_missing(name)):
        if default_kind is None:
            raise DataError(f"missing event_type: one of {', '.join(kinds)}")
        return default_kind
    is_number = isinstance(name, int) and not isinstance(name, bool)
    named = name if isinstance(name, str) else _shown(name) if is_number else ""
    if named not in kinds:
        raise DataError(f"unknown event_type {_shown(name)}{did_you_mean(named[:_SHOWN], kinds)}")
    return named


def _value(value: Any, kind: str, kinds: Mapping[str, EventKind]) -> float | None:
    if value is None or value != value:  # null or NaN
        if kinds[kind].positive_threshold is not None:
            raise DataError(f"an event of kind '{kind}' is a rating and needs a 'value'")
        return None
    if isinstance(value, int | float):  # a boolean is 1 or 0, as in a file
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
        raise DataError(f"'context' must be what JSON can hold, got {_shown(value)}") from None
    if len(text) > LARGEST_CONTEXT:
        raise DataError(f"'context' is longer than {LARGEST_CONTEXT:,} letters: {_shown(text)}")
    return text


def _shown(value: Any) -> str:
    """A value as a message shows it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of thousands of digits
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
