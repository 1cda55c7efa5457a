import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Never

import pytest

from tastemaker.pipeline.latency import Deadline, LatencyTracker, TooManyLateCalls

LONG_MS = 10_000


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TimedEvent(threading.Event):
    """An event whose `wait` ends after 20 s, so that a test that waits too long fails."""

    def wait(self, timeout: float | None = 20) -> bool:
        return super().wait(timeout)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Blocks calls until the test ends."""
    event = TimedEvent()
    yield event
    event.set()


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether a condition becomes true within thirty seconds."""
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
def test_the_earlier_of_deadline_and_budget_applies(within: float | None, left: float) -> None:
    clock = Clock()
    deadline = Deadline(100, clock)
    assert deadline.within(within).left == pytest.approx(left)


def test_a_budget_starts_with_its_stage() -> None:
    clock = Clock()
    deadline = Deadline(100, clock)
    clock.now += 0.05
    assert deadline.within(20).left == pytest.approx(20)
    assert deadline.within(80).left == pytest.approx(50)


def test_without_a_deadline_no_budget_applies() -> None:
    assert Deadline().within(5).left == float("inf")


# --- what stages cost ---


def test_the_estimate_of_an_unmeasured_stage_is_zero() -> None:
    assert LatencyTracker().estimate("rank", 1_000) == 0


def test_an_estimate_grows_with_the_work() -> None:
    tracker = LatencyTracker()
    tracker.record("rank", 50, 10)
    assert tracker.estimate("rank", 50) == pytest.approx(10)
    assert tracker.estimate("rank", 500) == pytest.approx(100)
    assert tracker.estimate("retrieve:als", 500) == 0


def test_an_estimate_rises_quickly_and_falls_slowly() -> None:
    rising, falling = LatencyTracker(), LatencyTracker()
    for tracker in (rising, falling):
        tracker.record("rank", 1, 100)
        tracker.record("rank", 1, 100)
    for _ in range(5):
        rising.record("rank", 1, 200)
        falling.record("rank", 1, 0)
    assert rising.estimate("rank", 1) > 190
    assert falling.estimate("rank", 1) > 70
    for _ in range(100):
        falling.record("rank", 1, 0)
    assert falling.estimate("rank", 1) < 1


def test_the_second_measurement_replaces_the_first() -> None:
    tracker = LatencyTracker()
    tracker.record("rank", 1, 5_000)
    tracker.record("rank", 1, 2)
    assert tracker.estimate("rank", 1) == 2


def test_a_measurement_without_work_is_ignored() -> None:
    tracker = LatencyTracker()
    tracker.record("rank", 0, 1_000)
    assert tracker.estimate("rank", 10) == 0


def test_a_stage_with_a_slow_first_call_is_tried_again() -> None:
    tracker, skipped = LatencyTracker(), 0
    tracker.record("rank", 1, 5_000)  # a kernel was compiled
    while tracker.estimate("rank", 1) > 20 and skipped < 1_000:
        tracker.record_skip("rank")
        skipped += 1
    assert 1 < skipped < 100


def test_skipping_an_unmeasured_stage_changes_nothing() -> None:
    tracker = LatencyTracker()
    tracker.record_skip("rank")
    assert tracker.estimate("rank", 10) == 0


# --- calls to other machines ---


def test_a_call_returns_its_result_and_its_time() -> None:
    def work() -> str:
        time.sleep(0.05)
        return "found"

    call = LatencyTracker().call("remote", work)
    time.sleep(1.0)  # the time between call and result does not count
    answer = call.result(Deadline())
    assert answer is not None
    result, milliseconds = answer
    assert result == "found"
    assert 50 <= milliseconds < 1_000


def fail() -> Never:
    raise TimeoutError("the other machine gave up")


def test_an_exception_of_a_call_is_raised_and_does_not_count_as_late() -> None:
    tracker = LatencyTracker()
    for _ in range(20):
        with pytest.raises(TimeoutError, match="the other machine gave up"):
            tracker.call("remote", fail).result(Deadline(LONG_MS))


def test_a_late_call_is_not_awaited(release: threading.Event) -> None:
    started = time.monotonic()
    assert LatencyTracker().call("remote", release.wait).result(Deadline(30)) is None
    assert time.monotonic() - started < 10, "the work hangs for 20 s"


def test_an_expired_deadline_is_not_awaited(release: threading.Event) -> None:
    assert LatencyTracker().call("remote", release.wait).result(Deadline(-1)) is None


def too_many(tracker: LatencyTracker, source: str) -> bool:
    """Whether the tracker refuses to call a source."""
    try:
        tracker.call(source, lambda: None).result(Deadline(LONG_MS))
    except TooManyLateCalls:
        return True
    return False


def test_too_many_late_calls_block_a_source_until_they_return(
    release: threading.Event,
) -> None:
    tracker = LatencyTracker()
    late = 0
    while not too_many(tracker, "remote"):
        assert tracker.call("remote", release.wait).result(Deadline(0)) is None
        late += 1
        assert late < 100, "calls are not bounded"
    assert 1 <= late < 20
    assert not too_many(tracker, "another"), "other sources are called as before"
    release.set()
    assert eventually(lambda: not too_many(tracker, "remote"))
    for _ in range(late):  # all of them were counted down, not only the first
        tracker.call("remote", lambda: None).result(Deadline(LONG_MS))


def test_late_calls_that_raise_are_counted_down_too(release: threading.Event) -> None:
    def work() -> Never:
        release.wait()
        raise OSError

    tracker = LatencyTracker()
    while not too_many(tracker, "remote"):
        tracker.call("remote", work).result(Deadline(0))
    release.set()
    assert eventually(lambda: not too_many(tracker, "remote"))


def test_calls_that_are_still_awaited_do_not_count_as_late(release: threading.Event) -> None:
    tracker = LatencyTracker()
    calls = [tracker.call("remote", release.wait) for _ in range(30)]
    assert not too_many(tracker, "remote")
    release.set()
    assert all(call.result(Deadline(LONG_MS)) is not None for call in calls)


# --- eight threads ---


@pytest.fixture
def often() -> Iterator[None]:
    """Makes threads switch as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Yielding(str):
    """A name whose look-up lets another thread run."""

    def __hash__(self) -> int:
        time.sleep(0)
        return super().__hash__()


@pytest.mark.usefixtures("often")
def test_no_record_of_eight_threads_is_lost() -> None:
    tracker, times = LatencyTracker(), 50
    tracker.record("rank", 1, 1e100)

    def skip_often(_: int) -> None:
        for _ in range(times):
            tracker.record_skip(Yielding("rank"))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(skip_often, range(8)))
    one_by_one = LatencyTracker()
    one_by_one.record("rank", 1, 1e100)
    for _ in range(8 * times):
        one_by_one.record_skip("rank")
    expected = one_by_one.estimate("rank", 1)
    assert tracker.estimate("rank", 1) == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.usefixtures("often")
def test_late_calls_of_eight_threads_are_counted_up_and_down(release: threading.Event) -> None:
    tracker = LatencyTracker()

    def call_repeatedly(_: int) -> int:
        refused = 0
        for _ in range(10):
            try:
                tracker.call("remote", release.wait).result(Deadline(0))
            except TooManyLateCalls:
                refused += 1
        return refused

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(call_repeatedly, range(8))) > 0
    assert too_many(tracker, "remote")
    release.set()
    assert eventually(lambda: not too_many(tracker, "remote"))
