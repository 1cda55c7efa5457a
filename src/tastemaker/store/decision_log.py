"""The decision log of a store: grouped writes, reads by id, and removal of old decisions."""

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import inf
from time import monotonic

from sqlalchemy import Connection, Select, bindparam, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from tastemaker.errors import BusyError, StoreError
from tastemaker.store.counters import DECISIONS, add_to_count, count_of
from tastemaker.store.decision import Decision
from tastemaker.store.tables import ROW_BYTES, decisions, feature_names
from tastemaker.store.writer import Writer

_LOG = logging.getLogger(__name__)

PRUNED_AT_ONCE = 200
"""Decisions that one transaction removes: a few milliseconds, so that events do not wait long."""
MAX_UNWRITTEN_BYTES = 32 << 20
"""The maximum memory of decisions in the write queue; further decisions are dropped."""
_REPORT_SECONDS = 60.0

_ADD_NAMES = insert(feature_names).on_conflict_do_nothing()
_ADD_DECISION = insert(decisions).on_conflict_do_nothing()
_DELETE = delete(decisions).where(decisions.c.recommendation_id == bindparam("id"))


@dataclass(frozen=True, slots=True)
class DecisionTotals:
    """The number of decisions and their size.

    Attributes:
        rows: the number of decisions.
        bytes: their approximate size.
        oldest: the time of the oldest decision, microseconds; None without any.
    """

    rows: int
    bytes: int
    oldest: int | None


class DecisionLog:
    """The decisions of one store.

    Args:
        writer: the writer of the store.
        read: opens a connection for reading.
    """

    def __init__(
        self, writer: Writer, read: Callable[[], AbstractContextManager[Connection]]
    ) -> None:
        self._writer = writer
        self._read = read
        self._unwritten: dict[str, Decision] = {}
        self._named: set[str] = set()
        self._lock = threading.Lock()
        self._bytes = 0  # of the unwritten
        self._dropped = 0  # since the last report
        self._reported = -inf

    def add(self, decision: Decision, most_bytes: int | None = None) -> "Future[None]":
        """Logs a decision. It can be read at once and is on disk when the future is done.

        It is written within a tenth of a second, together with others. If the write queue is full,
        the decision is dropped; dropped decisions are counted and reported once a minute.

        Args:
            decision: the decision.
            most_bytes: its maximum size, see `Decision.encoded_within`; None for no limit.

        Raises:
            BusyError: the write queue is full; the decision is dropped.
            StoreError: the store is closed.
        """
        size = decision.held_bytes
        self._hold(decision, size)
        digest = decision.names_digest

        def work(connection: Connection) -> None:
            if digest not in self._named:
                names = json.dumps(decision.features.names)
                connection.execute(_ADD_NAMES, {"digest": digest, "names": names})
            content = (
                decision.encoded() if most_bytes is None else decision.encoded_within(most_bytes)
            )
            added = connection.execute(
                _ADD_DECISION,
                {
                    "recommendation_id": decision.recommendation_id,
                    "time": decision.time,
                    "user_id": decision.user_id,
                    "placement": decision.placement,
                    "model_version": decision.model_version,
                    "content": content,
                },
            )
            if added.rowcount:
                add_to_count(connection, DECISIONS, 1, len(content) + ROW_BYTES)

        def written(done: "Future[None]") -> None:
            self._release(decision, size)
            error = done.exception()
            if error is None:
                self._named.add(digest)
            else:
                self._drop(str(error))

        try:
            done = self._writer.submit(work, defer=True)
        except BusyError as error:
            self._release(decision, size)
            self._drop(str(error))
            raise
        except StoreError:
            self._release(decision, size)
            raise
        done.add_done_callback(written)
        return done

    def _hold(self, decision: Decision, size: int) -> None:
        with self._lock:
            if not self._unwritten or self._bytes + size <= MAX_UNWRITTEN_BYTES:
                self._unwritten[decision.recommendation_id] = decision
                self._bytes += size
                return
            reason = f"{self._bytes / 1e6:,.0f} MB of decisions are waiting for the disk already"
        self._drop(reason)
        raise BusyError(f"{reason}: the decision is not logged")

    def _release(self, decision: Decision, size: int) -> None:
        with self._lock:
            self._unwritten.pop(decision.recommendation_id, None)
            self._bytes -= size

    def _drop(self, reason: str) -> None:
        """Counts a decision that is not logged. Reports the count at most once a minute."""
        with self._lock:
            self._dropped += 1
            if monotonic() - self._reported < _REPORT_SECONDS:
                return
            dropped, self._dropped, self._reported = self._dropped, 0, monotonic()
        _LOG.error("%d decisions were dropped since the last report (%s)", dropped, reason)

    def find(self, recommendation_id: str) -> Decision | None:
        """The decision with an id, or None."""
        waiting = self._unwritten.get(recommendation_id)
        if waiting is not None:
            return waiting
        has_id = decisions.c.recommendation_id == recommendation_id
        found = self._found(select(decisions.c.content).where(has_id))
        return found[0] if found else None

    def latest(self, most: int) -> list[Decision]:
        """The latest decisions, newest first."""
        query = select(decisions.c.content).order_by(decisions.c.time.desc()).limit(most)
        return self._found(query)

    def totals(self) -> DecisionTotals:
        """The number of decisions and their size."""
        with self._read() as connection:
            count = count_of(connection, DECISIONS)
            oldest = connection.execute(select(func.min(decisions.c.time))).scalar()
        return DecisionTotals(count.rows, count.bytes, oldest)

    def prune(self, before: int, most_bytes: int, at_once: int = PRUNED_AT_ONCE) -> "Future[int]":
        """Removes some of the oldest decisions that are too old or exceed a total size.

        The future returns the number of removed decisions. Repeat the call until it is 0. Each call
        is one small transaction, so that other writes only wait for milliseconds.

        Args:
            before: decisions made before this moment are too old, microseconds.
            most_bytes: the maximum total size.
            at_once: the maximum number of decisions to remove.
        """
        return self._writer.submit(
            lambda connection: prune(connection, before, most_bytes, at_once), defer=True
        )

    def is_prunable(self, before: int, most_bytes: int) -> bool:
        """Whether `prune` would remove anything."""
        found = self.totals()
        too_old = found.oldest is not None and found.oldest < before
        return too_old or (found.rows > 0 and found.bytes > most_bytes)

    def _found(self, query: Select[tuple[bytes]]) -> list[Decision]:
        with self._read() as connection:
            names = _FeatureNames(connection)
            rows = connection.execute(query).all()
            return [Decision.decoded(row.content, names) for row in rows]


class _FeatureNames(dict[str, tuple[str, ...]]):
    """Digest → feature names, read on first use."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def __missing__(self, digest: str) -> tuple[str, ...]:
        query = select(feature_names.c.names).where(feature_names.c.digest == digest)
        names = self._connection.execute(query).scalar()
        if names is None:
            raise KeyError(digest)
        found = self[digest] = tuple(json.loads(names))
        return found


def prune(connection: Connection, before: int, most_bytes: int, at_once: int) -> int:
    """Removes old decisions inside a transaction; see `DecisionLog.prune`."""
    size = count_of(connection, DECISIONS).bytes
    oldest = (
        select(decisions.c.recommendation_id, decisions.c.time, func.length(decisions.c.content))
        .order_by(decisions.c.time)
        .limit(at_once)
    )
    ids, freed = [], 0
    for id_, time, length in connection.execute(oldest):
        if time >= before and size - freed <= most_bytes:
            break
        ids.append(id_)
        freed += length + ROW_BYTES
    delete_decisions(connection, ids, freed)
    return len(ids)


def delete_decisions(connection: Connection, ids: list[str], freed: int) -> None:
    """Deletes decisions inside a transaction.

    Args:
        connection: a connection inside the transaction.
        ids: the ids of the decisions.
        freed: their total size in bytes.
    """
    if ids:
        connection.execute(_DELETE, [{"id": id_} for id_ in ids])
        add_to_count(connection, DECISIONS, -len(ids), -freed)
