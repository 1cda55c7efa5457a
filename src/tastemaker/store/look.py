"""What is in a store, found without writing a byte: for whoever asks what is wrong."""

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
"""A store of an earlier schema is upgraded when it is opened to write."""


@dataclass(frozen=True, slots=True)
class StoreLook:
    """What is in a store.

    Attributes:
        id: what no other store is called.
        events: how many there are.
        served: how many came over the network, after the place in its log that was asked for.
        served_in_all: how many came over the network.
        used_bytes: what the database takes up, without pages that are free.
        latest: the moment of the latest event, microseconds; None without events.
        imported: table → fingerprint of the file whose rows it has.
        unfinished: the tables of which it has a part only.
        sums_differ: whether the events are not those that the table `pairs` sums up.
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
    """Looks through all of a store.

    Args:
        path: the database file.
        store: whose log `sequence` is a place in; in another store's it means nothing.
        sequence: from where on to count what was served.

    Raises:
        StoreError: it is damaged, holds something else, or cannot be read.
    """
    require_files(path)
    url = url_to_read(path)
    try:
        return _looked(path, url, store, sequence)
    except StoreError:
        if (now := url_to_read(path)) == url:
            raise
        return _looked(path, now, store, sequence)  # somebody has opened it meanwhile, and writes


def _looked(path: Path, url: URL, store: str, sequence: int) -> StoreLook:
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            damage = connection.execute(text("PRAGMA quick_check(1)")).scalars().first()
            if damage != "ok":
                raise StoreError(f"{path}: is damaged ({' '.join(str(damage).split())})")
            check_schema(connection, path, _READABLE)
            id_ = store_id(connection)
            return _look(connection, id_, sequence if store == id_ else 0)
    except DatabaseError as problem:
        raise StoreError(f"{path}: cannot be read as a store ({problem.orig})") from None
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
