"""Lines of work: who comes to a full one is refused at once, who is let in is served in time."""

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
def line() -> Iterator[WorkQueue]:
    opened = WorkQueue("scoring", 1, longest_wait=0.25)
    yield opened
    opened.close()


async def crowd(line: WorkQueue, size: int, work: object) -> list[object]:
    """What each of many who come at once gets."""
    asked = (line.run(work) for _ in range(size))  # type: ignore[arg-type]
    return await asyncio.gather(*asked, return_exceptions=True)


def test_whoever_comes_gets_what_the_work_gives(line: WorkQueue) -> None:
    assert finished(line.run(lambda a, b: a + b, 1, 2)) == 3


def test_what_the_work_raises_is_raised(line: WorkQueue) -> None:
    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        finished(line.run(fail))


def test_a_crowd_is_refused_once_the_cost_is_known(line: WorkQueue) -> None:
    async def scenario() -> list[object]:
        await line.run(time.sleep, 0.1)
        return await crowd(line, 100, lambda: time.sleep(0.1) or "done")

    told = finished(scenario())
    served = [each for each in told if each == "done"]
    refused = [each for each in told if isinstance(each, BusyError)]
    assert len(served) + len(refused) == 100
    assert 1 <= len(served) <= 4  # two of 100 ms fit into 250 ms, and the one under way


def test_a_refusal_says_how_long_the_wait_would_be_and_when_to_come_again(line: WorkQueue) -> None:
    async def scenario() -> list[object]:
        await line.run(time.sleep, 0.15)
        return await crowd(line, 10, lambda: time.sleep(0.15))

    refused = [each for each in finished(scenario()) if isinstance(each, BusyError)]
    assert "250 ms are allowed" in str(refused[0])
    assert refused[0].retry_seconds == 1


def test_a_crowd_before_any_cost_is_known_is_refused_when_its_turn_comes_too_late(
    line: WorkQueue,
) -> None:
    told = finished(crowd(line, 50, lambda: time.sleep(0.1) or "done"))
    served = [each for each in told if each == "done"]
    assert 1 <= len(served) <= 8  # twice the 250 ms allowed, at 100 ms each, and the very last
    assert sum(isinstance(each, BusyError) for each in told) == 50 - len(served)


def test_the_line_is_open_again_when_the_crowd_is_gone(line: WorkQueue) -> None:
    async def scenario() -> str:
        await line.run(time.sleep, 0.02)
        await crowd(line, 50, lambda: time.sleep(0.02))
        return await line.run(lambda: "done")

    assert finished(scenario()) == "done"


def test_a_slow_piece_alone_is_never_refused(line: WorkQueue) -> None:
    async def scenario() -> list[object]:
        await line.run(time.sleep, 1.0)  # four times the wait that is allowed
        return [await line.run(lambda: "done") for _ in range(3)]

    assert finished(scenario()) == ["done"] * 3


def test_a_turn_that_comes_late_though_nobody_else_waits_is_taken(
    line: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 0.776, 1.0])  # came, begun, done: the machine was busy elsewhere
    monkeypatch.setattr("tastemaker.serving.work_queue.perf_counter", lambda: next(moments))
    assert finished(line.run(lambda: "done")) == "done"


def test_many_who_wait_for_the_same_share_it_and_none_gets_what_began_before_they_came() -> None:
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
    assert len(seen) == 40  # each was served by a round that began after it came
    assert len(began) < 40


def test_work_done_elsewhere_counts_for_its_caller(line: WorkQueue) -> None:
    done: list[str] = []

    async def ask(name: str, count: int) -> None:
        CALLER.set(name)
        await asyncio.gather(*(line.run(done.append, name) for _ in range(count)))

    async def pay() -> None:
        CALLER.set("expensive")
        line.charge(60.0)

    async def scenario() -> None:
        await asyncio.gather(ask("expensive", 1), ask("cheap", 1))
        blocked = asyncio.create_task(line.run(time.sleep, 0.1))
        await asyncio.sleep(0.02)
        tasks = [asyncio.create_task(ask("expensive", 3))]
        await asyncio.sleep(0.02)
        await asyncio.create_task(pay())
        tasks.append(asyncio.create_task(ask("cheap", 3)))
        await asyncio.gather(blocked, *tasks)

    finished(scenario())
    assert done[-6:] == ["cheap"] * 3 + ["expensive"] * 3


def test_what_goes_wrong_in_shared_work_is_told_to_all_and_forgotten() -> None:
    failing = [True]

    def work() -> None:
        if failing.pop() if failing else False:
            raise KeyError("lost")

    async def scenario() -> list[object]:
        shared = Coalescer(work)
        told = await asyncio.gather(shared.done(), shared.done(), return_exceptions=True)
        return [*told, await shared.done()]

    first, second, after = finished(scenario())
    assert isinstance(first, KeyError)
    assert isinstance(second, KeyError)
    assert after is None


def test_work_of_a_crowd_that_went_away_is_not_counted_for_ever(line: WorkQueue) -> None:
    async def scenario() -> str:
        await line.run(time.sleep, 0.02)
        gone = [asyncio.create_task(line.run(time.sleep, 0.02)) for _ in range(3)]
        await asyncio.sleep(0)
        for one in gone:
            one.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        return await line.run(lambda: "done")

    assert finished(scenario()) == "done"


async def of(line: WorkQueue, caller: str, work: Callable[[], T]) -> T:
    """Does a piece of work of a caller."""
    CALLER.set(caller)
    return await line.run(work)


def test_a_caller_waits_for_one_piece_of_each_other_caller(line: WorkQueue) -> None:
    order: list[str] = []

    async def scenario() -> None:
        many = [asyncio.create_task(of(line, "many", lambda: order.append("many")))
                for _ in range(20)]  # fmt: skip
        await asyncio.sleep(0)
        few = asyncio.create_task(of(line, "few", lambda: order.append("few")))
        await asyncio.gather(few, *many)

    finished(scenario())
    assert order.index("few") <= 2


def test_who_sends_expensive_work_gets_no_more_time_than_others(line: WorkQueue) -> None:
    spent = {"dear": 0.0, "cheap": 0.0}

    def take(caller: str, seconds: float) -> None:
        time.sleep(seconds)
        spent[caller] += seconds

    async def keep_on(caller: str, seconds: float, end: float) -> None:
        while time.perf_counter() < end:
            try:
                await of(line, caller, lambda: take(caller, seconds))
            except BusyError:
                await asyncio.sleep(0.005)

    async def scenario() -> None:
        end = time.perf_counter() + 1.0
        callers = [("dear", 0.05)] * 8 + [("cheap", 0.005)] * 8
        await asyncio.gather(*(keep_on(*caller, end) for caller in callers))

    finished(scenario())
    assert spent["cheap"] > 0.5 * spent["dear"]


def test_a_crowd_of_one_caller_does_not_refuse_another(line: WorkQueue) -> None:
    async def scenario() -> tuple[list[object], str]:
        await of(line, "many", lambda: time.sleep(0.1))
        many = [asyncio.create_task(of(line, "many", lambda: time.sleep(0.1))) for _ in range(30)]
        await asyncio.sleep(0)
        done = await of(line, "few", lambda: "done")
        return await asyncio.gather(*many, return_exceptions=True), done

    told, done = finished(scenario())
    assert done == "done"
    assert any(isinstance(each, BusyError) for each in told)


def test_a_crowd_of_many_callers_is_refused_too(line: WorkQueue) -> None:
    async def scenario() -> list[object]:
        await of(line, "first", lambda: time.sleep(0.05))
        crowd = [asyncio.create_task(of(line, f"caller-{n}", lambda: time.sleep(0.05)))
                 for n in range(40)]  # fmt: skip
        return await asyncio.gather(*crowd, return_exceptions=True)

    told = finished(scenario())
    assert 4 <= sum(each is None for each in told) <= 12
    assert all(each is None or isinstance(each, BusyError) for each in told)


def test_one_caller_never_takes_all_threads() -> None:
    line = WorkQueue("storing", 2, longest_wait=2.0)
    go_on = threading.Event()

    async def scenario() -> str:
        slow = [asyncio.create_task(of(line, "slow", go_on.wait)) for _ in range(4)]
        await asyncio.sleep(0)
        done = await of(line, "other", lambda: "done")
        go_on.set()
        await asyncio.gather(*slow)
        return done

    assert finished(scenario()) == "done"
    line.close()


def test_callers_who_are_gone_are_forgotten(line: WorkQueue) -> None:
    async def scenario() -> None:
        for number in range(MOST_CALLERS + 50):
            await of(line, f"caller-{number}", lambda: None)

    finished(scenario())
    assert len(line._callers) <= MOST_CALLERS + 1


def test_a_short_piece_does_not_wait_for_the_end_of_a_long_one() -> None:
    line, go_on = WorkQueue("scoring", 1, longest_wait=0.25, express=1), threading.Event()

    async def scenario() -> str:
        await of(line, "long", lambda: time.sleep(0.1))
        await of(line, "short", lambda: time.sleep(0.001))
        long = asyncio.create_task(of(line, "long", go_on.wait))
        await asyncio.sleep(0)
        done = await of(line, "short", lambda: "done")
        go_on.set()
        await long
        return done

    assert finished(scenario()) == "done"
    line.close()


def test_a_long_piece_stands_still_while_a_short_one_is_done() -> None:
    line, steps, is_done = (
        WorkQueue("scoring", 1, longest_wait=0.25, express=1),
        [],
        threading.Event(),
    )

    def long() -> None:
        time.sleep(0.3)  # it may wait as long as it has worked
        while not is_done.is_set():
            give_way()
            steps.append(time.perf_counter())
            time.sleep(0.001)

    def short() -> tuple[float, float]:
        begun = time.perf_counter()
        time.sleep(0.05)
        return begun, time.perf_counter()

    async def scenario() -> tuple[float, float]:
        await of(line, "long", lambda: time.sleep(0.1))
        await of(line, "short", lambda: time.sleep(0.001))
        under_way = asyncio.create_task(of(line, "long", long))
        while not steps:
            await asyncio.sleep(0.01)
        when = await of(line, "short", short)
        is_done.set()
        await under_way
        return when

    begun, ended = finished(scenario())
    assert sum(begun < step < ended for step in steps) <= 1  # the one that was under way
    line.close()


def test_a_heavy_piece_ends_though_lighter_ones_never_do() -> None:
    under_way, begun, done = RunningWork(), threading.Event(), threading.Event()

    def light(_: Callable[[], None]) -> None:
        begun.set()
        done.wait()

    def heavy(give_way: Callable[[], None]) -> None:
        for _ in range(10):
            give_way()
            time.sleep(0.001)

    other = threading.Thread(target=under_way.do, args=(light, 0.001))
    other.start()
    begun.wait()
    assert under_way.do(heavy, 1.0) > 0
    done.set()
    other.join()


def test_a_modest_caller_does_not_wait_for_a_greedy_one() -> None:
    line, go_on = WorkQueue("scoring", 1, longest_wait=5.0, express=1), threading.Event()

    async def scenario() -> str:
        for _ in range(30):
            await of(line, "greedy", lambda: time.sleep(0.02))
        await of(line, "modest", lambda: time.sleep(0.02))
        under_way = asyncio.create_task(of(line, "greedy", go_on.wait))
        await asyncio.sleep(0)
        done = await of(line, "modest", lambda: "done")
        go_on.set()
        await under_way
        return done

    assert finished(scenario()) == "done"
    line.close()


def test_pieces_of_the_same_cost_are_done_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkQueue, "_do", lambda _, piece, *rest: (piece(), None, 0.02))
    line, running, most = WorkQueue("scoring", 1, longest_wait=5.0, express=1), 0, 0

    def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.02)
        running -= 1

    async def scenario() -> None:
        await asyncio.gather(*(of(line, f"caller-{n % 4}", work) for n in range(12)))

    finished(scenario())
    assert most == 1
    line.close()
