"""The store's tables, and how a database is opened: SQLite today, any SQL server by another URL.

Ids are text at the door and small integers inside: a user's key, an item's key, a kind's key. An
event's `sequence` is its place in the log; it only ever grows. Every row tells its source, and only
the events of whole sources count.
"""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DatabaseError

from tastemaker.disk import cure, refusal
from tastemaker.errors import SettingError, StoreError
from tastemaker.lock import is_held

SCHEMA = 2
PATIENCE_SECONDS = 10.0
"""How long a write waits for another process's before it gives up."""
_CACHE_KIB = 65_536

SERVED = 0
"""The source of what came over the network; tables imported from files have later numbers."""

metadata = MetaData()

about = Table(
    "about",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
sources = Table(
    "sources",
    metadata,
    Column("source", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    # 0 while rows come, and for events also while they go; at most one source of a name has 1
    Column("complete", Integer, nullable=False),
)
users = Table(
    "users",
    metadata,
    Column("user", Integer, primary_key=True),
    Column("user_id", Text, nullable=False, unique=True),
    Column("attributes", Text),
    Column("source", Integer, nullable=False, default=SERVED),
)
items = Table(
    "items",
    metadata,
    Column("item", Integer, primary_key=True),
    Column("item_id", Text, nullable=False, unique=True),
    Column("attributes", Text),
    Column("source", Integer, nullable=False, default=SERVED),
    Column("changed", Integer, nullable=False, default=0),
    Index("items_by_change", "changed"),
)
kinds = Table(
    "kinds",
    metadata,
    Column("kind", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)
events = Table(
    "events",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("event_id", Text),
    Column("user", Integer, ForeignKey("users.user"), nullable=False),
    Column("item", Integer, ForeignKey("items.item"), nullable=False),
    Column("kind", Integer, ForeignKey("kinds.kind"), nullable=False),
    Column("value", Float),
    Column("time", Integer, nullable=False),
    Column("received", Integer, nullable=False),
    Column("source", Integer, nullable=False),
    Column("session", Text),
    Column("recommendation_id", Text),
    Column("position", Integer),
    Column("context", Text),
    # while a file is imported again, an event of it stands there twice, once to be seen
    Index("events_by_id", "event_id", "source", unique=True),
    # everything a history needs stands in the index, in one stretch a user
    Index("events_by_user", "user", "sequence", "item", "kind", "value", "time", "source"),
    # what was served is found without going through what was imported after it
    Index("events_served", "sequence", sqlite_where=text("source = 0")),
    sqlite_autoincrement=True,
)
decisions = Table(
    "decisions",
    metadata,
    Column("recommendation_id", Text, primary_key=True),
    Column("time", Integer, nullable=False),
    Column("user_id", Text),
    Column("placement", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("decisions_by_time", "time"),
    sqlite_with_rowid=False,
)
feature_names = Table(
    "feature_names",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("names", Text, nullable=False),
)

_FOREIGN = (
    "SELECT EXISTS (SELECT 1 FROM sqlite_master) "
    "AND NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'about')"
)
VISIBLE = events.c.source.not_in(select(sources.c.source).where(sources.c.complete == 0))
"""Which events count: what was served, and what was imported whole."""


def sqlite_path(url: str, folder: Path) -> Path:
    """Where the database of `[store] url` lies.

    Args:
        url: `sqlite`, or `sqlite:///file`, relative to the project file.
        folder: the state folder, for the default.

    Raises:
        SettingError: it is no SQLite URL.
    """
    if url == "sqlite":
        return folder / "store.db"
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return folder.parent / url.removeprefix("sqlite:///")
    raise SettingError(f"[store] url must be 'sqlite' or 'sqlite:///FILE', got {url!r}")


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _opened(URL.create("sqlite", database=str(path)), patience, path, _check_version)
    except (DatabaseError, OSError) as problem:
        if not path.is_file() or not _on_read_only_disk(path):
            raise StoreError(f"{path}: cannot be used {told(problem, path)}") from None
    try:
        return _opened(url_to_read(path), patience, path, _check_schema)
    except (DatabaseError, OSError) as problem:
        raise StoreError(f"{path}: cannot be used {told(problem, path)}") from None


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


def _opened(
    url: URL, patience: float, path: Path, check: Callable[[Connection, Path], None]
) -> tuple[Engine, Engine]:
    arguments = {"check_same_thread": False, "timeout": patience}
    writing = create_engine(url, pool_size=2, connect_args=arguments)
    reading = create_engine(
        url,
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


def told(problem: DatabaseError | OSError, path: Path) -> str:
    """Why a database refused, and the cure: `(database is locked); another program holds it: …`."""
    text = str(problem.orig if isinstance(problem, DatabaseError) else problem.strerror)
    refused = refused_by_disk(problem, path)
    if refused is not None:
        system = "" if "full" in text or refused is problem else f": {refused.strerror}"
        return f"({text}{system}){cure(refused)}"
    if "locked" in text:
        return f"({text}); another program holds it: stop that, or wait"
    if isinstance(problem, OSError) or any(word in text for word in ("readonly", "unable")):
        return f"({text}); make its folder writable, or set another place by [store] url"
    return f"({text}); restore it from a copy, or move it away to start anew from the files"


def refused_by_disk(problem: DatabaseError | OSError, path: Path) -> OSError | None:
    """What the system says where the disk is full, read-only or failing; else None."""
    refused = problem if isinstance(problem, OSError) else _of_the_disk(problem, path)
    return refused if refused is not None and cure(refused) else None


def _of_the_disk(problem: DatabaseError, path: Path) -> OSError | None:
    """What the system says to what SQLite tells in its own words; None where it says nothing."""
    code = getattr(problem.orig, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    tells_little = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
    return refusal(path.parent) if code in tells_little else None


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
    if _told(connection, "schema") == "1":
        _upgrade(connection)
    _check_schema(connection, path)
    metadata.create_all(connection)


def _check_schema(connection: Connection, path: Path) -> None:
    found = _told(connection, "schema")
    if found != str(SCHEMA):
        raise StoreError(
            f"{path}: holds schema {found}, this version reads {SCHEMA}: use the version of "
            "Tastemaker that wrote it, or move the file away to start anew from the files"
        )


def _upgrade(connection: Connection) -> None:
    """Schema 1 → 2: more than one source of a name, and an event id once in each source."""
    connection.exec_driver_sql("ALTER TABLE sources RENAME TO earlier")
    sources.create(connection)
    connection.exec_driver_sql("INSERT INTO sources SELECT * FROM earlier")
    connection.exec_driver_sql("DROP TABLE earlier")
    for index in events.indexes:
        index.drop(connection, checkfirst=True)
        index.create(connection)
    connection.execute(about.update().where(about.c.name == "schema").values(value="2"))


def _told(connection: Connection, name: str) -> str:
    return str(connection.execute(select(about.c.value).where(about.c.name == name)).scalar_one())


def store_id(connection: Connection) -> str:
    """What no other store is called, 32 hexadecimal digits; given when its tables are made."""
    return _told(connection, "id")


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


def next_change(connection: Connection) -> int:
    """The number of the next change of an item, inside the transaction that makes it."""
    return (connection.execute(select(func.max(items.c.changed))).scalar() or 0) + 1
