"""Removes events, users and items from a store permanently.

Events are removed in small transactions, so that the writes of a server never wait long. Each
removal adds a row to the table `removals`, and later imports skip the removed rows. A removed item
is only restored when it is put again over HTTP.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from tastemaker.data import times
from tastemaker.errors import StoreError
from tastemaker.store import tables
from tastemaker.store.counters import EVENTS, ITEMS, add_to_count
from tastemaker.store.decision_log import delete_decisions
from tastemaker.store.opening import describe_error, is_full
from tastemaker.store.pairs import count_items_again, count_pairs_again
from tastemaker.store.tables import (
    ROW_BYTES,
    SERVED,
    decisions,
    events,
    items,
    removals,
    removed_items,
    users,
)

ROWS_AT_A_TIME = 2_000
"""Events per transaction: about a hundredth of a second."""
_FEWEST_ROWS = 10
"""The smallest number of rows per transaction on a full disk."""
_SHRINK = 4
_DROP_EVENTS = text(
    "DELETE FROM events WHERE sequence IN (SELECT value FROM json_each(:sequences)) "
    'RETURNING "user", item, source'
)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A filter for events. Events must match all set fields; unset fields match every event.

    Attributes:
        users: user ids, matches any of them.
        items: item ids, matches any of them.
        event_types: names, matches any of them.
        since: the first moment, microseconds.
        until: the moment after the last, microseconds.
    """

    users: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it matches every event."""
        return self == EventFilter()

    def conditions(self) -> list[ColumnElement[bool]]:
        """The SQL conditions of the filter."""
        found: list[ColumnElement[bool]] = []
        for column, key, name, values in (
            (events.c.user, users.c.user, users.c.user_id, self.users),
            (events.c.item, items.c.item, items.c.item_id, self.items),
            (events.c.kind, tables.kinds.c.kind, tables.kinds.c.name, self.event_types),
        ):
            if values:  # one parameter for any number of ids
                ids = func.json_each(json.dumps(values)).table_valued("value")
                found.append(column.in_(select(key).where(name.in_(select(ids.c.value)))))
        if self.since is not None:
            found.append(events.c.time >= self.since)
        if self.until is not None:
            found.append(events.c.time < self.until)
        return found

    def to_dict(self) -> dict[str, Any]:
        """The set fields."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in named.items() if value not in ((), None)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "EventFilter":
        """The filter from the result of `to_dict`."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        values.pop("count", None)  # recorded by earlier versions for items
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Removal:
    """A recorded removal.

    Attributes:
        time: when it was done, microseconds.
        what: `events`, `users` or `items`.
        filter: the filter, as from `EventFilter.to_dict`.
        events: the number of removed events.
        complete: whether it has finished.
    """

    time: int
    what: str
    filter: dict[str, Any]
    events: int
    complete: bool


class Remover:
    """Removes events, users and items from a store.

    Every method can raise StoreError: the store is damaged, locked, or cannot be written.

    Args:
        writing: opens transactions that wait for writes of other processes.
        reading: reads committed data.
        path: the database file.
    """

    def __init__(self, writing: Engine, reading: Engine, path: Path) -> None:
        self._writing = writing
        self._reading = reading
        self._path = path

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._writing.begin() as connection:
                yield connection
        except DatabaseError as error:
            raise self._incomplete_error(error) from None

    def _incomplete_error(self, error: DatabaseError) -> StoreError:
        reason = describe_error(error, self._path)
        return StoreError(f"{self._path}: the removal is incomplete {reason}")

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        try:
            with self._reading.connect() as connection:
                yield connection
        except DatabaseError as error:
            reason = describe_error(error, self._path)
            raise StoreError(f"{self._path}: cannot be read {reason}") from None

    def removals(self) -> list[Removal]:
        """The recorded removals, newest first."""
        with self._read() as connection:
            rows = connection.execute(select(removals).order_by(removals.c.removal.desc())).all()
        return [
            Removal(row.time, row.what, json.loads(row.filter), row.events, bool(row.complete))
            for row in rows
        ]

    def remove_events(self, event_filter: EventFilter) -> int:
        """Removes the events that match a filter. Returns their number."""
        with self._recorded("events", event_filter) as number:
            removed = self._remove(event_filter, number)
        self._complete("events", lambda earlier: earlier == event_filter)
        return removed

    def remove_users(self, ids: Sequence[str]) -> int:
        """Removes users with their events, attributes and decisions.

        Returns:
            The number of removed events.
        """
        removed = 0
        for batch in _batches(ids):
            event_filter = EventFilter(users=tuple(batch))
            with self._recorded("users", event_filter) as number:
                removed += self._remove(event_filter, number)
                self._remove_decisions(batch)
                self._in_steps(batch, _delete_profiles)
        self._complete("users", lambda earlier: set(earlier.users) <= set(ids))
        return removed

    def remove_items(self, ids: Sequence[str]) -> int:
        """Removes items with their events and descriptions.

        Removed items are not recommended and not used for training until they are put again.

        Returns:
            The number of removed events.
        """
        event_filter = EventFilter(items=tuple(ids))
        if event_filter.is_open:
            return 0
        with self._recorded("items", event_filter) as number:
            removed = self._remove(event_filter, number)
            self._in_steps(ids, _withdraw)
        self._complete("items", lambda earlier: set(earlier.items) <= set(ids))
        return removed

    def _remove(self, event_filter: EventFilter, number: int) -> int:
        """Removes events, including those that arrive meanwhile. Returns their number."""
        removed, conditions = 0, event_filter.conditions()
        line = update(removals).where(removals.c.removal == number)

        def drop(connection: Connection, sequences: Sequence[int]) -> None:
            _drop_events(connection, sequences)
            connection.execute(line.values(events=removals.c.events + len(sequences)))

        while found := self._sequences(conditions):
            self._in_steps(found, drop)
            removed += len(found)
        return removed

    def _sequences(self, conditions: Sequence[ColumnElement[bool]]) -> list[int]:
        """The log sequences of the matching events, ordered by user.

        In this order, few transactions recompute the pairs of the same user.
        """
        order = (events.c.user, events.c.sequence)
        query = select(events.c.sequence).where(*conditions).order_by(*order)
        with self._read() as connection:
            return list(connection.execute(query).scalars())

    @contextmanager
    def _recorded(self, what: str, event_filter: EventFilter) -> Iterator[int]:
        """Records a removal that runs in this context. Returns its number."""
        filter_ = json.dumps(event_filter.to_dict(), ensure_ascii=False)
        values = {"what": what, "filter": filter_, "time": times.now(), "events": 0, "complete": 0}
        with self._transaction() as connection:
            added = insert(removals).values(values).returning(removals.c.removal)
            number = connection.execute(added).scalar_one()
        yield number
        line = update(removals).where(removals.c.removal == number)
        with self._transaction() as connection:
            connection.execute(line.values(time=times.now(), complete=1))

    def _complete(self, what: str, covers: Callable[[EventFilter], bool]) -> None:
        """Marks earlier interrupted removals as complete if this one has removed their rest."""
        begun = (removals.c.what == what, removals.c.complete == 0)
        with self._transaction() as connection:
            for line in connection.execute(select(removals).where(*begun)).all():
                if covers(EventFilter.from_dict(json.loads(line.filter))):
                    done = update(removals).where(removals.c.removal == line.removal)
                    connection.execute(done.values(complete=1))

    def _in_steps(
        self, rows: Sequence[Any], work: Callable[[Connection, Sequence[Any]], None]
    ) -> None:
        """Applies work to rows in several transactions, which shrink if the disk is full."""
        start, at_once = 0, ROWS_AT_A_TIME
        while start < len(rows):
            batch = rows[start : start + at_once]
            try:
                with self._writing.begin() as connection:
                    work(connection, batch)
            except DatabaseError as error:
                if not is_full(error) or at_once <= _FEWEST_ROWS:
                    raise self._incomplete_error(error) from None
                at_once = max(_FEWEST_ROWS, at_once // _SHRINK)
            else:
                start += len(batch)
            if at_once < ROWS_AT_A_TIME:
                self._empty_log()
        self._empty_log()

    def _empty_log(self) -> None:
        """Moves the write-ahead log into the database and truncates it.

        Otherwise a server that has the store open would keep its disk space in use.
        """
        with suppress(DatabaseError, sqlite3.Error), closing(self._writing.raw_connection()) as raw:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _remove_decisions(self, user_ids: Sequence[str]) -> None:
        size = func.length(decisions.c.content) + ROW_BYTES
        query = select(decisions.c.recommendation_id, size)
        with self._read() as connection:
            found = connection.execute(query.where(decisions.c.user_id.in_(user_ids))).all()
        self._in_steps(found, _delete_found)


def _delete_found(connection: Connection, found: Sequence[Any]) -> None:
    """Removes decisions, given as ids and sizes."""
    delete_decisions(connection, [id_ for id_, _ in found], sum(size for _, size in found))


def _drop_events(connection: Connection, sequences: Sequence[int]) -> None:
    """Removes events by sequence and updates the table `pairs`."""
    items_of: dict[int, set[int]] = {}
    served = 0
    for user, item, source in connection.execute(
        _DROP_EVENTS, {"sequences": json.dumps([*sequences])}
    ):
        items_of.setdefault(user, set()).add(item)
        served += source == SERVED
    count_items_again(connection, items_of)
    add_to_count(connection, EVENTS, -served)


def drop_removed_events(connection: Connection, source: int) -> None:
    """Applies earlier removals to a source that is being imported, inside a transaction.

    Events after the time of a removal are kept.
    """
    affected: set[int] = set()
    for time, filter_ in connection.execute(select(removals.c.time, removals.c.filter)).all():
        conditions = EventFilter.from_dict(json.loads(filter_)).conditions()
        before = events.c.time <= time
        deletion = delete(events).where(events.c.source == source, before, *conditions)
        affected.update(connection.execute(deletion.returning(events.c.user)).scalars())
    count_pairs_again(connection, affected)


def drop_removed_entities(connection: Connection, table: str, source: int) -> None:
    """Applies earlier removals to the rows of an item or user table, inside a transaction."""
    if table == "items":
        removed = items.c.item.in_(select(removed_items.c.item))
        update_rows = update(items).where(items.c.source == source, removed)
        connection.execute(update_rows.values(attributes=None))
        return
    query = select(removals.c.filter).where(removals.c.what == "users")
    for filter_ in connection.execute(query).scalars().all():
        _delete_profiles(connection, json.loads(filter_)["users"])


def _delete_profiles(connection: Connection, user_ids: Sequence[str]) -> None:
    """Removes the attributes of users, and the users themselves if they have no events."""
    named = users.c.user_id.in_(user_ids)
    connection.execute(update(users).where(named).values(attributes=None))
    has_events = select(events.c.sequence).where(events.c.user == users.c.user).exists()
    connection.execute(delete(users).where(named, ~has_events))


def _withdraw(connection: Connection, item_ids: Sequence[str]) -> None:
    named = items.c.item_id.in_(item_ids)
    keys = [
        {"item": key} for key in connection.execute(select(items.c.item).where(named)).scalars()
    ]
    if keys:
        connection.execute(insert(removed_items).on_conflict_do_nothing(), keys)
        described = update(items).where(named, items.c.attributes.is_not(None))
        removed = connection.execute(described.values(attributes=None)).rowcount
        add_to_count(connection, ITEMS, -removed)


def _batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        yield rows[start : start + ROWS_AT_A_TIME]


def withdrawn_ids(connection: Connection) -> list[str]:
    """The ids of the items that were removed and not put again."""
    query = select(items.c.item_id).join(removed_items, removed_items.c.item == items.c.item)
    return list(connection.execute(query).scalars())


def removal_mark(connection: Connection) -> tuple[int, int]:
    """A pair of counters that changes with every removal and when a removed item is put again."""
    last = select(func.coalesce(func.max(removals.c.removal), 0)).scalar_subquery()
    done = select(func.count()).select_from(removals).where(removals.c.complete == 1)
    removed = select(func.count()).select_from(removed_items).scalar_subquery()
    row = connection.execute(select(last + done.scalar_subquery(), removed)).one()
    return int(row[0]), int(row[1])
