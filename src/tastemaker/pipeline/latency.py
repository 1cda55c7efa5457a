"""Deadlines: the time left, the estimated costs of stages, and calls with a timeout.

A running computation is never interrupted: its cost is estimated before it starts, and it is
skipped or shortened if there is too little time. Only calls to other machines have a timeout.
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
"""Used for a stage that was measured once: its first call includes compilation and mapping."""
_LATE_CALLS_PER_SOURCE = 4


class Deadline:
    """The moment by which an answer is due.

    Args:
        milliseconds: the time from `since` on; None for no limit.
        clock: a monotonic clock, seconds.
        since: when the time starts, seconds of the clock; by default now.
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
        """The earlier of this deadline and `milliseconds` from now; no limit stays no limit."""
        if self._end is None or milliseconds is None or milliseconds >= self.left:
            return self
        return Deadline(milliseconds, self._clock)


@dataclass(frozen=True, slots=True)
class Degraded:
    """A stage that was skipped or cut short.

    Attributes:
        stage: the name of the stage.
        reason: the reason, as text.
        error: the exception that the stage raised, if any.
    """

    stage: str
    reason: str
    error: Exception | None = None

    def to_dict(self) -> dict[str, str]:
        """`{"stage", "reason"}`."""
        return {"stage": self.stage, "reason": self.reason}


class TooManyLateCalls(Exception):  # noqa: N818 - a state, not an error
    """Too many earlier calls of the same source are late and have not returned yet."""


class LatencyTracker:
    """Records what each stage costs per unit of work, and counts late calls.

    An estimate rises quickly and falls slowly, because a late answer is worse than a simple one.
    It decays whenever the stage is skipped, so that the stage is tried again. All threads that
    answer requests share one tracker.
    """

    def __init__(self) -> None:
        self._cost: dict[str, float] = {}
        self._once: set[str] = set()
        self._late: dict[str, int] = {}
        self._lock = threading.Lock()

    def estimate(self, stage: str, units: int) -> float:
        """The estimated time of a stage, milliseconds; 0 for a stage that was never measured."""
        return self._cost.get(stage, 0.0) * units

    def record(self, stage: str, units: int, milliseconds: float) -> None:
        """Records the time that a stage took for some units of work."""
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

    def record_skip(self, stage: str) -> None:
        """Records that a stage was skipped because of its estimate."""
        with self._lock:
            fade = _FADE_UNSURE if stage in self._once else _FADE
            self._cost[stage] = fade * self._cost.get(stage, 0.0)

    def call(self, source: str, work: Callable[[], T]) -> "Call[T]":
        """Starts work that waits for another machine, in a separate thread.

        A late call continues in the background until it returns. A source with too many late calls
        is not called again until some of them return.

        Raises:
            TooManyLateCalls: too many late calls have not returned.
        """
        with self._lock:
            if self._late.get(source, 0) >= _LATE_CALLS_PER_SOURCE:
                raise TooManyLateCalls(
                    f"{_LATE_CALLS_PER_SOURCE} earlier calls have not returned yet"
                )
        future: Future[tuple[T, float]] = Future()

        def run() -> None:
            start = perf_counter()
            try:
                result = work()
                future.set_result((result, (perf_counter() - start) * 1e3))
            except BaseException as problem:  # passed on to the caller of `result`
                future.set_exception(problem)

        threading.Thread(target=run, name=f"source {source}", daemon=True).start()
        return Call(future, partial(self._count_late, source))

    def _count_late(self, source: str, step: int) -> None:
        with self._lock:
            self._late[source] = self._late.get(source, 0) + step


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A call in progress.

    Attributes:
        future: the result of the call and its time, milliseconds.
        count_late: called with 1 when the call is late, and with −1 when it returns later.
    """

    future: "Future[tuple[T, float]]"
    count_late: Callable[[int], None]

    def result(self, deadline: Deadline) -> tuple[T, float] | None:
        """The result of the call and its time, milliseconds; None if it is late.

        Raises:
            Exception: the exception of the work.
        """
        left = deadline.left
        wait([self.future], None if left == float("inf") else max(left, 0.0) / 1e3)
        if self.future.done():
            return self.future.result()
        self.count_late(1)
        self.future.add_done_callback(lambda _: self.count_late(-1))
        return None
