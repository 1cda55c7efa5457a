"""What a store may hold, and how much disk it leaves: checked in the transaction that adds.

Only what is new counts: duplicates, rejected events and new attributes of a known item are accepted
by a store that is full.
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
from tastemaker.store.counters import EVENTS, ITEMS, counted, item_ids, removed_item_ids
from tastemaker.store.incoming import EventRow
from tastemaker.store.tables import items

_LOG = logging.getLogger(__name__)
_SHARE = 10
"""The reserve is at most this part of the disk, so that a small one can be used at all."""
_FLOOR = 4
"""This part of the reserve is left by events too, for training and for removing."""
_ROW_BYTES = 2_000
"""What a row may take up beside its texts: indices, and the write-ahead log."""
_COPIES = 3
"""How often a text may be written: the row, an index, the write-ahead log."""


class Limits:
    """What one store may take in.

    Args:
        path: the database file.
        settings: `[store]`.

    Attributes:
        refusing: why events and items are refused now; None where they are not.
    """

    def __init__(self, path: Path, settings: StoreSection) -> None:
        self._path = path
        self._settings = settings
        self._transaction: object = None
        self._promised = 0  # bytes that this transaction will take up
        self._lock = threading.Lock()
        self.refusing: str | None = None

    def require_events(self, connection: Connection, new: Sequence[EventRow]) -> None:
        """Refuses new events beyond what the store may hold.

        Args:
            connection: inside the transaction that will add them.
            new: those that are not stored yet.

        Raises:
            StoreFullError: it would hold more events, item ids or bytes than its settings allow,
                or too little of the disk would be left.
        """
        most, held = self._settings.max_events, counted(connection, EVENTS).rows
        if held + len(new) > most:
            raise StoreFullError(
                f"the store holds {held:,} events taken in over HTTP, {len(new):,} more would "
                f"exceed [store] max_events = {most:,}: remove some with `tastemaker store events "
                "remove`, or raise it"
            )
        self._require_ids(connection, {row.item_id for row in new})
        self._require_size(connection)
        self._require_disk(connection, sum(map(_bytes_of, new)))

    def require_item(self, connection: Connection, attributes: str, is_new: bool) -> None:
        """Refuses the description of an item beyond what the store may hold.

        Args:
            connection: inside the transaction that will put it.
            attributes: the description.
            is_new: whether the item was not described before.

        Raises:
            StoreFullError: it would describe more items or take up more bytes than its settings
                allow, or too little of the disk would be left.
        """
        most, held = self._settings.max_items, counted(connection, ITEMS).rows
        if is_new and held >= most:
            raise StoreFullError(
                f"the store holds {held:,} described items, [store] max_items = {most:,} are "
                "allowed: remove some with `tastemaker store items remove`, or raise it"
            )
        self._require_size(connection)
        self._require_disk(connection, _ROW_BYTES + _COPIES * len(attributes.encode()))

    def _require_ids(self, connection: Connection, ids: set[str]) -> None:
        most = self._settings.max_items
        held = item_ids(connection) - counted(connection, ITEMS).rows
        if held + len(ids) <= most:
            return
        held -= removed_item_ids(connection)
        known = select(func.count()).select_from(items).where(items.c.item_id.in_(ids))
        new = len(ids) - connection.execute(known).scalar_one()
        if new and held + new > most:
            raise StoreFullError(
                f"the store holds {held:,} item ids that only events name, {new:,} more would "
                f"exceed [store] max_items = {most:,}: remove some with `tastemaker store items "
                "remove --undescribed`, or raise it"
            )

    def _require_size(self, connection: Connection) -> None:
        most, used = self._settings.max_size, store_size(connection).used
        if used > most:
            raise StoreFullError(
                f"the store takes up {size_text(used)}, [store] max_size is {size_text(most)}: "
                "remove events with `tastemaker store events remove`, lower [store] "
                "max_decisions, or raise it"
            )

    def _require_disk(self, connection: Connection, needed: int) -> None:
        if connection.get_transaction() is not self._transaction:
            self._transaction, self._promised = connection.get_transaction(), 0
        problem = self._disk_problem(self._promised + needed)
        if problem is not None:
            self.look_at_disk()
            raise StoreFullError(f"nothing was written: {problem}")
        self._promised += needed

    def look_at_disk(self) -> None:
        """Whether events and items are taken in; logged when that changes."""
        with self._lock:
            problem = self._disk_problem(0)
            before = self.refusing
            self.refusing = problem and f"events and items are refused: {problem}"
            report(_LOG, before, self.refusing, "events and items are taken in again")

    def _disk_problem(self, needed: int) -> str | None:
        """Why the disk has no room for so many bytes; None where it has."""
        free, reserve = free_bytes(self._path, self._settings.reserve)
        floor = reserve // _FLOOR
        if free - needed >= floor:
            return None
        more = f", this may take up {size_text(needed)}" if needed else ""
        return (
            f"{size_text(free)} are free on the disk of {self._path.name}{more}, "
            f"{size_text(floor)} are kept for training and removing (a quarter of [store] "
            "reserve): make room, or remove events with `tastemaker store events remove` and run "
            "`tastemaker store compact`"
        )


def _bytes_of(row: EventRow) -> int:
    """What an event may take up, at most: with all its index entries on pages of their own."""
    texts = (row.event_id, row.user_id, row.item_id, row.session, row.recommendation_id)
    length = sum(len(text) for text in texts if text) + len(row.context or "")
    return _ROW_BYTES + _COPIES * length


def free_bytes(path: Path, reserve: int) -> tuple[int, int]:
    """What is free on the disk of a file, and how much of it is reserved for events."""
    stats = os.statvfs(path.parent)
    whole = stats.f_blocks * stats.f_frsize
    return stats.f_bavail * stats.f_frsize, min(reserve, whole // _SHARE)


def report(log: logging.Logger, before: str | None, now: str | None, over: str) -> None:
    """Logs when a problem begins and when it is over."""
    if before is None and now is not None:
        log.error("%s", now)
    elif before is not None and now is None:
        log.warning("%s", over)
