"""Writes and reads rows of the table `items`."""

import json

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.sqlite import insert

from tastemaker.store.counters import ITEMS, add_to_count
from tastemaker.store.limits import Limits
from tastemaker.store.stored import StoredItem
from tastemaker.store.tables import SERVED, items, next_change

_ITEMS_SINCE = text(
    "SELECT item, item_id, attributes, source, changed FROM items "
    "WHERE changed > :changed AND attributes IS NOT NULL ORDER BY changed"
)
_RESTORE = text(
    "DELETE FROM removed_items WHERE item = (SELECT item FROM items WHERE item_id = :item_id)"
)


def put_item(
    connection: Connection, item_id: str, attributes: str, limits: Limits | None = None
) -> bool:
    """Adds an item or replaces its attributes inside a transaction. Restores a removed item.

    Args:
        connection: a connection inside the transaction.
        item_id: the id of the item.
        attributes: a JSON object.
        limits: the limits of the store.

    Returns:
        Whether the item had no attributes before.

    Raises:
        StoreFullError: the item exceeds the limits; nothing was written.
    """
    known = connection.execute(select(items.c.attributes).where(items.c.item_id == item_id)).first()
    is_new = known is None or known.attributes is None
    if limits is not None:
        limits.require_item(connection, attributes, is_new)
    values = {"attributes": attributes, "source": SERVED, "changed": next_change(connection)}
    connection.execute(
        insert(items)
        .values(item_id=item_id, **values)
        .on_conflict_do_update(index_elements=["item_id"], set_=values)
    )
    connection.execute(_RESTORE, {"item_id": item_id})
    add_to_count(connection, ITEMS, int(is_new))
    return is_new


def items_since(connection: Connection, changed: int) -> list[StoredItem]:
    """The items put or imported after a change, without items that only occur in events."""
    rows = connection.execute(_ITEMS_SINCE, {"changed": changed}).all()
    return [
        StoredItem(item, item_id, json.loads(content), source, at)
        for item, item_id, content, source, at in rows
    ]
