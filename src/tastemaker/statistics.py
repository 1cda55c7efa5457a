"""What is known of each item's popularity as of any moment, by one structure and one kernel.

Retrievers and features read it, offline and online alike; nothing at or after the moment asked
for is ever counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.data.events import Events
from tastemaker.data.ragged import offsets_of
from tastemaker.data.schema import EventKind
from tastemaker.errors import SettingError, near_miss

ALL_TIME = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class _Log:
    """Events grouped by item, oldest first within an item.

    Attributes:
        offsets: int64[items + 1].
        time: int64[n], microseconds.
        kind: int8[n].
        weight: float32[n], signed preference.
    """

    offsets: NDArray[np.int64]
    time: NDArray[np.int64]
    kind: NDArray[np.int8]
    weight: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        item: NDArray[np.int32],
        time: NDArray[np.int64],
        kind: NDArray[np.int8],
        weight: NDArray[np.float32],
        n_items: int,
    ) -> "_Log":
        order = np.lexsort((time, item))
        counts = np.bincount(item, minlength=n_items)
        return cls(offsets_of(counts), time[order], kind[order], weight[order])


class ItemStatistics:
    """Counts and decayed sums per item as of any moment: a base, mapped from disk, and a live tail.

    Attributes:
        n_items: items counted.
        kinds: names of the kinds of event.
    """

    def __init__(self, n_items: int, kinds: Sequence[str], base: _Log, tail: _Log) -> None:
        self.n_items = n_items
        self.kinds = tuple(kinds)
        self._base = base
        self._tail = tail
        self._running: dict[int, NDArray[np.float64]] = {}

    @classmethod
    def of(cls, events: Events, n_items: int, kinds: Mapping[str, EventKind]) -> "ItemStatistics":
        """Statistics over a log."""
        base = _Log.of(events.item, events.time, events.kind, events.weight, n_items)
        return cls(n_items, tuple(kinds), base, _empty(n_items))

    def append(
        self,
        item: NDArray[np.int32],
        time: NDArray[np.int64],
        kind: NDArray[np.int8],
        weight: NDArray[np.float32],
        n_items: int | None = None,
    ) -> "ItemStatistics":
        """These statistics with more events in the live tail; the base is shared.

        Args:
            item: int32[m].
            time: int64[m], microseconds, in any order.
            kind: int8[m].
            weight: float32[m], signed preference.
            n_items: items counted from now on, where some were added.
        """
        size = self.n_items if n_items is None else n_items
        before = np.repeat(np.arange(self.n_items, dtype=np.int32), np.diff(self._tail.offsets))
        tail = _Log.of(
            np.concatenate([before, item]),
            np.concatenate([self._tail.time, time]),
            np.concatenate([self._tail.kind, kind]),
            np.concatenate([self._tail.weight, weight]),
            size,
        )
        grown = np.full(size + 1, len(self._base.time), np.int64)
        grown[: self.n_items + 1] = self._base.offsets
        appended = ItemStatistics(size, self.kinds, replace(self._base, offsets=grown), tail)
        appended._running = self._running  # of the base, which is the same
        return appended

    def at(
        self,
        items: NDArray[np.int32],
        times: NDArray[np.int64],
        window: int = ALL_TIME,
        kind: str | None = None,
    ) -> NDArray[np.float32]:
        """How many events each item had within `window` before each moment, float32[n].

        Args:
            items: int32[n].
            times: int64[n], microseconds; only events strictly before count.
            window: microseconds; an event exactly `window` old still counts.
            kind: the kind to count; by default every positive event.

        Raises:
            SettingError: no kind has this name.
        """
        if kind is not None and kind not in self.kinds:
            raise SettingError(f"statistics: unknown kind '{kind}'{near_miss(kind, self.kinds)}")
        code = -1 if kind is None else self.kinds.index(kind)
        counts = np.zeros(len(items), np.float32)
        for log in (self._base, self._tail):
            _count(log.offsets, log.time, log.kind, log.weight, items, times, window, code, counts)
        return counts

    def decayed(self, time: int, half_life: int) -> NDArray[np.float32]:
        """Positive weight of every item, each event halved per `half_life` of age, float32[items].

        The first call for a half-life reads every event; later ones cost a binary search an item.

        Args:
            time: the moment, microseconds; only events strictly before count.
            half_life: microseconds.
        """
        if half_life not in self._running:
            self._running[half_life] = _run(
                self._base.offsets, self._base.time, self._base.weight, half_life
            )
        sums = np.zeros(self.n_items, np.float32)
        base, tail = self._base, self._tail
        _decay(base.offsets, base.time, self._running[half_life], time, half_life, sums)
        if len(tail.time):
            running = _run(tail.offsets, tail.time, tail.weight, half_life)
            _decay(tail.offsets, tail.time, running, time, half_life, sums)
        return sums

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the base; an artifact has no live tail."""
        writer.json("kinds", list(self.kinds))
        for name in ("offsets", "time", "kind", "weight"):
            writer.array(name, getattr(self._base, name))

    @classmethod
    def load(cls, reader: ArtifactReader) -> "ItemStatistics":
        """Maps the base."""
        base = _Log(*(reader.array(name) for name in ("offsets", "time", "kind", "weight")))
        n_items = len(base.offsets) - 1
        return cls(n_items, reader.json("kinds"), base, _empty(n_items))


def _empty(n_items: int) -> _Log:
    nothing = np.empty(0, np.int32)
    return _Log.of(
        nothing, np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, np.float32), n_items
    )


@njit(nogil=True, cache=True)
def _before(times, first, last, moment):  # type: ignore[no-untyped-def]
    """The first position in times[first:last], sorted, that is not before `moment`."""
    while first < last:
        middle = (first + last) // 2
        if times[middle] < moment:
            first = middle + 1
        else:
            last = middle
    return first


@njit(nogil=True, cache=True)
def _count(offsets, time, kind, weight, items, moments, window, code, out):  # type: ignore[no-untyped-def]
    """Adds to out[i] the events of items[i] in [moments[i] − window, moments[i])."""
    for i in range(len(items)):
        if not 0 <= items[i] < len(offsets) - 1:
            continue
        start, stop = offsets[items[i]], offsets[items[i] + 1]
        last = _before(time, start, stop, moments[i])
        if window < moments[i]:
            start = _before(time, start, last, moments[i] - window)
        for event in range(start, last):
            if (weight[event] > 0) if code < 0 else (kind[event] == code):
                out[i] += 1


@njit(nogil=True, cache=True)
def _run(offsets, time, weight, half_life):  # type: ignore[no-untyped-def]
    """The decayed positive weight of an item just after each of its events, float64[n]."""
    running = np.empty(len(time), np.float64)
    for item in range(len(offsets) - 1):
        total = 0.0
        for event in range(offsets[item], offsets[item + 1]):
            if event > offsets[item]:
                total *= 2.0 ** (-(time[event] - time[event - 1]) / half_life)
            total += max(weight[event], 0.0)
            running[event] = total
    return running


@njit(nogil=True, cache=True)
def _decay(offsets, time, running, moment, half_life, out):  # type: ignore[no-untyped-def]
    """Adds to out[item] its decayed positive weight at `moment`."""
    for item in range(len(offsets) - 1):
        last = _before(time, offsets[item], offsets[item + 1], moment) - 1
        if last >= offsets[item]:
            out[item] += running[last] * 2.0 ** (-(moment - time[last]) / half_life)
