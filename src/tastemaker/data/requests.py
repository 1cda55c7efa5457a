"""A batch of requests, each with its own moment, history and exclusions.

A model is a function of a request, never of a user index: anonymous users and known users are
handled in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.arguments import id_text, listed, moment
from tastemaker.data.catalogue import Column
from tastemaker.data.events import Histories
from tastemaker.data.ragged import Ragged, offsets_of, ranges

HISTORY_CAP = 1_000


@dataclass(frozen=True, slots=True)
class Masks:
    """The eligible items of each request, as a few distinct bitmaps.

    Attributes:
        bitmaps: bool[m, items]; an item beyond the end is not eligible.
        row: int32[n], the bitmap of each request; −1 if every item is eligible.
    """

    bitmaps: NDArray[np.bool_]
    row: NDArray[np.int32]

    @classmethod
    def everything(cls, n: int) -> "Masks":
        """Masks under which every item is eligible for each of n requests."""
        return cls(np.ones((0, 0), np.bool_), np.full(n, -1, np.int32))

    def take(self, rows: NDArray[np.int64]) -> "Masks":
        """The masks of the given requests."""
        return Masks(self.bitmaps, self.row[rows])

    def intersect(self, other: "Masks") -> "Masks":
        """The items that both masks of each request allow; `other` has the same n requests."""
        if (self.row < 0).all():
            return other
        if (other.row < 0).all():
            return self
        width = max(self.bitmaps.shape[1], other.bitmaps.shape[1])
        pairs, row = np.unique(np.stack([self.row, other.row], 1), axis=0, return_inverse=True)
        bitmaps = np.ones((len(pairs), width), np.bool_)
        for bitmap, choice in zip(bitmaps, pairs.tolist()):
            for masks, chosen in zip((self, other), choice):
                if chosen >= 0:
                    size = masks.bitmaps.shape[1]
                    bitmap[:size] &= masks.bitmaps[chosen]
                    bitmap[size:] = False
        row = np.where((self.row < 0) & (other.row < 0), -1, row.reshape(-1))
        return Masks(bitmaps, row.astype(np.int32))

    def allows(self, rows: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether each (request row, item) pair is eligible, bool[pairs]."""
        bitmap = self.row[rows]
        allowed = bitmap < 0
        if self.bitmaps.size:
            inside = ~allowed & (items >= 0) & (items < self.bitmaps.shape[1])
            allowed[inside] = self.bitmaps[bitmap[inside], items[inside]]
        return allowed


@dataclass(frozen=True, slots=True)
class Requests:
    """A batch of n requests.

    Attributes:
        time: int64[n], the moment of each request, microseconds UTC.
        history: the user's events before that moment, oldest first, capped; for preferences.
        exclude: the items not to be shown, from the uncapped past by the seen policy.
        eligible: the items that may be recommended to each request.
        seed: uint64[n], for random draws.
        user_id: external ids, or None for anonymous users; models must not depend on them.
        placement: the requested placement.
        profile: user column → the users' values from the user table, n rows; an absent column is
            missing for all users.
    """

    time: NDArray[np.int64]
    history: Histories
    exclude: Ragged
    eligible: Masks
    seed: NDArray[np.uint64]
    user_id: tuple[str | None, ...]
    placement: str = ""
    profile: Mapping[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def of(
        cls,
        histories: Sequence[Sequence[int]],
        *,
        time: Any = 0,
        exclude: Sequence[Sequence[int]] | None = None,
        weights: Sequence[Sequence[float]] | None = None,
        user_id: Any = None,
    ) -> "Requests":
        """Requests of anonymous users, each given by its liked items, oldest first.

        Args:
            histories: item indices per request, as returned by `items.indices(ids)`.
            time: the moment of all requests: a datetime, a date, ISO 8601 text or microseconds;
                the events are placed just before it.
            exclude: items not to be shown; by default those of the history.
            weights: signed preference per event; by default 1 each.
            user_id: external ids, None for an anonymous user; by default all are anonymous.

        Raises:
            SettingError: the moment or an id is invalid.
        """
        n, time = len(histories), moment(time, "time")
        item = Ragged.of(list(histories))
        flat = [w for row in weights or () for w in row]
        total = len(item.values)
        back = np.repeat(item.offsets[1:], item.counts) - np.arange(total)
        history = Histories(
            item.offsets,
            item.values,
            np.zeros(total, np.int8),
            np.full(total, np.nan, np.float32),
            np.array(flat, np.float32) if weights else np.ones(total, np.float32),
            time - back,
        )
        return cls(
            np.full(n, time, np.int64),
            history,
            Ragged.of(list(histories if exclude is None else exclude)),
            Masks.everything(n),
            np.arange(n, dtype=np.uint64),
            (None,) * n if user_id is None else _user_ids(user_id),
        ).capped()

    def capped(self, cap: int = HISTORY_CAP) -> "Requests":
        """These requests with at most the `cap` latest events in each history."""
        counts = np.minimum(self.history.counts, cap)
        index = ranges(self.history.offsets[1:] - counts, counts)
        return replace(self, history=self.history.entries(index, offsets_of(counts)))

    def with_weights(self, weights: NDArray[np.float32]) -> "Requests":
        """These requests with other signed preferences for the events in their histories."""
        past = self.history
        return Requests(
            self.time,
            Histories(past.offsets, past.item, past.kind, past.value, weights, past.time),
            *(self.exclude, self.eligible, self.seed, self.user_id, self.placement, self.profile),
        )

    def with_pasts(self, others: Mapping[int, "Requests"]) -> "Requests":
        """These requests, with the history and the excluded items of some rows replaced.

        Args:
            others: row → a batch of one request that has the new history and excluded items.
        """
        if not others:
            return self
        starts, counts, start = self.history.offsets[:-1].copy(), self.history.counts, 0
        parts = [self.history, *(other.history for other in others.values())]
        for (row, other), before in zip(others.items(), parts):
            start += len(before.item)
            starts[row], counts[row] = start, len(other.history.item)
        joined = Histories(
            offsets_of([len(part.item) for part in parts]),
            np.concatenate([part.item for part in parts]),
            np.concatenate([part.kind for part in parts]),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.time for part in parts]),
        )
        history = joined.entries(ranges(starts, counts), offsets_of(counts))
        excluded = [
            others[row].exclude[0] if row in others else self.exclude[row]
            for row in range(len(self))
        ]
        return replace(self, history=history, exclude=Ragged.of(excluded))

    def take(self, rows: NDArray[np.integer] | slice) -> "Requests":
        """The given requests, in the given order."""
        index = np.arange(len(self))[rows]
        counts = self.history.counts[index]
        entries = ranges(self.history.offsets[index], counts)
        return Requests(
            self.time[index],
            self.history.entries(entries, offsets_of(counts)),
            self.exclude.take(index),
            self.eligible.take(index),
            self.seed[index],
            tuple(self.user_id[i] for i in index),
            self.placement,
            {name: column.take(index) for name, column in self.profile.items()},
        )


def seeds_of(users: NDArray[np.integer], moments: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One seed per (user, moment): splitmix64 (Steele, Lea & Flood 2014) over both."""
    z: NDArray[np.uint64]
    z = moments.astype(np.uint64) + users.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _user_ids(ids: Any) -> tuple[str | None, ...]:
    return tuple(
        None if id_ is None else id_text(id_, "an id in 'user_id'")
        for id_ in listed(ids, "user_id")
    )
