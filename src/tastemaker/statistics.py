"""Point-in-time item popularity: event counts and decayed sums as of any moment.

Retrievers and features use it, offline and online. Events at or after the requested moment are
never counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.data.catalogue import NO_TIME
from tastemaker.data.decay import decayed_weights, first_not_before
from tastemaker.data.events import Events
from tastemaker.data.item_log import POSITIVE_CODE, ItemLog
from tastemaker.data.schema import EventKind
from tastemaker.errors import SettingError, did_you_mean

ALL_TIME = np.iinfo(np.int64).max
POSITIVE = "positive events"
EVERY = "every event"

_ARRAYS = ("offsets", "time", "kind", "weight")
_CODES = {POSITIVE: POSITIVE_CODE, EVERY: -2}


class Stretches:
    """The positions in the log of each item's events within windows before moments.

    They are located once and can be counted for any kind: a count is a difference of two positions.
    """

    def __init__(
        self,
        logs: Sequence[ItemLog],
        kinds: Sequence[str],
        items: NDArray[np.int32],
        times: NDArray[np.int64],
        windows: Sequence[int],
    ) -> None:
        self._logs = tuple(log for log in logs if len(log.time))
        self._kinds, self._items, self._windows = tuple(kinds), items, len(windows)
        self._places = []
        lengths = np.asarray(windows, np.int64)
        for log in self._logs:
            first = np.zeros((len(lengths), len(items)), np.int64)
            last = np.zeros(len(items), np.int64)
            _locate(log.offsets, log.time, items, times, lengths, first, last)
            self._places.append((first, last))

    def counts(self, what: str = POSITIVE, windows: slice = slice(None)) -> NDArray[np.float32]:
        """The number of events in each window, float32[n × W].

        Args:
            what: `POSITIVE` events, `EVERY` event, or the name of a kind.
            windows: which of the windows; by default all.

        Raises:
            SettingError: the kind does not exist.
        """
        code = _code(what, self._kinds)
        width = len(range(*windows.indices(self._windows)))
        counts = np.zeros((len(self._items), width), np.float32)
        for log, (first, last) in zip(self._logs, self._places):
            if code == _CODES[EVERY]:
                _add_lengths(first[windows], last, counts)
            else:
                _add_counts(log.before(code), first[windows], last, counts)
        return counts

    def first_and_last(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The times of each item's first and latest event before each moment, int64[n] each.

        Microseconds; `NO_TIME` for items without events.
        """
        first = np.full(len(self._items), NO_TIME, np.int64)
        last = np.full(len(self._items), NO_TIME, np.int64)
        for log, (_, until) in zip(self._logs, self._places):
            _first_and_last(log.offsets, log.time, self._items, until, first, last)
        return first, last


class ItemStatistics:
    """Counts and decayed sums per item as of any moment.

    Consists of a base, mapped from disk, and a live tail.

    Attributes:
        n_items: the number of items.
        kinds: names of the kinds of event.
    """

    def __init__(self, n_items: int, kinds: Sequence[str], base: ItemLog, tail: ItemLog) -> None:
        self.n_items = n_items
        self.kinds = tuple(kinds)
        self._base = base
        self._tail = tail

    @classmethod
    def of(cls, events: Events, n_items: int, kinds: Mapping[str, EventKind]) -> "ItemStatistics":
        """Statistics of a log.

        Every event counts from its own moment on, even if a later event replaced it: the state at
        the end of the log would leak the future.
        """
        base = ItemLog.of(events.item, events.time, events.kind, events.preference, n_items)
        return cls(n_items, tuple(kinds), base, ItemLog.empty(n_items))

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
            n_items: the new number of items, if items were added.

        Cost: proportional to the tail if it has been queried before: derived arrays are computed
        here, so that the next query does not wait for them.
        """
        size = self.n_items if n_items is None else n_items
        tail = self._tail.grown(item, time, kind, weight, size).prepared_as(self._tail)
        grown = np.full(size + 1, len(self._base.time), np.int64)
        grown[: self.n_items + 1] = self._base.offsets
        return ItemStatistics(size, self.kinds, replace(self._base, offsets=grown), tail)

    def at(
        self,
        items: NDArray[np.int32],
        times: NDArray[np.int64],
        window: int = ALL_TIME,
        kind: str | None = None,
    ) -> NDArray[np.float32]:
        """The number of events of each item within `window` before each moment, float32[n].

        Args:
            items: int32[n].
            times: int64[n], microseconds; only events strictly before count.
            window: microseconds; an event exactly `window` old still counts.
            kind: the kind to count; by default every positive event.

        Raises:
            SettingError: the kind does not exist.
        """
        return self.counts(items, times, (window,), POSITIVE if kind is None else kind)[:, 0]

    def of_every_item(self, time: int) -> NDArray[np.float32]:
        """The number of positive events of every item before a moment, float32[items]."""
        if max(self._base.latest, self._tail.latest) >= time:
            return self.at(np.arange(self.n_items, dtype=np.int32), np.full(self.n_items, time))
        counts = np.zeros(self.n_items, np.float32)
        for log in (self._base, self._tail):
            counts += np.diff(log.before(POSITIVE_CODE)[log.offsets])
        return counts

    def counts(
        self,
        items: NDArray[np.int32],
        times: NDArray[np.int64],
        windows: Sequence[int],
        what: str = POSITIVE,
    ) -> NDArray[np.float32]:
        """The number of events of each item within each window before each moment, float32[n × W].

        Args:
            items: int32[n].
            times: int64[n], microseconds; only events strictly before count.
            windows: W lengths, microseconds; an event exactly as old still counts.
            what: `POSITIVE` events, `EVERY` event, or the name of a kind.

        Raises:
            SettingError: the kind does not exist.

        Cost: a binary search per window; the first call for `what` reads every event.
        """
        return self.stretches(items, times, windows).counts(what)

    def totals(
        self, times: NDArray[np.int64], windows: Sequence[int], what: str = POSITIVE
    ) -> NDArray[np.float32]:
        """The same counts summed over all items, float32[n × W]."""
        return self.stretches(None, times, windows).counts(what)

    def first_and_last(
        self, items: NDArray[np.int32], times: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The times of each item's first and latest event before each moment, int64[n] each.

        Microseconds; `NO_TIME` for items without events.
        """
        return self.stretches(items, times, ()).first_and_last()

    def stretches(
        self, items: NDArray[np.int32] | None, times: NDArray[np.int64], windows: Sequence[int]
    ) -> Stretches:
        """The positions of the events within each window, for callers that count several kinds.

        Args:
            items: int32[n]; None for all items together.
            times: int64[n], microseconds; only events strictly before count.
            windows: W lengths, microseconds; an event exactly as old still counts.
        """
        logs = [self._base, self._tail]
        if items is None:
            logs, items = [log.together() for log in logs], np.zeros(len(times), np.int32)
        return Stretches(logs, self.kinds, items, times, windows)

    def decayed(self, time: int, half_life: int) -> NDArray[np.float32]:
        """Positive weight of every item, each event halved per `half_life` of age, float32[items].

        If the largest weight is below 2⁻³², all are scaled so that it is 2⁻³². Weights below 2⁻⁶⁴
        are then raised, keeping their order, so that they are never subnormal and never 0, however
        old the events are. Items without positive events before the moment have weight 0.

        The first call for a half-life reads every event; later calls cost a binary search per item.

        Args:
            time: the moment, microseconds; only events strictly before count.
            half_life: microseconds.
        """
        sums = np.zeros(self.n_items, np.float32)
        logs = [(g.offsets, g.time, g.running(half_life)) for g in (self._base, self._tail)]
        decayed_weights(*logs[0], *logs[1], time, half_life, sums)
        return sums

    def save(self, writer: ArtifactWriter) -> None:
        """Saves the base; an artifact has no live tail."""
        writer.json("kinds", list(self.kinds))
        for name in _ARRAYS:
            writer.array(name, getattr(self._base, name))

    @classmethod
    def load(cls, reader: ArtifactReader) -> "ItemStatistics":
        """Maps the base from disk."""
        offsets, time, kind, weight = (reader.array(name) for name in _ARRAYS)
        base = ItemLog(offsets, time, kind, weight)
        n_items = len(base.offsets) - 1
        return cls(n_items, reader.json("kinds"), base, ItemLog.empty(n_items))


def _code(what: str, kinds: tuple[str, ...]) -> int:
    """−1 for positive events, −2 for all events, else the kind's position."""
    if what in _CODES:
        return _CODES[what]
    if what not in kinds:
        raise SettingError(f"statistics: unknown kind '{what}'{did_you_mean(what, kinds)}")
    return kinds.index(what)


@kernel
def _locate(offsets, time, items, moments, windows, first, last):  # type: ignore[no-untyped-def]
    """Writes the range of the events of items[i] in [moments[i] − windows[w], moments[i]).

    Their positions are first[w, i] … last[i] − 1; both are 0 for an unknown item.
    """
    # These independent reads hide most of the memory latency: the searches below start at the
    # values read here, and overwrite them.
    for i in range(len(items)):
        if 0 <= items[i] < len(offsets) - 1 and offsets[items[i]] < offsets[items[i] + 1]:
            last[i] = time[offsets[items[i] + 1] - 1]
    for i in range(len(items)):
        if not 0 <= items[i] < len(offsets) - 1:
            continue
        start = offsets[items[i]]
        last[i] = first_not_before(time, start, offsets[items[i] + 1], moments[i])
        since = last[i]
        for w in range(len(windows)):
            if w > 0 and windows[w] < windows[w - 1]:  # a longer window begins no later
                since = last[i]
            if windows[w] == ALL_TIME:
                since = start
            else:
                since = first_not_before(time, start, since, moments[i] - windows[w])
            first[w, i] = since


@kernel
def _add_counts(before, first, last, out):  # type: ignore[no-untyped-def]
    """Adds to out[i, w] the number of counted events in first[w, i] … last[i] − 1."""
    for i in range(len(last)):
        for w in range(len(first)):
            out[i, w] += before[last[i]] - before[first[w, i]]


@kernel
def _add_lengths(first, last, out):  # type: ignore[no-untyped-def]
    """Adds to out[i, w] the length of first[w, i] … last[i] − 1."""
    for i in range(len(last)):
        for w in range(len(first)):
            out[i, w] += last[i] - first[w, i]


@kernel
def _first_and_last(offsets, time, items, until, first, last):  # type: ignore[no-untyped-def]
    """Updates first[i] and last[i] with the times of the events before position until[i]."""
    for i in range(len(items)):
        if not 0 <= items[i] < len(offsets) - 1:
            continue
        start, stop = offsets[items[i]], until[i]
        if stop > start:
            if first[i] == NO_TIME or time[start] < first[i]:
                first[i] = time[start]
            last[i] = max(last[i], time[stop - 1])
