"""The store: every event, item and decision of a project, durable, shared by all its processes.

What is written is acknowledged when it is on disk; what is read is what was committed before.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, TextClause, func, select, text
from sqlalchemy.exc import DatabaseError

from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import Schema
from tastemaker.errors import StoreError
from tastemaker.lock import Presence
from tastemaker.progress import Progress
from tastemaker.store import tables
from tastemaker.store.adding import Added
from tastemaker.store.batches import add_in_parts
from tastemaker.store.compacting import compact, store_size
from tastemaker.store.counters import ITEMS, counted
from tastemaker.store.decision import Decision
from tastemaker.store.decision_log import DecisionLog
from tastemaker.store.history import (
    ANY_BEFORE,
    ANY_TIME,
    ANYTHING_SERVED,
    ITEMS_AFTER,
    LAST_SEQUENCE,
    LATEST_SERVED,
    PAIRS_OF_ITEMS,
    SERVED_OF,
    SERVED_SINCE,
    USER_PAIRS,
    StoredEvents,
    StoredPairs,
    newest_events,
)
from tastemaker.store.importing import Importer
from tastemaker.store.incoming import EventRow
from tastemaker.store.item_rows import items_since, put_item
from tastemaker.store.limits import Limits
from tastemaker.store.opening import PATIENCE_SECONDS, connect, told
from tastemaker.store.pairs import pairs_state
from tastemaker.store.private import tighten
from tastemaker.store.reading import attribute_sizes, read_dataset
from tastemaker.store.removing import Remover, removal_mark, withdrawn_ids
from tastemaker.store.stored import StoredItem, StoreSize
from tastemaker.store.tables import SERVED, VISIBLE, events, items, store_id, users
from tastemaker.store.upgrading import upgrade
from tastemaker.store.writer import CLOSED, Writer

_MOST_TO_READ = 200_000


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
        tightened: its files that other users of the machine could read before.
    """

    def __init__(self, path: Path, patience: float = PATIENCE_SECONDS) -> None:
        self.path = path
        log = path.with_name(f"{path.name}-wal")  # SQLite removes it when the last one closes
        self._presence = Presence(path.with_name(f"{path.name}-open"))
        self.log_left = self._presence.first and log.is_file() and log.stat().st_size > 0
        self.tightened = tighten(path)
        try:
            upgrade(path, self._presence, patience)
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
            return bool(connection.execute(ANYTHING_SERVED).scalar_one())

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
        """Refuses to go on where a file of the database was moved away, replaced or cut.

        Raises:
            StoreError: it was.
        """
        self._writer.require_in_place()

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
        rows = self._rows(asked, values)
        with self._reads_damage():
            return StoredEvents.of(rows)

    def _rows(self, asked: TextClause, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self._read() as connection:
            # the driver's own tuples: SQLAlchemy's rows would take twice as long
            cursor = connection.execute(asked, values).cursor
            with self._reads_damage():
                return [] if cursor is None else list(cursor.fetchall())

    @contextmanager
    def _reads_damage(self) -> Iterator[None]:
        """Cells that SQLite gives out whatever they hold, of a file in which bytes were changed."""
        try:
            yield
        except (TypeError, ValueError, OverflowError) as problem:
            raise StoreError(f"{self.path}: cannot be read (it is damaged: {problem})") from None

    def append(
        self,
        rows: Sequence[EventRow],
        *,
        timed: bool = True,
        limits: Limits | None = None,
        caller: str | None = None,
    ) -> "Future[Added]":
        """Adds events, each id once; done when they are on disk.

        Many are written in parts, between which others write; see `add_in_parts`.

        Args:
            rows: the events.
            timed: whether their times are compared with those of imported events too.
            limits: what the store may hold; beyond it the future has a StoreFullError, or its
                result names the events beyond it.
            caller: the client who sent them, in whose queue they wait; see `Waiting`.

        Raises:
            BusyError: too much of this client is waiting for the disk.
        """
        return add_in_parts(self._writer, rows, timed=timed, limits=limits, caller=caller)

    def put_item(
        self,
        item_id: str,
        attributes: Mapping[str, Any],
        *,
        limits: Limits | None = None,
        caller: str | None = None,
    ) -> "Future[bool]":
        """Adds or replaces what is known of an item, as `append` does; whether it was new."""
        values = json.dumps(dict(attributes), ensure_ascii=False)
        work = partial(put_item, item_id=item_id, attributes=values, limits=limits)
        return self._writer.submit(work, caller=caller)

    def history(
        self, user_id: str, kinds: Sequence[int] | None = None, most: int | None = None
    ) -> StoredEvents:
        """What one user did, in the log's order; empty for an unknown user.

        Args:
            user_id: the user.
            kinds: the keys of the event types to read; by default all.
            most: only so many of the latest by their time are read; by default all.

        Cost: one stretch of an index for each type, about a microsecond an event that is read.
        """
        if kinds is None:
            kinds = list(self.kind_keys().values())
        return self._stretch(newest_events(kinds), {"user_id": user_id, "most": most or -1})

    def pairs(
        self, user_id: str, after: int = 0, most: int = -1, items: Sequence[int] | None = None
    ) -> StoredPairs:
        """What one user did with each item, summed up, by item key.

        Args:
            user_id: the user.
            after: only items of a larger key.
            most: at most so many rows; −1, all.
            items: only these item keys; by default all.
        """
        values = {"user_id": user_id, "after": after, "most": most}
        if items is None:
            rows = self._rows(USER_PAIRS, values)
        else:
            rows = self._rows(PAIRS_OF_ITEMS, {"user_id": user_id, "items": json.dumps([*items])})
        with self._reads_damage():
            return StoredPairs.of(rows)

    def last_sequence(self, user_id: str) -> int:
        """The place in the log of the event of a user that came last; 0 without events."""
        with self._read() as connection:
            return connection.execute(LAST_SEQUENCE, {"user_id": user_id}).scalar() or 0

    def items_after(self, user_id: str, sequence: int, most: int) -> tuple[list[int], int]:
        """The item keys of a user's first `most` events after a place; the last place."""
        values = {"user_id": user_id, "sequence": sequence, "most": most}
        rows = self._rows(ITEMS_AFTER, values)
        return [item for item, _ in rows], rows[-1][1] if rows else sequence

    def pairs_state(self, user_id: str) -> str:
        """Changes whenever `pairs` of a user changes otherwise than by events that are added."""
        with self._read() as connection:
            return pairs_state(connection, user_id)

    def has_events(self, user_id: str, before: int = ANY_TIME) -> bool:
        """Whether a user has an event, or one before a moment, microseconds."""
        with self._read() as connection:
            values = {"user_id": user_id, "moment": before}
            return bool(connection.execute(ANY_BEFORE, values).scalar_one())

    def attributes(self, user_id: str) -> dict[str, Any]:
        """What the user table says of a user; nothing of an unknown one."""
        with self._read() as connection:
            asked = select(users.c.attributes).where(users.c.user_id == user_id)
            told = connection.execute(asked).scalar()
        with self._reads_damage():
            return {} if told is None else dict(json.loads(told))

    def served_since(self, sequence: int) -> StoredEvents:
        """The events that came over the network after a place in the log, the first 200,000."""
        return self._stretch(SERVED_SINCE, {"sequence": sequence, "most": _MOST_TO_READ})

    def served_of(self, items: Sequence[int], after: int, until: int) -> StoredEvents:
        """The events of some items that came over the network, in a stretch of the log.

        Args:
            items: item keys.
            after: the place in the log before the first.
            until: the last place.
        """
        values = {"items": json.dumps([*items]), "after": after, "until": until}
        return self._stretch(SERVED_OF, values)

    def latest_served(self) -> int | None:
        """The latest moment among the last 1,000 served events, microseconds; None without any."""
        with self._read() as connection:
            latest: int | None = connection.execute(LATEST_SERVED).scalar()
            return latest

    def items_since(self, changed: int) -> list[StoredItem]:
        """The items put or imported after a change, those known by events alone left out."""
        with self._read() as connection, self._reads_damage():
            return items_since(connection, changed)

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

    def dataset(
        self, schema: Schema, *, every_item: bool = False, most: int | None = None
    ) -> Dataset:
        """Everything in the store as one data set; see `read_dataset`."""
        with self._read() as connection:
            return read_dataset(connection, schema, every_item=every_item, most=most)

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
        """How many items are described and not removed."""
        with self._read() as connection:
            return counted(connection, ITEMS).rows

    def compact(self) -> None:
        """Writes the database again, without the room of removed rows; see `compact`."""
        try:
            compact(self._writing, self._reading, self._presence, self.path)
        finally:
            self._writer.reopened()
            self._presence.share()

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
        with self._read() as connection:
            return attribute_sizes(connection)

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
