"""Where a server's work is done: never on the event loop, and never after a long wait.

Each kind of work has a line. Whoever would wait in it for too long is refused at once, so that
those who are let in are answered in time however many ask.
"""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, perf_counter
from typing import Any, TypeVar

from tastemaker.errors import BusyError
from tastemaker.giving_way import giving_way
from tastemaker.serving.running_work import LIGHTER, RunningWork

T = TypeVar("T")
_Done = tuple[Any, BaseException | None, float]

CALLER: ContextVar[str] = ContextVar("caller", default="")
"""Who sent the request that is being answered: an API key, or an address without keys."""
MOST_CALLERS = 1_000
"""So many callers are remembered while they send nothing."""
SCORING_THREADS = 1
"""Scoring holds the interpreter for most of its time: more threads would only take turns."""
EXPRESS_THREADS = 2
STORING_THREADS = 4
LONGEST_STORING_SECONDS = 2.0
"""Whoever sends events would rather wait than send them again."""
_LEARNING = 0.1
_LATELY = 2.0
"""Of the seconds that a caller has used, half count after so many seconds."""
_ALLOWED = 0.1
"""Seconds that a caller may use without counting as greedier than one who comes for the first
time."""
_FIRST_GUESS = 0.05
"""Seconds that the first piece of a caller is taken to need at most: it is let in, however
expensive the pieces of the others are."""
_MISJUDGED = 2.0
"""A wait that comes out so many times as long as allowed was misjudged: the work is not begun,
unless nobody else waits: to refuse then would give the machine's slowness as a crowd's."""


@dataclass(eq=False)
class _Piece:
    """A piece of work that waits for its turn or is being done."""

    work: Callable[[], Any]
    came: float
    done: "asyncio.Future[Any]"


@dataclass(eq=False)
class _Caller:
    """What one caller has in a line.

    Attributes:
        waiting: pieces in the order they came.
        running: pieces being done.
        cost: seconds that one piece takes, the latest counting most; 0 while that is not known.
        turn: the line's clock when the caller's next piece is due; the least comes first.
        used: seconds that the caller's pieces took, as they counted at the moment `used_at`.
    """

    cost: float = 0.0
    waiting: deque[_Piece] = field(default_factory=deque)
    running: int = 0
    turn: float = 0.0
    used: float = 0.0
    used_at: float = 0.0

    @property
    def inside(self) -> int:
        """Pieces that are not done."""
        return len(self.waiting) + self.running

    def backlog(self, guess: float) -> float:
        """Seconds of work that they take together.

        Args:
            guess: seconds of a piece, while its cost is not known.
        """
        return self.inside * (self.cost or guess)

    def burden(self, guess: float) -> float:
        """What the caller's next piece takes, times what the caller has used lately with it."""
        cost = self.cost or guess
        return cost * (_ALLOWED + self._used_lately() + cost)

    def use(self, seconds: float) -> None:
        """Counts the time of a piece."""
        self.used, self.used_at = self._used_lately() + seconds, monotonic()

    def _used_lately(self) -> float:
        return self.used * math.pow(0.5, (monotonic() - self.used_at) / _LATELY)


class WorkQueue:
    """Work done in turn by some threads, each caller getting the same share of their time.

    A caller whose pieces take long, or who sends many, waits for their own pieces; the others wait
    for one of them at most (start-time fair queueing: Goyal, Vin and Cheng, 1996). Where there are
    several threads, one is left to the other callers.

    Used from one event loop.

    Args:
        name: what the threads are called.
        threads: how many work side by side.
        longest_wait: seconds that whoever comes may have to wait for a turn.
        express: threads beyond these for pieces lighter than those under way, which need not wait
            for their end; the heavier ones give way between two of their steps.
        under_way: what is being done in all lines of a server; by default in this one.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        longest_wait: float,
        express: int = 0,
        under_way: RunningWork | None = None,
    ) -> None:
        self._name = name
        self._threads = threads
        self._most_each = max(1, threads - 1)
        self._longest_wait = longest_wait
        self._express = express
        self._under_way = under_way or RunningWork()
        self._burdens: list[float] = []  # of the pieces that are being done
        self._pool = ThreadPoolExecutor(threads + express, name)
        self._inside = self._running = 0
        self._cost = 0.0  # seconds one piece takes, the latest counting most
        self._clock = 0.0  # the turn of the piece that began last
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Does a piece of work when its turn comes.

        Raises:
            BusyError: the wait would be too long; nothing was done.
        """
        self.check()
        caller = self._caller()
        if not caller.inside:  # nothing is saved up while nothing is sent
            caller.turn = max(caller.turn, self._clock)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        piece = _Piece(partial(work, *arguments), perf_counter(), done)
        caller.waiting.append(piece)
        self._inside += 1
        self._begin()
        try:
            return await done
        finally:
            if piece in caller.waiting:  # the caller has gone
                caller.waiting.remove(piece)
                self._inside -= 1

    def check(self) -> None:
        """Refuses whoever would come now, if the wait were too long.

        Raises:
            BusyError: it would be.
        """
        if self._inside <= self._threads or not self._cost:  # nothing is known of what it costs
            return
        caller = self._caller()
        guess = self._guess()
        backlog = caller.backlog(guess)
        own = max(backlog, caller.cost or guess)
        others = (each for each in self._callers.values() if each is not caller and each.inside)
        # of each other caller about as much is done before as of this one
        ahead = backlog + sum(min(each.backlog(guess), own) for each in others)
        wait = ahead / self._threads
        if wait > self._longest_wait:
            raise self._refusal(wait)

    def charge(self, seconds: float) -> None:
        """Counts work that was done elsewhere for the one who calls as if it were done here."""
        caller = self._caller()
        caller.turn += seconds
        caller.use(seconds)

    def close(self) -> None:
        """Ends when what has begun is done."""
        self._pool.shutdown()

    def _caller(self) -> _Caller:
        """The one who calls now; those who have been away longest are forgotten."""
        name = CALLER.get()
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = _Caller(turn=self._clock)
            for other in list(self._callers)[: max(0, len(self._callers) - MOST_CALLERS)]:
                if other != name and not self._callers[other].inside:
                    del self._callers[other]
        self._callers.move_to_end(name)
        return caller

    def _begin(self) -> None:
        """Begins what is due, as long as threads are free."""
        while able := self._able():
            caller = min(able, key=lambda each: each.turn)
            piece = caller.waiting.popleft()
            begun = perf_counter()
            crowded = self._inside > self._threads
            if crowded and begun - piece.came > _MISJUDGED * self._longest_wait:
                self._inside -= 1
                if not piece.done.done():
                    piece.done.set_exception(self._refusal(begun - piece.came))
                continue
            self._clock = caller.turn
            charged, burden = caller.cost, caller.burden(self._guess())
            caller.turn += charged
            caller.running += 1
            self._running += 1
            self._burdens.append(burden)
            work = asyncio.get_running_loop().run_in_executor(
                self._pool, self._do, piece.work, begun, burden
            )
            work.add_done_callback(partial(self._ended, caller, piece, charged, burden))

    def _do(self, work: Callable[[], Any], begun: float, burden: float) -> _Done:
        """What a piece gives or raises, and the seconds since it began in which it did not wait."""
        outcome: list[tuple[Any, BaseException | None]] = []

        def piece(wait: Callable[[], None]) -> None:
            with giving_way(wait):
                outcome.append(_outcome(work))

        waited = self._under_way.do(piece, burden)
        return *outcome[0], perf_counter() - begun - waited

    def _able(self) -> list[_Caller]:
        """The callers whose next piece may begin now."""
        able = [c for c in self._callers.values() if c.waiting and c.running < self._most_each]
        if self._running < self._threads:
            return able
        if self._running >= self._threads + self._express:
            return []
        guess = self._guess()
        lightest = min(self._burdens)
        return [c for c in able if LIGHTER * c.burden(guess) < lightest]

    def _guess(self) -> float:
        """Seconds of a piece of a caller of whom nothing is known."""
        known = (each.cost for each in self._callers.values() if each.cost)
        return min(_FIRST_GUESS, min(known, default=0.0))

    def _ended(
        self,
        caller: _Caller,
        piece: _Piece,
        charged: float,
        burden: float,
        work: "asyncio.Future[_Done]",
    ) -> None:
        self._burdens.remove(burden)
        caller.running -= 1
        self._running -= 1
        self._inside -= 1
        if not work.cancelled():
            result, problem, seconds = work.result()
            caller.turn += seconds - charged  # it was taken to cost as much as those before
            caller.cost = _learned(caller.cost, seconds)
            caller.use(seconds)
            self._cost = _learned(self._cost, seconds)
            if piece.done.done():
                pass  # the caller has gone
            elif problem is not None:
                piece.done.set_exception(problem)
            else:
                piece.done.set_result(result)
        self._begin()

    def _refusal(self, wait: float) -> BusyError:
        return BusyError(
            f"too much is asked at once: {self._name} would begin after {wait * 1e3:,.0f} ms, "
            f"{self._longest_wait * 1e3:,.0f} ms are allowed",
            math.ceil(wait),
        )


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """What work gives, or raises."""
    try:
        return work(), None
    except StopIteration as problem:  # which no future can hold
        return None, RuntimeError(f"{problem!r}")
    except BaseException as problem:
        return None, problem


def _learned(cost: float, seconds: float) -> float:
    """A cost with one more piece of work, the latest counting most."""
    return cost + (seconds - cost) * (_LEARNING if cost else 1.0)


class Coalescer:
    """Work whose result is the same for all who wait: whoever comes while it is being done shares
    the next time, so that any number of them costs two.

    Used from one event loop.

    Args:
        work: what to do.
        charge: is called with the seconds it took, in the context of the first who waited; by
            default nobody pays.
    """

    def __init__(
        self, work: Callable[[], None], charge: Callable[[float], None] = lambda _: None
    ) -> None:
        self._work = work
        self._charge = charge
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
            begun = perf_counter()
            try:
                await asyncio.to_thread(self._work)
            finally:
                self._charge(perf_counter() - begun)


class WorkQueues:
    """The lines of a server.

    Args:
        max_queue_wait_ms: milliseconds that a question may wait for its turn.

    Attributes:
        scoring: for what computes.
        storing: for what reads, checks or waits for the disk.
    """

    def __init__(self, max_queue_wait_ms: float) -> None:
        under_way, wait = RunningWork(), max_queue_wait_ms / 1e3
        self.scoring = WorkQueue("scoring", SCORING_THREADS, wait, EXPRESS_THREADS, under_way)
        self.storing = WorkQueue("storing", STORING_THREADS, LONGEST_STORING_SECONDS, 0, under_way)

    def close(self) -> None:
        """Ends when what has begun is done."""
        self.scoring.close()
        self.storing.close()
