"""The event log as columns, sorted by user and time: the ground every other room stands on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.data.ragged import rows_of
from tastemaker.data.schema import EventKind

Role = Literal["positive", "negative"]
Reduce = Literal["sum", "binary", "log"]

_SIGN = {"positive": 1.0, "negative": -1.0, "neutral": 0.0, "exposure": 0.0}


@dataclass(frozen=True, slots=True)
class Events:
    """Logged actions, sorted by (user, time); events at one moment keep the source's order.

    A user's events are the rows `offsets[user]` to `offsets[user + 1]`.

    Attributes:
        offsets: int64[users + 1].
        user: int32[n].
        item: int32[n].
        kind: int8[n], position in the schema's kinds.
        value: float32[n], NaN where the source has none.
        weight: float32[n], the event as preference: above 0 liked, below 0 disliked, 0 neither.
        time: int64[n], microseconds UTC; the position in the source where the clock is `order`.
    """

    offsets: NDArray[np.int64]
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    kind: NDArray[np.int8]
    value: NDArray[np.float32]
    weight: NDArray[np.float32]
    time: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def where(self, keep: NDArray[np.bool_]) -> "Events":
        """The events for which `keep` bool[n] holds; the users stay the same."""
        kept = np.concatenate([[0], np.cumsum(keep)])
        return Events(
            kept[self.offsets].astype(np.int64),
            self.user[keep],
            self.item[keep],
            self.kind[keep],
            self.value[keep],
            self.weight[keep],
            self.time[keep],
        )


@dataclass(frozen=True, slots=True)
class Histories:
    """What each of n users did before a moment, oldest first, capped; exposures are left out.

    Attributes:
        offsets: int64[n + 1].
        item: int32[total]; −1 for an item nobody knows.
        kind: int8[total].
        value: float32[total].
        weight: float32[total], signed preference as in `Events`.
        time: int64[total], microseconds.
    """

    offsets: NDArray[np.int64]
    item: NDArray[np.int32]
    kind: NDArray[np.int8]
    value: NDArray[np.float32]
    weight: NDArray[np.float32]
    time: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Events in each history, int64[n]."""
        return np.diff(self.offsets)

    def entries(self, index: NDArray[np.int64], offsets: NDArray[np.int64]) -> "Histories":
        """Histories made of the entries `index`, laid out by `offsets`."""
        return Histories(
            offsets,
            self.item[index],
            self.kind[index],
            self.value[index],
            self.weight[index],
            self.time[index],
        )

    def interactions(
        self, n_items: int, *, role: Role = "positive", reduce: Reduce = "sum"
    ) -> csr_array:
        """Each history as a row of interactions, float32[n × n_items].

        Items at or above `n_items` (added after fitting) and unknown ones are left out.
        """
        usable = (self.item >= 0) & (self.item < n_items)
        rows = rows_of(self.offsets)
        return reduce_events(
            rows[usable],
            self.item[usable],
            self.weight[usable],
            (len(self), n_items),
            role=role,
            reduce=reduce,
        )


def preferences(
    kind: NDArray[np.int8], value: NDArray[np.float32], kinds: Mapping[str, EventKind]
) -> NDArray[np.float32]:
    """Each event as signed preference, at its own moment.

    A rating counts by its thresholds and is neutral between them; an amount multiplies the weight.

    Args:
        kind: int8[n], position in `kinds`.
        value: float32[n], NaN where there is none.
        kinds: the event types, in their order.

    Returns:
        float32[n]: above 0 liked, below 0 disliked, 0 neither.
    """
    weight = np.array([_SIGN[k.role] * k.weight for k in kinds.values()], np.float32)[kind]
    for code, settings in enumerate(kinds.values()):
        if settings.uses_value:
            rows = np.flatnonzero(kind == code)
            of_value = _of_rating if settings.like is not None else _of_amount
            weight[rows] *= of_value(value[rows], settings)
    return weight


def _of_rating(value: NDArray[np.float32], settings: EventKind) -> NDArray[np.float32]:
    """1 where liked, −1 where disliked, 0 where neither or not rated."""
    lowest = -np.inf if settings.dislike is None else settings.dislike
    factor = (value >= np.float32(settings.like)).astype(np.float32)
    factor[value <= np.float32(lowest)] = -1.0
    factor[np.isin(value, np.array(settings.unrated, np.float32))] = 0.0
    return factor


def _of_amount(value: NDArray[np.float32], settings: EventKind) -> NDArray[np.float32]:
    """What an amount multiplies the weight by; 1 where none was logged, 0 for a return."""
    amount = np.where(np.isnan(value), np.float32(1.0), np.maximum(value, np.float32(0.0)))
    return np.log2(1.0 + amount, dtype=np.float32) if settings.strength == "log" else amount


def reduce_events(
    rows: NDArray[np.integer],
    items: NDArray[np.int32],
    weights: NDArray[np.float32],
    shape: tuple[int, int],
    *,
    role: Role,
    reduce: Reduce,
) -> csr_array:
    """Events → one weighted interaction per pair; signs are never added up.

    Args:
        rows: the row of each event; must be sorted.
        items: the column of each event.
        weights: signed preference; only events of `role` count, by their absolute weight.
        shape: (rows, items) of the result.
        role: which sign to keep.
        reduce: add the weights of a pair, or write 1 for each pair, or log₂(1 + sum), which is 1
            for a single event of weight 1.
    """
    keep = weights > 0 if role == "positive" else weights < 0
    kept_rows = rows[keep]
    indptr = np.searchsorted(kept_rows, np.arange(shape[0] + 1)).astype(np.int64)
    columns = np.ascontiguousarray(items[keep])
    matrix = csr_array((np.abs(weights[keep]), columns, indptr), shape=shape)
    matrix.sum_duplicates()
    if reduce == "binary":
        matrix.data[:] = 1.0
    elif reduce == "log":
        np.log2(1.0 + matrix.data, out=matrix.data)
    return matrix
