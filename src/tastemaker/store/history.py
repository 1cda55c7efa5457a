"""Queries for the events of one user: the newest events, and all events aggregated by item."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import TextClause, text

ANY_TIME = int(np.iinfo(np.int64).max)
_USER = '"user" = (SELECT "user" FROM users WHERE user_id = :user_id)'
_VISIBLE = "source NOT IN (SELECT source FROM sources WHERE complete = 0)"
_PAIRS = f"SELECT item, kind, negative, time, sequence, amount FROM pairs WHERE {_USER} AND "  # noqa: S608
USER_PAIRS = text(f"{_PAIRS} item > :after AND {_VISIBLE} ORDER BY item LIMIT :most")
PAIRS_OF_ITEMS = text(f"{_PAIRS} item IN (SELECT value FROM json_each(:items)) AND {_VISIBLE}")  # noqa: S608
LAST_SEQUENCE = text(f"SELECT max(sequence) FROM events WHERE {_USER}")  # noqa: S608
ITEMS_AFTER = text(
    f"SELECT item, sequence FROM events WHERE {_USER} AND sequence > :sequence "  # noqa: S608
    "ORDER BY sequence LIMIT :most"
)
ANY_BEFORE = text(
    f"SELECT EXISTS (SELECT 1 FROM events WHERE {_USER} "  # noqa: S608
    f"AND kind IN (SELECT kind FROM kinds) AND time < :moment AND {_VISIBLE})"
)
SERVED_SINCE = text(
    "SELECT sequence, item, kind, value, time FROM events "
    "WHERE sequence > :sequence AND source = 0 ORDER BY sequence LIMIT :most"
)
SERVED_OF = text(
    "SELECT sequence, item, kind, value, time FROM events WHERE source = 0 AND item IN "
    "(SELECT value FROM json_each(:items)) AND sequence > :after AND sequence <= :until "
    "ORDER BY sequence"
)
LATEST_SERVED_TIME = text(
    "SELECT max(time) FROM (SELECT time FROM events WHERE source = 0 "
    "ORDER BY sequence DESC LIMIT 1000)"
)
HAS_SERVED = text(
    "SELECT EXISTS (SELECT 1 FROM events WHERE source = 0) OR EXISTS (SELECT 1 FROM decisions) "
    "OR EXISTS (SELECT 1 FROM items WHERE source = 0 AND attributes IS NOT NULL)"
)


@lru_cache(maxsize=64)
def _newest(kinds: tuple[int, ...]) -> TextClause:
    of_kind = (
        "SELECT sequence, item, kind, value, time FROM events "  # noqa: S608
        f"WHERE {_USER} AND kind = {{}} AND {_VISIBLE}"
    )
    # SQLite merges the event types in index order and stops at the limit
    together = " UNION ALL ".join(of_kind.format(kind) for kind in kinds or (-1,))
    newest = f"{together} ORDER BY time DESC, sequence DESC LIMIT :most"
    return text(f"SELECT * FROM ({newest}) ORDER BY sequence")  # noqa: S608


def newest_events(kinds: Sequence[int]) -> TextClause:
    """The query for the latest `most` events of `user_id` with some event types, given by key."""
    return _newest(tuple(int(kind) for kind in kinds))


@dataclass(frozen=True, slots=True)
class StoredEvents:
    """Events with the keys of the store, in log order.

    Attributes:
        sequence: int64[m], positions in the log.
        item: int64[m], item keys.
        kind: int64[m], event type keys.
        value: float32[m], NaN where it is missing.
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
        """Events from rows of (sequence, item, kind, value, time)."""
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
class StoredPairs:
    """The events of one user, aggregated: one row per item, event type and sign of the value.

    Attributes:
        item: int64[m], item keys, ascending.
        kind: int64[m], event type keys.
        negative: bool[m], whether the row aggregates events with a value below 0.
        time: int64[m], microseconds, time of the latest event.
        sequence: int64[m], log sequence of the latest event.
        amount: float32[m], the sum of the values; a missing value counts as 1.
    """

    item: NDArray[np.int64]
    kind: NDArray[np.int64]
    negative: NDArray[np.bool_]
    time: NDArray[np.int64]
    sequence: NDArray[np.int64]
    amount: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.item)

    def rows(self, which: NDArray[np.bool_]) -> "StoredPairs":
        """The rows selected by a mask, bool[m]."""
        return StoredPairs(
            self.item[which],
            self.kind[which],
            self.negative[which],
            self.time[which],
            self.sequence[which],
            self.amount[which],
        )

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> "StoredPairs":
        """Pairs from rows of (item, kind, negative, time, sequence, amount)."""
        columns = list(zip(*rows)) or [(), (), (), (), (), ()]
        item, kind, negative, time, sequence, amount = columns
        return cls(
            np.array(item, np.int64),
            np.array(kind, np.int64),
            np.array(negative, np.bool_),
            np.array(time, np.int64),
            np.array(sequence, np.int64),
            np.array(amount, np.float32),
        )
