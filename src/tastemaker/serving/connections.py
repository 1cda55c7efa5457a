"""How many connections a server keeps open, in all and of one address, and how long it waits for
clients that do not read.

Where there are too many, one that is idle gives way, or else one whose request is still being sent:
of the address that has the most, the one that has been used longest ago. If every connection is
being answered, the new one is refused.
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
"""Open files that are kept free for the store and for versions that are loaded."""
MOST_UNSENT = 128_000_000
"""Bytes of answers that wait for their clients to read, of all connections together."""
SLOWEST_READING = 10_000
"""Bytes a second that a client must read of its answer."""
LOOK_SECONDS = 10.0
"""A client that read less than that in this time loses its connection."""
_LOG_SECONDS = 60.0


class Connection(Protocol):
    """What is known of a connection here."""

    transport: asyncio.Transport

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is being answered and its last answer has been read."""

    @property
    def is_sending(self) -> bool:
        """Whether the rest of its request has not come yet, and nothing of it is answered."""

    def abort(self) -> None:
        """Closes it at once."""


class Connections:
    """The open connections of one process.

    Args:
        most: how many there may be; fewer where the system allows fewer open files.
        most_each: how many there may be of one address; at most half of all, so that two addresses
            have room, unless there is one connection alone.
    """

    def __init__(self, most: int = CONNECTIONS, most_each: int = CONNECTIONS_PER_ADDRESS) -> None:
        self._most = max(1, min(most, _free_files()))
        self._most_each = max(1, min(most_each, self._most // 2))
        self._open: dict[Connection, str] = {}
        self._of_address: dict[str, dict[Connection, None]] = {}  # the longest unused first
        self._unread: dict[Connection, int] = {}
        self._logged: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: Connection, address: str) -> bool:
        """Takes up a new connection; False where there is no room, and it is to be closed.

        Args:
            connection: the new one.
            address: whose it is.
        """
        size = self._size(address)
        if size >= self._most_each:
            self._tell(
                "address",
                f"{address} has {size:,} connections open, {self._most_each:,} are allowed "
                "([server] connections_per_address, at most half of connections)",
            )
            if not self._end_one([address], [address]):
                return False
        elif len(self._open) >= self._most:
            self._tell(
                "all",
                f"{len(self._open):,} connections are open, {self._most:,} are allowed "
                "([server] connections, and the limit of open files)",
            )
            addresses = sorted(self._of_address, key=self._size, reverse=True)
            larger = [each for each in addresses if self._size(each) > size]
            if not self._end_one(addresses, larger):
                return False
        self._open[connection] = address
        self._of_address.setdefault(address, {})[connection] = None
        return True

    def used(self, connection: Connection) -> None:
        """A request has come; of its address's connections this one gives way last."""
        address = self._open.get(connection)
        if address is not None:
            del self._of_address[address][connection]
            self._of_address[address][connection] = None

    def closed(self, connection: Connection) -> None:
        """A connection is closed."""
        self._unread.pop(connection, None)
        address = self._open.pop(connection, None)
        if address is not None:
            del self._of_address[address][connection]
            if not self._of_address[address]:
                del self._of_address[address]

    def unread(self, connection: Connection) -> None:
        """An answer waits for its client; where too much does, the largest is given up."""
        self._unread[connection] = _unsent(connection)
        if sum(self._unread.values()) > MOST_UNSENT:
            largest = max(self._unread, key=lambda each: self._unread[each])
            self._tell("unsent", "clients do not read their answers: the largest is given up")
            self._abort(largest)

    def read(self, connection: Connection) -> None:
        """The client has read on."""
        self._unread.pop(connection, None)

    def is_reading(self, connection: Connection) -> bool:
        """Whether a client has read enough since it was looked at last."""
        before, now = self._unread.get(connection, 0), _unsent(connection)
        self._unread[connection] = now
        return before - now >= SLOWEST_READING * LOOK_SECONDS

    def gave_up(self, connection: Connection) -> None:
        """Ends a connection whose client does not read."""
        address = self._open.get(connection, "")
        self._tell("reading", f"{address} does not read its answers: a connection is closed")
        self._abort(connection)

    def _size(self, address: str) -> int:
        return len(self._of_address.get(address, ()))

    def _end_one(self, idle: Iterable[str], sending: Iterable[str]) -> bool:
        """Closes a connection to make room; False where none gives way.

        Args:
            idle: the addresses whose idle connections give way, in this order.
            sending: then those whose connections give way although a request is coming.
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

    def _tell(self, about: str, message: str) -> None:
        """Logs, at most once a minute about the same."""
        if monotonic() - self._logged.get(about, float("-inf")) >= _LOG_SECONDS:
            self._logged[about] = monotonic()
            _LOG.warning("%s", message)


def _unsent(connection: Connection) -> int:
    return int(connection.transport.get_write_buffer_size())


def _free_files() -> int:
    """How many connections the limit of open files leaves room for."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return CONNECTIONS * 100
    try:
        taken = len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        taken = RESERVED_FILES
    return max(allowed - taken - RESERVED_FILES, allowed // 4)
