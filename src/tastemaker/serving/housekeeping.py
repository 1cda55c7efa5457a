"""Keeps the store of a server within its limits: removes old decisions, a few at a time."""

import logging
import threading
from time import monotonic

from tastemaker.errors import TastemakerError
from tastemaker.store.capacity import Capacity

_LOG = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
_COUNT_SECONDS = 60.0
_BUSY_SHARE = 0.2
"""The largest share of time spent on removal, however much there is to remove."""


class Housekeeping:
    """A thread that removes old decisions and checks the disk.

    Args:
        capacity: the limits of the store.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._problem = ""

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread after its current step."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        pause, counted = PAUSE_SECONDS, monotonic()
        while not self._stopped.wait(pause):
            begun, removed = monotonic(), 0
            try:
                if begun - counted > _COUNT_SECONDS:
                    self._capacity.look()
                    counted = begun
                self._capacity.look_at_disk()
                removed = self._capacity.prune()
                self._problem = ""
            except (TastemakerError, OSError) as problem:
                if str(problem) != self._problem:
                    _LOG.error("removing old decisions failed: %s", problem)
                self._problem = str(problem)
            took = monotonic() - begun
            pause = took / _BUSY_SHARE if removed else PAUSE_SECONDS
