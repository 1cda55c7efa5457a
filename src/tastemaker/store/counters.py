"""Row counts that are updated in the transactions that add or remove rows.

All processes see the same counts, and a limit can be checked in the transaction that adds rows.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.sqlite import insert

from tastemaker.store.tables import totals

DECISIONS = "decisions"
EVENTS = "events"
"""Events that were received over the network."""
ITEMS = "items"
"""Items that have a description and are not removed."""

_added = insert(totals)
_ADD = _added.on_conflict_do_update(
    index_elements=["name"],
    set_={
        "rows": totals.c.rows + _added.excluded.rows,
        "bytes": totals.c.bytes + _added.excluded.bytes,
    },
)
_RECOUNT = {
    EVENTS: "SELECT count(*) FROM events WHERE source = 0",
    ITEMS: "SELECT count(*) FROM items WHERE attributes IS NOT NULL",
}
_IDS = text("SELECT max(item) FROM items")
_REMOVED = text("SELECT count(*) FROM removed_items")


@dataclass(frozen=True, slots=True)
class Count:
    """The number of rows and their size.

    Attributes:
        rows: the number of rows.
        bytes: their approximate size; 0 where it is not counted.
    """

    rows: int = 0
    bytes: int = 0


def count_of(connection: Connection, name: str) -> Count:
    """The current count of `DECISIONS`, `EVENTS` or `ITEMS`."""
    query = select(totals.c.rows, totals.c.bytes).where(totals.c.name == name)
    found = connection.execute(query).first()
    return Count() if found is None else Count(found.rows, found.bytes)


def add_to_count(connection: Connection, name: str, rows: int, size: int = 0) -> None:
    """Changes a count inside the transaction that adds or removes the rows.

    Args:
        connection: a connection inside the transaction.
        name: `DECISIONS`, `EVENTS` or `ITEMS`.
        rows: the number of added rows; negative for removed rows.
        size: their size in bytes; negative for removed rows.
    """
    if rows or size:
        connection.execute(_ADD, {"name": name, "rows": rows, "bytes": size})


def recount(connection: Connection, name: str) -> None:
    """Counts the rows of `EVENTS` or `ITEMS` inside a transaction. Reads all of them."""
    rows = connection.execute(text(_RECOUNT[name])).scalar_one()
    add_to_count(connection, name, rows - count_of(connection, name).rows)


def item_ids(connection: Connection) -> int:
    """The number of item ids. Rows of `items` are never removed, so it equals the last key."""
    return connection.execute(_IDS).scalar() or 0


def removed_item_ids(connection: Connection) -> int:
    """The number of item ids that were removed and not put again."""
    return int(connection.execute(_REMOVED).scalar_one())
