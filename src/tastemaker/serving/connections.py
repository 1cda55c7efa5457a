"""Limits of open connections, in total and per address, and of clients that do not read.

If there are too many connections, one is closed: an idle one, or else one whose request is still
being sent. It is the least recently used connection of the address with the most connections. If
all connections are being answered, the new connection is rejected.
"""

import asyncio
import logging
import resource
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import Protocol

_LOG = logging.getLogger(__name__)

CONNECTIONS = 4_096
"""The default of `[server] connections`."""
CONNECTIONS_PER_ADDRESS = 1_024
"""The default of `[server] connections_per_address`."""
RESERVED_FILES = 100
"""Open files reserved for the store and for versions being loaded."""
MOST_UNSENT = 128_000_000
"""Most bytes of unread responses of all connections together."""
SLOWEST_READING = 10_000
"""Bytes per second that a client must read of its response."""
LOOK_SECONDS = 10.0
"""The connection of a client that reads more slowly over this time is closed."""
_LOG_SECONDS = 60.0


class Connection(Protocol):
    """The interface of a connection."""

    transport: asyncio.Transport

    @property
    def is_idle(self) -> bool:
        """Whether it has no active request, and the client has read the last response."""

    @property
    def is_sending(self) -> bool:
        """Whether its request is incomplete and its response has not started."""

    def abort(self) -> None:
        """Closes it at once."""


class Connections:
    """The open connections of one process.

    Args:
        most: the largest number of connections; fewer if the system allows fewer open files.
        most_each: the largest number per address; at most half of `most`, so that two addresses
            can connect, but at least one.
    """

    def __init__(self, most: int = CONNECTIONS, most_each: int = CONNECTIONS_PER_ADDRESS) -> None:
        self._most = max(1, min(most, _free_files()))
        self._most_each = max(1, min(most_each, self._most // 2))
        self._open: dict[Connection, str] = {}
        self._of_address: dict[str, dict[Connection, None]] = {}  # least recently used first
        self._unread: dict[Connection, int] = {}
        self._logged: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: Connection, address: str) -> bool:
        """Adds a new connection. False if there is no room, and the caller must close it.

        Args:
            connection: the new connection.
            address: its client address.
        """
        size = self._size(address)
        if size >= self._most_each:
            self._log(
                "address",
                f"{address} has {size:,} connections open, {self._most_each:,} are allowed "
                "([server] connections_per_address, at most half of connections)",
            )
            if not self._close_one([address], [address]):
                return False
        elif len(self._open) >= self._most:
            self._log(
                "all",
                f"{len(self._open):,} connections are open, {self._most:,} are allowed "
                "([server] connections, and the limit of open files)",
            )
            addresses = sorted(self._of_address, key=self._size, reverse=True)
            larger = [each for each in addresses if self._size(each) > size]
            if not self._close_one(addresses, larger):
                return False
        self._open[connection] = address
        self._of_address.setdefault(address, {})[connection] = None
        return True

    def used(self, connection: Connection) -> None:
        """Marks a connection as most recently used, when a request arrives."""
        address = self._open.get(connection)
        if address is not None:
            del self._of_address[address][connection]
            self._of_address[address][connection] = None

    def closed(self, connection: Connection) -> None:
        """Removes a closed connection."""
        self._unread.pop(connection, None)
        address = self._open.pop(connection, None)
        if address is not None:
            del self._of_address[address][connection]
            if not self._of_address[address]:
                del self._of_address[address]

    def unread(self, connection: Connection) -> None:
        """Marks a connection with an unread response. With too many bytes, closes the largest."""
        self._unread[connection] = _unsent(connection)
        if sum(self._unread.values()) > MOST_UNSENT:
            largest = max(self._unread, key=lambda each: self._unread[each])
            self._log("unsent", "clients do not read their responses: the largest is dropped")
            self._abort(largest)

    def read(self, connection: Connection) -> None:
        """Marks a response as read."""
        self._unread.pop(connection, None)

    def is_reading(self, connection: Connection) -> bool:
        """Whether a client has read enough since the last check."""
        before, now = self._unread.get(connection, 0), _unsent(connection)
        self._unread[connection] = now
        return before - now >= SLOWEST_READING * LOOK_SECONDS

    def gave_up(self, connection: Connection) -> None:
        """Closes a connection whose client does not read."""
        address = self._open.get(connection, "")
        self._log("reading", f"{address} does not read its responses: a connection is closed")
        self._abort(connection)

    def _size(self, address: str) -> int:
        return len(self._of_address.get(address, ()))

    def _close_one(self, idle: Iterable[str], sending: Iterable[str]) -> bool:
        """Closes a connection to make room. False if none can be closed.

        Args:
            idle: the addresses whose idle connections can be closed, in this order.
            sending: the addresses whose connections can then be closed during a request.
        """
        for address in idle:
            for connection in self._of_address[address]:
                if connection.is_idle:
                    self._abort(connection)
                    return True
        for address in sending:
            for connection in self._of_address[address]:
                if connection.is_sending:
                    self._abort(connection)
                    return True
        return False

    def _abort(self, connection: Connection) -> None:
        connection.abort()
        self.closed(connection)

    def _log(self, topic: str, message: str) -> None:
        """Logs a message, at most once a minute per topic."""
        if monotonic() - self._logged.get(topic, float("-inf")) >= _LOG_SECONDS:
            self._logged[topic] = monotonic()
            _LOG.warning("%s", message)


def _unsent(connection: Connection) -> int:
    return int(connection.transport.get_write_buffer_size())


def _free_files() -> int:
    """The number of connections that the limit of open files allows."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return CONNECTIONS * 100
    try:
        used = len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        used = RESERVED_FILES
    return max(allowed - used - RESERVED_FILES, allowed // 4)
