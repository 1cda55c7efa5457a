"""Errors are delayed for clients that ignore them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tastemaker.serving import error_throttle
from tastemaker.serving.error_throttle import ErrorThrottleMiddleware


async def nothing(*_: Any) -> None:
    """An application that is not called."""


def delays(refusals: int, every: float, weight: float = 1.0) -> list[float]:
    """The delays of errors for one caller at a constant rate."""
    slow = ErrorThrottleMiddleware(nothing)
    return [slow.delay("client", weight, place * every) for place in range(refusals)]


def test_a_few_errors_are_not_delayed() -> None:
    assert delays(50, 0.0) == [0.0] * 50
    assert delays(2_000, 0.025) == [0.0] * 2_000


def test_delays_grow_up_to_a_limit() -> None:
    found = delays(1_000, 0.001)
    assert found == sorted(found)
    assert found[-1] == error_throttle.LONGEST_SECONDS


def test_a_large_request_counts_as_many() -> None:
    assert delays(2, 0.0, weight=100.0)[1] > error_throttle.LONGEST_SECONDS


def test_another_client_is_not_delayed() -> None:
    slow = ErrorThrottleMiddleware(nothing)
    for _ in range(500):
        slow.delay("greedy", 1.0, 0.0)
    assert slow.delay("modest", 1.0, 0.0) == 0.0


@pytest.mark.parametrize(("status", "is_delayed"), [(200, False), (404, True), (503, True)])
def test_only_errors_are_delayed(
    monkeypatch: pytest.MonkeyPatch, status: int, is_delayed: bool
) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def answering(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"x" * 10_000_000}

    monkeypatch.setattr(error_throttle.asyncio, "sleep", sleep)
    connection = ErrorThrottleMiddleware(answering)({"type": "http"}, receive, nothing)
    with ThreadPoolExecutor(1) as pool:  # this thread may run the event loop of a browser test
        pool.submit(asyncio.run, connection).result()
    assert bool(waited) == is_delayed
