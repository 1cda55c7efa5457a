"""Group commit: concurrent writes share one transaction and one wait for the disk.

A single thread of the process commits. A write is acknowledged when its transaction is on disk. An
invalid write fails alone. An error of the database or the disk fails all writes of the transaction
and is logged when it begins and when it ends.
"""

import logging
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import Any, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from tastemaker.errors import StoreError, StoreFullError
from tastemaker.store.database_files import DatabaseFiles
from tastemaker.store.opening import describe_error, is_full
from tastemaker.store.write_queue import Piece, Work, WriteQueue

_LOG = logging.getLogger(__name__)
_SHARED_ERRORS = (OperationalError, DatabaseError)
"""Locked, full or failing; damaged. Other subclasses of DatabaseError are errors of one write."""

CLOSED = "the store is closed"
BATCH_DELAY_SECONDS = 0.1
REMOVE = (
    "or remove events with `tastemaker store events remove`, which works on a full disk, and run "
    "`tastemaker store compact`"
)
"""How to free space on a full disk."""


class Writer:
    """The thread that performs all writes of a process.

    Args:
        engine: opens transactions that wait for writes of other processes.
        path: the database file.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._files = DatabaseFiles(path)
        self._saved = False
        self._failures = 0  # failed writes since the last successful one
        self._queue = WriteQueue()
        self._due = 0.0  # when to write the queued work
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(
        self, work: Work, *, rows: int = 1, caller: str | None = None, defer: bool = False
    ) -> "Future[Any]":
        """Queues a piece of work; the future is done when its changes are on disk.

        Args:
            work: writes with the connection it gets; it can run twice if the first transaction is
                rolled back. It can raise StoreFullError before it writes anything.
            rows: the approximate number of rows it writes.
            caller: the client the work belongs to, which has its own queue; None for the store
                itself.
            defer: whether it can wait a tenth of a second, to share a transaction with others.

        Raises:
            BusyError: this client has too many rows in the queue.
            StoreError: the store is closed.
        """
        return self.submit_all([(work, rows)], caller=caller, defer=defer)[0]

    def submit_all(
        self,
        works: Sequence[tuple[Work, int]],
        *,
        caller: str | None = None,
        defer: bool = False,
    ) -> "list[Future[Any]]":
        """Queues pieces of work of one client, all or none; each succeeds or fails separately.

        Args:
            works: at least one piece, each with its number of rows; see `submit`.
            caller: see `submit`.
            defer: see `submit`.

        Raises:
            BusyError: this client has too many rows in the queue.
            StoreError: the store is closed.
        """
        pieces = [Piece(work, Future(), rows) for work, rows in works]
        with self._changed:
            if self._closing:
                raise StoreError(CLOSED)
            due = monotonic() + (BATCH_DELAY_SECONDS if defer else 0.0)
            due = min(self._due, due) if self._queue else due
            self._queue.add(caller, pieces)
            self._due = due
            self._changed.notify()
        return [piece.future for piece in pieces]

    def accept_replaced_file(self) -> None:
        """Accepts a database file that replaced the earlier one, if it can be opened."""
        with suppress(DatabaseError), self._engine.begin():
            self._files = DatabaseFiles(self._path)

    def require_in_place(self) -> None:
        """Checks that no file of the database was moved, replaced or truncated.

        If only the write-ahead log was removed, its committed data is moved into the database
        first. Otherwise it would be lost when this process ends.

        Raises:
            StoreError: a file was moved, replaced or truncated.
        """
        try:
            self._files.require()
        except StoreError:
            if self._files.has_lost_log and not self._saved:
                self._saved = True
                self._save_log()
            raise

    def _save_log(self) -> None:
        try:
            with closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
        except (DatabaseError, sqlite3.Error) as error:
            _LOG.error("%s: the removed write-ahead log is not saved (%s)", self._path, error)

    def close(self) -> None:
        """Writes all queued work, then stops."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            self._write(group)

    def _write(self, group: list[Piece]) -> None:
        try:
            self._commit(group)
        except StoreError as error:
            self._fail(group, error)
        except Exception as error:
            if type(error) in _SHARED_ERRORS:
                self._fail(group, self._error_for(cast(DatabaseError, error)))
            elif len(group) == 1:
                _LOG.exception("a write failed")
                group[0].future.set_exception(_client_error(error))
            else:
                for one in group:  # so that only the invalid one fails
                    self._write([one])

    def _fail(self, group: list[Piece], error: StoreError) -> None:
        if not self._failures:
            _LOG.error("%s: %s", self._path, error)
        self._failures += len(group)
        for one in group:
            one.future.set_exception(error)

    def _error_for(self, error: DatabaseError) -> StoreError:
        reason = f"nothing was written {describe_error(error, self._path)}"
        if is_full(error):
            return StoreFullError(f"{reason}, {REMOVE}")
        return StoreError(reason)

    def _next_group(self) -> list[Piece]:
        """The next queued pieces that are not cancelled; empty when the writer is closed."""
        while True:
            with self._changed:
                while not self._closing and (left := self._seconds_left()) != 0:
                    self._changed.wait(left)
                if not self._queue:
                    return []
                group = self._queue.take()
            pending = [one for one in group if one.future.set_running_or_notify_cancel()]
            if pending:
                return pending

    def _seconds_left(self) -> float | None:
        """Seconds until the next write; None if the queue is empty."""
        return max(0.0, self._due - monotonic()) if self._queue else None

    def _commit(self, group: list[Piece]) -> None:
        self.require_in_place()
        with self._engine.begin() as connection:
            results = [_result(one.work, connection) for one in group]
        self.require_in_place()  # a write to replaced files is not acknowledged
        full = [isinstance(result, StoreFullError) for result in results]
        if self._failures and not all(full):
            _LOG.warning(
                "%s: writes succeed again, after %d failed writes", self._path, self._failures
            )
            self._failures = 0
        for one, result, is_refused in zip(group, results, full):
            if is_refused:
                one.future.set_exception(result)
            else:
                one.future.set_result(result)


def _result(work: Work, connection: Connection) -> Any:
    """The result of the work, or the StoreFullError it raised before it wrote anything."""
    try:
        return work(connection)
    except StoreFullError as full:
        return full


def _client_error(error: Exception) -> Exception:
    """The error to return to the client."""
    if isinstance(error, DatabaseError):
        return StoreError(f"nothing was written ({error.orig})")
    return error
