"""Limits of bodies that are too large, too slow, or too many at a time."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.types import Message

from tastemaker.serving import limits
from tastemaker.serving.errors import install
from tastemaker.serving.limits import BodyLimitMiddleware
from tastemaker.serving.work_queue import CALLER
from tests.serving.conftest import finished


def application() -> Any:
    app = FastAPI()
    install(app)

    @app.post("/size")
    @app.put("/v1/items/a")
    @app.post("/console/events")
    async def size(request: Request) -> int:
        return len(await request.body())

    return BodyLimitMiddleware(app)


async def post(
    app: Any,
    parts: Iterable[bytes],
    announced: int | None = None,
    *,
    method: str = "POST",
    path: str = "/size",
    pause: float = 0.0,
    ends: bool = False,
) -> tuple[int, Any]:
    """The status and body of a post that is sent in parts and does not continue after the last."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if ends:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting = iter(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(pause)
        for message in waiting:
            return message
        await asyncio.sleep(3_600)
        raise AssertionError("nobody waits so long")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    about = {"type": "http", "method": method, "path": path, "query_string": b""}
    await app({**about, "headers": headers, "http_version": "1.1"}, receive, send)
    result = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(result)


def test_a_body_announced_too_large_is_refused_unread() -> None:
    status, result = finished(post(application(), [], announced=10_000_001))
    assert (status, result["error"]["code"]) == (413, "too_large")


def test_a_body_that_grows_too_large_is_refused() -> None:
    parts = [b"x" * 4_000_000] * 3
    status, result = finished(post(application(), parts))
    assert (status, result["error"]["code"]) == (413, "too_large")


def test_a_body_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SLOWEST_SECONDS", 0.1)
    status, result = finished(post(application(), [b"a", b"b"]))
    assert (status, result["error"]["code"]) == (408, "too_slow")


def test_the_slowest_large_body_is_rejected_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_AT_ONCE", 20_000_000)
    app = application()

    async def scenario() -> tuple[int, int, int]:
        first = asyncio.create_task(of("a", app, b"x" * 9_000_000))
        second = asyncio.create_task(of("b", app, b"x" * 9_000_000))
        await asyncio.sleep(0.05)
        status, _ = await post_whole(app, b"x" * 3_000_000)
        ended = await asyncio.wait_for(first, 5)  # before the body is too slow
        assert not second.done()
        again, _ = await post_whole(app, b"x" * 9_000_000)
        second.cancel()
        return status, ended, again

    assert finished(scenario()) == (200, 503, 200)


def test_a_small_body_is_read_however_many_large_ones_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MOST_AT_ONCE", 10)
    app = application()
    assert finished(post_whole(app, b"x" * 65_536))[0] == 200
    status, result = finished(post_whole(app, b"x" * 65_537))
    assert (status, result["error"]["code"]) == (503, "overloaded")
    assert (
        finished(post(app, [], announced=9_000_000, ends=True))[0] == 200
    )  # the received bytes count


def test_a_stalled_large_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STEP_SECONDS", 0.1)
    app = application()
    status, result = finished(post(app, [b"x" * 70_000]))
    assert (status, result["error"]["code"]) == (408, "too_slow")
    assert finished(post(app, [b"x" * 70_000] * 9, pause=0.05, ends=True))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "largest"),
    [("PUT", "/v1/items/a", 1_000_000), ("POST", "/console/events", 65_536)],
)
def test_an_item_and_a_form_are_refused_before_they_are_read(
    method: str, path: str, largest: int
) -> None:
    about = {"method": method, "path": path}
    announced = finished(post(application(), [], announced=largest + 1, **about))
    grown = finished(post(application(), [b"x" * largest, b"x"], **about))
    for status, result in (announced, grown):
        assert (status, result["error"]["code"]) == (413, "too_large")


def test_bytes_are_freed_when_a_response_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MOST_AT_ONCE", 20_000_000)
    app, is_read = application(), asyncio.Event()

    async def never_read() -> None:
        """Posts a body and does not read the response."""
        message = {"type": "http.request", "body": b"x" * 9_000_000, "more_body": False}

        async def receive() -> Message:
            return message

        async def send(_: Message) -> None:
            await is_read.wait()

        about = {"type": "http", "method": "POST", "path": "/size", "query_string": b""}
        await app({**about, "headers": [], "http_version": "1.1"}, receive, send)

    async def scenario() -> int:
        held = [asyncio.create_task(never_read()) for _ in range(8)]
        await asyncio.sleep(0.3)
        status, _ = await post_whole(app, b"x" * 9_000_000)
        is_read.set()
        await asyncio.gather(*held)
        return status

    assert finished(scenario()) == 200


async def post_whole(app: Any, body: bytes) -> tuple[int, Any]:
    """The status and body of a post that is sent at once."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    about = {"type": "http", "method": "POST", "path": "/size", "query_string": b""}
    await app({**about, "headers": [], "http_version": "1.1"}, receive, send)
    return sent[0]["status"], json.loads(b"".join(each.get("body", b"") for each in sent))


async def of(caller: str, app: Any, *parts: bytes) -> int:
    """The status of a post that does not end."""
    CALLER.set(caller)
    status, _ = await post(app, parts)
    return int(status)


def test_one_caller_holds_half_of_the_bytes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_AT_ONCE", 20_000_000)
    app = application()

    async def scenario() -> int:
        other = asyncio.create_task(of("other", app, b"x" * 9_000_000))
        await asyncio.sleep(0.05)
        first = asyncio.create_task(of("many", app, b"x" * 9_000_000))
        await asyncio.sleep(0.05)
        more = asyncio.create_task(of("many", app, b"x" * 2_000_000))
        ended = await asyncio.wait_for(first, 5)
        assert not other.done()  # although it is slower
        assert not more.done()
        for task in (other, more):
            task.cancel()
        return ended

    assert finished(scenario()) == 503
