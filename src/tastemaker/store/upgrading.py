"""Upgrades a store of an earlier version, while no other process has it open.

A running process of the earlier version would not update the new tables.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, Connection, delete, func, insert, literal, select
from sqlalchemy.exc import DatabaseError

from tastemaker.errors import StoreError
from tastemaker.lock import Presence
from tastemaker.store.counters import DECISIONS, EVENTS, ITEMS, recount
from tastemaker.store.opening import create_engines, describe_error, require_files
from tastemaker.store.pairs import add_to_pairs
from tastemaker.store.tables import (
    ROW_BYTES,
    SCHEMA,
    about,
    about_store,
    decisions,
    events,
    pairs,
    recounts,
    removals,
    removed_items,
    sources,
    totals,
)

_PATIENCE_SECONDS = 2.0
"""How long to wait for other processes that are closing the store."""


def upgrade(path: Path, presence: Presence, patience: float) -> None:
    """Upgrades a store of an earlier schema; does nothing for other files.

    Args:
        path: the database file.
        presence: the processes that have the store open.
        patience: seconds to wait for a write of another process.

    Raises:
        StoreError: another process has it open, or it cannot be written.
    """
    require_files(path)
    schema = _schema(path, patience)
    if schema not in _UPGRADES:
        return
    with presence.alone(_PATIENCE_SECONDS) as alone:  # waits until another process has upgraded it
        if alone:
            _upgrade_alone(path, patience)
    if not alone and _schema(path, patience) in _UPGRADES:
        raise StoreError(
            f"{path}: another process has it open, and it must be upgraded from schema {schema} to "
            f"{SCHEMA}: stop the server and other commands, then run the command again"
        )


def _upgrade_alone(path: Path, patience: float) -> None:
    try:
        url = URL.create("sqlite", database=str(path))
        for engine in create_engines(url, patience, path, _upgrade):
            engine.dispose()
    except DatabaseError as error:
        raise StoreError(f"{path}: cannot be upgraded {describe_error(error, path)}") from None


def _schema(path: Path, patience: float) -> int | None:
    """The schema of a database; None if it cannot be read, which is reported when it is opened."""
    url = f"{path.absolute().as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(url, patience, uri=True)) as reader:
            found = reader.execute("SELECT value FROM about WHERE name = 'schema'").fetchone()
            return int(found[0]) if found else None
    except (sqlite3.Error, TypeError, ValueError):
        return None


def _upgrade(connection: Connection, _: Path) -> None:
    for schema, step in _UPGRADES.items():
        if about_store(connection, "schema") == str(schema):
            step(connection)
            later = about.update().where(about.c.name == "schema")
            connection.execute(later.values(value=str(schema + 1)))


def _upgrade_to_2(connection: Connection) -> None:
    """Schema 1 → 2: several sources of a name, and unique event ids in each source."""
    connection.exec_driver_sql("ALTER TABLE sources RENAME TO earlier")
    sources.create(connection)
    connection.exec_driver_sql("INSERT INTO sources SELECT * FROM earlier")
    connection.exec_driver_sql("DROP TABLE earlier")
    for index in events.indexes:
        index.drop(connection, checkfirst=True)
        index.create(connection)


def _upgrade_to_3(connection: Connection) -> None:
    """Schema 2 → 3: an index of the newest events of a user, and the table `pairs`."""
    for index in events.indexes:
        if index.name in ("events_by_user", "events_by_time", "events_served_of"):
            index.drop(connection, checkfirst=True)
            index.create(connection)
    pairs.create(connection, checkfirst=True)
    connection.execute(delete(pairs))
    add_to_pairs(connection, 0)


def _upgrade_to_4(connection: Connection) -> None:
    """Schema 3 → 4: removals, and the size of the decisions."""
    for table in (removals, removed_items, totals, decisions):
        table.create(connection, checkfirst=True)
    size = func.length(decisions.c.content) + ROW_BYTES
    counted = select(literal(DECISIONS), func.count(), func.coalesce(func.sum(size), 0))
    connection.execute(
        insert(totals).prefix_with("OR REPLACE").from_select(["name", "rows", "bytes"], counted)
    )


def _upgrade_to_5(connection: Connection) -> None:
    """Schema 4 → 5: counts of events, items and removals by user, and an index of the decisions."""
    recounts.create(connection, checkfirst=True)
    connection.execute(delete(about).where(about.c.name == "removals"))
    for index in decisions.indexes:
        index.create(connection, checkfirst=True)
    for name in (EVENTS, ITEMS):
        recount(connection, name)


_UPGRADES = {1: _upgrade_to_2, 2: _upgrade_to_3, 3: _upgrade_to_4, 4: _upgrade_to_5}
"""Schema → the step to the next schema; all steps of an old store are applied in order."""
