"""Ids for events that come without one."""

import os
import threading

_BYTES = 16
_AT_ONCE = 1_024


class NewIds:
    """Gives random ids of 32 hexadecimal digits, to any number of threads.

    The system is asked for many at once: to ask for each lets other threads take the interpreter
    every time, so that a batch of 10,000 events took a second beside them.
    """

    def __init__(self) -> None:
        self._left: list[str] = []
        self._process = os.getpid()
        self._changing = threading.Lock()

    def __call__(self) -> str:
        """An id that nothing else has."""
        with self._changing:
            if not self._left or self._process != os.getpid():  # a fork has the same ones left
                random = os.urandom(_BYTES * _AT_ONCE).hex()
                size = 2 * _BYTES
                self._left = [random[at : at + size] for at in range(0, len(random), size)]
                self._process = os.getpid()
            return self._left.pop()
