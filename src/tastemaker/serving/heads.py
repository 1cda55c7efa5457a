"""How bytes become requests: by uvicorn's parser, which would wait for the end of a request's head
for ever, and keep all of it.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tastemaker.serving.draining import DRAINING
from tastemaker.serving.upgrades import UpgradeIgnoringParser

LARGEST_HEAD = 65_536
SLOWEST_SECONDS = 30.0
IDLE_SECONDS = 2.0
"""How long a connection without a request is kept open when the server stops."""
LAST_SECONDS = 0.4
"""How long its client has to notice the end."""


class LimitHeads(HttpToolsProtocol):
    """A connection that ends where the head of a request is too long, or too long in coming."""

    _awaited = True
    _read = 0
    _ended = False
    _end: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._upgrades = UpgradeIgnoringParser(self)
        self.parser = self._upgrades  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait."""
        super().connection_made(transport)
        self._end = self.loop.call_later(SLOWEST_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on, unless it has been too much."""
        if self._ended:
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
        if self._upgrades.is_offered:  # it comes again, without the offer
            return
        self._awaited = False
        self._wait_no_more()
        if self.parser.get_http_version() == "1.0":  # such a client does not know it
            self.expect_100_continue = False
        super().on_headers_complete()
        if DRAINING.begun:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The body is there."""
        if not self._upgrades.is_offered:
            super().on_message_complete()

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

    def _end_idle(self) -> None:
        """Says that nothing more will be answered, and closes when the client has heard it."""
        if self._is_idle and not self.transport.is_closing():
            self._ended = True
            self.transport.write_eof()
            self.loop.call_later(LAST_SECONDS, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._end is not None:
            self._end.cancel()
