"""Limits on the content of a store and its disk space, checked in the transaction that adds rows.

Only new rows count: a full store still accepts duplicates, rejected events and new attributes of
known items.
"""

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, func, select

from tastemaker.errors import StoreFullError
from tastemaker.machine import size_text
from tastemaker.project.sections import StoreSection
from tastemaker.store.compacting import store_size
from tastemaker.store.counters import EVENTS, ITEMS, count_of, item_ids, removed_item_ids
from tastemaker.store.incoming import EventRow
from tastemaker.store.tables import items

_LOG = logging.getLogger(__name__)
_SHARE = 10
"""The reserve is at most 1/10 of the disk, so that a small disk can be used."""
_FLOOR = 4
"""Events leave 1/4 of the reserve free for training and removals."""
_ROW_BYTES = 2_000
"""The maximum size of a row without its texts: indices, and the write-ahead log."""
_COPIES = 3
"""How often a text can be written: the row, an index, the write-ahead log."""


class Limits:
    """The limits of one store.

    Args:
        path: the database file.
        settings: `[store]`.

    Attributes:
        refusing: why events and items are currently refused, or None.
    """

    def __init__(self, path: Path, settings: StoreSection) -> None:
        self._path = path
        self._settings = settings
        self._transaction: object = None
        self._planned = 0  # bytes that this transaction will use
        self._lock = threading.Lock()
        self.refusing: str | None = None

    def require_events(self, connection: Connection, new: Sequence[EventRow]) -> None:
        """Checks that new events are within the limits.

        Args:
            connection: a connection inside the transaction that adds them.
            new: the events that are not stored yet.

        Raises:
            StoreFullError: the events, item ids or bytes exceed the settings, or the disk has too
                little free space.
        """
        most, held = self._settings.max_events, count_of(connection, EVENTS).rows
        if held + len(new) > most:
            raise StoreFullError(
                f"the store holds {held:,} events received over HTTP, {len(new):,} more would "
                f"exceed [store] max_events = {most:,}: remove some with `tastemaker store events "
                "remove`, or raise max_events"
            )
        self._require_ids(connection, {row.item_id for row in new})
        self._require_size(connection)
        self._require_disk(connection, sum(map(_bytes_of, new)))

    def require_item(self, connection: Connection, attributes: str, is_new: bool) -> None:
        """Checks that the description of an item is within the limits.

        Args:
            connection: a connection inside the transaction that puts it.
            attributes: the description.
            is_new: whether the item had no description before.

        Raises:
            StoreFullError: the items or bytes exceed the settings, or the disk has too little free
                space.
        """
        most, held = self._settings.max_items, count_of(connection, ITEMS).rows
        if is_new and held >= most:
            raise StoreFullError(
                f"the store holds {held:,} described items, [store] max_items is {most:,}: remove "
                "some with `tastemaker store items remove`, or raise max_items"
            )
        self._require_size(connection)
        self._require_disk(connection, _ROW_BYTES + _COPIES * len(attributes.encode()))

    def _require_ids(self, connection: Connection, ids: set[str]) -> None:
        most = self._settings.max_items
        held = item_ids(connection) - count_of(connection, ITEMS).rows
        if held + len(ids) <= most:
            return
        held -= removed_item_ids(connection)
        known = select(func.count()).select_from(items).where(items.c.item_id.in_(ids))
        new = len(ids) - connection.execute(known).scalar_one()
        if new and held + new > most:
            raise StoreFullError(
                f"the store holds {held:,} item ids that only occur in events, {new:,} more would "
                f"exceed [store] max_items = {most:,}: remove some with `tastemaker store items "
                "remove --undescribed`, or raise max_items"
            )

    def _require_size(self, connection: Connection) -> None:
        most, used = self._settings.max_size, store_size(connection).used
        if used > most:
            raise StoreFullError(
                f"the store uses {size_text(used)}, [store] max_size is {size_text(most)}: "
                "remove events with `tastemaker store events remove`, lower [store] "
                "max_decisions, or raise max_size"
            )

    def _require_disk(self, connection: Connection, needed: int) -> None:
        if connection.get_transaction() is not self._transaction:
            self._transaction, self._planned = connection.get_transaction(), 0
        problem = self._disk_problem(self._planned + needed)
        if problem is not None:
            self.look_at_disk()
            raise StoreFullError(f"nothing was written: {problem}")
        self._planned += needed

    def look_at_disk(self) -> None:
        """Updates `refusing` and logs when it changes."""
        with self._lock:
            problem = self._disk_problem(0)
            before = self.refusing
            self.refusing = problem and f"events and items are refused: {problem}"
            report(_LOG, before, self.refusing, "events and items are accepted again")

    def _disk_problem(self, needed: int) -> str | None:
        """Why the disk has no space for a number of bytes, or None."""
        free, reserve = free_bytes(self._path, self._settings.reserve)
        floor = reserve // _FLOOR
        if free - needed >= floor:
            return None
        more = f", this write needs up to {size_text(needed)}" if needed else ""
        return (
            f"{size_text(free)} are free on the disk of {self._path.name}{more}, "
            f"{size_text(floor)} are reserved for training and removals (a quarter of [store] "
            "reserve): free disk space, or remove events with `tastemaker store events remove` and "
            "run `tastemaker store compact`"
        )


def _bytes_of(row: EventRow) -> int:
    """The maximum size of an event, with each index entry on a separate page."""
    texts = (row.event_id, row.user_id, row.item_id, row.session, row.recommendation_id)
    length = sum(len(text) for text in texts if text) + len(row.context or "")
    return _ROW_BYTES + _COPIES * length


def free_bytes(path: Path, reserve: int) -> tuple[int, int]:
    """The free bytes on the disk of a file, and the bytes reserved for events."""
    stats = os.statvfs(path.parent)
    whole = stats.f_blocks * stats.f_frsize
    return stats.f_bavail * stats.f_frsize, min(reserve, whole // _SHARE)


def report(log: logging.Logger, before: str | None, now: str | None, over: str) -> None:
    """Logs when a problem begins and when it ends.

    Args:
        log: the logger.
        before: the problem at the last check, or None.
        now: the current problem, or None.
        over: the message for the end of the problem.
    """
    if before is None and now is not None:
        log.error("%s", now)
    elif before is not None and now is None:
        log.warning("%s", over)
