"""Adds events to the store, each id once. The same id with different content is a conflict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Connection, bindparam, select

from tastemaker.store import tables
from tastemaker.store.counters import EVENTS, add_to_count
from tastemaker.store.incoming import EventRow
from tastemaker.store.limits import Limits
from tastemaker.store.pairs import add_to_pairs, last_sequence
from tastemaker.store.tables import SERVED, VISIBLE, events, items, users

_IDS_AT_A_TIME = 500
_ROWS_AT_A_TIME = 500
_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Added:
    """The result of adding events. Each event is in exactly one of the first four attributes.

    Attributes:
        new: the number of added events.
        duplicates: the number of events that were already stored with the same content.
        conflicts: index of each event whose id belongs to a different event, and the reason.
        unwritten: index of each event that could not be written. If no event was written, the
            future raises the error instead.
        problem: the error that prevented the writes.
    """

    new: int
    duplicates: int = 0
    conflicts: tuple[tuple[int, str], ...] = ()
    unwritten: tuple[int, ...] = ()
    problem: BaseException | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of an event. Another event with the same id must have the same content."""

    user_id: str
    item_id: str
    event_type: str
    value: float | None
    time: int
    received: int

    def differences(self, other: "_Content", timed: bool) -> list[str]:
        """The names of the fields in which two events differ, as clients name them."""
        names = ("user_id", "item_id", "event_type", "value")
        found = [name for name in names if getattr(self, name) != getattr(other, name)]
        return [*found, "timestamp"] if timed and not self._same_time(other) else found

    def _same_time(self, other: "_Content") -> bool:
        """Whether the times can belong to the same event.

        A missing or future time is replaced by the time of receipt, so a retry of the same event
        has a later time.
        """
        return (
            self.time == other.time
            or (self.time == self.received and other.time > self.time)
            or (other.time == other.received and self.time > other.time)
        )


_NEW_NAMES = {
    "user_id": ("users (source, user_id)", "(0, ?)"),
    "item_id": ("items (source, changed, item_id)", "(0, 0, ?)"),
    "kind": ("kinds (name)", "(?)"),
}
_PLAIN = (
    *("event_id", "value", "time", "received"),
    *("session", "recommendation_id", "position", "context"),
)
_INSERTED = ("user_id", "item_id", "kind", *_PLAIN)
# events of an unfinished import are ignored: the import gives way to served events
_STORED = (
    select(
        events.c.event_id,
        users.c.user_id,
        items.c.item_id,
        tables.kinds.c.name,
        events.c.value,
        events.c.time,
        events.c.received,
    )
    .join(users, users.c.user == events.c.user)
    .join(items, items.c.item == events.c.item)
    .join(tables.kinds, tables.kinds.c.kind == events.c.kind)
    .where(events.c.event_id.in_(bindparam("ids", expanding=True)), VISIBLE)
)


def add_events(
    connection: Connection,
    rows: Sequence[EventRow],
    timed: bool = True,
    limits: Limits | None = None,
) -> Added:
    """Adds events inside an exclusive write transaction.

    Args:
        connection: a connection inside the transaction.
        rows: the events.
        timed: whether two events with the same id and different times conflict; False where the
            imported events have no meaningful times.
        limits: the limits of the store.

    Raises:
        StoreFullError: the new events exceed the limits; nothing was written.
    """
    known = dict(_stored(connection, [row.event_id for row in rows]))
    new: list[EventRow] = []
    conflicts: list[tuple[int, str]] = []
    for index, row in enumerate(rows):
        content = _content(row)
        stored = known.setdefault(row.event_id, content)
        if stored is content:
            new.append(row)
        elif differing := stored.differences(content, timed):
            conflicts.append((index, _reason(row.event_id, differing)))
    if new:
        if limits is not None:
            limits.require_events(connection, new)
        last = last_sequence(connection)
        _insert(connection, new)
        add_to_pairs(connection, last)
        add_to_count(connection, EVENTS, len(new))
    return Added(len(new), len(rows) - len(new) - len(conflicts), tuple(conflicts))


def _stored(connection: Connection, ids: Sequence[str]) -> Iterator[tuple[str, _Content]]:
    for start in range(0, len(ids), _IDS_AT_A_TIME):
        found = connection.execute(_STORED, {"ids": ids[start : start + _IDS_AT_A_TIME]})
        for event_id, *content in found:
            yield event_id, _Content(*content)


def _content(row: EventRow) -> _Content:
    return _Content(row.user_id, row.item_id, row.kind, row.value, row.time, row.received)


def _reason(event_id: str, differing: Sequence[str]) -> str:
    shown = event_id if len(event_id) <= _MAX_SHOWN else f"{event_id[:_MAX_SHOWN]}…"
    return (
        f"event_id {shown!r} belongs to another event with a different "
        f"{' and '.join(differing)}: use a unique id for each event"
    )


def _insert(connection: Connection, rows: Sequence[EventRow]) -> None:
    for field in _NEW_NAMES:
        names = [*{getattr(row, field) for row in rows}]
        for start in range(0, len(names), _ROWS_AT_A_TIME):
            chunk = names[start : start + _ROWS_AT_A_TIME]
            connection.exec_driver_sql(_add_names_statement(field, len(chunk)), tuple(chunk))
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        batch = rows[start : start + _ROWS_AT_A_TIME]
        values = tuple(getattr(row, name) for row in batch for name in _INSERTED)
        connection.exec_driver_sql(_add_events_statement(len(batch)), values)


# one statement for many rows: the driver waits for the interpreter lock between two statements,
# about a millisecond each time while other threads are busy
@lru_cache(maxsize=64)
def _add_names_statement(field: str, count: int) -> str:
    """The statement that adds new users, items or event types."""
    columns, one = _NEW_NAMES[field]
    values = ", ".join([one] * count)
    return f"INSERT INTO {columns} VALUES {values} ON CONFLICT DO NOTHING"  # noqa: S608


@lru_cache(maxsize=64)
def _add_events_statement(count: int) -> str:
    """The statement that adds `count` events in the given order."""
    one = f"({', '.join('?' * len(_INSERTED))})"
    return (
        f"WITH given ({', '.join(_INSERTED)}) AS (VALUES {', '.join([one] * count)}) "  # noqa: S608
        f'INSERT INTO events ("user", item, kind, source, {", ".join(_PLAIN)}) SELECT '
        '(SELECT "user" FROM users WHERE user_id = given.user_id), '
        "(SELECT item FROM items WHERE item_id = given.item_id), "
        "(SELECT kind FROM kinds WHERE name = given.kind), "
        f"{SERVED}, {', '.join(_PLAIN)} FROM given"
    )
