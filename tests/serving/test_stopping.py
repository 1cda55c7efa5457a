"""Stopping a server under load resets no connection."""

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from benchmarks.server import Server
from tests.serving.conftest import wait_until

pytestmark = pytest.mark.slow
EVENT = b'{"user_id": "u", "item_id": "horror-1"}'
HEADERS = {"Content-Type": "application/json"}
LOAD_SECONDS = 0.5


class Clients:
    """Six clients that post events until refused, three of them over one connection each."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.ends: Counter[str] = Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(n % 2 == 0,)) for n in range(6)]
        for thread in self._threads:
            thread.start()

    def _post(self, keeps: bool) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._over.is_set():
            try:
                connection.request("POST", "/v1/events", EVENT, HEADERS)
                with connection.getresponse() as answer:
                    answer.read()
                    self.ends[str(answer.status)] += 1
            except ConnectionRefusedError:
                break
            except (OSError, HTTPException) as problem:
                self.ends[f"{type(problem).__name__}: {problem}"] += 1
                break
            if not keeps:
                connection.close()
        connection.close()

    def join(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)


def whole_group(server: Server) -> None:
    os.killpg(server.pid, signal.SIGTERM)


def watcher_alone(server: Server) -> None:
    os.kill(server.pid, signal.SIGTERM)


@pytest.mark.parametrize("end", [whole_group, watcher_alone])
@pytest.mark.parametrize("workers", [1, 2])
def test_no_connection_is_reset_when_a_server_stops(
    folder: Path, workers: int, end: Callable[[Server], None]
) -> None:
    for _ in range(3 if workers == 2 else 1):
        server = Server(folder / "tastemaker.toml", workers)
        try:
            clients = Clients(server.port)
            time.sleep(LOAD_SECONDS)
            end(server)
            server._process.wait(60)
            clients.join()
        finally:
            server.stop(signal.SIGKILL)
        assert clients.ends["200"] > 0
        assert set(clients.ends) == {"200"}, clients.ends


def test_pending_connections_are_answered(folder: Path) -> None:
    """Pauses the processes, so that connections wait in the system's queue."""
    server = Server(folder / "tastemaker.toml", workers=2)
    try:
        head = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        os.killpg(server.pid, signal.SIGSTOP)
        waiting = [socket.create_connection(("127.0.0.1", server.port), 30) for _ in range(50)]
        for one in waiting:
            one.sendall(head)
        os.killpg(server.pid, signal.SIGTERM)
        os.killpg(server.pid, signal.SIGCONT)
        for one in waiting:
            with one, one.makefile("rb") as heard:
                assert b'"status":"live"' in heard.read()
        assert server._process.wait(30) is not None
    finally:
        server.stop(signal.SIGKILL)


def test_an_idle_connection_does_not_delay_the_stop(folder: Path) -> None:
    server = Server(folder / "tastemaker.toml")
    try:
        with socket.create_connection(("127.0.0.1", server.port), 30) as idle:
            os.kill(server.pid, signal.SIGTERM)
            assert idle.recv(1) == b"", "ended, not reset"
            server._process.wait(8)  # shorter than the grace period of requests
    finally:
        server.stop(signal.SIGKILL)


def test_workers_go_on_after_one_of_them_was_stopped(folder: Path) -> None:
    server = Server(folder / "tastemaker.toml", workers=2)
    try:
        workers = _workers(server)
        os.kill(workers[0], signal.SIGTERM)
        wait_until(lambda: len(set(_workers(server)) - {workers[0]}) == 2)
        for _ in range(5):
            connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", "/health/live")
            assert connection.getresponse().status == 200
            connection.close()
    finally:
        server.stop(signal.SIGKILL)


def _workers(server: Server) -> list[int]:
    """The worker processes that have the port open, without the supervisor."""
    found = []
    for pid in server.pids():
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if pid != server.pid and b"resource_tracker" not in command:
            found.append(pid)
    return found
