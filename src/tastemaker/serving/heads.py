"""How bytes become requests: by uvicorn's parser, which would wait for the end of a request's head
for ever, and keep all of it.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tastemaker.serving.connections import LOOK_SECONDS, Connections
from tastemaker.serving.guards import address_of

LARGEST_HEAD = 65_536
SLOWEST_SECONDS = 30.0
FIRST_BYTE_SECONDS = 10.0
"""So long a new connection may be silent."""
_FULL = b'{"error":{"code":"overloaded","message":"too many connections are open"}}'
_REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)


class LimitHeads(HttpToolsProtocol):
    """A connection that ends where the head of a request is too long, or too long in coming."""

    _awaited = True
    _read = 0
    _end: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    open_connections = Connections()
    """Those of this process; `run` sets them by the project's settings."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered and the last answer has been read."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and not self.pipeline and not self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait, where there is room for one more."""
        super().connection_made(transport)
        if not self.open_connections.opened(self, address_of(self.client)):
            transport.write(_REFUSED)
            transport.close()
            return
        self._end = self.loop.call_later(FIRST_BYTE_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        self._wait_no_more()
        self.resume_writing()
        self.open_connections.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on, unless it has been too much."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._read += len(data)
        if self._awaited and self._read > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head of a request may have {LARGEST_HEAD:,} bytes.")

    def on_message_begin(self) -> None:
        """Begins to wait for another head."""
        super().on_message_begin()
        self._awaited, self._read = True, 0
        self._wait_no_more()
        self._end = self.loop.call_later(SLOWEST_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        """The head is there; what follows is a body."""
        self._awaited = False
        self._wait_no_more()
        self.open_connections.used(self)
        super().on_headers_complete()

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

    def _wait_no_more(self) -> None:
        if self._end is not None:
            self._end.cancel()
