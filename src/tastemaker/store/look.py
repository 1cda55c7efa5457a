"""A read-only summary of a store, for diagnosis."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, NullPool, create_engine, func, inspect, select, text
from sqlalchemy.exc import DatabaseError

from tastemaker.errors import StoreError
from tastemaker.store.compacting import store_size
from tastemaker.store.opening import check_schema, require_files, url_to_read
from tastemaker.store.pairs import sums_differ
from tastemaker.store.tables import (
    SCHEMA,
    SERVED,
    VISIBLE,
    events,
    pairs,
    sources,
    store_id,
)

_READABLE = tuple(str(number) for number in range(1, SCHEMA + 1))
"""Stores of earlier schemas can be read; they are upgraded when they are opened for writing."""


@dataclass(frozen=True, slots=True)
class StoreLook:
    """A summary of a store.

    Attributes:
        id: the unique id of the store.
        events: the number of events.
        served: the number of served events after the given sequence.
        served_in_all: the number of events that were received over the network.
        used_bytes: the size of the database without free pages.
        latest: the time of the latest event, microseconds; None without events.
        imported: table → fingerprint of the imported file.
        unfinished: the tables with an incomplete import.
        sums_differ: whether the table `pairs` does not match the events.
    """

    id: str
    events: int
    served: int
    served_in_all: int
    used_bytes: int
    latest: int | None
    imported: dict[str, str]
    unfinished: tuple[str, ...]
    sums_differ: bool = False


def look(path: Path, store: str = "", sequence: int = 0) -> StoreLook:
    """Summarizes a store without writing to it. Reads the whole database.

    Args:
        path: the database file.
        store: the id of the store that `sequence` belongs to; it is ignored for another store.
        sequence: the log sequence after which to count served events.

    Raises:
        StoreError: the database is damaged, not a store, or cannot be read.
    """
    require_files(path)
    url = url_to_read(path)
    try:
        return _look_at(path, url, store, sequence)
    except StoreError:
        if (now := url_to_read(path)) == url:
            raise
        return _look_at(path, now, store, sequence)  # a process has opened it for writing meanwhile


def _look_at(path: Path, url: URL, store: str, sequence: int) -> StoreLook:
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            damage = connection.execute(text("PRAGMA quick_check(1)")).scalars().first()
            if damage != "ok":
                raise StoreError(f"{path}: is damaged ({' '.join(str(damage).split())})")
            check_schema(connection, path, _READABLE)
            id_ = store_id(connection)
            return _look(connection, id_, sequence if store == id_ else 0)
    except DatabaseError as error:
        raise StoreError(f"{path}: cannot be read as a store ({error.orig})") from None
    finally:
        engine.dispose()


def _look(connection: Connection, id_: str, after: int) -> StoreLook:
    imports: dict[str, str | None] = {}
    for name, print_, complete in connection.execute(
        select(sources.c.name, sources.c.fingerprint, sources.c.complete)
    ):
        imports[name] = print_ if complete else imports.get(name)
    since = (events.c.sequence > after, events.c.source == SERVED)
    count, latest = connection.execute(
        select(func.count(), func.max(events.c.time)).select_from(events).where(VISIBLE)
    ).one()
    return StoreLook(
        id_,
        count,
        connection.execute(select(func.count()).where(*since)).scalar_one(),
        connection.execute(select(func.count()).where(since[1])).scalar_one(),
        store_size(connection).used,
        latest,
        {name: print_ for name, print_ in imports.items() if print_ is not None},
        tuple(name for name, print_ in imports.items() if print_ is None),
        inspect(connection).has_table(pairs.name) and sums_differ(connection),
    )
