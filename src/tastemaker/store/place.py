"""Whether an open database still consists of the files it was opened with.

SQLite goes on writing to a file that was moved away, removed or replaced, and reports success. What
it writes there is found by nobody, so nothing more may be acknowledged.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tastemaker.errors import StoreError

_INDEX_BYTES = 32_768
"""The least size of the index of a write-ahead log; SQLite maps it into memory."""
_READ_SECONDS = 1.0
_LOG_HEADER, _FRAME_HEADER = 32, 24
_UNKNOWN = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN)
"""What tells nothing about the files, such as too many open ones."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it is found under a name.

    It is never opened: POSIX takes the locks that SQLite holds on a file from a process that closes
    any descriptor of it.
    """

    device: int
    number: int
    size: int
    changed: int

    @classmethod
    def at(cls, path: Path) -> "_File | None":
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def is_same(self, other: "_File | None") -> bool:
        return other is not None and (self.device, self.number) == (other.device, other.number)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a new reader of the files finds.

    Attributes:
        id: of the store.
        reached: the place its log of events has reached.
        size: bytes of the database, of which the last may still be in the write-ahead log.
        log_size: bytes that the log has at least; 0 where that was not asked for.
    """

    id: str
    reached: int
    size: int
    log_size: int


class Place:
    """The files of a database that is open: itself, its write-ahead log, and the log's index.

    Args:
        path: the database file; open, so that its log and index exist where it has them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log, self._index, self._journal = (
            path.with_name(f"{path.name}-{ending}") for ending in ("wal", "shm", "journal")
        )
        found = {file: _File.at(file) for file in (path, self._log, self._index)}
        self._opened = {file: one for file, one in found.items() if one is not None}
        self._seen = dict(self._opened)
        self._contents = self._read() if len(self._opened) == len(found) else None

    def require(self) -> None:
        """Refuses to go on without the files the database was opened with.

        Costs three looks at files, and one at their contents when they were changed otherwise than
        by events that were added.

        Raises:
            StoreError: one is missing, or was replaced, truncated or overwritten.
        """
        problem = self._problem()
        if problem:
            raise StoreError(
                f"{problem} while it was open, so nothing more is taken in: put it back, or start "
                "again"
            )

    @property
    def has_lost_log(self) -> bool:
        """Whether the database is in place and its write-ahead log is gone."""
        if self._log not in self._opened or _File.at(self._log) is not None:
            return False
        return self._opened[self._path].is_same(_File.at(self._path))

    def _problem(self) -> str:
        """What is wrong; empty if nothing is."""
        for path, opened in self._opened.items():
            if not opened.is_same(_File.at(path)):
                return f"{path}: was moved away or replaced"
        if self._contents is None:  # without a log the system says all there is to say
            return ""
        # between two looks at the files another process may rightly have changed them
        return self._problem_of_contents() and self._problem_of_contents()

    def _problem_of_contents(self) -> str:
        database, log, index, journal = (
            _File.at(path) for path in (self._path, self._log, self._index, self._journal)
        )
        if database is None or log is None or index is None:
            return f"{self._path}: was moved away or replaced"
        if index.size < _INDEX_BYTES:
            return f"{self._index}: was truncated"
        if journal is not None and journal.size:
            return f"{self._journal}: was put beside {self._path.name}"
        before = self._seen[self._path]
        is_shorter = log.size < self._seen[self._log].size
        if is_shorter or (database.size, database.changed) != (before.size, before.changed):
            try:
                found, known = self._read(is_shorter), self._contents
            except sqlite3.DatabaseError as problem:
                which = self._log if is_shorter else self._path
                return f"{which}: was truncated or overwritten ({problem})"
            if found is None or known is None:
                return ""
            if log.size < found.log_size:
                return f"{self._log}: was truncated"
            if found.id != known.id or found.reached < known.reached:
                return f"{self._path}: was overwritten"
            if database.size < min(before.size, found.size):
                return f"{self._path}: was truncated"
            self._contents = found
        self._seen = {self._path: database, self._log: log, self._index: index}
        return ""

    def _read(self, log: bool = False) -> _Contents | None:
        """What a new reader finds; None where it cannot be told just now.

        Args:
            log: whether to read all of the write-ahead log, by a checkpoint.

        Raises:
            sqlite3.DatabaseError: the files are damaged.
        """
        try:
            url = f"{self._path.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(url, _READ_SECONDS, uri=True)) as reader:
                found = reader.execute("SELECT value FROM about WHERE name = 'id'").fetchone()
                asked = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
                reached = reader.execute(asked).fetchone()
                (pages,) = reader.execute("PRAGMA page_count").fetchone()
                (bytes_of_page,) = reader.execute("PRAGMA page_size").fetchone()
                frames = 0
                if log:
                    _, frames, _ = reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as problem:
            if getattr(problem, "sqlite_errorcode", 0) & 0xFF in _UNKNOWN:
                return None
            raise
        return _Contents(
            str(found[0]) if found else "",
            int(reached[0]) if reached else 0,
            pages * bytes_of_page,
            _LOG_HEADER + frames * (_FRAME_HEADER + bytes_of_page) if frames > 0 else 0,
        )
