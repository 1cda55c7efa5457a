"""uvicorn's HTTP protocol with limits for the size and the time of a request head.

Without them, uvicorn would wait for the end of a head indefinitely and keep all of it.
"""

import asyncio
from collections import deque
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tastemaker.serving.connections import LOOK_SECONDS, Connections
from tastemaker.serving.draining import DRAINING
from tastemaker.serving.guards import address_of
from tastemaker.serving.upgrades import UpgradeIgnoringParser

LARGEST_HEAD = 65_536
SLOWEST_SECONDS = 30.0
IDLE_SECONDS = 2.0
"""How long an idle connection is kept open when the server stops."""
LAST_SECONDS = 0.4
"""How long its client has to notice the end of the connection."""

FIRST_BYTE_SECONDS = 10.0
"""How long a new connection can stay silent."""
_FULL = b'{"error":{"code":"overloaded","message":"too many connections are open"}}'
_REJECTED = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)


class LimitedHttpProtocol(HttpToolsProtocol):
    """A connection that is closed if the head of a request is too large or too slow."""

    _awaits_head = True
    _read = 0
    _ended = False
    _end: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    open_connections = Connections()
    """The open connections of this process; `run` sets their limits from the project's settings."""

    @property
    def is_idle(self) -> bool:
        """Whether it has no active request, and the client has read the last response."""
        return self._is_idle and not self._has_more

    @property
    def is_sending(self) -> bool:
        """Whether its request is incomplete and its response has not started."""
        return self.cycle is not None and self.cycle.more_body and not self._has_more

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._upgrades = UpgradeIgnoringParser(self)
        self.parser = self._upgrades  # type: ignore[assignment]
        self._unanswered: deque[RequestResponseCycle] = deque()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts to wait for a request, or rejects the connection if there are too many."""
        super().connection_made(transport)
        if not self.open_connections.opened(self, address_of(self.client)):
            transport.write(_REJECTED)
            transport.close()
            return
        self._close_after(FIRST_BYTE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops all waits and responses of the connection."""
        self._stop_waiting()
        self._stop_responses()
        self.resume_writing()
        self.open_connections.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses received bytes, unless the head is too large."""
        if self._ended or self.transport.is_closing():
            return
        super().data_received(data)
        self._read += len(data)
        if self._awaits_head and self._read > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(
                f"The request head is too large: {LARGEST_HEAD:,} bytes are allowed."
            )

    def on_message_begin(self) -> None:
        """Starts to wait for the head of a request."""
        super().on_message_begin()
        self._awaits_head, self._read = True, 0
        self._close_after(SLOWEST_SECONDS)

    def on_headers_complete(self) -> None:
        """Starts to read the body when the head is complete."""
        if self._upgrades.is_offered:  # the head is parsed again without the offer
            return
        self._awaits_head = False
        self._stop_waiting()
        if self.parser.get_http_version() == "1.0":  # HTTP/1.0 has no Expect header
            self.expect_100_continue = False
        self.open_connections.used(self)
        super().on_headers_complete()
        while self._unanswered and self._unanswered[0].response_complete:
            self._unanswered.popleft()
        self._unanswered.append(self.cycle)
        if DRAINING.begun:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Ends the request when its body is complete."""
        if not self._upgrades.is_offered:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Starts to wait for another request.

        Bytes received in between, such as empty lines or the rest of a rejected body, do not extend
        the wait. uvicorn's own timer would end with the first byte.
        """
        if not self.pipeline and not self._awaits_head:
            self._close_after(self.timeout_keep_alive)
        super().on_response_complete()

    def abort(self) -> None:
        """Closes the connection at once and drops its unsent responses."""
        self._stop_responses()
        self.transport.abort()

    def shutdown(self) -> None:
        """Closes the connection after the response; an idle connection a little later.

        Otherwise, a request that is already sent would meet a closed connection and be reset.
        """
        if self._is_idle:
            self.loop.call_later(IDLE_SECONDS, self._end_idle)
        else:
            super().shutdown()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _has_more(self) -> bool:
        """Whether more requests are queued, or a response is unread."""
        return bool(self.pipeline or self.transport.get_write_buffer_size())

    def _end_idle(self) -> None:
        """Signals the end of the connection, and closes it a little later."""
        if self._is_idle and not self.transport.is_closing():
            self._ended = True
            self.transport.write_eof()
            self.loop.call_later(LAST_SECONDS, self.transport.close)

    def pause_writing(self) -> None:
        """Starts a limited wait for the client to read the response."""
        super().pause_writing()
        if self._reading is None:
            self._reading = self.loop.call_later(LOOK_SECONDS, self._check_reading)
            self.open_connections.unread(self)

    def resume_writing(self) -> None:
        """Ends the wait when the client reads again."""
        super().resume_writing()
        self.open_connections.read(self)
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _check_reading(self) -> None:
        if self.open_connections.is_reading(self):
            self._reading = self.loop.call_later(LOOK_SECONDS, self._check_reading)
        else:
            self.open_connections.gave_up(self)

    def _stop_responses(self) -> None:
        """Disconnects all pipelined requests; uvicorn would disconnect only the last one."""
        for request in self._unanswered:
            request.disconnected = True
        self.pipeline.clear()

    def _close_after(self, seconds: float) -> None:
        """Closes the connection after this time, unless the wait is stopped."""
        self._stop_waiting()
        self._end = self.loop.call_later(seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._end is not None:
            self._end.cancel()
