"""Reports the size of a database, and rewrites it without the space of removed rows."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DatabaseError

from tastemaker.disk import replacing
from tastemaker.errors import StoreError
from tastemaker.lock import Presence
from tastemaker.store.counters import EVENTS, ITEMS, recount
from tastemaker.store.opening import describe_error
from tastemaker.store.pairs import recompute_pairs, sums_differ
from tastemaker.store.private import MODE
from tastemaker.store.stored import StoreSize

_PATIENCE_SECONDS = 2.0


def compact(writing: Engine, reading: Engine, presence: Presence, path: Path) -> None:
    """Rewrites the database without free pages and corrects its sums and counts.

    The copy is written next to the database and replaces it when it is on disk.

    Args:
        writing: the engine for writes; both engines reopen the file on their next use.
        reading: the engine for reads.
        presence: the processes that have the store open; others stay excluded until it is shared
            again.
        path: the database file.

    Raises:
        StoreError: another process has it open, or the disk has no space for a copy.
    """
    if not presence.excludes():
        raise _in_use(path)
    real = path.resolve()
    try:
        needed = _settle(writing)
        writing.dispose()
        reading.dispose()
        stats = os.statvfs(real.parent)
        free = stats.f_bavail * stats.f_frsize
        if free < needed:
            raise StoreError(
                f"{path}: the copy needs {needed / 1e6:,.1f} MB in {real.parent}, only "
                f"{free / 1e6:,.1f} MB are free: free disk space, or remove events with "
                "`tastemaker store events remove` first"
            )
        _replace(real)
    except (DatabaseError, sqlite3.Error, OSError) as error:
        if "locked" in str(error):
            raise _in_use(path) from None
        raise StoreError(
            f"{path}: cannot be compacted, the copy is written to {real.parent} "
            f"{describe_error(error, real)}"
        ) from None


def _in_use(path: Path) -> StoreError:
    return StoreError(
        f"{path}: another process has it open: stop the server, then run the command again"
    )


def _settle(writing: Engine) -> int:
    """Corrects sums and counts and empties the write-ahead log. Returns the bytes in use."""
    with writing.begin() as connection:
        if sums_differ(connection):
            recompute_pairs(connection)
        for name in (EVENTS, ITEMS):
            recount(connection, name)
        used = store_size(connection).used
    with closing(writing.raw_connection()) as raw:
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return used


def _replace(path: Path) -> None:
    """Replaces a database that no process has open by a copy without empty pages."""
    with closing(sqlite3.connect(path, _PATIENCE_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # succeeds only without other connections, and leaves no log of the replaced database
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")  # this locking mode keeps the lock
        with replacing(path, MODE) as part:
            connection.execute("VACUUM INTO ?", (str(part),))


_PAGE, _PAGES, _FREE = (
    text("PRAGMA page_size"),
    text("PRAGMA page_count"),
    text("PRAGMA freelist_count"),
)


def store_size(connection: Connection) -> StoreSize:
    """The size of the database without its write-ahead log."""
    page, pages, free = (connection.execute(query).scalar_one() for query in (_PAGE, _PAGES, _FREE))
    return StoreSize(page * pages, page * (pages - free))
