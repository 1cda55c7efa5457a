"""A real server rejects invalid bytes on a socket and continues to answer."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.responses import Response

from benchmarks.server import free_port
from tastemaker.serving import http_protocol
from tastemaker.serving.connections import Connections
from tastemaker.serving.http_protocol import LimitedHttpProtocol
from tests.serving.conftest import wait_until

pytestmark = pytest.mark.xdist_group("wire")
HEAD = b"Host: 127.0.0.1\r\nConnection: close\r\n"
GET = b"GET /health/live HTTP/1.1\r\n" + HEAD
POST = b"POST /v1/events HTTP/1.1\r\n" + HEAD
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
ANSWER_SECONDS = 30.0
RESET = b"\1\0\0\0\0\0\0\0"


@dataclass(frozen=True)
class Wire:
    """A running server and its stderr."""

    port: int
    stderr: Path

    def say(self, *parts: bytes) -> bytes:
        """The bytes received until the end of the connection, after sending some."""
        with socket.create_connection(("127.0.0.1", self.port), ANSWER_SECONDS) as connection:
            heard = b""
            try:
                for part in parts:
                    connection.sendall(part)
                while more := connection.recv(65_536):
                    heard += more
            except ConnectionError:  # the server closes a connection that it stops reading
                pass
            return heard

    def hang_up(self, sent: bytes, politely: bool) -> None:
        """Sends bytes and disconnects."""
        with socket.create_connection(("127.0.0.1", self.port), ANSWER_SECONDS) as connection:
            connection.sendall(sent)
            time.sleep(0.1)
            if not politely:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def answers(self) -> bool:
        """Whether the server is still ready."""
        url = f"http://127.0.0.1:{self.port}/health/ready"
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            return bool(json.load(answer)["status"] == "ready")


@pytest.fixture(scope="module")
def wire(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """One server for all tests. At the end its stderr must have no traceback."""
    folder = tmp_path_factory.mktemp("wire")
    shutil.copytree(trained, folder / "films")
    project, stderr, port = folder / "films" / "tastemaker.toml", folder / "stderr", free_port()
    serve = [sys.executable, "-c", "from tastemaker.cli import main; main()", "serve"]
    with stderr.open("wb") as written:
        server = subprocess.Popen(
            [*serve, "--project", str(project), "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=written,
        )
        try:
            opened = Wire(port, stderr)

            def ready() -> bool:
                assert server.poll() is None, stderr.read_text()
                try:
                    return opened.answers()
                except OSError:
                    return False

            wait_until(ready)
            yield opened
        finally:
            server.terminate()
            server.wait(30)
    assert "Traceback" not in stderr.read_text()


NO_REQUESTS = {
    "garbage": b"GARBAGE\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\n" + HEAD + b"\r\n",
    "TLS": bytes.fromhex("16030100a5010000a1") + b"x" * 100,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "raw bytes in a path": b"GET /v1/items/\xff/similar HTTP/1.1\r\n" + HEAD + b"\r\n",
    "NUL in a header": GET + b"X: a\0b\r\n\r\n",
    "a chunk without a size": CHUNKED + b"ZZZ\r\nhello\r\n0\r\n\r\n",
    "a chunk of a wrong size": CHUNKED + b"2\r\nhello\r\n0\r\n\r\n",
    "a chunk of 2^72": CHUNKED + b"FFFFFFFFFFFFFFFFFF\r\nhello",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "a length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n{}",
    "a length of words": POST + b"Content-Length: two\r\n\r\n{}",
    "a long URL": b"GET /?" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
}


@pytest.mark.parametrize("sent", NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_invalid_bytes_are_rejected(wire: Wire, sent: bytes) -> None:
    assert wire.say(sent).startswith(b"HTTP/1.1 400 ")
    assert wire.answers()


def test_a_thousand_bad_requests_log_a_few_lines(wire: Wire) -> None:
    for _ in range(1_000):
        assert wire.say(b"GARBAGE\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    wire.say(b"GARBAGE\r\n\r\n")
    lines = [line for line in wire.stderr.read_text().splitlines() if "Invalid HTTP" in line]
    assert 1 <= len(lines) <= 20  # including earlier tests and some minutes


@pytest.mark.parametrize("line", [b"X: " + b"a" * 5_000_000, b"X: a\r\n" * 1_000_000])
def test_an_endless_head_times_out(wire: Wire, line: bytes) -> None:
    heard = wire.say(GET, line)
    assert heard == b"" or heard.startswith(
        b"HTTP/1.1 400 "
    )  # sending can fail before the response arrives
    assert wire.answers()


@pytest.mark.parametrize(
    "path",
    [
        b"POST /v1/events",
        b"POST /v1/recommendations",
        b"PUT /v1/items/a",
        b"POST /console/events",
    ],
)
@pytest.mark.parametrize("politely", [True, False])
def test_a_disconnect_during_a_body_has_no_effect(wire: Wire, path: bytes, politely: bool) -> None:
    sent = path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n" + b'{"user'
    wire.hang_up(sent, politely)
    wire.hang_up(sent.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked"), politely)
    assert wire.answers()
    assert "failed" not in wire.stderr.read_text()


def test_a_percent_sign_in_an_id_is_read_once(wire: Wire) -> None:
    head = b"GET /v1/items/a%252Fb%2520/similar HTTP/1.1\r\n" + HEAD + b"\r\n"
    assert b"no item has the id 'a%2Fb%20'" in wire.say(head)


def test_a_body_announced_as_too_large_is_rejected_at_once(wire: Wire) -> None:
    heard = wire.say(POST + b"Content-Length: 5000000000000000000\r\n\r\n{}")
    assert heard.startswith(b"HTTP/1.1 413 ")
    assert b'{"error":{"code":"too_large"' in heard


EVENT = b'{"user_id": "%s", "item_id": "horror-1", "event_id": "%s"}'
OFFERS = {
    "curl": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "java": b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n",
    "split": b"Connection: HTTP2-Settings\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
    "websocket": b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    "closing": b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n",
    "not on offer": b"Upgrade: h2c\r\n",
    "continue": b"Expect: 100-continue\r\n",
    "both": b"Expect: 100-Continue\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
    "plain": b"",
}


def post(body: bytes, headers: bytes, version: bytes = b"1.1", chunked: bool = False) -> bytes:
    """A complete request that posts a body."""
    if chunked:
        half = len(body) // 2
        headers += b"Transfer-Encoding: chunked\r\n"
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
        body += b"0\r\n\r\n"
    else:
        headers += b"Content-Length: %d\r\n" % len(body)
    return (
        b"POST /v1/events HTTP/" + version + b"\r\nHost: 127.0.0.1\r\n" + headers + b"\r\n" + body
    )


def accepted(heard: bytes) -> list[int]:
    """The number of new events in each response."""
    return [int(part[:1]) for part in heard.split(b'"accepted":')[1:]]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("name", OFFERS)
def test_a_body_is_read_with_any_upgrade_offer(wire: Wire, name: str, chunked: bool) -> None:
    id_ = f"{name}-{chunked}".encode()
    sent = post(EVENT % (id_, id_), OFFERS[name], chunked=chunked)
    parts = [sent] if name == "closing" else [sent, GET + b"\r\n"]
    assert accepted(wire.say(*parts)) == [1]
    again = wire.say(*parts)
    assert b'"duplicates":1' in again, "the first was stored"
    assert again.count(b"200 OK") == len(parts), "the connection goes on"
    assert b"101 " not in again
    assert (b"100 Continue" in again) == (b"Expect" in OFFERS[name])
    assert "Unsupported upgrade" not in wire.stderr.read_text()


@pytest.mark.parametrize("name", ["curl", "both"])
def test_a_body_in_parts_after_an_upgrade_offer_is_read(wire: Wire, name: str) -> None:
    id_ = f"pieces-{name}".encode()
    sent = post(EVENT % (id_, id_), OFFERS[name] + b"X: " + b"x" * 5_000 + b"\r\n")
    pieces = [sent[at : at + 977] for at in range(0, len(sent), 977)]
    assert accepted(wire.say(*pieces, GET + b"\r\n")) == [1]


def test_requests_with_offers_share_one_connection(wire: Wire) -> None:
    sent = [post(EVENT % (b"row", b"row-%d" % n), OFFERS["curl"], chunked=n == 1) for n in range(3)]
    assert accepted(wire.say(b"".join(sent) + GET + b"\r\n")) == [1, 1, 1]


def test_an_offer_without_a_body_is_answered(wire: Wire) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n" + OFFERS["curl"] + b"\r\n"
    assert wire.say(head, head, GET + b"\r\n").count(b'"status":"live"') == 3


@pytest.mark.parametrize("name", ["plain", "continue", "curl"])
def test_a_body_over_http_1_0_is_read(wire: Wire, name: str) -> None:
    id_ = f"old-{name}".encode()
    heard = wire.say(post(EVENT % (id_, id_), OFFERS[name], b"1.0"))
    assert accepted(heard) == [1]
    assert b"100 Continue" not in heard, "a client of HTTP/1.0 does not know it"


def test_a_connect_is_refused(wire: Wire) -> None:
    assert wire.say(b"CONNECT a:1 HTTP/1.1\r\n" + HEAD + b"\r\n").startswith(b"HTTP/1.1 400 ")


class Patient:
    """A server in a thread that answers all requests with one page, by default an empty one."""

    def __init__(self, answer: bytes = b"", app: Any = None, keep_alive: int = 5) -> None:
        self._answer = answer
        self.port = free_port()
        config = uvicorn.Config(
            app or self._app,
            port=self.port,
            http=LimitedHttpProtocol,
            interface="asgi3",
            timeout_keep_alive=keep_alive,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await Response(self._answer)(scope, receive, send)

    def __enter__(self) -> "Patient":
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.mark.parametrize("said", [b"", GET, b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n"])
def test_a_silent_client_times_out(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(http_protocol, "SLOWEST_SECONDS", 0.2)
    monkeypatch.setattr(http_protocol, "FIRST_BYTE_SECONDS", 0.2)
    with Patient() as server:
        heard = Wire(server.port, Path()).say(said)  # fails if the connection does not end
    assert heard.count(b"200 OK") == said.count(b"\r\n\r\n")


def test_silent_connections_do_not_block_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LimitedHttpProtocol, "open_connections", Connections(5, 5))
    with Patient() as server, ExitStack() as silent:
        for _ in range(20):
            silent.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert b"200 OK" in Wire(server.port, Path()).say(GET + b"\r\n")


def test_dropped_pipelined_requests_log_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = Connections()
    monkeypatch.setattr(LimitedHttpProtocol, "open_connections", kept)
    monkeypatch.setattr(http_protocol, "LOOK_SECONDS", 0.2)
    with (
        Patient(b"x" * 10_000_000) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 10)
        wait_until(lambda: len(kept) == 1)
        wait_until(lambda: len(kept) == 0)
    assert "Error" not in capfd.readouterr().err


def test_a_client_that_does_not_read_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Connections()
    monkeypatch.setattr(LimitedHttpProtocol, "open_connections", kept)
    monkeypatch.setattr(http_protocol, "LOOK_SECONDS", 0.2)
    with Patient(b"x" * 20_000_000) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(GET + b"\r\n")
            wait_until(lambda: len(kept) == 1)
            wait_until(lambda: len(kept) == 0)  # although it is open on this side
        assert b"200 OK" in Wire(server.port, Path()).say(GET + b"\r\n")[:100]
