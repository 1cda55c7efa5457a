"""Stops a server without resetting a connection.

After the signal, the system accepts no new connections. Pending connections are accepted and
answered, and each response closes its connection. Then the server stops.
"""

import ctypes
import os
import signal
import socket
import stat
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
BACKLOG_SECONDS = 0.4
"""How long pending connections are accepted after the signal, in seconds."""
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_DROP_SYN = (
    (0x30, 0, 0, 13),  # the flags of the TCP header
    (0x54, 0, 0, 0x12),  # SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone: a new connection
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)
"""A packet filter (classic BPF: code, jump if true, jump if false, operand)."""


class Draining:
    """Whether this process is stopping.

    Attributes:
        begun: whether it is stopping; from then on each response closes its connection.
    """

    def __init__(self) -> None:
        self.begun = False
        self._timer: threading.Timer | None = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Delays the handlers of SIGTERM and SIGINT until pending connections are accepted.

        A second SIGINT is handled at once. Outside the main thread it has no effect, because other
        threads receive no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}

        def stop(number: int, frame: FrameType | None) -> None:
            handler = before[signal.Signals(number)]
            if not callable(handler):
                return
            if not self.begun:
                self.begun = True
                refuse_new_connections()
                self._timer = threading.Timer(BACKLOG_SECONDS, handler, (number, None))
                self._timer.daemon = True
                self._timer.start()
            elif number == signal.SIGINT:
                if self._timer is not None:
                    self._timer.cancel()
                handler(number, frame)

        for number in _SIGNALS:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.begun = False


DRAINING = Draining()
"""The state of this process."""


def refuse_new_connections() -> None:
    """Blocks new connections to this process's listeners; pending ones are still accepted.

    A client retries after a second and is then refused instead of reset. Linux only: on other
    systems, a connection that starts just before the listener closes is reset.
    """
    code = b"".join(struct.pack("=HBBI", *step) for step in _DROP_SYN)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(_DROP_SYN), ctypes.addressof(buffer))
    for number in listeners():
        with suppress(OSError), _socket(number) as listener:
            listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)


def allow_new_connections(numbers: Sequence[int]) -> None:
    """Undoes `refuse_new_connections` of another process that shared the listeners and stopped.

    Args:
        numbers: the file descriptors of the listeners.
    """
    for number in numbers:
        with suppress(OSError), _socket(number) as listener:  # there may be no filter
            listener.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def listeners() -> list[int]:
    """The file descriptors of the TCP sockets that this process listens on."""
    found = []
    with suppress(OSError):
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if not stat.S_ISSOCK(entry.stat().st_mode):
                    continue
                with _socket(int(entry.name)) as one:
                    is_tcp = one.family in (socket.AF_INET, socket.AF_INET6)
                    if is_tcp and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        found.append(int(entry.name))
    return found


def _socket(number: int) -> socket.socket:
    """A second descriptor of a socket. The caller must close it."""
    return socket.socket(fileno=os.dup(number))
