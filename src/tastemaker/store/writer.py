"""Group commit: whoever writes at the same time shares one transaction, and one wait for the disk.

A single thread of the process commits. A write is acknowledged when its transaction is on disk;
one that fails fails alone. What the database or the disk refuses is nobody's fault: it fails all
that were to be written together, and is logged when it begins and when it is over.
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from tastemaker.errors import BusyError, StoreError
from tastemaker.store.opening import told
from tastemaker.store.place import Place

Work = Callable[[Connection], Any]
_LOG = logging.getLogger(__name__)
_NOBODYS = (OperationalError, DatabaseError)
"""Locked, full, broken; damaged. The others that derive from DatabaseError are somebody's fault."""

CLOSED = "the store is closed"
MOST_AT_ONCE = 256
ROWS_AT_ONCE = 20_000
"""Nothing more joins a transaction of so many rows: it takes about a second, and others wait."""
COMPANY_SECONDS = 0.1
MOST_WAITING = 50_000
"""Rows that wait; about two seconds' worth."""


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
        self._waiting: deque[tuple[Work, Future[Any], int]] = deque()
        self._rows = 0  # of what is waiting
        self._due = 0.0  # when what is waiting shall be written
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work, *, rows: int = 1, patient: bool = False) -> "Future[Any]":
        """Queues a piece of work; the future is done when what it wrote is on disk.

        Args:
            work: writes by the connection it is given; may run twice, the first time in vain.
            rows: about how many it writes.
            patient: whether it may wait a tenth of a second for company, as nobody waits for it.

        Raises:
            BusyError: too much is waiting already.
            StoreError: the store is closed.
        """
        done: Future[Any] = Future()
        with self._changed:
            if self._closing:
                raise StoreError(CLOSED)
            if self._rows >= MOST_WAITING:
                raise BusyError(
                    f"{self._rows:,} rows are waiting for the disk already: try again shortly"
                )
            due = monotonic() + (COMPANY_SECONDS if patient else 0.0)
            self._due = min(self._due, due) if self._waiting else due
            self._waiting.append((work, done, rows))
            self._rows += rows
            self._changed.notify()
        return done

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

    def _write(self, group: list[tuple[Work, "Future[Any]"]]) -> None:
        try:
            self._commit(group)
        except StoreError as problem:
            self._refuse(group, problem)
        except Exception as problem:
            if type(problem) in _NOBODYS:
                reason = told(cast(DatabaseError, problem), self._path)
                self._refuse(group, StoreError(f"nothing was written {reason}"))
            elif len(group) == 1:
                _LOG.exception("a write failed")
                group[0][1].set_exception(_told(problem))
            else:
                for one in group:  # so that whoever is at fault fails alone
                    self._write([one])

    def _refuse(self, group: list[tuple[Work, "Future[Any]"]], refused: StoreError) -> None:
        if not self._refused:
            _LOG.error("%s: %s", self._path, refused)
        self._refused += len(group)
        for _, done in group:
            done.set_exception(refused)

    def _next_group(self) -> list[tuple[Work, "Future[Any]"]]:
        """What is waiting by now and still wanted, empty when there will be no more."""
        while True:
            with self._changed:
                while not self._closing and (left := self._left()) != 0:
                    self._changed.wait(left)
                if not self._waiting:
                    return []
                group = self._taken()
            wanted = [one for one in group if one[1].set_running_or_notify_cancel()]
            if wanted:
                return wanted

    def _taken(self) -> list[tuple[Work, "Future[Any]"]]:
        """As much of what is waiting as one transaction shall write."""
        group: list[tuple[Work, Future[Any]]] = []
        size = 0
        while self._waiting and len(group) < MOST_AT_ONCE and size < ROWS_AT_ONCE:
            work, done, rows = self._waiting.popleft()
            group.append((work, done))
            size += rows
        self._rows -= size
        return group

    def _left(self) -> float | None:
        """Seconds until there is something to do; None, until somebody calls."""
        return max(0.0, self._due - monotonic()) if self._waiting else None

    def _commit(self, group: list[tuple[Work, "Future[Any]"]]) -> None:
        self.require_in_place()
        with self._engine.begin() as connection:
            results = [work(connection) for work, _ in group]
        self.require_in_place()  # what was written elsewhere is not acknowledged
        if self._refused:
            _LOG.warning("%s: written again, after %d refused", self._path, self._refused)
            self._refused = 0
        for (_, done), result in zip(group, results):
            done.set_result(result)


def _told(problem: Exception) -> Exception:
    """What whoever waits is told."""
    if isinstance(problem, DatabaseError):
        return StoreError(f"nothing was written ({problem.orig})")
    return problem
