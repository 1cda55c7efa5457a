"""Opens the database of a store, and explains why it cannot be opened and how to fix that."""

import errno
import os
import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote
from uuid import uuid4

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError

from tastemaker.disk import (
    TemporaryFolderError,
    fix_hint,
    make_new_folders_private,
    refusal,
    require_regular,
)
from tastemaker.errors import StoreError
from tastemaker.lock import is_held
from tastemaker.store.private import make_private_file
from tastemaker.store.tables import SCHEMA, about, about_store, metadata

PATIENCE_SECONDS = 10.0
"""How long a write waits for a write of another process before it fails."""
_CACHE_KIB = 65_536
_BESIDE = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps next to a database."""

_SORTING_FOLDERS = ("/var/tmp", "/usr/tmp", "/tmp", ".")  # noqa: S108 - in SQLite's order

_FOREIGN = (
    "SELECT EXISTS (SELECT 1 FROM sqlite_master) "
    "AND NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'about')"
)


def connect(path: Path, patience: float = PATIENCE_SECONDS) -> tuple[Engine, Engine]:
    """Opens a database and creates it if it does not exist.

    A write waits for other writes and is on disk when it is committed. A read sees everything that
    was committed before it. On a read-only disk, an existing database can be read.

    Args:
        path: the database file.
        patience: seconds to wait for a write of another process.

    Returns:
        An engine for writes and an engine for reads.

    Raises:
        StoreError: the file is damaged, of another version, locked, or cannot be written.
    """
    require_files(path)
    try:
        make_new_folders_private(path.parent)
        make_private_file(path)
        return create_engines(
            URL.create("sqlite", database=str(path)), patience, path, _check_version
        )
    except (DatabaseError, OSError) as error:
        if not path.is_file() or not _on_read_only_disk(path):
            raise StoreError(f"{path}: cannot be used {describe_error(error, path)}") from None
    try:
        return create_engines(url_to_read(path), patience, path, check_schema)
    except (DatabaseError, OSError) as error:
        raise StoreError(f"{path}: cannot be used {describe_error(error, path)}") from None


def require_files(path: Path) -> None:
    """Checks that all parts of a database are regular files, and not, for example, named pipes.

    Raises:
        StoreError: a part is not a regular file; the message names it.
    """
    for part in (path, *(path.with_name(f"{path.name}{end}") for end in _BESIDE)):
        try:
            require_regular(part)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise StoreError(
                    f"{part}: {error.strerror}; remove it, or set another path in [store] url"
                ) from None


def url_to_read(path: Path) -> URL:
    """The URL for reading committed data without any write.

    SQLite normally creates a log and its index next to the file. It does not if the URL declares
    the file immutable. The file is immutable if there is no log, not even an empty one, and either
    no process has the store open or the disk is read-only.
    """
    log = path.with_name(f"{path.name}-wal")
    presence = path.with_name(f"{path.name}-open")
    alone = not log.exists() and (not is_held(presence) or _on_read_only_disk(path))
    how = {"immutable": "1"} if alone else {}
    query = {"uri": "true", "mode": "ro", **how}
    return URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)


def create_engines(
    url: URL, patience: float, path: Path, check: Callable[[Connection, Path], None]
) -> tuple[Engine, Engine]:
    """Creates an engine for writes and one for reads.

    Args:
        url: the URL of the database.
        patience: seconds to wait for a write of another process.
        path: the database file.
        check: called in the first transaction.
    """
    arguments = {"check_same_thread": False, "timeout": patience}
    writing = create_engine(url, pool_size=2, connect_args=arguments)
    reading = create_engine(
        _without_create(url),
        pool_size=8,
        max_overflow=64,
        pool_reset_on_return=None,  # no transaction is ever left open
        isolation_level="AUTOCOMMIT",
        connect_args=arguments,
    )
    event.listen(writing, "connect", _prepare_to_write)
    event.listen(writing, "begin", _begin)
    event.listen(reading, "connect", _prepare)
    try:
        with writing.begin() as connection:
            check(connection, path)
    except BaseException:
        writing.dispose()
        raise
    return writing, reading


def _without_create(url: URL) -> URL:
    """The same URL in a mode that does not create a missing file."""
    if "uri" in url.query:
        return url
    query = {"uri": "true", "mode": "rw"}
    return URL.create("sqlite", database=f"file:{quote(str(url.database))}", query=query)


def describe_error(error: DatabaseError | sqlite3.Error | OSError, path: Path) -> str:
    """The reason of a database error and its fix: `(database is locked); another process …`."""
    if isinstance(error, DatabaseError):
        error = cast(sqlite3.Error, error.orig)
    text = str(error.strerror if isinstance(error, OSError) else error)
    disk_error = refused_by_disk(error, path)
    if isinstance(disk_error, TemporaryFolderError):
        return f"({disk_error.strerror}){fix_hint(disk_error)}"
    if disk_error is not None:
        system = "" if "full" in text or disk_error is error else f": {disk_error.strerror}"
        return f"({text}{system}){fix_hint(disk_error)}"
    if "locked" in text:
        return f"({text}); another process has locked it: stop that process, or wait"
    if isinstance(error, OSError) or any(word in text for word in ("readonly", "unable")):
        return f"({text}); make its folder writable, or set another path in [store] url"
    return f"({text}); restore it from a copy, or move it away to import the files again"


def refused_by_disk(error: DatabaseError | sqlite3.Error | OSError, path: Path) -> OSError | None:
    """The system error if a disk is full, read-only or failing; else None."""
    disk_error = error if isinstance(error, OSError) else _system_error(error, path)
    return disk_error if disk_error is not None and fix_hint(disk_error) else None


def is_full(error: DatabaseError | sqlite3.Error) -> bool:
    """Whether the error reports a full disk."""
    return _code(error) == sqlite3.SQLITE_FULL


def _code(error: DatabaseError | sqlite3.Error) -> int:
    origin = error.orig if isinstance(error, DatabaseError) else error
    return int(getattr(origin, "sqlite_errorcode", 0)) & 0xFF


def _system_error(error: DatabaseError | sqlite3.Error, path: Path) -> OSError | None:
    """The system error behind a SQLite error, or None."""
    if is_full(error):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        folder = sorting_folder()
        if folder is None or not _is_tighter(folder, path.parent):
            return full
        return TemporaryFolderError(full, "sorting", "make room there", "SQLITE_TMPDIR", folder)
    unspecific = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
    return refusal(path.parent) if _code(error) in unspecific else None


def sorting_folder() -> Path | None:
    """The folder for the temporary files of SQLite, or None."""
    named = (os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR"))
    for folder in (*named, *_SORTING_FOLDERS):
        if folder and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    return None


def _is_tighter(folder: Path, other: Path) -> bool:
    """Whether a folder is on another disk than a second one, with less free space."""
    if _is_same_disk(folder, other):
        return False
    one, two = os.statvfs(folder), os.statvfs(other)
    return one.f_bavail * one.f_frsize < two.f_bavail * two.f_frsize


def _is_same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _on_read_only_disk(path: Path) -> bool:
    disk_error = refusal(path.parent)
    return disk_error is not None and disk_error.errno == errno.EROFS


def _check_version(connection: Connection, path: Path) -> None:
    """Creates the tables of a new database. Refuses all databases except stores of this version."""
    tables = inspect(connection).get_table_names()
    if tables and about.name not in tables:
        raise StoreError(
            f"{path}: contains another program's tables ({', '.join(tables[:3])}); set another "
            "path in [store] url"
        )
    about.create(connection, checkfirst=True)
    connection.execute(
        text("INSERT INTO about (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING"),
        [{"name": "schema", "value": str(SCHEMA)}, {"name": "id", "value": uuid4().hex}],
    )
    check_schema(connection, path)
    metadata.create_all(connection)


def check_schema(
    connection: Connection, path: Path, readable: Collection[str] = (str(SCHEMA),)
) -> None:
    """Checks the schema version of a store.

    Raises:
        StoreError: the schema is not in `readable`.
    """
    schema = about_store(connection, "schema")
    if schema not in readable:
        raise StoreError(
            f"{path}: has schema {schema}, this version reads schema {SCHEMA}: use the version of "
            "Tastemaker that wrote it, or move the file away to import the files again"
        )


def _prepare(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    if not cursor.execute(_FOREIGN).fetchone()[0]:  # it would keep the mode permanently
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # committed data survives a power failure
    cursor.close()


def _prepare_to_write(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver must not issue BEGIN
    _prepare(connection, record)


def _begin(connection: Connection) -> None:
    # takes the write lock at once: a transaction that reads first could not wait for it
    connection.exec_driver_sql("BEGIN IMMEDIATE")
