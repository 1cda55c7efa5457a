"""What a store returns beside events: its items, and its size."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as it was last put.

    Attributes:
        item: its key.
        item_id: its id.
        attributes: column → value, as JSON has it.
        source: the table it came from; `SERVED` if it was put over the network.
        changed: grows with every change of any item.
    """

    item: int
    item_id: str
    attributes: dict[str, Any]
    source: int
    changed: int


@dataclass(frozen=True, slots=True)
class StoreSize:
    """What a store takes up.

    Attributes:
        file: the bytes of its file.
        used: those that hold something; the rest is used again before the file grows.
    """

    file: int
    used: int
