"""What is taken out of a store for good: events, users, items; recorded, and kept out of imports.

Events go in small transactions, so that a server's writes never wait long. Each removal leaves a
line in `removals`; when a file is imported again, its rows that were removed stay out. A removed
item comes back only when it is put again over HTTP.
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
from tastemaker.store.decision_log import forget
from tastemaker.store.opening import is_full, told
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
"""Events of one transaction: about a hundredth of a second."""
_FEWEST_ROWS = 10
"""On a full disk transactions shrink down to so many rows."""
_SHRINK = 4
_DROP_EVENTS = text(
    "DELETE FROM events WHERE sequence IN (SELECT value FROM json_each(:places)) "
    'RETURNING "user", item, source'
)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are meant; what is left open does not matter.

    Attributes:
        users: ids, any of them.
        items: ids, any of them.
        event_types: names, any of them.
        since: from this moment on, microseconds.
        until: before this moment, microseconds.
    """

    users: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it means every event."""
        return self == EventFilter()

    def conditions(self) -> list[ColumnElement[bool]]:
        """What holds for the events that are meant."""
        found: list[ColumnElement[bool]] = []
        for column, key, name, chosen in (
            (events.c.user, users.c.user, users.c.user_id, self.users),
            (events.c.item, items.c.item, items.c.item_id, self.items),
            (events.c.kind, tables.kinds.c.kind, tables.kinds.c.name, self.event_types),
        ):
            if chosen:  # as one parameter, however many there are
                ids = func.json_each(json.dumps(chosen)).table_valued("value")
                found.append(column.in_(select(key).where(name.in_(select(ids.c.value)))))
        if self.since is not None:
            found.append(events.c.time >= self.since)
        if self.until is not None:
            found.append(events.c.time < self.until)
        return found

    def to_dict(self) -> dict[str, Any]:
        """What is not left open."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in named.items() if value not in ((), None)}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "EventFilter":
        """The filter that `to_dict` made."""
        given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in told.items()}
        given.pop("count", None)  # of items, as it was recorded before all ids were
        return cls(**given)


@dataclass(frozen=True, slots=True)
class Removal:
    """One line of the record.

    Attributes:
        time: when, microseconds.
        what: `events`, `users` or `items`.
        filter: what was chosen.
        events: how many events went.
        complete: whether it was carried out to its end.
    """

    time: int
    what: str
    filter: dict[str, Any]
    events: int
    complete: bool


class Remover:
    """Takes events, users and items out of a store.

    Args:
        writing: opens transactions that wait for other processes' writes.
        reading: reads what was committed before.
        path: the database file.

    Every method may raise StoreError: the store is damaged, locked, or cannot be written.
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
        except DatabaseError as problem:
            raise self._cut_short(problem) from None

    def _cut_short(self, problem: DatabaseError) -> StoreError:
        reason = told(problem, self._path)
        return StoreError(f"{self._path}: not everything was removed {reason}")

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        try:
            with self._reading.connect() as connection:
                yield connection
        except DatabaseError as problem:
            reason = told(problem, self._path)
            raise StoreError(f"{self._path}: cannot be read {reason}") from None

    def removals(self) -> list[Removal]:
        """What was removed so far, the latest first."""
        with self._read() as connection:
            rows = connection.execute(select(removals).order_by(removals.c.removal.desc())).all()
        return [
            Removal(row.time, row.what, json.loads(row.filter), row.events, bool(row.complete))
            for row in rows
        ]

    def remove_events(self, chosen: EventFilter) -> int:
        """Removes the events that are meant; how many there were."""
        with self._recorded("events", chosen) as number:
            removed = self._remove(chosen, number)
        self._complete("events", lambda earlier: earlier == chosen)
        return removed

    def remove_users(self, ids: Sequence[str]) -> int:
        """Removes users with their events, attributes and decisions; how many events there were."""
        removed = 0
        for some in _stretches(ids):
            chosen = EventFilter(users=tuple(some))
            with self._recorded("users", chosen) as number:
                removed += self._remove(chosen, number)
                self._forget_decisions(some)
                self._in_steps(some, _forget_profiles)
        self._complete("users", lambda earlier: set(earlier.users) <= set(ids))
        return removed

    def remove_items(self, ids: Sequence[str]) -> int:
        """Removes items with their events and descriptions; how many events there were.

        They are neither learned from nor shown until they are put again.
        """
        chosen = EventFilter(items=tuple(ids))
        if chosen.is_open:
            return 0
        with self._recorded("items", chosen) as number:
            removed = self._remove(chosen, number)
            self._in_steps(ids, _withdraw)
        self._complete("items", lambda earlier: set(earlier.items) <= set(ids))
        return removed

    def _remove(self, chosen: EventFilter, number: int) -> int:
        """Removes events, also those that arrive meanwhile, and counts them; how many."""
        removed, conditions = 0, chosen.conditions()
        line = update(removals).where(removals.c.removal == number)

        def drop(connection: Connection, places: Sequence[int]) -> None:
            _drop_events(connection, places)
            connection.execute(line.values(events=removals.c.events + len(places)))

        while found := self._sequences(conditions):
            self._in_steps(found, drop)
            removed += len(found)
        return removed

    def _sequences(self, conditions: Sequence[ColumnElement[bool]]) -> list[int]:
        """The places in the log of the events that are meant, user by user.

        In this order few transactions have to sum up the events of the same user again.
        """
        order = (events.c.user, events.c.sequence)
        asked = select(events.c.sequence).where(*conditions).order_by(*order)
        with self._read() as connection:
            return list(connection.execute(asked).scalars())

    @contextmanager
    def _recorded(self, what: str, chosen: EventFilter) -> Iterator[int]:
        """Leaves a line about what is removed meanwhile; its number."""
        filter_ = json.dumps(chosen.to_dict(), ensure_ascii=False)
        values = {"what": what, "filter": filter_, "time": times.now(), "events": 0, "complete": 0}
        with self._transaction() as connection:
            added = insert(removals).values(values).returning(removals.c.removal)
            number = connection.execute(added).scalar_one()
        yield number
        line = update(removals).where(removals.c.removal == number)
        with self._transaction() as connection:
            connection.execute(line.values(time=times.now(), complete=1))

    def _complete(self, what: str, covers: Callable[[EventFilter], bool]) -> None:
        """Completes earlier removals that were cut short, where this one has removed the rest."""
        begun = (removals.c.what == what, removals.c.complete == 0)
        with self._transaction() as connection:
            for line in connection.execute(select(removals).where(*begun)).all():
                if covers(EventFilter.from_dict(json.loads(line.filter))):
                    done = update(removals).where(removals.c.removal == line.removal)
                    connection.execute(done.values(complete=1))

    def _in_steps(
        self, rows: Sequence[Any], work: Callable[[Connection, Sequence[Any]], None]
    ) -> None:
        """Does work on some rows a transaction: on fewer, where the disk has no room for more."""
        start, at_once = 0, ROWS_AT_A_TIME
        while start < len(rows):
            some = rows[start : start + at_once]
            try:
                with self._writing.begin() as connection:
                    work(connection, some)
            except DatabaseError as problem:
                if not is_full(problem) or at_once <= _FEWEST_ROWS:
                    raise self._cut_short(problem) from None
                at_once = max(_FEWEST_ROWS, at_once // _SHRINK)
            else:
                start += len(some)
            if at_once < ROWS_AT_A_TIME:
                self._empty_log()
        self._empty_log()

    def _empty_log(self) -> None:
        """Moves the write-ahead log into the database and gives its room back: a server that has
        the store open would keep it.
        """
        with suppress(DatabaseError, sqlite3.Error), closing(self._writing.raw_connection()) as raw:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _forget_decisions(self, user_ids: Sequence[str]) -> None:
        size = func.length(decisions.c.content) + ROW_BYTES
        theirs = select(decisions.c.recommendation_id, size)
        with self._read() as connection:
            found = connection.execute(theirs.where(decisions.c.user_id.in_(user_ids))).all()
        self._in_steps(found, _forget_some)


def _forget_some(connection: Connection, found: Sequence[Any]) -> None:
    """Removes decisions by their ids and sizes."""
    forget(connection, [id_ for id_, _ in found], sum(size for _, size in found))


def _drop_events(connection: Connection, places: Sequence[int]) -> None:
    """Removes events by their places in the log, and from the sums of the table `pairs`."""
    items_of: dict[int, set[int]] = {}
    served = 0
    for user, item, source in connection.execute(_DROP_EVENTS, {"places": json.dumps([*places])}):
        items_of.setdefault(user, set()).add(item)
        served += source == SERVED
    count_items_again(connection, items_of)
    add_to_count(connection, EVENTS, -served)


def keep_removed_events_out(connection: Connection, source: int) -> None:
    """Removes from a source that is being imported what was removed before, inside a transaction.

    What happened after a removal stays.
    """
    concerned: set[int] = set()
    for time, chosen in connection.execute(select(removals.c.time, removals.c.filter)).all():
        conditions = EventFilter.from_dict(json.loads(chosen)).conditions()
        before = events.c.time <= time
        gone = delete(events).where(events.c.source == source, before, *conditions)
        concerned.update(connection.execute(gone.returning(events.c.user)).scalars())
    count_pairs_again(connection, concerned)


def keep_removed_entities_out(connection: Connection, table: str, source: int) -> None:
    """The same for the rows of an item or user table."""
    if table == "items":
        gone = items.c.item.in_(select(removed_items.c.item))
        out = update(items).where(items.c.source == source, gone)
        connection.execute(out.values(attributes=None))
        return
    asked = select(removals.c.filter).where(removals.c.what == "users")
    for chosen in connection.execute(asked).scalars().all():
        _forget_profiles(connection, json.loads(chosen)["users"])


def _forget_profiles(connection: Connection, user_ids: Sequence[str]) -> None:
    """Forgets what is known of users, and their ids where no event has them."""
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
        gone = connection.execute(described.values(attributes=None)).rowcount
        add_to_count(connection, ITEMS, -gone)


def _stretches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        yield rows[start : start + ROWS_AT_A_TIME]


def withdrawn_ids(connection: Connection) -> list[str]:
    """The ids of the items that were removed and not put again."""
    asked = select(items.c.item_id).join(removed_items, removed_items.c.item == items.c.item)
    return list(connection.execute(asked).scalars())


def removal_mark(connection: Connection) -> tuple[int, int]:
    """What changes with every removal, and when a removed item is put again."""
    last = select(func.coalesce(func.max(removals.c.removal), 0)).scalar_subquery()
    done = select(func.count()).select_from(removals).where(removals.c.complete == 1)
    gone = select(func.count()).select_from(removed_items).scalar_subquery()
    row = connection.execute(select(last + done.scalar_subquery(), gone)).one()
    return int(row[0]), int(row[1])
