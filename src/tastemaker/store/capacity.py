"""Limits on the size of the store and the use of its disk.

Decisions must not use the disk space that events need: they are no longer logged when less than the
reserve is free. Events must not use the disk space that training and removals need: they are
refused when less than a quarter of the reserve is free; see `limits.py`.
"""

import logging

from tastemaker.data import times
from tastemaker.data.times import parse_duration
from tastemaker.errors import StoreError
from tastemaker.machine import size_text
from tastemaker.project.sections import StoreSection
from tastemaker.store.limits import Limits, free_bytes, report
from tastemaker.store.store import Store

_LOG = logging.getLogger(__name__)


class Capacity:
    """Decides what a store still accepts. Thread-safe.

    Args:
        store: the store.
        settings: `[store]`.

    Attributes:
        limits: the limits for added events and items.
    """

    def __init__(self, store: Store, settings: StoreSection) -> None:
        self._store = store
        self._settings = settings
        self._keep = parse_duration(settings.keep_decisions, "keep_decisions")
        self.limits = Limits(store.path, settings)
        self._size = 0
        self._problem: str | None = None  # why decisions are not logged
        self.look()

    @property
    def problem(self) -> str | None:
        """Why decisions are currently not logged, or None."""
        return self._problem

    @property
    def warning(self) -> str | None:
        """What is currently not stored and why, or None."""
        return self.limits.refusing or self._problem

    def look(self) -> None:
        """Checks the size of the store and its disk. Each change is logged once."""
        try:
            self._size = self._store.size().used
        except StoreError:  # the next read reports it
            return
        self.look_at_disk()

    def look_at_disk(self) -> None:
        """Checks whether the disk has space for decisions and events.

        A server calls it every second.
        """
        problem = self._disk_problem()
        if problem is None and self._size > self._settings.max_size:
            problem = (
                f"decisions are not logged: the store uses {size_text(self._size)}, [store] "
                f"max_size is {size_text(self._settings.max_size)}"
            )
        report(_LOG, self._problem, problem, "decisions are logged again")
        self._problem = problem
        self.limits.look_at_disk()

    def prune(self) -> int:
        """Removes a small batch of decisions that are too old or exceed `[store] max_decisions`.

        Returns:
            The number of removed decisions; 0 when none is left to remove.

        Raises:
            BusyError: too many rows are in the write queue.
            StoreError: the store cannot be written.
        """
        log, most = self._store.decision_log, self._settings.max_decisions
        before = times.now() - self._keep
        return log.prune(before, most).result() if log.is_prunable(before, most) else 0

    def _disk_problem(self) -> str | None:
        free, reserve = free_bytes(self._store.path, self._settings.reserve)
        if free >= reserve:
            return None
        return (
            f"decisions are not logged: {size_text(free)} are free on the disk of "
            f"{self._store.path.name}, {size_text(reserve)} are reserved for events ([store] "
            "reserve): free disk space, or lower [store] max_decisions and run `tastemaker store "
            "compact`"
        )
