"""Random ids for events without an id."""

import os
import threading

_BYTES = 16
_AT_ONCE = 1_024


class NewIds:
    """Generates random ids of 32 hexadecimal digits. Thread-safe.

    The random bytes of many ids are read at once. Each read releases the interpreter lock, and with
    one read per id a batch of 10,000 events took a second beside busy threads.
    """

    def __init__(self) -> None:
        self._left: list[str] = []
        self._process = os.getpid()
        self._changing = threading.Lock()

    def __call__(self) -> str:
        """A new unique id."""
        with self._changing:
            if not self._left or self._process != os.getpid():  # a fork has the same unused ids
                random = os.urandom(_BYTES * _AT_ONCE).hex()
                size = 2 * _BYTES
                self._left = [random[at : at + size] for at in range(0, len(random), size)]
                self._process = os.getpid()
            return self._left.pop()
