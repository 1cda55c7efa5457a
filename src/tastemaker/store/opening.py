"""How a store's database is opened, and what stands in the way: the reason and its fix."""

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
"""How long a write waits for another process's before it gives up."""
_CACHE_KIB = 65_536
_BESIDE = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite keeps beside a database."""

_SORTING_FOLDERS = ("/var/tmp", "/usr/tmp", "/tmp", ".")  # noqa: S108 - in SQLite's order

_FOREIGN = (
    "SELECT EXISTS (SELECT 1 FROM sqlite_master) "
    "AND NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'about')"
)


def connect(path: Path, patience: float = PATIENCE_SECONDS) -> tuple[Engine, Engine]:
    """Opens a database, made if it is not there: one engine to write with, one to read with.

    A write waits for the others' and is on disk when it is committed; a read sees whatever was
    committed before it. On a read-only disk a database that is there can be read.

    Args:
        path: the database file.
        patience: seconds to wait for another process's write.

    Raises:
        StoreError: the file is damaged, of another version, locked, or cannot be written.
    """
    require_files(path)
    try:
        make_new_folders_private(path.parent)
        make_private_file(path)
        return opened(URL.create("sqlite", database=str(path)), patience, path, _check_version)
    except (DatabaseError, OSError) as problem:
        if not path.is_file() or not _on_read_only_disk(path):
            raise StoreError(f"{path}: cannot be used {told(problem, path)}") from None
    try:
        return opened(url_to_read(path), patience, path, check_schema)
    except (DatabaseError, OSError) as problem:
        raise StoreError(f"{path}: cannot be used {told(problem, path)}") from None


def require_files(path: Path) -> None:
    """Refuses a database of which a part is something else than a file, such as a named pipe.

    Raises:
        StoreError: names the part.
    """
    for part in (path, *(path.with_name(f"{path.name}{end}") for end in _BESIDE)):
        try:
            require_regular(part)
        except FileNotFoundError:
            continue
        except OSError as problem:
            if problem.errno == errno.EINVAL:
                raise StoreError(
                    f"{part}: {problem.strerror}; remove it, or set another place by [store] url"
                ) from None


def url_to_read(path: Path) -> URL:
    """Where what was committed can be read without a write.

    SQLite would lay a log and its index beside the file; it does without them where it is told that
    nobody changes the file. That is so where no log lies there, not even one that is empty yet, and
    nobody has the store open or nobody could write.
    """
    log = path.with_name(f"{path.name}-wal")
    presence = path.with_name(f"{path.name}-open")
    alone = not log.exists() and (not is_held(presence) or _on_read_only_disk(path))
    how = {"immutable": "1"} if alone else {}
    query = {"uri": "true", "mode": "ro", **how}
    return URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)


def opened(
    url: URL, patience: float, path: Path, check: Callable[[Connection, Path], None]
) -> tuple[Engine, Engine]:
    """An engine to write with and one to read with.

    Args:
        url: of the database.
        patience: seconds to wait for another process's write.
        path: the database file.
        check: called in a first transaction.
    """
    arguments = {"check_same_thread": False, "timeout": patience}
    writing = create_engine(url, pool_size=2, connect_args=arguments)
    reading = create_engine(
        _without_making(url),
        pool_size=8,
        max_overflow=64,
        pool_reset_on_return=None,  # nothing is ever left open
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


def _without_making(url: URL) -> URL:
    """The same, but where no file is there, none is made."""
    if "uri" in url.query:
        return url
    query = {"uri": "true", "mode": "rw"}
    return URL.create("sqlite", database=f"file:{quote(str(url.database))}", query=query)


def told(problem: DatabaseError | sqlite3.Error | OSError, path: Path) -> str:
    """Why a database refused, and the fix: `(database is locked); another program holds it: …`."""
    if isinstance(problem, DatabaseError):
        problem = cast(sqlite3.Error, problem.orig)
    text = str(problem.strerror if isinstance(problem, OSError) else problem)
    refused = refused_by_disk(problem, path)
    if isinstance(refused, TemporaryFolderError):
        return f"({refused.strerror}){fix_hint(refused)}"
    if refused is not None:
        system = "" if "full" in text or refused is problem else f": {refused.strerror}"
        return f"({text}{system}){fix_hint(refused)}"
    if "locked" in text:
        return f"({text}); another program holds it: stop that, or wait"
    if isinstance(problem, OSError) or any(word in text for word in ("readonly", "unable")):
        return f"({text}); make its folder writable, or set another place by [store] url"
    return f"({text}); restore it from a copy, or move it away to start again from the files"


def refused_by_disk(problem: DatabaseError | sqlite3.Error | OSError, path: Path) -> OSError | None:
    """What the system says where a disk is full, read-only or failing; else None."""
    refused = problem if isinstance(problem, OSError) else _of_the_disk(problem, path)
    return refused if refused is not None and fix_hint(refused) else None


def is_full(problem: DatabaseError | sqlite3.Error) -> bool:
    """Whether a disk has no room for what was to be written."""
    return _code(problem) == sqlite3.SQLITE_FULL


def _code(problem: DatabaseError | sqlite3.Error) -> int:
    origin = problem.orig if isinstance(problem, DatabaseError) else problem
    return int(getattr(origin, "sqlite_errorcode", 0)) & 0xFF


def _of_the_disk(problem: DatabaseError | sqlite3.Error, path: Path) -> OSError | None:
    """What the system says, where SQLite reports it in its own words; None if it says nothing."""
    if is_full(problem):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        folder = sorting_folder()
        if folder is None or not _is_tighter(folder, path.parent):
            return full
        return TemporaryFolderError(full, "sorting", "make room there", "SQLITE_TMPDIR", folder)
    tells_little = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
    return refusal(path.parent) if _code(problem) in tells_little else None


def sorting_folder() -> Path | None:
    """The folder in which SQLite sorts what does not fit into memory; None if there is none."""
    named = (os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR"))
    for folder in (*named, *_SORTING_FOLDERS):
        if folder and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    return None


def _is_tighter(folder: Path, other: Path) -> bool:
    """Whether a folder lies on another disk than a second one, with less room."""
    if _same_disk(folder, other):
        return False
    one, two = os.statvfs(folder), os.statvfs(other)
    return one.f_bavail * one.f_frsize < two.f_bavail * two.f_frsize


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _on_read_only_disk(path: Path) -> bool:
    refused = refusal(path.parent)
    return refused is not None and refused.errno == errno.EROFS


def _check_version(connection: Connection, path: Path) -> None:
    """Makes the tables of a new database, and refuses what is no store of this version."""
    there = inspect(connection).get_table_names()
    if there and about.name not in there:
        raise StoreError(
            f"{path}: holds another program's tables ({', '.join(there[:3])}); name a file of its "
            "own by [store] url"
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
    """Refuses a store of another version.

    Raises:
        StoreError: its schema is none of `readable`.
    """
    found = about_store(connection, "schema")
    if found not in readable:
        raise StoreError(
            f"{path}: holds schema {found}, this version reads {SCHEMA}: use the version of "
            "Tastemaker that wrote it, or move the file away to start again from the files"
        )


def _prepare(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    if not cursor.execute(_FOREIGN).fetchone()[0]:  # which would keep the mode for good
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # what is committed survives a power cut
    cursor.close()


def _prepare_to_write(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver leaves BEGIN to us
    _prepare(connection, record)


def _begin(connection: Connection) -> None:
    # claims the write at once: a transaction that reads first could not wait for its turn
    connection.exec_driver_sql("BEGIN IMMEDIATE")
