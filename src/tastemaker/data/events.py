"""The event log as columns, sorted by user and time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.data.ragged import counts_of, rows_of
from tastemaker.data.schema import EventKind
from tastemaker.data.state import NEVER, Replacement

Role = Literal["positive", "negative"]
Reduce = Literal["sum", "binary", "log"]

_SIGN = {"positive": 1.0, "negative": -1.0, "neutral": 0.0, "exposure": 0.0}


@dataclass(frozen=True, slots=True)
class Events:
    """Logged actions, sorted by (user, time); simultaneous events keep the source's order.

    A user's events are the rows `offsets[user]` to `offsets[user + 1]`.

    Attributes:
        offsets: int64[users + 1].
        user: int32[n].
        item: int32[n].
        kind: int8[n], position in the schema's kinds.
        value: float32[n], NaN if the source has none.
        preference: float32[n], the preference at the event's own moment: above 0 liked, below 0
            disliked, 0 neither.
        time: int64[n], microseconds UTC; the position in the source if the clock is `ordinal`.
        replacement: which event types replace which; None if none does.
        replaced_at: int64[n], the time of the later event of this log that replaced the event,
            else `NEVER`; None if no event was replaced.
    """

    offsets: NDArray[np.int64]
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    kind: NDArray[np.int8]
    value: NDArray[np.float32]
    preference: NDArray[np.float32]
    time: NDArray[np.int64]
    replacement: Replacement | None = None
    replaced_at: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        offsets: NDArray[np.int64],
        user: NDArray[np.int32],
        item: NDArray[np.int32],
        kind: NDArray[np.int8],
        value: NDArray[np.float32],
        time: NDArray[np.int64],
        kinds: Mapping[str, EventKind],
    ) -> "Events":
        """A log with the preference of each event, and the time when it was replaced.

        Args:
            offsets: int64[users + 1].
            user: int32[n], sorted.
            item: int32[n].
            kind: int8[n], position in `kinds`.
            value: float32[n], NaN if missing.
            time: int64[n], sorted within a user.
            kinds: the event types, in their order.
        """
        preference = preferences(kind, value, kinds)
        rules = Replacement.of(kinds)
        return cls(offsets, user, item, kind, value, preference, time, rules)._with_replaced()

    def __len__(self) -> int:
        return len(self.user)

    @property
    def weight(self) -> NDArray[np.float32]:
        """The preferences as of the end of this log, float32[n]; 0 for replaced events."""
        if self.replaced_at is None:
            return self.preference
        return np.where(self.replaced_at < NEVER, np.float32(0.0), self.preference)

    def counts_at(self, rows: NDArray[np.int64], moments: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the events `rows` had not been replaced before `moments`, bool[m].

        Args:
            rows: int64[m], positions in the log.
            moments: int64[m], microseconds; a replacement at the moment itself does not apply yet.
        """
        if self.replaced_at is None:
            return np.ones(len(rows), np.bool_)
        return self.replaced_at[rows] >= moments

    def where(self, keep: NDArray[np.bool_]) -> "Events":
        """The events for which `keep` bool[n] is true; the users stay the same.

        Replacements are determined from the kept events: if the later rating of a pair is dropped,
        the earlier one counts again.
        """
        return self._kept(keep)._with_replaced(self.replaced_at is not None)

    def before(self, time: int) -> "Events":
        """The events strictly before a moment; events replaced later than that count again."""
        kept = self._kept(self.time < time)
        if kept.replaced_at is None:
            return kept
        replaced_at = np.where(kept.replaced_at < time, kept.replaced_at, NEVER)
        return replace(kept, replaced_at=replaced_at if (replaced_at < NEVER).any() else None)

    def no_later_than(self, time: int) -> "Events":
        """The same events, with times after a moment set to it, as in `Past.no_later_than`."""
        replaced_at = self.replaced_at
        if replaced_at is not None:
            replaced_at = np.where(replaced_at < NEVER, np.minimum(replaced_at, time), NEVER)
        return replace(self, time=np.minimum(self.time, time), replaced_at=replaced_at)

    def _kept(self, keep: NDArray[np.bool_]) -> "Events":
        """The rows for which `keep` is true."""
        kept = np.concatenate([[0], np.cumsum(keep)])
        return Events(
            kept[self.offsets].astype(np.int64),
            self.user[keep],
            self.item[keep],
            self.kind[keep],
            self.value[keep],
            self.preference[keep],
            self.time[keep],
            self.replacement,
            None if self.replaced_at is None else self.replaced_at[keep],
        )

    def _with_replaced(self, any_before: bool = True) -> "Events":
        """These events with `replaced_at` determined from them alone.

        Args:
            any_before: whether the log from which these were selected has a replaced event. If
                not, only a sum of amounts can cause a replacement.
        """
        rules = self.replacement
        if rules is None or not (any_before or rules.is_amount.any()):
            return self
        columns = (self.user, self.item, self.kind, self.value, self.time)
        return replace(self, replaced_at=rules.times(*columns))


@dataclass(frozen=True, slots=True)
class Histories:
    """The events of each of n users before a moment, oldest first, capped.

    Exposures and events that were replaced before the moment are left out.

    Attributes:
        offsets: int64[n + 1].
        item: int32[total]; −1 for an unknown item.
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
        """The number of events in each history, int64[n]."""
        return counts_of(self.offsets)

    def entries(self, index: NDArray[np.int64], offsets: NDArray[np.int64]) -> "Histories":
        """Histories of the entries `index`, grouped by `offsets`."""
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
    """The signed preference of each event at its own moment.

    A rating is classified by its thresholds and is neutral between them; an amount multiplies the
    weight.

    Args:
        kind: int8[n], position in `kinds`.
        value: float32[n], NaN if missing.
        kinds: the event types, in their order.

    Returns:
        float32[n]: above 0 liked, below 0 disliked, 0 neither.
    """
    weight = np.array([_SIGN[k.role] * k.weight for k in kinds.values()], np.float32)[kind]
    for code, settings in enumerate(kinds.values()):
        if settings.uses_value:
            rows = np.flatnonzero(kind == code)
            of_value = _of_rating if settings.positive_threshold is not None else _of_amount
            weight[rows] *= of_value(value[rows], settings)
    return weight


def _of_rating(value: NDArray[np.float32], settings: EventKind) -> NDArray[np.float32]:
    """1 for liked, −1 for disliked, 0 for neither or not rated."""
    lowest = -np.inf if settings.negative_threshold is None else settings.negative_threshold
    factor = (value >= np.float32(settings.positive_threshold)).astype(np.float32)
    factor[value <= np.float32(lowest)] = -1.0
    factor[np.isin(value, np.array(settings.unrated, np.float32))] = 0.0
    return factor


def _of_amount(value: NDArray[np.float32], settings: EventKind) -> NDArray[np.float32]:
    """The factor by which an amount multiplies the weight; 1 if missing, 0 for a return."""
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
    """A sparse matrix with one weighted interaction per pair, float32[rows × items].

    Args:
        rows: the row of each event; must be sorted.
        items: the column of each event.
        weights: signed preference; only events of `role` count, by their absolute weight.
        shape: (rows, items) of the result.
        role: the sign to keep; positive and negative events are never mixed.
        reduce: the sum of the weights of a pair, or 1 for each pair, or log₂(1 + sum), which is 1
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
