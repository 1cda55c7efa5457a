"""How bytes become requests: by uvicorn's parser, which would wait for the end of a request's head
for ever, and keep all of it.
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
"""How long a connection without a request is kept open when the server stops."""
LAST_SECONDS = 0.4
"""How long its client has to notice the end."""

FIRST_BYTE_SECONDS = 10.0
"""So long a new connection may be silent."""
_FULL = b'{"error":{"code":"overloaded","message":"too many connections are open"}}'
_REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)


class LimitedHttpProtocol(HttpToolsProtocol):
    """A connection that ends where the head of a request is too long, or too long in coming."""

    _awaited = True  # the head of a request
    _read = 0
    _ended = False
    _end: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    open_connections = Connections()
    """Those of this process; `run` sets them by the project's settings."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered and the last answer has been read."""
        return self._is_idle and not self._has_more

    @property
    def is_sending(self) -> bool:
        """Whether the rest of its request has not come yet, and nothing of it is answered."""
        return self.cycle is not None and self.cycle.more_body and not self._has_more

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._upgrades = UpgradeIgnoringParser(self)
        self.parser = self._upgrades  # type: ignore[assignment]
        self._unanswered: deque[RequestResponseCycle] = deque()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait, where there is room for one more."""
        super().connection_made(transport)
        if not self.open_connections.opened(self, address_of(self.client)):
            transport.write(_REFUSED)
            transport.close()
            return
        self._close_after(FIRST_BYTE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        self._wait_no_more()
        self._write_no_more()
        self.resume_writing()
        self.open_connections.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on, unless it has been too much."""
        if self._ended or self.transport.is_closing():
            return
        super().data_received(data)
        self._read += len(data)
        if self._awaited and self._read > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head of a request may have {LARGEST_HEAD:,} bytes.")

    def on_message_begin(self) -> None:
        """Begins to wait for another head."""
        super().on_message_begin()
        self._awaited, self._read = True, 0
        self._close_after(SLOWEST_SECONDS)

    def on_headers_complete(self) -> None:
        """The head is there; what follows is a body."""
        if self._upgrades.is_offered:  # it comes again, without the offer
            return
        self._awaited = False
        self._wait_no_more()
        if self.parser.get_http_version() == "1.0":  # such a client does not know it
            self.expect_100_continue = False
        self.open_connections.used(self)
        super().on_headers_complete()
        while self._unanswered and self._unanswered[0].response_complete:
            self._unanswered.popleft()
        self._unanswered.append(self.cycle)
        if DRAINING.begun:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The body is there."""
        if not self._upgrades.is_offered:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begins to wait for another request.

        What is received meanwhile, as empty lines or the rest of a body that was refused, does not
        prolong the wait; uvicorn's own timer ends with the first byte.
        """
        if not self.pipeline and not self._awaited:
            self._close_after(self.timeout_keep_alive)
        super().on_response_complete()

    def abort(self) -> None:
        """Ends the connection at once; the rest of its answers is given up."""
        self._write_no_more()
        self.transport.abort()

    def shutdown(self) -> None:
        """Ends the connection after the answer; an idle one a little later.

        A request that is on its way would otherwise meet a closed connection and be reset.
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
        """Whether further requests wait, or an answer waits to be read."""
        return bool(self.pipeline or self.transport.get_write_buffer_size())

    def _end_idle(self) -> None:
        """Says that nothing more will be answered, and closes when the client has heard it."""
        if self._is_idle and not self.transport.is_closing():
            self._ended = True
            self.transport.write_eof()
            self.loop.call_later(LAST_SECONDS, self.transport.close)

    def pause_writing(self) -> None:
        """An answer waits for the client to read it; for a limited time."""
        super().pause_writing()
        if self._reading is None:
            self._reading = self.loop.call_later(LOOK_SECONDS, self._look)
            self.open_connections.unread(self)

    def resume_writing(self) -> None:
        """The client has read on."""
        super().resume_writing()
        self.open_connections.read(self)
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _look(self) -> None:
        if self.open_connections.is_reading(self):
            self._reading = self.loop.call_later(LOOK_SECONDS, self._look)
        else:
            self.open_connections.gave_up(self)

    def _write_no_more(self) -> None:
        """Of several requests that came at once uvicorn would end the last, not the one at work."""
        for request in self._unanswered:
            request.disconnected = True
        self.pipeline.clear()

    def _close_after(self, seconds: float) -> None:
        """Waits so long, and no longer, for what is due."""
        self._wait_no_more()
        self._end = self.loop.call_later(seconds, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._end is not None:
            self._end.cancel()
