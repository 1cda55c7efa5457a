"""Items of a store, and its size."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item with its latest attributes.

    Attributes:
        item: its key.
        item_id: its id.
        attributes: column → value, as in JSON.
        source: the source of the attributes; `SERVED` if they were put over the network.
        changed: the number of its last change; it grows with each change of any item.
    """

    item: int
    item_id: str
    attributes: dict[str, Any]
    source: int
    changed: int


@dataclass(frozen=True, slots=True)
class StoreSize:
    """The size of a store.

    Attributes:
        file: the size of its file, bytes.
        used: the bytes in use; the other bytes are reused before the file grows.
    """

    file: int
    used: int
