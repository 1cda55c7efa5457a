"""Keeping to a deadline: what stages cost, what is left, and whom one no longer waits for.

Running computation is never abandoned: its cost is estimated before it starts, and a simpler
stand-in chosen in time. Only what waits for another machine is waited for no longer than there
is time.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Generic, TypeVar

T = TypeVar("T")

_RISE, _FALL, _FADE = 0.5, 0.05, 0.9
_FADE_UNSURE = 0.5
"""While a stage was measured once: the first call compiles and maps what later ones find."""
_LATE_CALLS_PER_SOURCE = 4


class Deadline:
    """A moment by which an answer is wanted.

    Args:
        milliseconds: how long from then on; None, whenever it is ready.
        clock: seconds, monotonic.
        since: when the clock began to count; by default now.
    """

    def __init__(
        self,
        milliseconds: float | None = None,
        clock: Callable[[], float] = perf_counter,
        since: float | None = None,
    ) -> None:
        self._clock = clock
        begun = clock() if since is None else since
        self._end = None if milliseconds is None else begun + milliseconds / 1e3

    @property
    def left(self) -> float:
        """Milliseconds left, below 0 when it has passed; infinite without a deadline."""
        return float("inf") if self._end is None else (self._end - self._clock()) * 1e3

    def within(self, milliseconds: float | None) -> "Deadline":
        """The earlier of this deadline and so many milliseconds from now; without one, none."""
        if self._end is None or milliseconds is None or milliseconds >= self.left:
            return self
        return Deadline(milliseconds, self._clock)


@dataclass(frozen=True, slots=True)
class Degraded:
    """Something that was left out of an answer.

    Attributes:
        stage: where.
        reason: why, in words.
        error: what was raised there, if anything.
    """

    stage: str
    reason: str
    error: Exception | None = None

    def to_dict(self) -> dict[str, str]:
        """`{"stage", "reason"}`."""
        return {"stage": self.stage, "reason": self.reason}


class StillWaiting(Exception):  # noqa: N818 - a state, not an error of anybody's
    """Too many earlier calls of the same source were late, and have not come back yet."""


class LatencyTracker:
    """Remembers what each stage costs per unit of work, and counts the calls that are late.

    An estimate rises quickly and falls slowly, since being late is worse than being simple; with
    every time that a stage is left out it fades, so that the stage is tried again. Shared by all
    threads that answer requests.
    """

    def __init__(self) -> None:
        self._cost: dict[str, float] = {}
        self._once: set[str] = set()
        self._late: dict[str, int] = {}
        self._lock = threading.Lock()

    def estimate(self, stage: str, units: int) -> float:
        """Milliseconds that a stage will probably take; 0 for one never seen."""
        return self._cost.get(stage, 0.0) * units

    def record(self, stage: str, units: int, milliseconds: float) -> None:
        """Tells what a stage took for so many units."""
        if units < 1:
            return
        with self._lock:
            cost, known = milliseconds / units, self._cost.get(stage)
            if known is None:
                self._cost[stage] = cost
                self._once.add(stage)
            elif stage in self._once:
                self._once.discard(stage)
                self._cost[stage] = cost
            else:
                step = _RISE if cost > known else _FALL
                self._cost[stage] = known + step * (cost - known)

    def leave_out(self, stage: str) -> None:
        """Tells that a stage was left out for its estimate."""
        with self._lock:
            fade = _FADE_UNSURE if stage in self._once else _FADE
            self._cost[stage] = fade * self._cost.get(stage, 0.0)

    def call(self, source: str, work: Callable[[], T]) -> "Call[T]":
        """Starts work that waits for another machine, in a thread of its own.

        A call that is late, so that nobody waits for it any longer, goes on until it comes back by
        itself; a source with too many of those is not asked again before.

        Raises:
            StillWaiting: too many late calls have not come back.
        """
        with self._lock:
            if self._late.get(source, 0) >= _LATE_CALLS_PER_SOURCE:
                raise StillWaiting(f"{_LATE_CALLS_PER_SOURCE} earlier calls have not come back yet")
        future: Future[tuple[T, float]] = Future()

        def run() -> None:
            start = perf_counter()
            try:
                result = work()
                future.set_result((result, (perf_counter() - start) * 1e3))
            except BaseException as problem:  # handed to whoever waits
                future.set_exception(problem)

        threading.Thread(target=run, name=f"source {source}", daemon=True).start()
        return Call(future, partial(self._count_late, source))

    def _count_late(self, source: str, step: int) -> None:
        with self._lock:
            self._late[source] = self._late.get(source, 0) + step


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """Work under way.

    Attributes:
        future: its result, and how many milliseconds it took.
        count_late: told 1 when it is given up, −1 when it has come back after all.
    """

    future: "Future[tuple[T, float]]"
    count_late: Callable[[int], None]

    def result(self, deadline: Deadline) -> tuple[T, float] | None:
        """What came back, and how many milliseconds it took; None if it is late.

        Raises:
            Exception: whatever the work raised.
        """
        left = deadline.left
        wait([self.future], None if left == float("inf") else max(left, 0.0) / 1e3)
        if self.future.done():
            return self.future.result()
        self.count_late(1)
        self.future.add_done_callback(lambda _: self.count_late(-1))
        return None
