"""Keeps the store of a server within its limits: old decisions go, a few at a time."""

import logging
import threading
from time import monotonic

from tastemaker.errors import TastemakerError
from tastemaker.store.capacity import Capacity

_LOG = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
_COUNT_SECONDS = 60.0
_BUSY_SHARE = 0.2
"""Removing takes at most this share of the time, however much there is to remove."""


class Housekeeping:
    """A thread that removes old decisions and looks at the disk.

    Args:
        capacity: what the store may hold.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._problem = ""

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the step under way."""
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
                    _LOG.error("old decisions are not removed: %s", problem)
                self._problem = str(problem)
            took = monotonic() - begun
            pause = took / _BUSY_SHARE if removed else PAUSE_SECONDS
