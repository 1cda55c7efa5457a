"""One event as it comes in, checked by the rules that hold for the rows of a file."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tastemaker.data.schema import EventKind
from tastemaker.data.times import MICROSECONDS, parse_moment
from tastemaker.errors import DataError, near_miss

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
_FLOAT = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_MISSING = re.compile(r"\s*([nN][aA][nN]|[nN][uU][lL][lL]|[nN]one|<NA>|\\N)?\s*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


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
        default_kind: the kind of an event that brings none.
        now: the present moment, microseconds; it stands for a missing timestamp.

    Raises:
        DataError: the event cannot be used; the message names the field and the value.
    """
    for name in fields:
        if name not in FIELDS:
            raise DataError(f"unknown field '{name}'{near_miss(name, FIELDS)}")
    kind = _kind(fields.get("event_type"), kinds, default_kind)
    context = fields.get("context")
    return EventRow(
        _optional_id(fields, "event_id") or uuid4().hex,
        checked_id(fields.get("user_id"), "user_id"),
        checked_id(fields.get("item_id"), "item_id"),
        kind,
        _value(fields.get("value"), kind, kinds),
        now if fields.get("timestamp") is None else _time(fields["timestamp"], now),
        now,
        _optional_id(fields, "session"),
        _optional_id(fields, "recommendation_id"),
        _position(fields.get("position")),
        None if context is None else _context(context),
    )


def checked_id(value: Any, name: str) -> str:
    """An external id as text.

    Raises:
        DataError: it is missing, a float, too long, or holds what no id may hold.
    """
    if isinstance(value, bool) or (value is not None and not isinstance(value, str | int)):
        raise DataError(f"'{name}' must be text or an integer, got {value!r}")
    id_ = "" if value is None else str(value)
    if _MISSING.fullmatch(id_):
        raise DataError(f"missing {name}")
    if _FLOAT.fullmatch(id_):
        raise DataError(f"float {name} {id_!r}: write ids as integers or text")
    if _CONTROL.search(id_):
        raise DataError(f"line break or control character in {name} {id_[:80]!r}")
    if len(id_.encode()) > LONGEST_ID:
        raise DataError(f"'{name}' is longer than {LONGEST_ID:,} bytes: {id_[:40]!r}…")
    return id_


def _time(value: Any, now: int) -> int:
    moment = parse_moment(value)
    if moment is None:
        raise DataError(f"unreadable timestamp {str(value)[:40]!r}: ISO 8601 or an epoch number")
    if moment < 0:
        raise DataError(f"timestamp before 1970: {value!r}")
    if moment > now + MICROSECONDS["d"]:
        raise DataError(f"timestamp in the future: {value!r}")
    return min(moment, now)


def _kind(name: Any, kinds: Mapping[str, EventKind], default_kind: str | None) -> str:
    if name is None:
        if default_kind is None:
            raise DataError(f"missing event_type: one of {', '.join(kinds)}")
        return default_kind
    if not isinstance(name, str) or name not in kinds:
        raise DataError(f"unknown event_type {name!r}{near_miss(str(name)[:80], kinds)}")
    return name


def _value(value: Any, kind: str, kinds: Mapping[str, EventKind]) -> float | None:
    if value is None:
        if kinds[kind].like is not None:
            raise DataError(f"an event of kind '{kind}' is a rating and needs a 'value'")
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 3e38:
        raise DataError(f"'value' must be a finite number, got {str(value)[:40]!r}")
    return float(value)


def _position(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise DataError(f"'position' must be an integer from 1 to 100000, got {str(value)[:40]!r}")
    return value


def _optional_id(fields: Mapping[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else checked_id(fields[name], name)


def _context(value: Any) -> str:
    if not isinstance(value, dict):
        raise DataError(f"'context' must be an object, got {str(value)[:40]!r}")
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > LARGEST_CONTEXT:
        raise DataError(f"'context' is longer than {LARGEST_CONTEXT:,} letters")
    return text
