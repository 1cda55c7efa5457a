"""What a store hands out: events and items by its own keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StoredEvents:
    """Events by the store's own keys, in the log's order.

    Attributes:
        sequence: int64[m].
        item: int64[m], item keys.
        kind: int64[m], kind keys.
        value: float32[m], NaN where there is none.
        time: int64[m], microseconds.
    """

    sequence: NDArray[np.int64]
    item: NDArray[np.int64]
    kind: NDArray[np.int64]
    value: NDArray[np.float32]
    time: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sequence)

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> "StoredEvents":
        """Rows of (sequence, item, kind, value, time)."""
        columns = list(zip(*rows)) or [(), (), (), (), ()]
        sequence, item, kind, value, time = columns
        return cls(
            np.array(sequence, np.int64),
            np.array(item, np.int64),
            np.array(kind, np.int64),
            np.array(value, np.float32),  # None becomes NaN
            np.array(time, np.int64),
        )


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
