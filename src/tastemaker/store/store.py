"""The store: every event, item and decision of a project, durable and shared by all its processes.

A write is acknowledged when it is on disk. A read returns what was committed before it.
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
from tastemaker.store.counters import ITEMS, count_of
from tastemaker.store.decision import Decision
from tastemaker.store.decision_log import DecisionLog
from tastemaker.store.history import (
    ANY_BEFORE,
    ANY_TIME,
    HAS_SERVED,
    ITEMS_AFTER,
    LAST_SEQUENCE,
    LATEST_SERVED_TIME,
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
from tastemaker.store.opening import PATIENCE_SECONDS, connect, describe_error
from tastemaker.store.pairs import pairs_state
from tastemaker.store.private import restrict_access
from tastemaker.store.reading import attribute_sizes, read_dataset
from tastemaker.store.removing import Remover, removal_mark, withdrawn_ids
from tastemaker.store.stored import StoredItem, StoreSize
from tastemaker.store.tables import SERVED, VISIBLE, events, items, store_id, users
from tastemaker.store.upgrading import upgrade
from tastemaker.store.writer import CLOSED, Writer

_MOST_TO_READ = 200_000


class Store:
    """An open database. Every method can raise StoreError: it is closed, damaged or locked.

    Args:
        path: the database file; created if it does not exist.
        patience: seconds to wait for a write of another process.

    Raises:
        StoreError: the database is damaged, locked, of another version, or cannot be written. On a
            read-only disk, an existing database opens and every write fails.

    Attributes:
        has_leftover_log: whether a write-ahead log was left by a process that was killed, or that
            closed the store while another process was reading. No committed data is lost.
        decision_log: the logged decisions.
        restricted_files: the files that other users of the machine could read until now.
    """

    def __init__(self, path: Path, patience: float = PATIENCE_SECONDS) -> None:
        self.path = path
        log = path.with_name(f"{path.name}-wal")  # SQLite removes it on the last close
        self._presence = Presence(path.with_name(f"{path.name}-open"))
        self.has_leftover_log = self._presence.first and log.is_file() and log.stat().st_size > 0
        self.restricted_files = restrict_access(path)
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
        """Writes all queued work and closes the store."""
        self._writer.close()
        self._closed = True
        self._writing.dispose()
        self._reading.dispose()
        self._presence.close()

    def discard(self) -> None:
        """Closes; deletes the database unless it is in use or holds served data."""
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
            return bool(connection.execute(HAS_SERVED).scalar_one())

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def id(self) -> str:
        """The unique id of this store. A log sequence is only valid together with it."""
        with self._read() as connection:
            return store_id(connection)

    def require_in_place(self) -> None:
        """Checks that no file of the database was moved, replaced or truncated.

        Raises:
            StoreError: a file was moved, replaced or truncated.
        """
        self._writer.require_in_place()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        if self._closed:
            raise StoreError(CLOSED)
        try:
            with self._reading.connect() as connection:
                yield connection
        except DatabaseError as error:
            raise StoreError(
                f"{self.path}: cannot be read {describe_error(error, self.path)}"
            ) from None

    def _select_events(self, query: TextClause, values: Mapping[str, Any]) -> StoredEvents:
        rows = self._rows(query, values)
        with self._reads_damage():
            return StoredEvents.of(rows)

    def _rows(self, query: TextClause, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self._read() as connection:
            # plain driver tuples: SQLAlchemy rows take twice as long
            cursor = connection.execute(query, values).cursor
            with self._reads_damage():
                return [] if cursor is None else list(cursor.fetchall())

    @contextmanager
    def _reads_damage(self) -> Iterator[None]:
        """Reports invalid cells of a damaged file, which SQLite returns without an error."""
        try:
            yield
        except (TypeError, ValueError, OverflowError) as error:
            raise StoreError(f"{self.path}: cannot be read (it is damaged: {error})") from None

    def append(
        self,
        rows: Sequence[EventRow],
        *,
        timed: bool = True,
        limits: Limits | None = None,
        caller: str | None = None,
    ) -> "Future[Added]":
        """Adds events, each id once; the future is done when they are on disk.

        Large batches are written in parts; see `add_in_parts`.

        Args:
            rows: the events.
            timed: whether to compare their times with those of imported events too.
            limits: the limits of the store; see `Added` for the events beyond them.
            caller: the client that sent the events; see `WriteQueue`.

        Raises:
            BusyError: this client has too many rows in the queue.
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
        """Adds an item or replaces its attributes, like `append`; returns whether it was new."""
        values = json.dumps(dict(attributes), ensure_ascii=False)
        work = partial(put_item, item_id=item_id, attributes=values, limits=limits)
        return self._writer.submit(work, caller=caller)

    def history(
        self, user_id: str, kinds: Sequence[int] | None = None, most: int | None = None
    ) -> StoredEvents:
        """The events of one user, in log order; empty for an unknown user.

        Args:
            user_id: the user.
            kinds: keys of the event types to read; by default all.
            most: the maximum number of events, the latest by time; by default all.

        Cost: one index range per event type, about a microsecond for each event read.
        """
        if kinds is None:
            kinds = list(self.kind_keys().values())
        return self._select_events(newest_events(kinds), {"user_id": user_id, "most": most or -1})

    def pairs(
        self, user_id: str, after: int = 0, most: int = -1, items: Sequence[int] | None = None
    ) -> StoredPairs:
        """The events of one user aggregated by item, ordered by item key.

        Args:
            user_id: the user.
            after: only items with a larger key.
            most: the maximum number of rows; −1 for all.
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
        """The log sequence of the last event of a user; 0 without events."""
        with self._read() as connection:
            return connection.execute(LAST_SEQUENCE, {"user_id": user_id}).scalar() or 0

    def items_after(self, user_id: str, sequence: int, most: int) -> tuple[list[int], int]:
        """The item keys of a user's first `most` events after a sequence, and the last sequence."""
        values = {"user_id": user_id, "sequence": sequence, "most": most}
        rows = self._rows(ITEMS_AFTER, values)
        return [item for item, _ in rows], rows[-1][1] if rows else sequence

    def pairs_state(self, user_id: str) -> str:
        """A text that changes when `pairs` of a user changes other than by added events."""
        with self._read() as connection:
            return pairs_state(connection, user_id)

    def has_events(self, user_id: str, before: int = ANY_TIME) -> bool:
        """Whether a user has an event before a moment, microseconds; by default any event."""
        with self._read() as connection:
            values = {"user_id": user_id, "moment": before}
            return bool(connection.execute(ANY_BEFORE, values).scalar_one())

    def attributes(self, user_id: str) -> dict[str, Any]:
        """The attributes of a user from the user table; empty for an unknown user."""
        with self._read() as connection:
            query = select(users.c.attributes).where(users.c.user_id == user_id)
            content = connection.execute(query).scalar()
        with self._reads_damage():
            return {} if content is None else dict(json.loads(content))

    def served_since(self, sequence: int) -> StoredEvents:
        """The first 200,000 events received over the network after a sequence in the log."""
        return self._select_events(SERVED_SINCE, {"sequence": sequence, "most": _MOST_TO_READ})

    def served_of(self, items: Sequence[int], after: int, until: int) -> StoredEvents:
        """The served events of some items in a range of the log.

        Args:
            items: item keys.
            after: the sequence before the first event.
            until: the last sequence.
        """
        values = {"items": json.dumps([*items]), "after": after, "until": until}
        return self._select_events(SERVED_OF, values)

    def latest_served(self) -> int | None:
        """The latest time among the last 1,000 served events, microseconds; None without any."""
        with self._read() as connection:
            latest: int | None = connection.execute(LATEST_SERVED_TIME).scalar()
            return latest

    def items_since(self, changed: int) -> list[StoredItem]:
        """The items put or imported after a change, without items that only occur in events."""
        with self._read() as connection, self._reads_damage():
            return items_since(connection, changed)

    def item_keys(self) -> tuple[list[str], NDArray[np.int64]]:
        """All item ids, and their keys, int64[n]."""
        with self._read() as connection:
            rows = connection.execute(select(items.c.item_id, items.c.item)).all()
        return [id_ for id_, _ in rows], np.array([key for _, key in rows], np.int64)

    def kind_keys(self) -> dict[str, int]:
        """Event type → its key, for the event types that occur in the store."""
        with self._read() as connection:
            rows = connection.execute(select(tables.kinds.c.name, tables.kinds.c.kind)).all()
            return {row.name: row.kind for row in rows}

    def dataset(
        self, schema: Schema, *, every_item: bool = False, most: int | None = None
    ) -> Dataset:
        """The whole store as one dataset; see `read_dataset`."""
        with self._read() as connection:
            return read_dataset(connection, schema, every_item=every_item, most=most)

    def importer(self, progress: Progress = Progress()) -> Importer:
        """An importer that writes tables of files into this store."""
        return Importer(self._writing, self._reading, self.path, progress)

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection for reading."""
        return self._read()

    def size(self) -> StoreSize:
        """The size of the database without its write-ahead log."""
        with self._read() as connection:
            return store_size(connection)

    def item_count(self) -> int:
        """The number of items that have a description and are not removed."""
        with self._read() as connection:
            return count_of(connection, ITEMS).rows

    def compact(self) -> None:
        """Rewrites the database without the space of removed rows; see `compact`."""
        try:
            compact(self._writing, self._reading, self._presence, self.path)
        finally:
            self._writer.accept_replaced_file()
            self._presence.share()

    def remover(self) -> Remover:
        """A remover that deletes events, users and items from this store."""
        return Remover(self._writing, self._reading, self.path)

    def removal_mark(self) -> tuple[int, int]:
        """A pair of counters that changes with each removal and each restored item."""
        with self._read() as connection:
            return removal_mark(connection)

    def withdrawn_ids(self) -> list[str]:
        """The ids of the items that were removed and not put again."""
        with self._read() as connection:
            return withdrawn_ids(connection)

    def count(self) -> int:
        """The number of events."""
        with self._read() as connection:
            query = select(func.count()).select_from(events).where(VISIBLE)
            return connection.execute(query).scalar_one()

    def attribute_sizes(self) -> tuple[int, int]:
        """The number of characters and of list labels in the attributes of items and users."""
        with self._read() as connection:
            return attribute_sizes(connection)

    def count_served(self, after: int) -> int:
        """The number of served events after a sequence in the log."""
        with self._read() as connection:
            since = (events.c.sequence > after, events.c.source == SERVED)
            return connection.execute(select(func.count()).where(*since)).scalar_one()

    def check(self) -> str | None:
        """What is damaged in the database file, or None. Reads the whole file."""
        with self._read() as connection:
            try:
                found = list(connection.execute(text("PRAGMA quick_check")).scalars())
            except DatabaseError as error:  # too damaged for the check itself
                return str(error.orig)
        return None if found == ["ok"] else str(found[0])

    def users(self, most: int) -> list[str]:
        """The ids of the first `most` users of the store, the oldest first."""
        with self._read() as connection:
            query = select(users.c.user_id).order_by(users.c.user).limit(most)
            return list(connection.execute(query).scalars())

    def log(self, decision: Decision, most_bytes: int | None = None) -> "Future[None]":
        """Logs a decision; see `DecisionLog.add`."""
        return self.decision_log.add(decision, most_bytes)

    def decision(self, recommendation_id: str) -> Decision | None:
        """The decision with an id, or None."""
        return self.decision_log.find(recommendation_id)

    def latest_decisions(self, most: int) -> list[Decision]:
        """The latest decisions, newest first."""
        return self.decision_log.latest(most)
