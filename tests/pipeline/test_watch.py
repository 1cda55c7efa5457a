import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Never

import pytest

from tastemaker.pipeline.latency import Deadline, LatencyTracker, StillWaiting

LONG_MS = 10_000


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class ApiKeyMiddleware(threading.Event):
    """Opens by itself after a while, so that a test that waits too long fails in the end."""

    def wait(self, timeout: float | None = 20) -> bool:
        return super().wait(timeout)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds calls back; whatever still waits goes on when the test ends."""
    event = ApiKeyMiddleware()
    yield event
    event.set()


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something comes true within thirty seconds."""
    end = time.monotonic() + 30
    while not holds() and time.monotonic() < end:
        time.sleep(0.002)
    return holds()


# --- deadlines ---


def test_a_deadline_counts_down_and_goes_below_zero() -> None:
    clock = Clock()
    deadline = Deadline(250, clock)
    assert deadline.left == pytest.approx(250)
    clock.now += 0.2
    assert deadline.left == pytest.approx(50)
    clock.now += 0.2
    assert deadline.left == pytest.approx(-150)


def test_without_a_deadline_there_is_always_time() -> None:
    assert Deadline().left == float("inf")


@pytest.mark.parametrize(("within", "left"), [(40, 40), (100, 100), (400, 100), (None, 100)])
def test_the_earlier_of_deadline_and_budget_holds(within: float | None, left: float) -> None:
    clock = Clock()
    deadline = Deadline(100, clock)
    assert deadline.within(within).left == pytest.approx(left)


def test_a_budget_begins_when_its_stage_does() -> None:
    clock = Clock()
    deadline = Deadline(100, clock)
    clock.now += 0.05
    assert deadline.within(20).left == pytest.approx(20)
    assert deadline.within(80).left == pytest.approx(50)


def test_without_a_deadline_no_budget_binds() -> None:
    assert Deadline().within(5).left == float("inf")


# --- what stages cost ---


def test_a_stage_never_seen_is_expected_to_cost_nothing() -> None:
    assert LatencyTracker().estimate("rank", 1_000) == 0


def test_an_estimate_grows_with_the_work() -> None:
    watch = LatencyTracker()
    watch.record("rank", 50, 10)
    assert watch.estimate("rank", 50) == pytest.approx(10)
    assert watch.estimate("rank", 500) == pytest.approx(100)
    assert watch.estimate("retrieve:als", 500) == 0


def test_an_estimate_rises_quickly_and_falls_slowly() -> None:
    rising, falling = LatencyTracker(), LatencyTracker()
    for watch in (rising, falling):
        watch.record("rank", 1, 100)
        watch.record("rank", 1, 100)
    for _ in range(5):
        rising.record("rank", 1, 200)
        falling.record("rank", 1, 0)
    assert rising.estimate("rank", 1) > 190
    assert falling.estimate("rank", 1) > 70
    for _ in range(100):
        falling.record("rank", 1, 0)
    assert falling.estimate("rank", 1) < 1


def test_the_second_measurement_replaces_the_first() -> None:
    watch = LatencyTracker()
    watch.record("rank", 1, 5_000)
    watch.record("rank", 1, 2)
    assert watch.estimate("rank", 1) == 2


def test_no_work_tells_nothing() -> None:
    watch = LatencyTracker()
    watch.record("rank", 0, 1_000)
    assert watch.estimate("rank", 10) == 0


def test_a_stage_poisoned_by_its_first_measurement_is_tried_again() -> None:
    watch, left_out = LatencyTracker(), 0
    watch.record("rank", 1, 5_000)  # a kernel was compiled
    while watch.estimate("rank", 1) > 20 and left_out < 1_000:
        watch.leave_out("rank")
        left_out += 1
    assert 1 < left_out < 100


def test_leaving_out_what_was_never_seen_changes_nothing() -> None:
    watch = LatencyTracker()
    watch.leave_out("rank")
    assert watch.estimate("rank", 10) == 0


# --- calls to other machines ---


def test_a_call_brings_its_result_and_how_long_it_took() -> None:
    def work() -> str:
        time.sleep(0.05)
        return "found"

    call = LatencyTracker().call("remote", work)
    time.sleep(1.0)  # what the caller did meanwhile does not count
    answer = call.result(Deadline())
    assert answer is not None
    result, milliseconds = answer
    assert result == "found"
    assert 50 <= milliseconds < 1_000


def fail() -> Never:
    raise TimeoutError("the other machine gave up")


def test_whatever_the_work_raised_is_raised_and_a_timeout_of_its_own_is_no_lateness() -> None:
    watch = LatencyTracker()
    for _ in range(20):
        with pytest.raises(TimeoutError, match="the other machine gave up"):
            watch.call("remote", fail).result(Deadline(LONG_MS))


def test_what_is_late_is_not_waited_for(gate: threading.Event) -> None:
    started = time.monotonic()
    assert LatencyTracker().call("remote", gate.wait).result(Deadline(30)) is None
    assert time.monotonic() - started < 10, "the work hangs for 20 s"


def test_a_deadline_that_has_passed_is_not_waited_for_at_all(gate: threading.Event) -> None:
    assert LatencyTracker().call("remote", gate.wait).result(Deadline(-1)) is None


def too_many(watch: LatencyTracker, source: str) -> bool:
    """Whether the watch no longer asks a source."""
    try:
        watch.call(source, lambda: None).result(Deadline(LONG_MS))
    except StillWaiting:
        return True
    return False


def test_a_source_with_too_many_late_calls_is_not_asked_until_they_come_back(
    gate: threading.Event,
) -> None:
    watch = LatencyTracker()
    late = 0
    while not too_many(watch, "remote"):
        assert watch.call("remote", gate.wait).result(Deadline(0)) is None
        late += 1
        assert late < 100, "calls are not bounded"
    assert 1 <= late < 20
    assert not too_many(watch, "another"), "other sources are asked as before"
    gate.set()
    assert eventually(lambda: not too_many(watch, "remote"))
    for _ in range(late):  # all of them were counted down, not only the first
        watch.call("remote", lambda: None).result(Deadline(LONG_MS))


def test_late_calls_that_raise_in_the_end_are_counted_down_too(gate: threading.Event) -> None:
    def work() -> Never:
        gate.wait()
        raise OSError

    watch = LatencyTracker()
    while not too_many(watch, "remote"):
        watch.call("remote", work).result(Deadline(0))
    gate.set()
    assert eventually(lambda: not too_many(watch, "remote"))


def test_calls_that_are_still_waited_for_do_not_count_as_late(gate: threading.Event) -> None:
    watch = LatencyTracker()
    calls = [watch.call("remote", gate.wait) for _ in range(30)]
    assert not too_many(watch, "remote")
    gate.set()
    assert all(call.result(Deadline(LONG_MS)) is not None for call in calls)


# --- eight threads ---


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Yielding(str):
    """A name at whose every look-up another thread has its turn."""

    def __hash__(self) -> int:
        time.sleep(0)
        return super().__hash__()


@pytest.mark.usefixtures("often")
def test_nothing_that_eight_threads_tell_is_lost() -> None:
    watch, times = LatencyTracker(), 50
    watch.record("rank", 1, 1e100)

    def tell(_: int) -> None:
        for _ in range(times):
            watch.leave_out(Yielding("rank"))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(tell, range(8)))
    one_by_one = LatencyTracker()
    one_by_one.record("rank", 1, 1e100)
    for _ in range(8 * times):
        one_by_one.leave_out("rank")
    expected = one_by_one.estimate("rank", 1)
    assert watch.estimate("rank", 1) == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.usefixtures("often")
def test_late_calls_of_eight_threads_are_counted_up_and_down(gate: threading.Event) -> None:
    watch = LatencyTracker()

    def ask(_: int) -> int:
        refused = 0
        for _ in range(10):
            try:
                watch.call("remote", gate.wait).result(Deadline(0))
            except StillWaiting:
                refused += 1
        return refused

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) > 0
    assert too_many(watch, "remote")
    gate.set()
    assert eventually(lambda: not too_many(watch, "remote"))
