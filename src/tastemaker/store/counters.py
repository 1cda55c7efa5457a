"""How much of a kind there is, kept in the transactions that change it.

Every process sees the same figures, and a limit can be checked where something is added.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.sqlite import insert

from tastemaker.store.tables import totals

DECISIONS = "decisions"
EVENTS = "events"
"""Events that came over the network."""
ITEMS = "items"
"""Items that are described, and not removed."""

_added = insert(totals)
_ADD = _added.on_conflict_do_update(
    index_elements=["name"],
    set_={
        "rows": totals.c.rows + _added.excluded.rows,
        "bytes": totals.c.bytes + _added.excluded.bytes,
    },
)
_COUNT_AGAIN = {
    EVENTS: "SELECT count(*) FROM events WHERE source = 0",
    ITEMS: "SELECT count(*) FROM items WHERE attributes IS NOT NULL",
}
_IDS = text("SELECT max(item) FROM items")
_REMOVED = text("SELECT count(*) FROM removed_items")


@dataclass(frozen=True, slots=True)
class Count:
    """How much there is.

    Attributes:
        rows: how many.
        bytes: what they take up, about; 0 where that is not counted.
    """

    rows: int = 0
    bytes: int = 0


def counted(connection: Connection, name: str) -> Count:
    """How much there is of a kind: `DECISIONS`, `EVENTS`, `ITEMS`."""
    asked = select(totals.c.rows, totals.c.bytes).where(totals.c.name == name)
    found = connection.execute(asked).first()
    return Count() if found is None else Count(found.rows, found.bytes)


def add_to_count(connection: Connection, name: str, rows: int, size: int = 0) -> None:
    """Adds to a figure, or takes from it, inside the transaction that adds or removes rows."""
    if rows or size:
        connection.execute(_ADD, {"name": name, "rows": rows, "bytes": size})


def count_again(connection: Connection, name: str) -> None:
    """Counts `EVENTS` or `ITEMS` by their rows, inside a transaction. Reads all of them."""
    rows = connection.execute(text(_COUNT_AGAIN[name])).scalar_one()
    add_to_count(connection, name, rows - counted(connection, name).rows)


def item_ids(connection: Connection) -> int:
    """How many item ids there are: a row of `items` is never removed, so the last key tells."""
    return connection.execute(_IDS).scalar() or 0


def removed_item_ids(connection: Connection) -> int:
    """How many of them are of items that were removed and not put again."""
    return int(connection.execute(_REMOVED).scalar_one())
