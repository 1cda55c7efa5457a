"""Events grouped by item, with cached derived arrays for statistics."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.catalogue import NO_TIME
from tastemaker.data.decay import running_weights
from tastemaker.data.ragged import offsets_of

T = TypeVar("T")

POSITIVE_CODE = -1
"""The code of positive events; other codes are kinds."""
_FEW = 1_000
"""Up to this number, new events are inserted one by one."""


@dataclass(frozen=True, slots=True)
class ItemLog:
    """Events grouped by item, oldest first within an item.

    Attributes:
        offsets: int64[items + 1].
        time: int64[n], microseconds.
        kind: int8[n].
        weight: float32[n], signed preference at the event's own moment.
        derived: cached derived arrays; logs with the same events share them.
    """

    offsets: NDArray[np.int64]
    time: NDArray[np.int64]
    kind: NDArray[np.int8]
    weight: NDArray[np.float32]
    derived: dict[tuple[str, int], Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        item: NDArray[np.int32],
        time: NDArray[np.int64],
        kind: NDArray[np.int8],
        weight: NDArray[np.float32],
        n_items: int,
    ) -> "ItemLog":
        """A log of events, grouped by item.

        Args:
            item: int32[n], the items.
            time: int64[n], microseconds.
            kind: int8[n].
            weight: float32[n].
            n_items: the number of items.
        """
        order = np.lexsort((time, item))
        counts = np.bincount(item, minlength=n_items)
        return cls(offsets_of(counts), time[order], kind[order], weight[order])

    @classmethod
    def empty(cls, n_items: int) -> "ItemLog":
        """A log without events."""
        item, kind = np.empty(0, np.int32), np.empty(0, np.int8)
        return cls.of(item, np.empty(0, np.int64), kind, np.empty(0, np.float32), n_items)

    def grown(
        self,
        item: NDArray[np.int32],
        time: NDArray[np.int64],
        kind: NDArray[np.int8],
        weight: NDArray[np.float32],
        n_items: int,
    ) -> "ItemLog":
        """This log with more events and items; they come after existing events of the same time.

        Cost: for few new events, one copy of the log; otherwise the log is sorted again.
        """
        offsets = np.full(n_items + 1, len(self.time), np.int64)
        offsets[: len(self.offsets)] = self.offsets
        if not len(item):
            return replace(self, offsets=offsets)
        if len(item) > _FEW:
            before = np.repeat(np.arange(n_items, dtype=np.int32), np.diff(offsets))
            return ItemLog.of(
                np.concatenate([before, item]),
                np.concatenate([self.time, time]),
                np.concatenate([self.kind, kind]),
                np.concatenate([self.weight, weight]),
                n_items,
            )
        order = np.lexsort((time, item))
        item, time = item[order], time[order]
        starts, stops = offsets[item].tolist(), offsets[item + 1].tolist()
        places = [
            start + int(np.searchsorted(self.time[start:stop], moment, side="right"))
            for start, stop, moment in zip(starts, stops, time)
        ]
        return ItemLog(
            offsets + offsets_of(np.bincount(item, minlength=n_items)),
            np.insert(self.time, places, time),
            np.insert(self.kind, places, kind[order]),
            np.insert(self.weight, places, weight[order]),
        )

    def together(self) -> "ItemLog":
        """The same events, grouped as if they all had the same item."""

        def make() -> ItemLog:
            order = np.argsort(self.time, kind="stable")
            offsets = np.array([0, len(order)])
            return ItemLog(offsets, self.time[order], self.kind[order], self.weight[order])

        return self._once("together", 0, make)

    def before(self, code: int) -> NDArray[np.int32]:
        """The number of counted events before each position, int32[events + 1].

        Counts positive events (code −1), or the events of a kind.
        """

        def make() -> NDArray[np.int32]:
            before = np.zeros(len(self.time) + 1, np.int32)
            counted = self.weight > 0 if code == POSITIVE_CODE else self.kind == code
            np.cumsum(counted, out=before[1:])
            return before

        return self._once("before", code, make)

    @property
    def latest(self) -> int:
        """The time of the latest event; `NO_TIME` if there is none."""
        return self._once("latest", 0, lambda: int(self.time.max(initial=NO_TIME)))

    def running(self, half_life: int) -> NDArray[np.float64]:
        """The decayed positive weight of an item just after each of its events, float64[n]."""

        def make() -> NDArray[np.float64]:
            made: NDArray[np.float64] = running_weights(
                self.offsets, self.time, self.weight, half_life
            )
            return made

        return self._once("running", half_life, make)

    def prepared_as(self, earlier: "ItemLog") -> "ItemLog":
        """This log, with the same derived arrays computed as for an earlier log."""
        for name, of in list(earlier.derived):
            if name == "together":
                self.together().prepared_as(earlier.together())
            elif name == "before":
                self.before(of)
            elif name == "running":
                self.running(of)
        return self

    def _once(self, name: str, of: int, make: Callable[[], T]) -> T:
        """The cached value; computed on first use."""
        if (name, of) not in self.derived:
            self.derived[name, of] = make()
        found: T = self.derived[name, of]
        return found
