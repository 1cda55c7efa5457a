"""How much a store may take up, and how much disk is left: what is still taken in, and what not.

Answers never fill the disk on which events then fail: decisions are no longer logged when less than
a reserve is free. Events and items are refused when the store holds what its settings allow.
"""

import logging
import os
import threading
from pathlib import Path

from tastemaker.data import times
from tastemaker.data.times import parse_duration
from tastemaker.errors import StoreError, StoreFullError
from tastemaker.project.sections import StoreSection
from tastemaker.store.store import Store

_LOG = logging.getLogger(__name__)

_SHARE = 10
"""The reserve is at most this part of the disk, so that a small one can be used at all."""


class Room:
    """What a store may still take in. Used by any number of threads.

    Args:
        store: the store.
        settings: `[store]`.
    """

    def __init__(self, store: Store, settings: StoreSection) -> None:
        self._store = store
        self._settings = settings
        self._keep = parse_duration(settings.keep_decisions, "keep_decisions")
        self._lock = threading.Lock()
        self._events = self._items = self._size = 0
        self._problem: str | None = None
        self.look()

    @property
    def problem(self) -> str | None:
        """Why decisions are not logged now; None where they are."""
        return self._problem

    def look(self) -> None:
        """Counts what is there; a server calls it now and then. What it finds is logged once."""
        try:
            events, items = self._store.count_served(0), self._store.item_count()
            size = self._store.size()
        except StoreError:  # whoever reads next reports it
            return
        with self._lock:
            self._events, self._items, self._size = events, items, size.used
        self.look_at_disk()

    def look_at_disk(self) -> None:
        """Whether decisions may be logged."""
        problem = self._disk_problem()
        if problem is None and self._size > self._settings.max_size:
            problem = (
                f"decisions are not logged: the store takes up {_told(self._size)}, [store] "
                f"max_size is {_told(self._settings.max_size)}"
            )
        if (problem is None) != (self._problem is None):
            if problem is None:
                _LOG.warning("decisions are logged again")
            else:
                _LOG.error("%s", problem)
        self._problem = problem

    def require_events(self, count: int) -> None:
        """Refuses events beyond what the store may hold; those that are let in are counted.

        Raises:
            StoreFullError: it would hold more events or bytes than its settings allow.
        """
        with self._lock:
            most = self._settings.max_events
            if self._events + count > most:
                raise StoreFullError(
                    f"the store holds {self._events:,} events, {count:,} more would exceed [store] "
                    f"max_events = {most:,}: remove some with `tastemaker store events remove`, or "
                    "raise it"
                )
            self._require_size()
            self._events += count

    def require_item(self) -> None:
        """Refuses one more item beyond what the store may hold.

        Raises:
            StoreFullError: it would hold more items or bytes than its settings allow.
        """
        with self._lock:
            most = self._settings.max_items
            if self._items >= most:
                raise StoreFullError(
                    f"the store holds {self._items:,} item ids, [store] max_items = {most:,} are "
                    "allowed: remove some with `tastemaker store items remove`, or raise it"
                )
            self._require_size()

    def prune(self) -> int:
        """Removes a few decisions that are too old or too many; how many, 0 when it is done.

        Raises:
            BusyError: too much is waiting for the disk.
            StoreError: the store cannot be written.
        """
        log, most = self._store.decision_log, self._settings.max_decisions
        before = times.now() - self._keep
        return log.prune(before, most).result() if log.is_prunable(before, most) else 0

    def _require_size(self) -> None:
        most = self._settings.max_size
        if self._size > most:
            raise StoreFullError(
                f"the store takes up {_told(self._size)}, [store] max_size is {_told(most)}: "
                "remove events, lower [store] max_decisions, or raise it"
            )

    def _disk_problem(self) -> str | None:
        free, reserve = free_bytes(self._store.path, self._settings.reserve)
        if free >= reserve:
            return None
        return (
            f"decisions are not logged: {_told(free)} are free on the disk of "
            f"{self._store.path.name}, {_told(reserve)} are kept for events ([store] reserve): "
            "make room, or lower [store] max_decisions and run `tastemaker store compact`"
        )


def free_bytes(path: Path, reserve: int) -> tuple[int, int]:
    """What is free on the disk of a file, and how much of it is reserved for events."""
    stats = os.statvfs(path.parent)
    whole = stats.f_blocks * stats.f_frsize
    return stats.f_bavail * stats.f_frsize, min(reserve, whole // _SHARE)


def _told(count: int) -> str:
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB") if count >= 1e6 else (1e3, "kB")
    return f"{count / unit:,.1f} {name}"
