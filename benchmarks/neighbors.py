"""What one client's worst requests cost that client, and what they cost everybody else.

A user's history of 100, 10,000 and a million events: the cost of an answer. Then two clients send
the most expensive requests they can, each with an API key of its own, while a third asks for
ordinary lists: its latencies against those of a quiet server.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness import Options, Result, isolated
from benchmarks.s10_http import some_users, train
from benchmarks.server import Server, serving
from tastemaker.data import times
from tastemaker.project import load_project
from tastemaker.serving.keys import KeyFile
from tastemaker.store import EventRow, EventSource

ID = "NEIGHBORS"
WHAT = "cost of long histories, and one client's p99 while two others do their worst"
DATA = ()
PEERS = ()
MINUTES = 12.0
_HISTORIES = (100, 10_000, 1_000_000)
_ANSWERS = 100
_SECONDS = 30.0
_RATE = 10.0
_FLATNESS = 1.5
"""An answer for a million events may cost so many times one for a hundred."""
_SHARE = 2.0
"""The p99 of the others, at most so many times the quiet one."""


def run(options: Options) -> Result:
    """Histories one after the other, then the same requests quiet and beside the two clients."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        n_events = 200_000 if options.quick else 1_000_000
        isolated(train, folder, options.quick, options.seed, n_events)
        users = isolated(some_users, folder, options.seed)
        isolated(fill, folder, options.seed)
        keys = {name: _key(folder, name) for name in ("ordinary", "history", "many")}
        seconds = _SECONDS / 3 if options.quick else _SECONDS
        with serving(folder / "tastemaker.toml") as server:
            ordinary = [{"user_id": user} for user in users]
            isolated(ask, server.port, keys["ordinary"], ordinary, 1 / 50, 10.0)  # warm
            costs = {n: _cost(server, keys["ordinary"], f"long-{n}") for n in _HISTORIES}
            quiet = isolated(ask, server.port, keys["ordinary"], ordinary, 1 / _RATE, seconds)
            beside = isolated(besieged, server.port, keys, ordinary, seconds)
            peak = server.peak_mb()
    milliseconds = {n: (first, float(np.median(rest))) for n, (first, rest) in costs.items()}
    short, long = milliseconds[_HISTORIES[0]][1], milliseconds[_HISTORIES[-1]][1]
    ours = {
        **{f"{n:,} events, first answer ms": first for n, (first, _) in milliseconds.items()},
        **{f"{n:,} events, answer p50 ms": p50 for n, (_, p50) in milliseconds.items()},
        "a million events ÷ a hundred": long / short,
        **_figures("quiet", quiet),
        **_figures("beside two clients", beside),
        "p99 beside ÷ quiet": _p99(beside) / _p99(quiet),
        "refused beside": float(sum(status != 200 for status, _ in beside)),
    }
    must = {
        "a million events ÷ a hundred": _FLATNESS,
        "p99 beside ÷ quiet": _SHARE,
        "refused beside": 0.0,
    }
    return Result(
        ID,
        ours=ours,
        peer={},
        ratio={name: ours[name] / bar for name, bar in must.items() if bar},
        must=must,
        met=all(ours[name] <= bar for name, bar in must.items()),
        seconds=2 * seconds,
        peak_mb=peak,
        notes=f"{'10,000' if options.quick else '100,000'} items, one worker, load generators on "
        f"the same cores; the ordinary client asks {_RATE:g} times a second; one of the two others "
        "asks for the user with a million events, the other for 1,000 items with explanations, "
        "each over four connections without a pause",
    )


def fill(folder: Path, seed: int) -> None:
    """Stores the events of the users with long histories: views of random items, until now."""
    rng, end = np.random.default_rng(seed), times.now() - 1
    with EventSource(load_project(folder / "tastemaker.toml")).open_as_it_is() as store:
        ids, _ = store.item_keys()
        for size in _HISTORIES:
            for first in range(0, size, 10_000):
                count = min(10_000, size - first)
                rows = _views(f"long-{size}", ids, rng.integers(0, len(ids), count), end, first)
                store.append(rows).result()


def _views(
    user: str, ids: Sequence[str], places: Iterable[int], end: int, first: int
) -> list[EventRow]:
    return [
        EventRow(f"{user}-{first + n}", user, ids[place], "view", None, end - first - n, end)
        for n, place in enumerate(places)
    ]


def _key(folder: Path, name: str) -> str:
    return KeyFile(load_project(folder / "tastemaker.toml").state).add(name)


def _cost(server: Server, key: str, user: str) -> tuple[float, list[float]]:
    """Milliseconds of the first answer, and of those after it, one after the other."""
    answered = isolated(ask, server.port, key, [{"user_id": user}], 0.0, 60.0, _ANSWERS)
    spent = [seconds * 1e3 for _, seconds in answered]
    return spent[0], spent[1:]


def ask(
    port: int,
    key: str,
    bodies: Sequence[object],
    pause: float,
    seconds: float,
    most: int = 1_000_000,
) -> list[tuple[int, float]]:
    """Status and seconds of requests over one connection.

    Args:
        port: where the server listens.
        key: whose requests.
        bodies: what is asked, in turn.
        pause: seconds from one request to the next, if the answer is there by then.
        seconds: how long.
        most: how many requests at most.
    """
    return asyncio.run(_ask(port, key, bodies, pause, time.perf_counter() + seconds, most))


def besieged(
    port: int, keys: dict[str, str], ordinary: Sequence[object], seconds: float
) -> list[tuple[int, float]]:
    """The same for the ordinary client, while two others send what costs most."""
    worst = {
        "history": {"user_id": f"long-{_HISTORIES[-1]}", "n": 1_000},
        "many": {"user_id": f"long-{_HISTORIES[1]}", "n": 1_000, "explain": True},
    }

    async def together() -> list[tuple[int, float]]:
        end = time.perf_counter() + seconds
        others = [
            asyncio.create_task(_ask(port, keys[name], [body], 0.01, end + 1.0))
            for name, body in worst.items()
            for _ in range(4)
        ]
        await asyncio.sleep(1.0)
        answered = await _ask(port, keys["ordinary"], ordinary, 1 / _RATE, end)
        await asyncio.gather(*others)
        return answered

    return asyncio.run(together())


async def _ask(
    port: int,
    key: str,
    bodies: Sequence[object],
    pause: float,
    end: float,
    most: int = 1_000_000,
) -> list[tuple[int, float]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = list[tuple[int, float]]()
    while time.perf_counter() < end and len(answered) < most:
        content = json.dumps(bodies[len(answered) % len(bodies)]).encode()
        begun = time.perf_counter()
        writer.write(
            b"POST /v1/recommendations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Authorization: Bearer %b\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (key.encode(), len(content), content)
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        await reader.readexactly(int(headers["content-length"]))
        answered.append((int(head[0].split()[1]), time.perf_counter() - begun))
        await asyncio.sleep(max(0.0, begun + pause - time.perf_counter()))
    writer.close()
    return answered


def _p99(answered: Sequence[tuple[int, float]]) -> float:
    return float(np.percentile([seconds * 1e3 for _, seconds in answered], 99))


def _figures(name: str, answered: Sequence[tuple[int, float]]) -> dict[str, float]:
    spent = [seconds * 1e3 for _, seconds in answered]
    return {f"{name} p50 ms": float(np.median(spent)), f"{name} p99 ms": _p99(answered)}
