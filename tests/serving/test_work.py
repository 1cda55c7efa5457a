"""Lines of work: who comes to a full one is refused at once, who is let in is served in time."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from tastemaker.errors import BusyError
from tastemaker.serving.work import Line, Threads


@pytest.fixture
def line() -> Iterator[Line]:
    opened = Line("scoring", 1, longest_wait=0.05)
    yield opened
    opened.close()


async def crowd(line: Line, size: int, work: object) -> list[object]:
    """What each of many who come at once gets."""
    asked = (line.run(work) for _ in range(size))  # type: ignore[arg-type]
    return await asyncio.gather(*asked, return_exceptions=True)


def test_whoever_comes_gets_what_the_work_gives(line: Line) -> None:
    assert asyncio.run(line.run(lambda a, b: a + b, 1, 2)) == 3


def test_what_the_work_raises_is_raised(line: Line) -> None:
    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        asyncio.run(line.run(fail))


def test_a_crowd_is_refused_once_the_cost_is_known(line: Line) -> None:
    async def scenario() -> tuple[list[object], float]:
        await line.run(time.sleep, 0.02)
        begun = time.perf_counter()
        return await crowd(line, 100, lambda: time.sleep(0.02) or "done"), begun

    told, _ = asyncio.run(scenario())
    served = [each for each in told if each == "done"]
    refused = [each for each in told if isinstance(each, BusyError)]
    assert len(served) + len(refused) == 100
    assert 2 <= len(served) <= 6  # three of 20 ms fit into 50 ms, and the one under way


def test_a_refusal_says_how_long_the_wait_would_be_and_when_to_come_again(line: Line) -> None:
    async def scenario() -> list[object]:
        await line.run(time.sleep, 0.03)
        return await crowd(line, 10, lambda: time.sleep(0.03))

    refused = [each for each in asyncio.run(scenario()) if isinstance(each, BusyError)]
    assert "50 ms are allowed" in str(refused[0])
    assert refused[0].retry_seconds == 1


def test_a_crowd_before_any_cost_is_known_is_refused_when_its_turn_comes_too_late(
    line: Line,
) -> None:
    told = asyncio.run(crowd(line, 50, lambda: time.sleep(0.02) or "done"))
    served = [each for each in told if each == "done"]
    assert 1 <= len(served) <= 7  # twice the 50 ms allowed, at 20 ms each
    assert sum(isinstance(each, BusyError) for each in told) == 50 - len(served)


def test_the_line_is_open_again_when_the_crowd_is_gone(line: Line) -> None:
    async def scenario() -> str:
        await line.run(time.sleep, 0.02)
        await crowd(line, 50, lambda: time.sleep(0.02))
        return await line.run(lambda: "done")

    assert asyncio.run(scenario()) == "done"


def test_a_slow_piece_alone_is_never_refused(line: Line) -> None:
    async def scenario() -> list[object]:
        await line.run(time.sleep, 0.2)  # four times the wait that is allowed
        return [await line.run(lambda: "done") for _ in range(3)]

    assert asyncio.run(scenario()) == ["done"] * 3


def test_making_a_new_state_keeps_neither_questions_nor_events_waiting() -> None:
    threads = Threads(longest_wait=1_000)
    held = threading.Event()

    async def scenario() -> list[str]:
        refreshing = [asyncio.create_task(threads.refreshed(held.wait)) for _ in range(8)]
        told = [await threads.scored(lambda: "scored"), await threads.stored(lambda: "stored")]
        held.set()
        await asyncio.gather(*refreshing)
        return told

    try:
        assert asyncio.run(scenario()) == ["scored", "stored"]
    finally:
        threads.close()
