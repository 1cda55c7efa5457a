"""Checks that an open database still uses the files it was opened with.

SQLite continues to write to a file that was moved, removed or replaced, and reports success. These
writes are lost, so they must not be acknowledged.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tastemaker.errors import StoreError

_INDEX_BYTES = 32_768
"""The minimum size of the index of a write-ahead log; SQLite maps it into memory."""
_READ_SECONDS = 1.0
_LOG_HEADER, _FRAME_HEADER = 32, 24
_UNRELATED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN)
"""Error codes that do not mean a problem of the files, for example too many open files."""


@dataclass(frozen=True, slots=True)
class _File:
    """The identity of the file at a path.

    The file is never opened: with POSIX locks, a process that closes any descriptor of a file loses
    the locks that SQLite holds on it.
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
    """The content of the files as a new reader finds it.

    Attributes:
        id: the id of the store.
        last_sequence: the last sequence of its event log.
        size: bytes of the database, including those that are still in the write-ahead log.
        log_size: the minimum size of the write-ahead log, bytes; 0 if it was not requested.
    """

    id: str
    last_sequence: int
    size: int
    log_size: int


class DatabaseFiles:
    """The files of an open database: the database, its write-ahead log and the index of the log.

    Args:
        path: the database file; it must be open, so that its log and index exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log, self._index, self._journal = (
            path.with_name(f"{path.name}-{ending}") for ending in ("wal", "shm", "journal")
        )
        found = {file: _File.at(file) for file in (path, self._log, self._index)}
        self._opened = {file: one for file, one in found.items() if one is not None}
        self._last_seen = dict(self._opened)
        self._contents = self._read() if len(self._opened) == len(found) else None

    def require(self) -> None:
        """Checks that the database still uses the files it was opened with.

        Raises:
            StoreError: a file is missing, or was replaced, truncated or overwritten.

        Cost: three `stat` calls, and one read of the contents if the files changed other than by
        added events.
        """
        problem = self._problem()
        if problem:
            raise StoreError(
                f"{problem} while it was open, so no more data is accepted: restore it, or restart "
                "the process"
            )

    @property
    def has_lost_log(self) -> bool:
        """Whether the database file is in place but its write-ahead log is missing."""
        if self._log not in self._opened or _File.at(self._log) is not None:
            return False
        return self._opened[self._path].is_same(_File.at(self._path))

    def _problem(self) -> str:
        """A description of the problem; empty without a problem."""
        for path, opened in self._opened.items():
            if not opened.is_same(_File.at(path)):
                return f"{path}: was moved or replaced"
        if self._contents is None:  # without a log, the checks above are sufficient
            return ""
        # checks twice: another process can change the files between two `stat` calls
        return self._problem_of_contents() and self._problem_of_contents()

    def _problem_of_contents(self) -> str:
        database, log, index, journal = (
            _File.at(path) for path in (self._path, self._log, self._index, self._journal)
        )
        if database is None or log is None or index is None:
            return f"{self._path}: was moved or replaced"
        if index.size < _INDEX_BYTES:
            return f"{self._index}: was truncated"
        if journal is not None and journal.size:
            return f"{self._journal}: was created next to {self._path.name}"
        before = self._last_seen[self._path]
        is_shorter = log.size < self._last_seen[self._log].size
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
            if found.id != known.id or found.last_sequence < known.last_sequence:
                return f"{self._path}: was overwritten"
            if database.size < min(before.size, found.size):
                return f"{self._path}: was truncated"
            self._contents = found
        self._last_seen = {self._path: database, self._log: log, self._index: index}
        return ""

    def _read(self, log: bool = False) -> _Contents | None:
        """The content as a new reader finds it; None if it cannot be read at the moment.

        Args:
            log: whether to read the whole write-ahead log, by a checkpoint.

        Raises:
            sqlite3.DatabaseError: the files are damaged.
        """
        try:
            url = f"{self._path.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(url, _READ_SECONDS, uri=True)) as reader:
                found = reader.execute("SELECT value FROM about WHERE name = 'id'").fetchone()
                query = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
                last_sequence = reader.execute(query).fetchone()
                (pages,) = reader.execute("PRAGMA page_count").fetchone()
                (bytes_of_page,) = reader.execute("PRAGMA page_size").fetchone()
                frames = 0
                if log:
                    _, frames, _ = reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as problem:
            if getattr(problem, "sqlite_errorcode", 0) & 0xFF in _UNRELATED:
                return None
            raise
        return _Contents(
            str(found[0]) if found else "",
            int(last_sequence[0]) if last_sequence else 0,
            pages * bytes_of_page,
            _LOG_HEADER + frames * (_FRAME_HEADER + bytes_of_page) if frames > 0 else 0,
        )
