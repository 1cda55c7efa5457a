"""A server that is stopped while clients keep their connections open."""

import signal
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.resilience.stage import serving

pytestmark = pytest.mark.slow

CLIENTS = 8
REQUESTS = 400
"""Responses per connection; together more than all network buffers hold."""


SAID = ("does not read its responses", "graceful shutdown exceeded")
"""Messages logged once each: the first dropped client of a minute, and the clients at the end."""


def test_stopping_with_stuck_readers_does_not_fill_the_log(films: Path) -> None:
    with serving(films) as server, ExitStack() as held:
        for _ in range(CLIENTS):
            client = held.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.settimeout(1.0)
            with suppress(TimeoutError):  # the server stops reading from it too
                client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * REQUESTS)
        before = len(server.said)
        server.end(signal.SIGTERM)
        said = server.said[before:]
    lines = said.splitlines()
    assert all(any(known in line for known in SAID) for line in lines), said[:2000]
    assert len(lines) <= len(SAID)
