"""What a store takes up, and its database written again without the room removed rows have left."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DatabaseError

from tastemaker.disk import replacing
from tastemaker.errors import StoreError
from tastemaker.lock import Presence
from tastemaker.store.counters import EVENTS, ITEMS, count_again
from tastemaker.store.opening import told
from tastemaker.store.pairs import sum_up_again, sums_differ
from tastemaker.store.private import MODE
from tastemaker.store.stored import StoreSize

_PATIENCE_SECONDS = 2.0


def compact(writing: Engine, reading: Engine, presence: Presence, path: Path) -> None:
    """Makes the file as small as what it holds, and corrects its sums and counts.

    The copy is written beside the database, and takes its place when it is on disk.

    Args:
        writing: the engine that writes; both reopen the file when they are used again.
        reading: the engine that reads.
        presence: who has the store open; others stay excluded until it is shared again.
        path: the database file.

    Raises:
        StoreError: another process has it open, or the disk has no room for a copy.
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
                f"{path}: its copy needs {needed / 1e6:,.1f} MB in {real.parent}, there are "
                f"{free / 1e6:,.1f} MB: make room, or remove events with `tastemaker store events "
                "remove` first"
            )
        _replace(real)
    except (DatabaseError, sqlite3.Error, OSError) as problem:
        if "locked" in str(problem):
            raise _in_use(path) from None
        raise StoreError(
            f"{path}: cannot be compacted, its copy is written to {real.parent} "
            f"{told(problem, real)}"
        ) from None


def _in_use(path: Path) -> StoreError:
    return StoreError(
        f"{path}: another process has it open, and would wait for long: stop the server, then run "
        "it again"
    )


def _settle(writing: Engine) -> int:
    """Corrects sums and counts and empties the write-ahead log; the bytes that are in use."""
    with writing.begin() as connection:
        if sums_differ(connection):
            sum_up_again(connection)
        for name in (EVENTS, ITEMS):
            count_again(connection, name)
        used = store_size(connection).used
    with closing(writing.raw_connection()) as raw:
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return used


def _replace(path: Path) -> None:
    """Writes a copy without empty pages, and puts it in the place of a database nobody has open."""
    with closing(sqlite3.connect(path, _PATIENCE_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # succeeds only without other connections, and leaves no log that would not fit the copy
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")  # in this locking mode the lock stays
        with replacing(path, MODE) as part:
            connection.execute("VACUUM INTO ?", (str(part),))


_PAGE, _PAGES, _FREE = (
    text("PRAGMA page_size"),
    text("PRAGMA page_count"),
    text("PRAGMA freelist_count"),
)


def store_size(connection: Connection) -> StoreSize:
    """What the database takes up, without its write-ahead log."""
    page, pages, free = (connection.execute(asked).scalar_one() for asked in (_PAGE, _PAGES, _FREE))
    return StoreSize(page * pages, page * (pages - free))
