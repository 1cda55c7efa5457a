"""Sends ten times a server's capacity for a minute. Accepted requests must be answered in time and
others rejected immediately; memory must stay flat, and the server must recover.

The load is open loop: requests are sent at their times whether or not earlier ones were answered,
and latency is measured from the moment a request was due.
"""

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import Options, Result, isolated
from benchmarks.s10_http import some_users, train
from benchmarks.server import Caller, Server, serving

ID = "LOAD"
WHAT = "ten times the capacity of one worker for a minute: shedding, memory, recovery"
DATA = ()
PEERS = ()
MINUTES = 6.0
_TIMES = 10
_SECONDS = 60.0
_CONNECTIONS = 256
_LONGEST_WAIT_MS = 250.0
"""The default of [server] max_queue_wait_ms."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The result of one request.

    Attributes:
        status: the HTTP status; 0 where the connection broke.
        seconds: from the moment it was due to its last byte.
        retry_after: the `Retry-After` of the answer; None if there is none.
    """

    status: int
    seconds: float
    retry_after: str | None


def run(options: Options) -> Result:
    """Measures capacity, ten times that load, then recovery; with fewer items if quick."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        isolated(train, folder, options.quick, options.seed)
        bodies = [{"user_id": user} for user in isolated(some_users, folder, options.seed)]
        with serving(folder / "tastemaker.toml") as server:
            isolated(storm, server.port, 50.0, 10.0, bodies)  # warm
            capacity = _capacity(server.port, bodies)
            calm = _alone(server, bodies, 100)
            with _Memory(server) as memory:
                answers = isolated(storm, server.port, _TIMES * capacity, _SECONDS, bodies)
            recovery = _recovery(server, bodies, 2.0 * float(np.percentile(calm, 99)))
            after = _alone(server, bodies, 100)
            peak = server.peak_mb()
    good = [each.seconds * 1e3 for each in answers if each.status == 200]
    shed = [each for each in answers if each.status == 503]
    others = len(answers) - len(good) - len(shed)
    refused = [each.seconds * 1e3 for each in shed]
    tenth = max(1, len(memory.mb) // 10)
    growth = float(np.median(memory.mb[-tenth:]) - np.median(memory.mb[tenth : 2 * tenth]))
    ours = {
        "capacity, requests a second": capacity,
        "asked a second": len(answers) / _SECONDS,
        "answered a second": len(good) / _SECONDS,
        "answered ÷ capacity": len(good) / _SECONDS / capacity,
        "answered p50 ms": float(np.percentile(good, 50)),
        "answered p99 ms": float(np.percentile(good, 99)),
        "refused p50 ms": float(np.percentile(refused, 50)),
        "refused p99 ms": float(np.percentile(refused, 99)),
        "neither answered nor refused": float(others),
        "refusals without Retry-After": float(sum(each.retry_after is None for each in shed)),
        "memory growth MB": growth,
        "seconds to recover": recovery,
        "alone before p50 ms": float(np.percentile(calm, 50)),
        "alone after p50 ms": float(np.percentile(after, 50)),
    }
    must = {
        "answered p99 ms": 4 * _LONGEST_WAIT_MS,
        "neither answered nor refused": 0.0,
        "refusals without Retry-After": 0.0,
        "memory growth MB": 50.0,
        "seconds to recover": 5.0,
    }
    return Result(
        ID,
        ours=ours,
        peer={},
        ratio={name: ours[name] / bar for name, bar in must.items() if bar},
        must=must,
        met=all(ours[name] <= bar for name, bar in must.items()),
        seconds=_SECONDS,
        peak_mb=peak,
        notes=f"{'10,000' if options.quick else '100,000'} items, one worker, the load generator "
        f"on the same two cores with {_CONNECTIONS} connections, open loop; latency from the "
        "moment a request was due",
    )


def storm(
    port: int, rate: float, seconds: float, bodies: Sequence[object], seed: int = 0
) -> list[Answered]:
    """Sends recommendation requests at a rate, at random moments, independent of the answers.

    Args:
        port: where the server listens.
        rate: requests a second.
        seconds: how long.
        bodies: the request bodies, drawn at random.
        seed: of the random draws.
    """
    rng = np.random.default_rng(seed)
    due = np.sort(rng.uniform(0, seconds, int(rate * seconds)))
    requests = [_request(bodies[which]) for which in rng.integers(0, len(bodies), len(due))]
    with ThreadPoolExecutor(1) as pool:  # a thread with its own event loop
        return pool.submit(asyncio.run, _storm(port, due.tolist(), requests)).result()


async def _storm(port: int, due: list[float], requests: list[bytes]) -> list[Answered]:
    begun, answered = time.perf_counter(), list[Answered]()
    waiting = iter(zip(due, requests))

    async def one_connection() -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for moment, request in waiting:  # shared: each request goes to a free connection
            await asyncio.sleep(max(0.0, begun + moment - time.perf_counter()))
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", port)
                status, retry = await _ask(*streams, request)
            except (OSError, EOFError):
                status, retry, streams = 0, None, None
            answered.append(Answered(status, time.perf_counter() - begun - moment, retry))
        if streams is not None:
            streams[1].close()

    await asyncio.gather(*(one_connection() for _ in range(min(_CONNECTIONS, len(due)))))
    return answered


def _request(body: object) -> bytes:
    content = json.dumps(body).encode()
    return (
        b"POST /v1/recommendations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json"
        b"\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
    )


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, str | None]:
    """Status and Retry-After of one request."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers.get("retry-after")


def _capacity(port: int, bodies: Sequence[object]) -> float:
    """Answers per second if a request is always waiting; the median of three."""
    return float(np.median([isolated(_busy, port, bodies, 5.0) for _ in range(3)]))


def _busy(port: int, bodies: Sequence[object], seconds: float) -> float:
    async def ask_on() -> int:
        streams, count = await asyncio.open_connection("127.0.0.1", port), 0
        while time.perf_counter() < end:
            status, _ = await _ask(*streams, _request(bodies[count % len(bodies)]))
            count += status == 200
        streams[1].close()
        return count

    async def together() -> int:
        return sum(await asyncio.gather(*(ask_on() for _ in range(4))))

    end = time.perf_counter() + seconds
    return asyncio.run(together()) / seconds


def _alone(server: Server, bodies: Sequence[object], times: int) -> list[float]:
    """Milliseconds of sequential requests."""
    caller, spent = Caller(server), []
    for count in range(times):
        begun = time.perf_counter()
        caller.call("POST", "/v1/recommendations", bodies[count % len(bodies)])
        spent.append((time.perf_counter() - begun) * 1e3)
    caller.close()
    return spent


def _recovery(server: Server, bodies: Sequence[object], calm_ms: float) -> float:
    """Seconds until ten requests in a row were answered about as fast as without load."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < 60:
        if max(_alone(server, bodies, 10)) <= calm_ms:
            return time.perf_counter() - begun
    return float("inf")


class _Memory:
    """The resident memory of a server, sampled every half second.

    Attributes:
        mb: what was seen.
    """

    def __init__(self, server: Server) -> None:
        self.mb: list[float] = []
        self._server = server
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.5):
            self.mb.append(self._server.resident_mb())
