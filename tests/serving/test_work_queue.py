"""Work queues: a full queue rejects at once, and accepted tasks run in time."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from tastemaker.errors import BusyError
from tastemaker.giving_way import give_way
from tastemaker.serving.running_work import RunningWork
from tastemaker.serving.work_queue import CALLER, MOST_CALLERS, Coalescer, WorkQueue
from tests.serving.conftest import finished

T = TypeVar("T")


@pytest.fixture
def queue() -> Iterator[WorkQueue]:
    opened = WorkQueue("scoring", 1, longest_wait=0.25)
    yield opened
    opened.close()


async def crowd(queue: WorkQueue, size: int, work: object) -> list[object]:
    """The results of many simultaneous callers."""
    calls = (queue.run(work) for _ in range(size))  # type: ignore[arg-type]
    return await asyncio.gather(*calls, return_exceptions=True)


def test_a_caller_gets_the_result_of_its_task(queue: WorkQueue) -> None:
    assert finished(queue.run(lambda a, b: a + b, 1, 2)) == 3


def test_an_exception_of_a_task_is_raised(queue: WorkQueue) -> None:
    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        finished(queue.run(fail))


def test_too_many_callers_are_rejected_once_the_cost_is_known(queue: WorkQueue) -> None:
    async def scenario() -> list[object]:
        await queue.run(time.sleep, 0.1)
        return await crowd(queue, 100, lambda: time.sleep(0.1) or "done")

    result = finished(scenario())
    served = [each for each in result if each == "done"]
    refused = [each for each in result if isinstance(each, BusyError)]
    assert len(served) + len(refused) == 100
    assert 1 <= len(served) <= 4  # two of 100 ms fit into 250 ms, plus the running one


def test_an_error_states_the_wait_and_when_to_retry(queue: WorkQueue) -> None:
    async def scenario() -> list[object]:
        await queue.run(time.sleep, 0.15)
        return await crowd(queue, 10, lambda: time.sleep(0.15))

    refused = [each for each in finished(scenario()) if isinstance(each, BusyError)]
    assert "250 ms are allowed" in str(refused[0])
    assert refused[0].retry_seconds == 1


def test_with_unknown_costs_late_tasks_are_rejected_when_they_are_due(
    queue: WorkQueue,
) -> None:
    result = finished(crowd(queue, 50, lambda: time.sleep(0.1) or "done"))
    served = [each for each in result if each == "done"]
    assert 1 <= len(served) <= 8  # twice the allowed 250 ms, at 100 ms each, plus the last one
    assert sum(isinstance(each, BusyError) for each in result) == 50 - len(served)


def test_the_queue_accepts_tasks_again_after_an_overload(queue: WorkQueue) -> None:
    async def scenario() -> str:
        await queue.run(time.sleep, 0.02)
        await crowd(queue, 50, lambda: time.sleep(0.02))
        return await queue.run(lambda: "done")

    assert finished(scenario()) == "done"


def test_a_slow_task_alone_is_never_rejected(queue: WorkQueue) -> None:
    async def scenario() -> list[object]:
        await queue.run(time.sleep, 1.0)  # four times the allowed wait
        return [await queue.run(lambda: "done") for _ in range(3)]

    assert finished(scenario()) == ["done"] * 3


def test_a_late_task_runs_if_no_other_task_waits(
    queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 0.776, 1.0])  # arrived, started, done: the machine was busy
    monkeypatch.setattr("tastemaker.serving.work_queue.perf_counter", lambda: next(moments))
    assert finished(queue.run(lambda: "done")) == "done"


def test_waiting_callers_share_a_run_that_starts_after_their_call() -> None:
    began: list[int] = []
    came = 0

    def work() -> None:
        began.append(came)
        time.sleep(0.05)

    async def scenario() -> list[int]:
        nonlocal came
        shared, waiting = Coalescer(work), []
        for _ in range(40):
            came += 1
            waiting.append(asyncio.create_task(shared.done()))
            await asyncio.sleep(0.005)
        first_after = []
        for place, one in enumerate(waiting, start=1):
            await one
            first_after.append(min(seen for seen in began if seen >= place))
        return first_after

    seen = finished(scenario())
    assert len(seen) == 40  # each was served by a run that started after it arrived
    assert len(began) < 40


def test_work_done_elsewhere_counts_for_its_caller(queue: WorkQueue) -> None:
    done: list[str] = []

    async def ask(name: str, count: int) -> None:
        CALLER.set(name)
        await asyncio.gather(*(queue.run(done.append, name) for _ in range(count)))

    async def pay() -> None:
        CALLER.set("expensive")
        queue.charge(60.0)

    async def scenario() -> None:
        await asyncio.gather(ask("expensive", 1), ask("cheap", 1))
        blocked = asyncio.create_task(queue.run(time.sleep, 0.1))
        await asyncio.sleep(0.02)
        tasks = [asyncio.create_task(ask("expensive", 3))]
        await asyncio.sleep(0.02)
        await asyncio.create_task(pay())
        tasks.append(asyncio.create_task(ask("cheap", 3)))
        await asyncio.gather(blocked, *tasks)

    finished(scenario())
    assert done[-6:] == ["cheap"] * 3 + ["expensive"] * 3


def test_an_error_in_shared_work_reaches_all_and_is_not_kept() -> None:
    failing = [True]

    def work() -> None:
        if failing.pop() if failing else False:
            raise KeyError("lost")

    async def scenario() -> list[object]:
        shared = Coalescer(work)
        result = await asyncio.gather(shared.done(), shared.done(), return_exceptions=True)
        return [*result, await shared.done()]

    first, second, after = finished(scenario())
    assert isinstance(first, KeyError)
    assert isinstance(second, KeyError)
    assert after is None


def test_tasks_of_departed_callers_do_not_count_indefinitely(queue: WorkQueue) -> None:
    async def scenario() -> str:
        await queue.run(time.sleep, 0.02)
        gone = [asyncio.create_task(queue.run(time.sleep, 0.02)) for _ in range(3)]
        await asyncio.sleep(0)
        for one in gone:
            one.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        return await queue.run(lambda: "done")

    assert finished(scenario()) == "done"


async def of(queue: WorkQueue, caller: str, work: Callable[[], T]) -> T:
    """Runs a task of a caller."""
    CALLER.set(caller)
    return await queue.run(work)


def test_a_caller_waits_for_one_task_of_each_other_caller(queue: WorkQueue) -> None:
    order: list[str] = []

    async def scenario() -> None:
        many = [asyncio.create_task(of(queue, "many", lambda: order.append("many")))
                for _ in range(20)]  # fmt: skip
        await asyncio.sleep(0)
        few = asyncio.create_task(of(queue, "few", lambda: order.append("few")))
        await asyncio.gather(few, *many)

    finished(scenario())
    assert order.index("few") <= 2


def test_a_caller_with_expensive_tasks_gets_the_same_time(queue: WorkQueue) -> None:
    spent = {"dear": 0.0, "cheap": 0.0}

    def take(caller: str, seconds: float) -> None:
        time.sleep(seconds)
        spent[caller] += seconds

    async def keep_on(caller: str, seconds: float, end: float) -> None:
        while time.perf_counter() < end:
            try:
                await of(queue, caller, lambda: take(caller, seconds))
            except BusyError:
                await asyncio.sleep(0.005)

    async def scenario() -> None:
        end = time.perf_counter() + 1.0
        callers = [("dear", 0.05)] * 8 + [("cheap", 0.005)] * 8
        await asyncio.gather(*(keep_on(*caller, end) for caller in callers))

    finished(scenario())
    assert spent["cheap"] > 0.5 * spent["dear"]


def test_many_tasks_of_one_caller_do_not_reject_another(queue: WorkQueue) -> None:
    async def scenario() -> tuple[list[object], str]:
        await of(queue, "many", lambda: time.sleep(0.1))
        many = [asyncio.create_task(of(queue, "many", lambda: time.sleep(0.1))) for _ in range(30)]
        await asyncio.sleep(0)
        done = await of(queue, "few", lambda: "done")
        return await asyncio.gather(*many, return_exceptions=True), done

    result, done = finished(scenario())
    assert done == "done"
    assert any(isinstance(each, BusyError) for each in result)


def test_too_many_callers_are_rejected_too(queue: WorkQueue) -> None:
    async def scenario() -> list[object]:
        await of(queue, "first", lambda: time.sleep(0.05))
        crowd = [asyncio.create_task(of(queue, f"caller-{n}", lambda: time.sleep(0.05)))
                 for n in range(40)]  # fmt: skip
        return await asyncio.gather(*crowd, return_exceptions=True)

    result = finished(scenario())
    assert 4 <= sum(each is None for each in result) <= 12
    assert all(each is None or isinstance(each, BusyError) for each in result)


def test_one_caller_never_takes_all_threads() -> None:
    queue = WorkQueue("storing", 2, longest_wait=2.0)
    go_on = threading.Event()

    async def scenario() -> str:
        slow = [asyncio.create_task(of(queue, "slow", go_on.wait)) for _ in range(4)]
        await asyncio.sleep(0)
        done = await of(queue, "other", lambda: "done")
        go_on.set()
        await asyncio.gather(*slow)
        return done

    assert finished(scenario()) == "done"
    queue.close()


def test_idle_callers_are_forgotten(queue: WorkQueue) -> None:
    async def scenario() -> None:
        for number in range(MOST_CALLERS + 50):
            await of(queue, f"caller-{number}", lambda: None)

    finished(scenario())
    assert len(queue._callers) <= MOST_CALLERS + 1


def test_a_short_task_does_not_wait_for_a_long_one() -> None:
    queue, go_on = WorkQueue("scoring", 1, longest_wait=0.25, express=1), threading.Event()

    async def scenario() -> str:
        await of(queue, "long", lambda: time.sleep(0.1))
        await of(queue, "short", lambda: time.sleep(0.001))
        long = asyncio.create_task(of(queue, "long", go_on.wait))
        await asyncio.sleep(0)
        done = await of(queue, "short", lambda: "done")
        go_on.set()
        await long
        return done

    assert finished(scenario()) == "done"
    queue.close()


def test_a_long_task_pauses_while_a_short_one_runs() -> None:
    queue, steps, is_done = (
        WorkQueue("scoring", 1, longest_wait=0.25, express=1),
        [],
        threading.Event(),
    )

    def long() -> None:
        time.sleep(0.3)  # it can wait as long as it has worked
        while not is_done.is_set():
            give_way()
            steps.append(time.perf_counter())
            time.sleep(0.001)

    def short() -> tuple[float, float]:
        begun = time.perf_counter()
        time.sleep(0.05)
        return begun, time.perf_counter()

    async def scenario() -> tuple[float, float]:
        await of(queue, "long", lambda: time.sleep(0.1))
        await of(queue, "short", lambda: time.sleep(0.001))
        running = asyncio.create_task(of(queue, "long", long))
        while not steps:
            await asyncio.sleep(0.01)
        when = await of(queue, "short", short)
        is_done.set()
        await running
        return when

    begun, ended = finished(scenario())
    assert sum(begun < step < ended for step in steps) <= 1  # the one that was running
    queue.close()


def test_a_heavy_task_ends_although_lighter_ones_never_do() -> None:
    running, begun, done = RunningWork(), threading.Event(), threading.Event()

    def light(_: Callable[[], None]) -> None:
        begun.set()
        done.wait()

    def heavy(give_way: Callable[[], None]) -> None:
        for _ in range(10):
            give_way()
            time.sleep(0.001)

    other = threading.Thread(target=running.do, args=(light, 0.001))
    other.start()
    begun.wait()
    assert running.do(heavy, 1.0) > 0
    done.set()
    other.join()


def test_a_light_user_does_not_wait_for_a_heavy_user() -> None:
    queue, go_on = WorkQueue("scoring", 1, longest_wait=5.0, express=1), threading.Event()

    async def scenario() -> str:
        for _ in range(30):
            await of(queue, "greedy", lambda: time.sleep(0.02))
        await of(queue, "modest", lambda: time.sleep(0.02))
        running = asyncio.create_task(of(queue, "greedy", go_on.wait))
        await asyncio.sleep(0)
        done = await of(queue, "modest", lambda: "done")
        go_on.set()
        await running
        return done

    assert finished(scenario()) == "done"
    queue.close()


def test_tasks_of_the_same_cost_run_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkQueue, "_do", lambda _, task, *rest: (task(), None, 0.02))
    queue, running, most = WorkQueue("scoring", 1, longest_wait=5.0, express=1), 0, 0

    def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.02)
        running -= 1

    async def scenario() -> None:
        await asyncio.gather(*(of(queue, f"caller-{n % 4}", work) for n in range(12)))

    finished(scenario())
    assert most == 1
    queue.close()
