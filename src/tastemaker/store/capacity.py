"""How much a store may take up, and how much disk is left: what is still taken in, and what not.

Answers never fill the disk on which events then fail: decisions are no longer logged when less than
a reserve is free. Events never fill the disk on which training and removing then fail: they are
refused when less than a quarter of it is free; see `limits.py`.
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
    """What a store may still take in. Used by any number of threads.

    Args:
        store: the store.
        settings: `[store]`.

    Attributes:
        limits: checked where events and items are added.
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
        """Why decisions are not logged now; None where they are."""
        return self._problem

    @property
    def warning(self) -> str | None:
        """What is not kept now, and why; None where everything is."""
        return self.limits.refusing or self._problem

    def look(self) -> None:
        """Looks at the store's size and its disk. What it finds is logged once."""
        try:
            self._size = self._store.size().used
        except StoreError:  # the next read reports it
            return
        self.look_at_disk()

    def look_at_disk(self) -> None:
        """Whether decisions may be logged, and events taken in; a server calls it each second."""
        problem = self._disk_problem()
        if problem is None and self._size > self._settings.max_size:
            problem = (
                f"decisions are not logged: the store takes up {size_text(self._size)}, [store] "
                f"max_size is {size_text(self._settings.max_size)}"
            )
        report(_LOG, self._problem, problem, "decisions are logged again")
        self._problem = problem
        self.limits.look_at_disk()

    def prune(self) -> int:
        """Removes a few decisions that are too old or too many; how many, 0 when it is done.

        Raises:
            BusyError: too much is waiting for the disk.
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
            f"{self._store.path.name}, {size_text(reserve)} are kept for events ([store] reserve): "
            "make room, or lower [store] max_decisions and run `tastemaker store compact`"
        )
