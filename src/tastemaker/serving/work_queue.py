"""Fair queues for a server's work: off the event loop, and with a limited wait.

Each kind of work has a queue. A request that would wait too long is rejected at once, so that
accepted requests are answered in time under any load.
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
_TimedOutcome = tuple[Any, BaseException | None, float]

CALLER: ContextVar[str] = ContextVar("caller", default="")
"""The sender of the current request: an API key, or an address if there are no keys."""
MOST_CALLERS = 1_000
"""How many idle callers are remembered."""
SCORING_THREADS = 1
"""Scoring holds the interpreter lock most of the time, so more threads would not help."""
EXPRESS_THREADS = 2
STORING_THREADS = 4
LONGEST_STORING_SECONDS = 2.0
"""Longer than for scoring: clients that send events prefer waiting to sending them again."""
_SMOOTHING = 0.1
_HALF_LIFE = 2.0
"""The half-life, in seconds, of the time that a caller has used."""
_FREE_SECONDS = 0.1
"""Seconds that a caller can use before its priority falls below that of a new caller."""
_FIRST_GUESS = 0.05
"""The largest cost, in seconds, assumed for the first task of a caller. It is accepted even if the
tasks of other callers are expensive."""
_LATE_FACTOR = 2.0
"""A task that waited this many times the allowed wait is rejected instead of started. It is not
rejected if no other task waits: then the machine is slow, not overloaded."""


@dataclass(eq=False)
class _Task:
    """A task that is waiting or running."""

    work: Callable[[], Any]
    arrived: float
    done: "asyncio.Future[Any]"


@dataclass(eq=False)
class _Caller:
    """The state of one caller in a queue.

    Attributes:
        waiting: tasks in order of arrival.
        running: how many tasks are running.
        cost: seconds per task, as a moving average; 0 while unknown.
        turn: the start tag of the caller's next task, by the queue's clock; the lowest runs first.
        used: seconds that the caller's tasks took, discounted to the time `used_at`.
    """

    cost: float = 0.0
    waiting: deque[_Task] = field(default_factory=deque)
    running: int = 0
    turn: float = 0.0
    used: float = 0.0
    used_at: float = 0.0

    @property
    def unfinished(self) -> int:
        """The number of tasks that are not done."""
        return len(self.waiting) + self.running

    def backlog(self, guess: float) -> float:
        """The seconds of work of all tasks that are not done.

        Args:
            guess: seconds per task while the cost is unknown.
        """
        return self.unfinished * (self.cost or guess)

    def burden(self, guess: float) -> float:
        """The cost of the caller's next task, times the caller's recent use including it."""
        cost = self.cost or guess
        return cost * (_FREE_SECONDS + self._recently_used() + cost)

    def use(self, seconds: float) -> None:
        """Adds the time of a task to the recent use."""
        self.used, self.used_at = self._recently_used() + seconds, monotonic()

    def _recently_used(self) -> float:
        return self.used * math.pow(0.5, (monotonic() - self.used_at) / _HALF_LIFE)


class WorkQueue:
    """Runs tasks on a pool of threads and gives each caller the same share of their time.

    A caller with long or many tasks waits for its own tasks. Other callers wait for at most one of
    them (start-time fair queueing: Goyal, Vin and Cheng, 1996). With several threads, one is kept
    free for other callers.

    Use it from one event loop.

    Args:
        name: the name of the threads.
        threads: the number of threads.
        longest_wait: the longest allowed wait in seconds.
        express: the number of extra threads for tasks lighter than the running ones. They start
            without waiting, and the heavier tasks pause between two of their steps.
        running_work: the tasks that run in all queues of a server; by default in this queue.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        longest_wait: float,
        express: int = 0,
        running_work: RunningWork | None = None,
    ) -> None:
        self._name = name
        self._threads = threads
        self._most_per_caller = max(1, threads - 1)
        self._longest_wait = longest_wait
        self._express = express
        self._running_work = running_work or RunningWork()
        self._burdens: list[float] = []  # of the running tasks
        self._pool = ThreadPoolExecutor(threads + express, name)
        self._unfinished = self._running = 0
        self._cost = 0.0  # seconds per task, as a moving average
        self._clock = 0.0  # the start tag of the task that started last
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """The result of a task, run when its turn comes.

        Raises:
            BusyError: the wait would be too long; the task did not run.
        """
        self.check()
        caller = self._caller()
        if not caller.unfinished:  # idle callers save up no credit
            caller.turn = max(caller.turn, self._clock)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        task = _Task(partial(work, *arguments), perf_counter(), done)
        caller.waiting.append(task)
        self._unfinished += 1
        self._start()
        try:
            return await done
        finally:
            if task in caller.waiting:  # cancelled before it started
                caller.waiting.remove(task)
                self._unfinished -= 1

    def check(self) -> None:
        """Checks that a task added now would not wait too long.

        Raises:
            BusyError: it would wait too long.
        """
        if self._unfinished <= self._threads or not self._cost:  # the cost is unknown
            return
        caller = self._caller()
        guess = self._guess()
        backlog = caller.backlog(guess)
        own = max(backlog, caller.cost or guess)
        others = (each for each in self._callers.values() if each is not caller and each.unfinished)
        # fair queueing runs about as much of each other caller first as of this one
        ahead = backlog + sum(min(each.backlog(guess), own) for each in others)
        wait = ahead / self._threads
        if wait > self._longest_wait:
            raise self._busy_error(wait)

    def charge(self, seconds: float) -> None:
        """Counts work done elsewhere for the current caller as if it ran here."""
        caller = self._caller()
        caller.turn += seconds
        caller.use(seconds)

    def close(self) -> None:
        """Waits for running tasks and stops the threads."""
        self._pool.shutdown()

    def _caller(self) -> _Caller:
        """The state of the current caller. The callers that are idle longest are forgotten."""
        name = CALLER.get()
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = _Caller(turn=self._clock)
            for other in list(self._callers)[: max(0, len(self._callers) - MOST_CALLERS)]:
                if other != name and not self._callers[other].unfinished:
                    del self._callers[other]
        self._callers.move_to_end(name)
        return caller

    def _start(self) -> None:
        """Starts the next tasks while threads are free."""
        while ready := self._ready_callers():
            caller = min(ready, key=lambda each: each.turn)
            task = caller.waiting.popleft()
            started = perf_counter()
            is_crowded = self._unfinished > self._threads
            if is_crowded and started - task.arrived > _LATE_FACTOR * self._longest_wait:
                self._unfinished -= 1
                if not task.done.done():
                    task.done.set_exception(self._busy_error(started - task.arrived))
                continue
            self._clock = caller.turn
            charged, burden = caller.cost, caller.burden(self._guess())
            caller.turn += charged
            caller.running += 1
            self._running += 1
            self._burdens.append(burden)
            work = asyncio.get_running_loop().run_in_executor(
                self._pool, self._do, task.work, started, burden
            )
            work.add_done_callback(partial(self._finish, caller, task, charged, burden))

    def _do(self, work: Callable[[], Any], started: float, burden: float) -> _TimedOutcome:
        """The result or exception of a task, and its seconds without waiting."""
        outcome: list[tuple[Any, BaseException | None]] = []

        def task(wait: Callable[[], None]) -> None:
            with giving_way(wait):
                outcome.append(_outcome(work))

        waited = self._running_work.do(task, burden)
        return *outcome[0], perf_counter() - started - waited

    def _ready_callers(self) -> list[_Caller]:
        """The callers whose next task can start now."""
        ready = [
            c for c in self._callers.values() if c.waiting and c.running < self._most_per_caller
        ]
        if self._running < self._threads:
            return ready
        if self._running >= self._threads + self._express:
            return []
        guess = self._guess()
        lightest = min(self._burdens)
        return [c for c in ready if LIGHTER * c.burden(guess) < lightest]

    def _guess(self) -> float:
        """The assumed seconds per task of a new caller."""
        known = (each.cost for each in self._callers.values() if each.cost)
        return min(_FIRST_GUESS, min(known, default=0.0))

    def _finish(
        self,
        caller: _Caller,
        task: _Task,
        charged: float,
        burden: float,
        work: "asyncio.Future[_TimedOutcome]",
    ) -> None:
        self._burdens.remove(burden)
        caller.running -= 1
        self._running -= 1
        self._unfinished -= 1
        if not work.cancelled():
            result, problem, seconds = work.result()
            caller.turn += seconds - charged  # corrects the cost charged at the start
            caller.cost = _averaged(caller.cost, seconds)
            caller.use(seconds)
            self._cost = _averaged(self._cost, seconds)
            if task.done.done():
                pass  # the caller no longer waits
            elif problem is not None:
                task.done.set_exception(problem)
            else:
                task.done.set_result(result)
        self._start()

    def _busy_error(self, wait: float) -> BusyError:
        return BusyError(
            f"Service overloaded: {self._name} would start after {wait * 1e3:,.0f} ms, "
            f"{self._longest_wait * 1e3:,.0f} ms are allowed; retry after {math.ceil(wait)} s",
            math.ceil(wait),
        )


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """The result or the exception of a task."""
    try:
        return work(), None
    except StopIteration as problem:  # a future cannot hold it
        return None, RuntimeError(f"{problem!r}")
    except BaseException as problem:
        return None, problem


def _averaged(cost: float, seconds: float) -> float:
    """The moving average of a cost after one more task."""
    return cost + (seconds - cost) * (_SMOOTHING if cost else 1.0)


class Coalescer:
    """Runs shared work once for all callers that wait for it.

    Callers that arrive during a run share the next run, so that any number of them costs two runs.
    Use it from one event loop.

    Args:
        work: the work to run.
        charge: called with the seconds of each run, in the context of the first waiting caller; by
            default no caller is charged.
    """

    def __init__(
        self, work: Callable[[], None], charge: Callable[[float], None] = lambda _: None
    ) -> None:
        self._work = work
        self._charge = charge
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def done(self) -> None:
        """Waits for a run that starts after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._once())
        await asyncio.shield(self._next)

    async def _once(self) -> None:
        async with self._turn:
            self._next = None  # callers from now on need another run
            started = perf_counter()
            try:
                await asyncio.to_thread(self._work)
            finally:
                self._charge(perf_counter() - started)


class WorkQueues:
    """The work queues of a server.

    Args:
        max_queue_wait_ms: the longest wait of a scoring task in milliseconds.

    Attributes:
        scoring: for computation.
        storing: for reading, validation and waiting for the disk.
    """

    def __init__(self, max_queue_wait_ms: float) -> None:
        running_work, wait = RunningWork(), max_queue_wait_ms / 1e3
        self.scoring = WorkQueue("scoring", SCORING_THREADS, wait, EXPRESS_THREADS, running_work)
        self.storing = WorkQueue(
            "storing", STORING_THREADS, LONGEST_STORING_SECONDS, 0, running_work
        )

    def close(self) -> None:
        """Waits for running tasks and stops the threads."""
        self.scoring.close()
        self.storing.close()
