"""Group commit: what is written at the same time shares one transaction, and one wait for the disk.

A single thread of the process commits. A write is acknowledged when its transaction is on disk;
one that fails fails alone. What the database or the disk refuses is nobody's fault: it fails all
that were to be written together, and is logged when it begins and when it is over.
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
from tastemaker.store.opening import is_full, told
from tastemaker.store.place import Place
from tastemaker.store.waiting import Piece, Waiting, Work

_LOG = logging.getLogger(__name__)
_NOBODYS = (OperationalError, DatabaseError)
"""Locked, full, broken; damaged. The others that derive from DatabaseError are somebody's fault."""

CLOSED = "the store is closed"
BATCH_DELAY_SECONDS = 0.1
REMOVE = (
    "or remove events with `tastemaker store events remove`, which works on a full disk, and run "
    "`tastemaker store compact`"
)
"""How a full disk gets room again."""


class Writer:
    """The one thread of a process that writes.

    Args:
        engine: opens transactions that wait for other processes' writes.
        path: the database file.

    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._place = Place(path)
        self._saved = False
        self._refused = 0  # writes, since it last went well
        self._waiting = Waiting()
        self._due = 0.0  # when what is waiting shall be written
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(
        self, work: Work, *, rows: int = 1, caller: str | None = None, defer: bool = False
    ) -> "Future[Any]":
        """Queues a piece of work; the future is done when what it wrote is on disk.

        Args:
            work: writes by the connection it is given; may run twice, the first time in vain. It
                may raise StoreFullError before it writes anything.
            rows: about how many it writes.
            caller: the client it is done for, in whose queue it waits; None for the store itself.
            defer: whether it may wait a tenth of a second, to be written together with others.

        Raises:
            BusyError: too much of this client is waiting already.
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
        """Queues pieces of work of one client, all or none; each succeeds or fails on its own.

        Args:
            works: the pieces, each with the number of its rows, at least one; see `submit`.
            caller: see `submit`.
            defer: see `submit`.

        Raises:
            BusyError: too much of this client is waiting already.
            StoreError: the store is closed.
        """
        pieces = [Piece(work, Future(), rows) for work, rows in works]
        with self._changed:
            if self._closing:
                raise StoreError(CLOSED)
            due = monotonic() + (BATCH_DELAY_SECONDS if defer else 0.0)
            due = min(self._due, due) if self._waiting else due
            self._waiting.add(caller, pieces)
            self._due = due
            self._changed.notify()
        return [piece.done for piece in pieces]

    def reopened(self) -> None:
        """Goes on with a database file that was put in the other's place, if it can be opened."""
        with suppress(DatabaseError), self._engine.begin():
            self._place = Place(self._path)

    def require_in_place(self) -> None:
        """Refuses to go on where a file of the database was moved away, replaced or cut.

        Where the write-ahead log alone was removed, what had been committed to it is moved into the
        database first: it would be lost with this process.

        Raises:
            StoreError: it was.
        """
        try:
            self._place.require()
        except StoreError:
            if self._place.has_lost_log and not self._saved:
                self._saved = True
                self._save_log()
            raise

    def _save_log(self) -> None:
        try:
            with closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
        except (DatabaseError, sqlite3.Error) as problem:
            _LOG.error("%s: what was in the removed log is not saved (%s)", self._path, problem)

    def close(self) -> None:
        """Writes what is waiting, then stops."""
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
        except StoreError as problem:
            self._refuse(group, problem)
        except Exception as problem:
            if type(problem) in _NOBODYS:
                self._refuse(group, self._refused_by(cast(DatabaseError, problem)))
            elif len(group) == 1:
                _LOG.exception("a write failed")
                group[0].done.set_exception(_told(problem))
            else:
                for one in group:  # so that the one at fault fails alone
                    self._write([one])

    def _refuse(self, group: list[Piece], refused: StoreError) -> None:
        if not self._refused:
            _LOG.error("%s: %s", self._path, refused)
        self._refused += len(group)
        for one in group:
            one.done.set_exception(refused)

    def _refused_by(self, problem: DatabaseError) -> StoreError:
        reason = f"nothing was written {told(problem, self._path)}"
        if is_full(problem):
            return StoreFullError(f"{reason}, {REMOVE}")
        return StoreError(reason)

    def _next_group(self) -> list[Piece]:
        """What is waiting by now and still wanted, empty when there will be no more."""
        while True:
            with self._changed:
                while not self._closing and (left := self._left()) != 0:
                    self._changed.wait(left)
                if not self._waiting:
                    return []
                group = self._waiting.take()
            wanted = [one for one in group if one.done.set_running_or_notify_cancel()]
            if wanted:
                return wanted

    def _left(self) -> float | None:
        """Seconds until there is something to do; None if nothing is waiting."""
        return max(0.0, self._due - monotonic()) if self._waiting else None

    def _commit(self, group: list[Piece]) -> None:
        self.require_in_place()
        with self._engine.begin() as connection:
            results = [_result(one.work, connection) for one in group]
        self.require_in_place()  # what was written elsewhere is not acknowledged
        full = [isinstance(result, StoreFullError) for result in results]
        if self._refused and not all(full):
            _LOG.warning("%s: written again, after %d refused", self._path, self._refused)
            self._refused = 0
        for one, result, is_refused in zip(group, results, full):
            if is_refused:
                one.done.set_exception(result)
            else:
                one.done.set_result(result)


def _result(work: Work, connection: Connection) -> Any:
    """What work returns; where the store is full, the error: it has written nothing then."""
    try:
        return work(connection)
    except StoreFullError as full:
        return full


def _told(problem: Exception) -> Exception:
    """The error that the client gets."""
    if isinstance(problem, DatabaseError):
        return StoreError(f"nothing was written ({problem.orig})")
    return problem
