"""Histories and excluded items of the users of a log, as of given moments."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.events import Events, Histories
from tastemaker.data.ragged import Ragged, offsets_of, ranges, sorted_distinct
from tastemaker.data.schema import EventKind
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.state import NEVER

_EVENTS_AT_A_TIME = 4_000_000


@dataclass(frozen=True, slots=True)
class Stretches:
    """The events of n users strictly before n moments.

    Attributes:
        starts: int64[n], positions in the log.
        stops: int64[n].
        moments: int64[n], microseconds.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    moments: NDArray[np.int64]


class LogPast:
    """The past of any user of a log as of any moment.

    Args:
        log: the events.
        kinds: the event types, in their order.
        n_items: items of the catalogue.
    """

    def __init__(self, log: Events, kinds: Mapping[str, EventKind], n_items: int) -> None:
        self._log = log
        self._kinds = kinds
        self._n_items = n_items

    def before(self, users: NDArray[np.integer], moments: NDArray[np.int64]) -> Stretches:
        """The positions of the users' events before the moments, [n] each."""
        log = self._log
        starts = log.offsets[users]
        stops = np.fromiter(
            (
                a + np.searchsorted(log.time[a:b], moment)
                for a, b, moment in zip(starts, log.offsets[users + 1], moments)
            ),
            np.int64,
            len(users),
        )
        return Stretches(starts, stops, moments)

    def histories(self, past: Stretches, cap: int) -> Histories:
        """The last `cap` events of each stretch that count at its moment, without exposures."""
        log, before, moments = self._log, self._preference_events_before, past.moments
        first, last = before[past.starts], before[past.stops]
        replaced = self._replaced_before
        # at most this many of the latest events do not count, so enough are left to fill the cap
        spare = 0 if replaced is None else replaced[last] - replaced[first]
        counts = np.minimum(last - first, cap + spare)
        place = ranges(last - counts, counts)
        index = (
            place if len(self._preference_events) == len(log) else self._preference_events[place]
        )
        if replaced is not None:
            row = np.repeat(np.arange(len(counts)), counts)
            still = log.counts_at(index, moments[row])
            index, ends = index[still], np.cumsum(np.bincount(row[still], minlength=len(counts)))
            counts = np.minimum(np.diff(ends, prepend=0), cap)
            index = index[ranges(ends - counts, counts)]
        return Histories(
            offsets_of(counts),
            log.item[index],
            log.kind[index],
            log.value[index],
            log.preference[index],
            log.time[index],
        )

    def excluded(self, past: Stretches, policy: SeenPolicy) -> Ragged:
        """The distinct items of each stretch that the policy excludes; computed in chunks of rows.

        Replaced events and returns do not exclude their item.
        """
        log, n_items = self._log, self._n_items
        starts, stops, moments = past.starts, past.stops, past.moments
        rows_until = np.cumsum(stops - starts) // _EVENTS_AT_A_TIME
        edges = [0, *(np.flatnonzero(np.diff(rows_until)) + 1).tolist(), len(starts)]
        parts = []
        for a, b in pairwise(edges):
            counts = stops[a:b] - starts[a:b]
            events, row = ranges(starts[a:b], counts), np.repeat(np.arange(b - a), counts)
            now = moments[a:b][row]
            kind, time = log.kind[events], log.time[events]
            excluded = policy.excludes(kind, time, now) & log.counts_at(events, now)
            if log.replacement is not None:
                excluded &= ~log.replacement.returned(kind, log.value[events])
            parts.append(_distinct(row[excluded], log.item[events][excluded], b - a, n_items))
        counts = np.concatenate([part.counts for part in parts])
        return Ragged(offsets_of(counts), np.concatenate([part.values for part in parts]))

    @cached_property
    def _preference_events(self) -> NDArray[np.int64]:
        """The positions of the events that are not exposures."""
        shown = np.array([kind.role == "exposure" for kind in self._kinds.values()])
        return np.flatnonzero(~shown[self._log.kind])

    @cached_property
    def _preference_events_before(self) -> NDArray[np.int64]:
        """The number of these events before each position, int64[events + 1]."""
        if len(self._preference_events) == len(self._log):
            return np.arange(len(self._log) + 1)
        counts = np.zeros(len(self._log) + 1, np.int64)
        counts[self._preference_events + 1] = 1
        return np.cumsum(counts)

    @cached_property
    def _replaced_before(self) -> NDArray[np.int64] | None:
        """The number of `_preference_events` up to each that are ever replaced, int64[n + 1]."""
        replaced_at = self._log.replaced_at
        return (
            None
            if replaced_at is None
            else offsets_of(replaced_at[self._preference_events] < NEVER)
        )


def _distinct(row: NDArray[np.int64], item: NDArray[np.int32], n: int, n_items: int) -> Ragged:
    """The distinct items of each row, sorted."""
    pairs = sorted_distinct(row * n_items + item)
    return Ragged(
        np.searchsorted(pairs, np.arange(n + 1) * n_items).astype(np.int64),
        (pairs % max(n_items, 1)).astype(np.int32),
    )
