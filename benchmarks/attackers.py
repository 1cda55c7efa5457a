"""Clients that send the most expensive requests of each kind, next to an ordinary client.

Two clients with an API key each attack over four connections without pause. A third client, with
its own key, requests lists and sends single events.
"""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any

LISTS, EVENTS, ITEM = (
    *("POST /v1/recommendations", "POST /v1/events"),
    "PUT /v1/items/large",
)
N_ITEMS = 20
"""The length of an ordinary list."""
RATE = 10.0
"""Lists, and single events, that the ordinary client sends in a second."""
_CONNECTIONS = 4
_LARGE = 9_800_000
_BATCH = 10_000
_LONGEST_SECONDS = 300.0
_Work = Coroutine[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of one request.

    Attributes:
        status: the HTTP status; 0 where the connection broke.
        seconds: until the last byte of the answer.
        n_items: the length of the list, if a list was requested.
    """

    status: int
    seconds: float
    n_items: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """A server and its clients.

    Attributes:
        port: where it listens.
        keys: client → API key: `ordinary`, `first` and `second`.
        users: users with short histories.
        long: number of events → the user who has so many.
        items: ids of items.
    """

    port: int
    keys: Mapping[str, str]
    users: Sequence[str]
    long: Mapping[int, str]
    items: Sequence[str]


def ask(
    port: int, key: str, bodies: Sequence[object], pause: float, seconds: float, most: int = 1 << 40
) -> list[Reply]:
    """The replies to recommendation requests over one connection.

    Args:
        port: where the server listens.
        key: the client's API key.
        bodies: the request bodies, sent in turn.
        pause: seconds from one request to the next, if the answer is there by then.
        seconds: how long.
        most: how many requests at most.
    """
    contents = [json.dumps(body).encode() for body in bodies]
    end = time.perf_counter() + seconds
    return asyncio.run(_send(port, key, LISTS, contents, pause, end, most, parsed=True))


def ordinary(
    target: Target, seconds: float, attack: str | None = None
) -> tuple[list[Reply], list[Reply]]:
    """The replies to the ordinary client's recommendation requests and single events.

    Args:
        target: the server.
        seconds: how long.
        attack: the attack of the two other clients, one of `ATTACKS`; by default none.
    """
    lists = [json.dumps({"user_id": user, "n": N_ITEMS}).encode() for user in target.users]
    events = [_event(target, user, place) for place, user in enumerate(target.users)]

    async def together() -> tuple[list[Reply], list[Reply]]:
        end, about = time.perf_counter() + seconds, (target.port, target.keys["ordinary"])
        return await asyncio.gather(
            _send(*about, LISTS, lists, 1 / RATE, end, parsed=True),
            _send(*about, EVENTS, events, 1 / RATE, end),
        )

    with nullcontext() if attack is None else _attacked(target, attack):
        return asyncio.run(together())


@contextmanager
def _attacked(target: Target, attack: str) -> Iterator[None]:
    """Two clients attack from a separate process until the block ends."""
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=_attack, args=(target, attack, begun), daemon=True)
    process.start()
    try:
        begun.wait()
        time.sleep(1.0)
        yield
    finally:
        process.kill()
        process.join()
        time.sleep(2.0)  # what the server has taken in is done


def _attack(target: Target, attack: str, begun: Event) -> None:
    async def together() -> None:
        await asyncio.gather(*ATTACKS[attack](target, time.perf_counter() + _LONGEST_SECONDS))

    begun.set()
    asyncio.run(together())


def _event(target: Target, user: str, place: int) -> bytes:
    item = target.items[place % len(target.items)]
    return json.dumps({"user_id": user, "item_id": item, "event_type": "view"}).encode()


def _long_lists(target: Target, end: float) -> list[_Work]:
    """Lists of 1,000 items: for the longest history, and with explanations for the next one."""
    *_, shorter, longest = sorted(target.long)
    bodies = {
        "first": {"user_id": target.long[longest], "n": 1_000},
        "second": {"user_id": target.long[shorter], "n": 1_000, "explain": True},
    }
    return [
        _send(target.port, target.keys[name], LISTS, [json.dumps(body).encode()], 0.0, end)
        for name, body in bodies.items()
        for _ in range(_CONNECTIONS)
    ]


def _many_keys(target: Target, end: float) -> list[_Work]:
    """Bodies that are slow to parse, as an event and as an item."""
    keys = (f'"{n:06}":0' for n in range(_LARGE // 11))
    content = b"{%b}" % ",".join(keys).encode()
    return [
        _send(target.port, target.keys[name], route, [content], 0.0, end)
        for name, route in (("first", EVENTS), ("second", ITEM))
        for _ in range(_CONNECTIONS)
    ]


def _batches(target: Target, end: float) -> list[_Work]:
    """The largest batches of events, for many users."""
    events = [
        {"user_id": f"flood-{n}", "item_id": target.items[n % len(target.items)],
         "event_type": "view"}
        for n in range(_BATCH)
    ]  # fmt: skip
    content = json.dumps({"events": events}).encode()
    return [
        _send(target.port, target.keys[name], EVENTS, [content], 0.0, end)
        for name in ("first", "second")
        for _ in range(_CONNECTIONS)
    ]


def _slow_senders(target: Target, end: float) -> list[_Work]:
    """Large bodies whose last byte is never sent."""
    return [
        _hold(target.port, target.keys[name], end)
        for name in ("first", "second")
        for _ in range(_CONNECTIONS)
    ]


ATTACKS: dict[str, Callable[[Target, float], list[_Work]]] = {
    "long lists": _long_lists,
    "many keys": _many_keys,
    "slow senders": _slow_senders,
    "batches": _batches,
}
"""What the two clients may do; the last one leaves many events behind."""


async def _hold(port: int, key: str, end: float) -> None:
    while time.perf_counter() < end:
        with suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(_head(key, EVENTS, _LARGE) + b"[" * 1_000 + b" " * (_LARGE - 1_001))
                await writer.drain()
                await reader.read()  # until the server gives up
            finally:
                writer.close()


async def _send(
    port: int,
    key: str,
    route: str,
    contents: Sequence[bytes],
    pause: float,
    end: float,
    most: int = 1 << 40,
    *,
    parsed: bool = False,
) -> list[Reply]:
    """The replies to contents sent in turn over one connection, reopened if it breaks."""
    replies, streams = list[Reply](), None
    while time.perf_counter() < end and len(replies) < most:
        content, begun = contents[len(replies) % len(contents)], time.perf_counter()
        status, body, closes = 0, b"", True
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            streams = streams or await asyncio.open_connection("127.0.0.1", port)
            reader, writer = streams
            writer.write(_head(key, route, len(content)) + content)
            status, body, closes = await _reply(reader)
        seconds = time.perf_counter() - begun
        n_items = len(json.loads(body)["items"]) if parsed and status == 200 else 0
        replies.append(Reply(status, seconds, n_items))
        if closes and streams is not None:
            streams[1].close()
            streams = None
        await asyncio.sleep(max(0.0, begun + pause - time.perf_counter()))
    if streams is not None:
        streams[1].close()
    return replies


def _head(key: str, route: str, length: int) -> bytes:
    return (
        f"{route} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def _reply(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the server closes the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split()[1]), body, headers.get("connection") == "close"
