"""The store: every event, item and decision of a project, durable, shared by all its processes.

What is written is acknowledged when it is on disk; what is read is what was committed before.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, TextClause, bindparam, func, literal, select, text
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import Schema
from tastemaker.errors import StoreError
from tastemaker.lock import Presence
from tastemaker.progress import Progress
from tastemaker.store import tables
from tastemaker.store.compacting import compact, store_size
from tastemaker.store.decision import Decision
from tastemaker.store.decision_log import DecisionLog
from tastemaker.store.importing import Importer
from tastemaker.store.incoming import EventRow
from tastemaker.store.opening import PATIENCE_SECONDS, connect, told
from tastemaker.store.reading import read_dataset
from tastemaker.store.removing import Remover, removal_mark, withdrawn_ids
from tastemaker.store.stored import StoredEvents, StoredItem, StoreSize
from tastemaker.store.tables import (
    SERVED,
    VISIBLE,
    events,
    items,
    next_change,
    store_id,
    users,
)
from tastemaker.store.writer import CLOSED, Writer

_MOST_TO_READ = 200_000


_HISTORY = text(
    "SELECT sequence, item, kind, value, time FROM events "
    'WHERE "user" = (SELECT "user" FROM users WHERE user_id = :user_id) '
    "AND source NOT IN (SELECT source FROM sources WHERE complete = 0) ORDER BY sequence"
)
_SERVED_SINCE = text(
    "SELECT sequence, item, kind, value, time FROM events "
    "WHERE sequence > :sequence AND source = 0 ORDER BY sequence LIMIT :most"
)
_LATEST_SERVED = text(
    "SELECT max(time) FROM (SELECT time FROM events WHERE source = 0 "
    "ORDER BY sequence DESC LIMIT 1000)"
)
_ITEMS_SINCE = text(
    "SELECT item, item_id, attributes, source, changed FROM items "
    "WHERE changed > :changed AND attributes IS NOT NULL ORDER BY changed"
)
_NO_LONGER_REMOVED = text(
    "DELETE FROM removed_items WHERE item = (SELECT item FROM items WHERE item_id = :item_id)"
)
_ITEM_COUNT = text(
    "SELECT (SELECT count(*) FROM items WHERE changed > 0) - (SELECT count(*) FROM removed_items "
    "JOIN items USING (item) WHERE changed > 0)"
)
_ANYTHING_SERVED = text(
    "SELECT EXISTS (SELECT 1 FROM events WHERE source = 0) OR EXISTS (SELECT 1 FROM decisions) "
    "OR EXISTS (SELECT 1 FROM items WHERE source = 0 AND attributes IS NOT NULL)"
)


class Store:
    """An open database. Every method may raise StoreError: closed, damaged or locked.

    Args:
        path: the database file; made if it is not there.
        patience: seconds to wait for another process's write.

    Raises:
        StoreError: it is damaged, locked, of another version, or cannot be written. On a read-only
            disk one that is there opens, and refuses whatever is written.

    Attributes:
        log_left: whether a log was left beside it, by a process that was killed, or that closed it
            while another was reading. Whatever had been committed is there.
        decision_log: the decisions.
    """

    def __init__(self, path: Path, patience: float = PATIENCE_SECONDS) -> None:
        self.path = path
        log = path.with_name(f"{path.name}-wal")  # SQLite removes it when the last one closes
        self._presence = Presence(path.with_name(f"{path.name}-open"))
        self.log_left = self._presence.first and log.is_file() and log.stat().st_size > 0
        try:
            self._writing, self._reading = connect(path, patience)
        except BaseException:
            self._presence.close()
            raise
        self._writer = Writer(self._writing, path)
        self._closed = False
        self.decision_log = DecisionLog(self._writer, self._read)

    def close(self) -> None:
        """Writes what is waiting and closes."""
        self._writer.close()
        self._closed = True
        self._writing.dispose()
        self._reading.dispose()
        self._presence.close()

    def discard(self) -> None:
        """Closes; removes the database too, unless others have it open or anything was served."""
        try:
            if self._presence.excludes() and not self._has_served():
                self._writing.dispose()
                self._reading.dispose()
                for ending in ("", "-wal", "-shm"):
                    self.path.with_name(f"{self.path.name}{ending}").unlink(missing_ok=True)
        finally:
            self.close()

    def _has_served(self) -> bool:
        with self._read() as connection:
            return bool(connection.execute(_ANYTHING_SERVED).scalar_one())

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def id(self) -> str:
        """What no other store is called; places in another store's log mean nothing here."""
        with self._read() as connection:
            return store_id(connection)

    def require_in_place(self) -> None:
        """Refuses to go on where the file was moved away or replaced.

        Raises:
            StoreError: it was.
        """
        self._writer.place.require()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        if self._closed:
            raise StoreError(CLOSED)
        try:
            with self._reading.connect() as connection:
                yield connection
        except DatabaseError as problem:
            raise StoreError(f"{self.path}: cannot be read {told(problem, self.path)}") from None

    def _stretch(self, asked: TextClause, values: Mapping[str, Any]) -> StoredEvents:
        with self._read() as connection:
            # the driver's own tuples: SQLAlchemy's rows would take twice as long
            cursor = connection.execute(asked, values).cursor
            with self._reads_damage():
                return StoredEvents.of([] if cursor is None else cursor.fetchall())

    @contextmanager
    def _reads_damage(self) -> Iterator[None]:
        """Cells that SQLite gives out whatever they hold, of a file in which bytes were changed."""
        try:
            yield
        except (TypeError, ValueError, OverflowError) as problem:
            raise StoreError(f"{self.path}: cannot be read (it is damaged: {problem})") from None

    def append(self, rows: Sequence[EventRow]) -> "Future[int]":
        """Adds events; done when they are on disk, with how many of them were new.

        An event whose `event_id` is there already is left out.
        """
        return self._writer.submit(lambda connection: add_events(connection, rows), rows=len(rows))

    def put_item(self, item_id: str, attributes: Mapping[str, Any]) -> "Future[bool]":
        """Adds or replaces what is known of an item; tells, when on disk, whether it was new."""
        told = json.dumps(dict(attributes), ensure_ascii=False)

        def work(connection: Connection) -> bool:
            known = connection.execute(
                select(items.c.attributes).where(items.c.item_id == item_id)
            ).first()
            values = {"attributes": told, "source": SERVED, "changed": next_change(connection)}
            connection.execute(
                insert(items)
                .values(item_id=item_id, **values)
                .on_conflict_do_update(index_elements=["item_id"], set_=values)
            )
            connection.execute(_NO_LONGER_REMOVED, {"item_id": item_id})
            return known is None or known.attributes is None

        return self._writer.submit(work)

    def history(self, user_id: str) -> StoredEvents:
        """Everything one user did, in the log's order; empty for an unknown user.

        Cost: one stretch of an index, about a microsecond an event.
        """
        return self._stretch(_HISTORY, {"user_id": user_id})

    def attributes(self, user_id: str) -> dict[str, Any]:
        """What the user table says of a user; nothing of an unknown one."""
        with self._read() as connection:
            asked = select(users.c.attributes).where(users.c.user_id == user_id)
            told = connection.execute(asked).scalar()
        with self._reads_damage():
            return {} if told is None else dict(json.loads(told))

    def served_since(self, sequence: int) -> StoredEvents:
        """The events that came over the network after a place in the log, the first 200,000."""
        return self._stretch(_SERVED_SINCE, {"sequence": sequence, "most": _MOST_TO_READ})

    def latest_served(self) -> int | None:
        """The latest moment among the last 1,000 served events, microseconds; None without any."""
        with self._read() as connection:
            latest: int | None = connection.execute(_LATEST_SERVED).scalar()
            return latest

    def items_since(self, changed: int) -> list[StoredItem]:
        """The items put or imported after a change, those known by events alone left out."""
        with self._read() as connection:
            rows = connection.execute(_ITEMS_SINCE, {"changed": changed}).all()
        with self._reads_damage():
            return [
                StoredItem(item, item_id, json.loads(told), source, at)
                for item, item_id, told, source, at in rows
            ]

    def item_keys(self) -> tuple[list[str], NDArray[np.int64]]:
        """Every item id, and its key."""
        with self._read() as connection:
            rows = connection.execute(select(items.c.item_id, items.c.item)).all()
        return [id_ for id_, _ in rows], np.array([key for _, key in rows], np.int64)

    def kind_keys(self) -> dict[str, int]:
        """Kind of event → its key, as far as there are events of it."""
        with self._read() as connection:
            rows = connection.execute(select(tables.kinds.c.name, tables.kinds.c.kind)).all()
            return {row.name: row.kind for row in rows}

    def dataset(self, schema: Schema, *, every_item: bool = False) -> Dataset:
        """Everything in the store as one data set; see `read_dataset`."""
        with self._read() as connection:
            return read_dataset(connection, schema, every_item=every_item)

    def importer(self, progress: Progress = Progress()) -> Importer:
        """What writes files' tables into this store."""
        return Importer(self._writing, self._reading, self.path, progress)

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read with."""
        return self._read()

    def size(self) -> StoreSize:
        """What the database takes up, without its write-ahead log."""
        with self._read() as connection:
            return store_size(connection)

    def item_count(self) -> int:
        """How many items were described and not removed."""
        with self._read() as connection:
            return int(connection.execute(_ITEM_COUNT).scalar_one())

    def compact(self) -> None:
        """Writes the database anew without the room that removed rows have left; see `compact`."""
        compact(self._writing, self._presence, self.path)

    def remover(self) -> Remover:
        """What takes events, users and items out of this store."""
        return Remover(self._writing, self._reading, self.path)

    def removal_mark(self) -> tuple[int, int]:
        """What changes with every removal, and when a removed item is put again."""
        with self._read() as connection:
            return removal_mark(connection)

    def withdrawn_ids(self) -> list[str]:
        """The items that were removed and not put again."""
        with self._read() as connection:
            return withdrawn_ids(connection)

    def count(self) -> int:
        """How many events there are."""
        with self._read() as connection:
            counted = select(func.count()).select_from(events).where(VISIBLE)
            return connection.execute(counted).scalar_one()

    def attribute_sizes(self) -> tuple[int, int]:
        """Characters, and labels in lists, of the attributes of all items and users."""
        characters = labels = 0
        with self._read() as connection:
            for told in (items.c.attributes, users.c.attributes):
                between = func.length(told) - func.length(func.replace(told, '", "', ""))
                sizes = select(func.sum(func.length(told)), func.sum(between) / 4)
                length, marks = connection.execute(sizes).one()
                characters, labels = characters + (length or 0), labels + int(marks or 0)
        return characters, labels

    def count_served(self, after: int) -> int:
        """How many events came over the network after a place in the log."""
        with self._read() as connection:
            since = (events.c.sequence > after, events.c.source == SERVED)
            return connection.execute(select(func.count()).where(*since)).scalar_one()

    def check(self) -> str | None:
        """What is damaged in the database file; None if nothing is. Reads all of it."""
        with self._read() as connection:
            try:
                found = list(connection.execute(text("PRAGMA quick_check")).scalars())
            except DatabaseError as problem:  # too damaged to be looked through
                return str(problem.orig)
        return None if found == ["ok"] else str(found[0])

    def users(self, most: int) -> list[str]:
        """Some users who have events, the longest known first."""
        with self._read() as connection:
            asked = select(users.c.user_id).order_by(users.c.user).limit(most)
            return list(connection.execute(asked).scalars())

    def log(self, decision: Decision, most_bytes: int | None = None) -> "Future[None]":
        """Keeps a decision; see `DecisionLog.add`."""
        return self.decision_log.add(decision, most_bytes)

    def decision(self, recommendation_id: str) -> Decision | None:
        """A decision by its id; None if there is none."""
        return self.decision_log.find(recommendation_id)

    def latest_decisions(self, most: int) -> list[Decision]:
        """The latest decisions, the latest first."""
        return self.decision_log.latest(most)


_ADD_USER = insert(users).on_conflict_do_nothing()
_ADD_ITEM = insert(items).on_conflict_do_nothing()
_ADD_KIND = insert(tables.kinds).on_conflict_do_nothing()
_TOLD = (
    "event_id",
    "value",
    "time",
    "received",
    "session",
    "recommendation_id",
    "position",
    "context",
)
_FOUND = {
    "user": select(users.c.user).where(users.c.user_id == bindparam("of_user")),
    "item": select(items.c.item).where(items.c.item_id == bindparam("of_item")),
    "kind": select(tables.kinds.c.kind).where(tables.kinds.c.name == bindparam("of_kind")),
    "source": select(literal(SERVED)),
}
_KNOWN = select(events.c.sequence).where(events.c.event_id == bindparam("event_id"), VISIBLE)
# one that is known from a file not yet whole is added; the file's then makes room
_ADD_EVENT = insert(events).from_select(
    [*_FOUND, *_TOLD],
    select(
        *(found.scalar_subquery() for found in _FOUND.values()),
        *(bindparam(name, type_=events.c[name].type) for name in _TOLD),
    ).where(~_KNOWN.exists()),
)


def add_events(connection: Connection, rows: Sequence[EventRow]) -> int:
    """Adds events inside a transaction; how many of them were new."""
    if not rows:
        return 0
    connection.execute(_ADD_USER, [{"user_id": id_} for id_ in {row.user_id for row in rows}])
    connection.execute(_ADD_ITEM, [{"item_id": id_} for id_ in {row.item_id for row in rows}])
    connection.execute(_ADD_KIND, [{"name": name} for name in {row.kind for row in rows}])
    last = connection.execute(select(func.max(events.c.sequence))).scalar() or 0
    connection.execute(
        _ADD_EVENT,
        [
            {
                "of_user": row.user_id,
                "of_item": row.item_id,
                "of_kind": row.kind,
                "event_id": row.event_id,
                "value": row.value,
                "time": row.time,
                "received": row.received,
                "session": row.session,
                "recommendation_id": row.recommendation_id,
                "position": row.position,
                "context": row.context,
            }
            for row in rows
        ],
    )
    added = select(func.count()).where(events.c.sequence > last)
    return connection.execute(added).scalar_one()
