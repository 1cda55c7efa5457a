"""What is known of each item's popularity as of any moment, by one structure and one kernel.

Retrievers and features read it, offline and online alike; nothing at or after the moment asked
for is ever counted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.data.catalogue import NO_TIME
from tastemaker.data.events import Events
from tastemaker.data.ragged import offsets_of
from tastemaker.data.schema import EventKind
from tastemaker.errors import SettingError, near_miss

ALL_TIME = np.iinfo(np.int64).max
POSITIVE = "positive events"
EVERY = "every event"


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
        self._of_base: dict[tuple[str, int], NDArray[Any]] = {}
        self._of_tail: dict[tuple[str, int], NDArray[Any]] = {}

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
        appended._of_base = self._of_base  # the base is the same
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
        return self.counts(items, times, (window,), POSITIVE if kind is None else kind)[:, 0]

    def counts(
        self,
        items: NDArray[np.int32],
        times: NDArray[np.int64],
        windows: Sequence[int],
        what: str = POSITIVE,
    ) -> NDArray[np.float32]:
        """How many events each item had within each window before each moment, float32[n × W].

        Args:
            items: int32[n].
            times: int64[n], microseconds; only events strictly before count.
            windows: W lengths, microseconds; an event exactly as old still counts.
            what: `POSITIVE` events, `EVERY` event, or the name of a kind.

        Raises:
            SettingError: no kind has this name.

        Cost: a binary search a window; the first call for `what` reads every event.
        """
        code = self._code(what)
        counts = np.zeros((len(items), len(windows)), np.float32)
        lengths = np.asarray(windows, np.int64)
        for log, derived in ((self._base, self._of_base), (self._tail, self._of_tail)):
            before = self._kept(derived, "before", code, partial(_count_before, log, code))
            _count(log.offsets, log.time, before, items, times, lengths, counts)
        return counts

    def totals(
        self, times: NDArray[np.int64], windows: Sequence[int], what: str = POSITIVE
    ) -> NDArray[np.float32]:
        """The same counts over all items together, float32[n × W]."""
        code = self._code(what)
        counts = np.zeros((len(times), len(windows)), np.float32)
        for log, derived in ((self._base, self._of_base), (self._tail, self._of_tail)):
            moments = self._kept(derived, "moments", code, partial(_moments, log, code))
            until = np.searchsorted(moments, times)
            for place, window in enumerate(windows):
                since = np.searchsorted(moments, np.maximum(times - window, 0))
                counts[:, place] += until - since
        return counts

    def first_and_last(
        self, items: NDArray[np.int32], times: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """When each item had its first and its latest event before each moment, int64[n] each.

        Microseconds; `NO_TIME` where it had none.
        """
        first = np.full(len(items), NO_TIME, np.int64)
        last = np.full(len(items), NO_TIME, np.int64)
        for log in (self._base, self._tail):
            _first_and_last(log.offsets, log.time, items, times, first, last)
        return first, last

    def _code(self, what: str) -> int:
        if what in (POSITIVE, EVERY):
            return -1 if what == POSITIVE else -2
        if what not in self.kinds:
            raise SettingError(f"statistics: unknown kind '{what}'{near_miss(what, self.kinds)}")
        return self.kinds.index(what)

    @staticmethod
    def _kept(
        derived: dict[tuple[str, int], NDArray[Any]],
        name: str,
        code: int,
        make: Callable[[], NDArray[Any]],
    ) -> NDArray[Any]:
        """An array made once from a log that does not change."""
        found = derived.get((name, code))
        if found is None:
            found = derived[name, code] = make()
        return found

    def decayed(self, time: int, half_life: int) -> NDArray[np.float32]:
        """Positive weight of every item, each event halved per `half_life` of age, float32[items].

        The first call for a half-life reads every event; later ones cost a binary search an item.

        Args:
            time: the moment, microseconds; only events strictly before count.
            half_life: microseconds.
        """
        sums = np.zeros(self.n_items, np.float32)
        for log, derived in ((self._base, self._of_base), (self._tail, self._of_tail)):
            running = self._kept(
                derived,
                "running",
                half_life,
                partial(_run, log.offsets, log.time, log.weight, half_life),
            )
            _decay(log.offsets, log.time, running, time, half_life, sums)
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


def _counted(log: _Log, code: int) -> NDArray[np.bool_]:
    """Which events count: positive ones (−1), every one (−2), or those of a kind."""
    if code == -2:
        return np.ones(len(log.time), np.bool_)
    counted: NDArray[np.bool_] = log.weight > 0 if code == -1 else log.kind == code
    return counted


def _moments(log: _Log, code: int) -> NDArray[np.int64]:
    """When counted events happened, ascending."""
    return np.sort(log.time[_counted(log, code)])


def _count_before(log: _Log, code: int) -> NDArray[np.int32]:
    """How many counted events stand before each position of the log, int32[events + 1]."""
    before = np.zeros(len(log.time) + 1, np.int32)
    np.cumsum(_counted(log, code), out=before[1:])
    return before


@njit(nogil=True, cache=True)
def _count(offsets, time, before, items, moments, windows, out):  # type: ignore[no-untyped-def]
    """Adds to out[i, w] the events of items[i] in [moments[i] − windows[w], moments[i])."""
    for i in range(len(items)):
        if not 0 <= items[i] < len(offsets) - 1:
            continue
        start, stop = offsets[items[i]], offsets[items[i] + 1]
        last = _before(time, start, stop, moments[i])
        for w in range(len(windows)):
            first = start
            if windows[w] < moments[i]:
                first = _before(time, start, last, moments[i] - windows[w])
            out[i, w] += before[last] - before[first]


@njit(nogil=True, cache=True)
def _first_and_last(offsets, time, items, moments, first, last):  # type: ignore[no-untyped-def]
    """Writes the earliest and the latest time before moments[i] among those there already."""
    for i in range(len(items)):
        if not 0 <= items[i] < len(offsets) - 1:
            continue
        start = offsets[items[i]]
        stop = _before(time, start, offsets[items[i] + 1], moments[i])
        if stop > start:
            if first[i] == NO_TIME or time[start] < first[i]:
                first[i] = time[start]
            last[i] = max(last[i], time[stop - 1])


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
