"""Bodies too large, too slow, or too many at a time, at the door of an application."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.types import Message

from tastemaker.serving import limits
from tastemaker.serving.limits import LimitBodies
from tastemaker.serving.refusals import install
from tastemaker.serving.work import CALLER
from tests.serving.conftest import finished


def application() -> Any:
    app = FastAPI()
    install(app)

    @app.post("/size")
    async def size(request: Request) -> int:
        return len(await request.body())

    return LimitBodies(app)


async def post(app: Any, parts: Iterable[bytes], announced: int | None = None) -> tuple[int, Any]:
    """Status and body of one post whose parts come one by one; after the last nothing comes."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting = iter(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        for message in waiting:
            return message
        await asyncio.sleep(3_600)
        raise AssertionError("nobody waits so long")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    about = {"type": "http", "method": "POST", "path": "/size", "query_string": b""}
    await app({**about, "headers": headers, "http_version": "1.1"}, receive, send)
    told = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(told)


def test_a_body_announced_too_large_is_refused_before_a_byte_is_read() -> None:
    status, told = finished(post(application(), [], announced=10_000_001))
    assert (status, told["error"]["code"]) == (413, "too_large")


def test_a_body_that_grows_too_large_is_refused() -> None:
    parts = [b"x" * 4_000_000] * 3
    status, told = finished(post(application(), parts))
    assert (status, told["error"]["code"]) == (413, "too_large")


def test_a_body_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SLOWEST_SECONDS", 0.1)
    status, told = finished(post(application(), [b"a", b"b"]))
    assert (status, told["error"]["code"]) == (408, "too_slow")


def test_too_many_large_bodies_at_once_are_refused_and_room_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SLOWEST_SECONDS", 0.3)
    monkeypatch.setattr(limits, "MOST_AT_ONCE", 20_000_000)
    app = application()

    async def scenario() -> tuple[list[int], int]:
        unfinished = [asyncio.create_task(post(app, [b"x" * 9_000_000])) for _ in range(2)]
        await asyncio.sleep(0.05)
        announced, _ = await post(app, [], announced=9_000_000)
        grown, _ = await post(app, [b"x" * 3_000_000])
        await asyncio.gather(*unfinished)  # given up as too slow
        after, _ = await post(app, [b"x" * 9_000_000])
        return [announced, grown], after

    refused, after = finished(scenario())
    assert refused == [503, 503]
    assert after == 408  # let in again, and merely never finished


def test_bytes_are_free_again_when_an_answer_begins_to_be_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MOST_AT_ONCE", 20_000_000)
    app, is_read = application(), asyncio.Event()

    async def never_read() -> None:
        """Posts and does not take the answer."""
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
    """Status and body of a post that comes at once."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    about = {"type": "http", "method": "POST", "path": "/size", "query_string": b""}
    await app({**about, "headers": [], "http_version": "1.1"}, receive, send)
    return sent[0]["status"], json.loads(b"".join(each.get("body", b"") for each in sent))


def test_one_caller_holds_half_of_the_bytes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SLOWEST_SECONDS", 0.3)
    monkeypatch.setattr(limits, "MOST_AT_ONCE", 20_000_000)
    app = application()

    async def of(caller: str, size: int) -> int:
        CALLER.set(caller)
        status, _ = await post(app, [b"x" * size])
        return int(status)

    async def scenario() -> tuple[int, int]:
        slow = asyncio.create_task(of("slow", 9_000_000))
        await asyncio.sleep(0.05)
        more = await asyncio.create_task(of("slow", 2_000_000))
        other = await asyncio.create_task(of("other", 9_000_000))
        await slow
        return more, other

    assert finished(scenario()) == (503, 408)  # refused; let in, and merely never finished
