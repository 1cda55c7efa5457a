"""What a store takes up, and its database written anew without the room removed rows have left."""

import os
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DatabaseError

from tastemaker.errors import StoreError
from tastemaker.lock import Presence
from tastemaker.store.opening import told
from tastemaker.store.stored import StoreSize

_COPIES = 2
"""The new copy is written to the write-ahead log before it takes the old one's place."""


def compact(writing: Engine, presence: Presence, path: Path) -> None:
    """Makes the file as small as what it holds.

    Args:
        writing: the engine that writes.
        presence: who has the store open.
        path: the database file.

    Raises:
        StoreError: another process has it open, or the disk has no room for a second copy.
    """
    if not presence.excludes():
        raise StoreError(
            f"{path}: another process has it open, and would wait for long: stop the server, then "
            "run it again"
        )
    stats = os.statvfs(path.parent)
    free, needed = stats.f_bavail * stats.f_frsize, _COPIES * path.stat().st_size
    if free < needed:
        raise StoreError(
            f"{path}: needs {needed / 1e6:,.0f} MB of free disk while it is written anew, there "
            f"are {free / 1e6:,.0f} MB: make room"
        )
    try:
        connection = writing.raw_connection()
        try:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()
    except DatabaseError as problem:
        raise StoreError(f"{path}: cannot be compacted {told(problem, path)}") from None


_PAGE, _PAGES, _FREE = (
    text("PRAGMA page_size"),
    text("PRAGMA page_count"),
    text("PRAGMA freelist_count"),
)


def store_size(connection: Connection) -> StoreSize:
    """What the database takes up, without its write-ahead log."""
    page, pages, free = (connection.execute(asked).scalar_one() for asked in (_PAGE, _PAGES, _FREE))
    return StoreSize(page * pages, page * (pages - free))
