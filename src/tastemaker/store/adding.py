"""Events into the store: each id once; the same id with other content is a conflict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Connection, bindparam, select

from tastemaker.store import tables
from tastemaker.store.counters import EVENTS, add_to_count
from tastemaker.store.incoming import EventRow
from tastemaker.store.limits import Limits
from tastemaker.store.pairs import add_to_pairs, last_place
from tastemaker.store.tables import SERVED, VISIBLE, events, items, users

_IDS_AT_A_TIME = 500
_ROWS_AT_A_TIME = 500
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Added:
    """The result of adding events; every event is in exactly one of the four.

    Attributes:
        new: how many were added.
        duplicates: how many were stored before with the same content.
        conflicts: index of each event whose id another event has, and the reason.
        unwritten: index of each event that could not be written, as the others of a large batch.
        problem: why not.
    """

    new: int
    duplicates: int = 0
    conflicts: tuple[tuple[int, str], ...] = ()
    unwritten: tuple[int, ...] = ()
    problem: BaseException | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of an event: a second event with the same id must have the same."""

    user_id: str
    item_id: str
    event_type: str
    value: float | None
    time: int
    received: int

    def differences(self, other: "_Content", timed: bool) -> list[str]:
        """The fields in which two events differ, as clients name them."""
        names = ("user_id", "item_id", "event_type", "value")
        found = [name for name in names if getattr(self, name) != getattr(other, name)]
        return [*found, "timestamp"] if timed and not self._same_time(other) else found

    def _same_time(self, other: "_Content") -> bool:
        """Whether the times may come from the same request.

        A missing time, or one in the future, is replaced by the time of receipt, so a retry of the
        same event has a later one.
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
_GIVEN = ("user_id", "item_id", "kind", *_PLAIN)
# an event of a file that is not imported completely does not count: the import makes room
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
    """Adds events inside a transaction that excludes other writers.

    Args:
        connection: inside the transaction.
        rows: the events.
        timed: whether an event with the same id and another time is another event; False where
            the times of imported events mean nothing.
        limits: what the store may hold.

    Raises:
        StoreFullError: the new events would exceed the limits; nothing was written.
    """
    known = dict(_stored(connection, [row.event_id for row in rows]))
    fresh: list[EventRow] = []
    conflicts: list[tuple[int, str]] = []
    for index, row in enumerate(rows):
        content = _content(row)
        before = known.setdefault(row.event_id, content)
        if before is content:
            fresh.append(row)
        elif differing := before.differences(content, timed):
            conflicts.append((index, _reason(row.event_id, differing)))
    if fresh:
        if limits is not None:
            limits.require_events(connection, fresh)
        last = last_place(connection)
        _insert(connection, fresh)
        add_to_pairs(connection, last)
        add_to_count(connection, EVENTS, len(fresh))
    return Added(len(fresh), len(rows) - len(fresh) - len(conflicts), tuple(conflicts))


def _stored(connection: Connection, ids: Sequence[str]) -> Iterator[tuple[str, _Content]]:
    for start in range(0, len(ids), _IDS_AT_A_TIME):
        found = connection.execute(_STORED, {"ids": ids[start : start + _IDS_AT_A_TIME]})
        for event_id, *content in found:
            yield event_id, _Content(*content)


def _content(row: EventRow) -> _Content:
    return _Content(row.user_id, row.item_id, row.kind, row.value, row.time, row.received)


def _reason(event_id: str, differing: Sequence[str]) -> str:
    shown = event_id if len(event_id) <= _SHOWN else f"{event_id[:_SHOWN]}…"
    return (
        f"event_id {shown!r} belongs to another event, with another {' and '.join(differing)}: "
        "give every event its own id"
    )


def _insert(connection: Connection, rows: Sequence[EventRow]) -> None:
    for field in _NEW_NAMES:
        names = [*{getattr(row, field) for row in rows}]
        for start in range(0, len(names), _ROWS_AT_A_TIME):
            some = names[start : start + _ROWS_AT_A_TIME]
            connection.exec_driver_sql(_add_names_statement(field, len(some)), tuple(some))
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        stretch = rows[start : start + _ROWS_AT_A_TIME]
        values = tuple(getattr(row, name) for row in stretch for name in _GIVEN)
        connection.exec_driver_sql(_add_events_statement(len(stretch)), values)


# one statement for many rows: between two statements the driver waits for the interpreter, which
# busy threads hold for a millisecond each time
@lru_cache(maxsize=64)
def _add_names_statement(field: str, count: int) -> str:
    """Adds users, items or event types that are not known yet."""
    columns, one = _NEW_NAMES[field]
    values = ", ".join([one] * count)
    return f"INSERT INTO {columns} VALUES {values} ON CONFLICT DO NOTHING"  # noqa: S608


@lru_cache(maxsize=64)
def _add_events_statement(count: int) -> str:
    """Adds so many events, in their order."""
    one = f"({', '.join('?' * len(_GIVEN))})"
    return (
        f"WITH given ({', '.join(_GIVEN)}) AS (VALUES {', '.join([one] * count)}) "  # noqa: S608
        f'INSERT INTO events ("user", item, kind, source, {", ".join(_PLAIN)}) SELECT '
        '(SELECT "user" FROM users WHERE user_id = given.user_id), '
        "(SELECT item FROM items WHERE item_id = given.item_id), "
        "(SELECT kind FROM kinds WHERE name = given.kind), "
        f"{SERVED}, {', '.join(_PLAIN)} FROM given"
    )
