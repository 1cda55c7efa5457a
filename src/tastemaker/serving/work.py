"""Where a server's work is done: never on the event loop, and never after a long wait.

Each kind of work has a line. Whoever would wait in it for too long is refused at once, so that
those who are let in are answered in time however many ask.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil
from time import perf_counter
from typing import Any, TypeVar

from tastemaker.errors import BusyError

T = TypeVar("T")

SCORING_THREADS = 1
"""Scoring holds the interpreter for most of its time: more threads would only take turns."""
STORING_THREADS = 4
LONGEST_STORING_SECONDS = 2.0
"""Whoever sends events would rather wait than send them again."""
_LEARNING = 0.1
_MISJUDGED = 2.0
"""A wait that comes out so many times as long as allowed was misjudged: the work is not begun,
unless nobody else waits: to refuse then would give the machine's slowness as a crowd's."""


class Line:
    """Work done in turn by some threads.

    Used from one event loop.

    Args:
        name: what the threads are called.
        threads: how many work side by side.
        longest_wait: seconds that whoever comes may have to wait for a turn.
    """

    def __init__(self, name: str, threads: int, longest_wait: float) -> None:
        self._name = name
        self._threads = threads
        self._longest_wait = longest_wait
        self._pool = ThreadPoolExecutor(threads, name)
        self._inside = 0
        self._cost = 0.0  # seconds one piece takes, the latest counting most

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Does a piece of work when its turn comes.

        Raises:
            BusyError: the wait would be too long; nothing was done.
        """
        self.check()
        self._inside += 1
        try:
            turn = partial(self._in_turn, perf_counter(), work, *arguments)
            result, seconds = await asyncio.get_running_loop().run_in_executor(self._pool, turn)
        finally:
            self._inside -= 1
        self._cost += (seconds - self._cost) * (_LEARNING if self._cost else 1.0)
        return result

    def check(self) -> None:
        """Refuses whoever would come now, if the wait were too long.

        Raises:
            BusyError: it would be.
        """
        wait = self._inside * self._cost / self._threads
        if wait > self._longest_wait and self._inside > self._threads:
            raise self._refusal(wait)

    def close(self) -> None:
        """Ends when what has begun is done."""
        self._pool.shutdown()

    def _in_turn(self, came: float, work: Callable[..., T], *arguments: Any) -> tuple[T, float]:
        begun = perf_counter()
        crowded = self._inside > self._threads
        if crowded and begun - came > _MISJUDGED * self._longest_wait:
            raise self._refusal(begun - came)
        result = work(*arguments)
        return result, perf_counter() - begun

    def _refusal(self, wait: float) -> BusyError:
        return BusyError(
            f"too much is asked at once: {self._name} would begin after {wait * 1e3:,.0f} ms, "
            f"{self._longest_wait * 1e3:,.0f} ms are allowed",
            ceil(wait),
        )


class Shared:
    """Work whose result is the same for all who wait: whoever comes while it is being done shares
    the next time, so that any number of them costs two.

    Used from one event loop.

    Args:
        work: what to do.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def done(self) -> None:
        """Returns when the work has been done once from its beginning to its end."""
        if self._next is None:
            self._next = asyncio.create_task(self._once())
        await asyncio.shield(self._next)

    async def _once(self) -> None:
        async with self._turn:
            self._next = None  # whoever comes from now on may be too late for this one
            await asyncio.to_thread(self._work)


class Lines:
    """The lines of a server.

    Args:
        longest_wait: milliseconds that a question may wait for its turn.

    Attributes:
        scoring: for what computes.
        storing: for what reads, checks or waits for the disk.
    """

    def __init__(self, longest_wait: float) -> None:
        self.scoring = Line("scoring", SCORING_THREADS, longest_wait / 1e3)
        self.storing = Line("storing", STORING_THREADS, LONGEST_STORING_SECONDS)

    def close(self) -> None:
        """Ends when what has begun is done."""
        self.scoring.close()
        self.storing.close()
