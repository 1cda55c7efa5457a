"""Slow clients, and clients that send only empty lines, do not block other clients."""

import json
import select
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from tastemaker.project import load_project
from tastemaker.serving import Service, create_app
from tastemaker.serving.connections import Connections
from tastemaker.serving.http_protocol import LimitedHttpProtocol
from tests.serving.conftest import wait_until
from tests.serving.test_wire import Patient, post

pytestmark = pytest.mark.xdist_group("wire")
GET = b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
OTHERS = ("127.0.0.2", "127.0.0.3")


def connected(port: int, address: str = "127.0.0.1") -> socket.socket:
    """A connection from a local address; Linux has all of 127.0.0.0/8."""
    return socket.create_connection(("127.0.0.1", port), 30, source_address=(address, 0))


def said(port: int, sent: bytes) -> bytes:
    """The start of the response to one request."""
    with connected(port) as connection:
        connection.sendall(sent)
        try:
            return connection.recv(65_536)
        except ConnectionError:
            return b""


def test_slow_senders_do_not_block_others(folder: Path) -> None:
    events = [{"user_id": "u", "item_id": "horror-1", "session": "x" * 900}] * 1_000
    one, many = json.dumps(events[0]).encode(), json.dumps({"events": events}).encode()
    assert len(many) > 900_000
    app = create_app(Service(load_project(folder / "tastemaker.toml")))
    with Patient(app=app) as server, ExitStack() as kept:
        wait_until(lambda: b"200 OK" in said(server.port, GET))
        slow = [kept.enter_context(connected(server.port, OTHERS[n % 2])) for n in range(8)]
        for connection in slow:
            connection.sendall(post(b"x" * 8_000_000, b"")[:-1])
        time.sleep(0.5)  # the whole body is received

        def sent() -> bool:
            assert b"200 OK" in said(server.port, post(one, b""))
            assert b"200 OK" in said(server.port, post(many, b""))
            return bool(select.select(slow, [], [], 0)[0])

        wait_until(sent)  # one of them was rejected
        ended, _, _ = select.select(slow, [], [], 0)
        assert all(b"503 Service Unavailable" in each.recv(65_536) for each in ended)


@pytest.mark.parametrize(
    ("begun", "more"),
    [(GET, b"\r\n"), (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"x")],
    ids=["empty lines", "a body after its answer"],
)
def test_empty_lines_do_not_keep_a_connection_open(begun: bytes, more: bytes) -> None:
    with Patient(keep_alive=1) as server, connected(server.port) as connection:
        connection.sendall(begun)
        assert b"200 OK" in connection.recv(65_536)
        end = time.monotonic() + 10
        try:
            while not select.select([connection], [], [], 0.1)[0]:
                assert time.monotonic() < end, "the connection stays open"
                connection.sendall(more)
            assert connection.recv(65_536) == b""
        except ConnectionError:
            pass


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_endless_bodies_do_not_block_connections_of_others(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            size = len(await Request(scope, receive).body())
            await Response(str(size))(scope, receive, send)

    kept = Connections(6, 100)
    monkeypatch.setattr(LimitedHttpProtocol, "open_connections", kept)
    with Patient(app=app) as server, ExitStack() as slow:
        for _ in range(9):
            connection = slow.enter_context(connected(server.port, address))
            connection.sendall(post(b"x" * 1_000, b"")[:-1])
        for _ in range(3):
            assert b"200 OK" in said(server.port, post(b"x" * 1_000, b""))
        assert len(kept) <= 6
