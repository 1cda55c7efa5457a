"""The decisions of a store: written together, read by id, removed when too old or too many."""

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
from tastemaker.store.counters import DECISIONS, add_to_count, counted
from tastemaker.store.decision import Decision
from tastemaker.store.tables import ROW_BYTES, decisions, feature_names
from tastemaker.store.writer import Writer

_LOG = logging.getLogger(__name__)

PRUNED_AT_ONCE = 200
"""Decisions that one transaction removes: a few milliseconds, so that events hardly wait."""
MOST_UNWRITTEN_BYTES = 32 << 20
"""What decisions that wait for the disk may take up in memory; beyond, they are dropped."""
_REPORT_SECONDS = 60.0

_ADD_NAMES = insert(feature_names).on_conflict_do_nothing()
_ADD_DECISION = insert(decisions).on_conflict_do_nothing()
_DROP = delete(decisions).where(decisions.c.recommendation_id == bindparam("of_id"))


@dataclass(frozen=True, slots=True)
class DecisionTotals:
    """How many decisions there are.

    Attributes:
        rows: how many.
        bytes: what they take up, about.
        oldest: when the oldest was made, microseconds; None without any.
    """

    rows: int
    bytes: int
    oldest: int | None


class DecisionLog:
    """The decisions of one store.

    Args:
        writer: what writes to the store.
        read: opens a connection to read with.
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
        self._dropped = 0  # since it was last reported
        self._reported = -inf

    def add(self, decision: Decision, most_bytes: int | None = None) -> "Future[None]":
        """Keeps a decision; it can be read at once, and is on disk when the future is done.

        Nobody waits for it: it is written within a tenth of a second, together with others. What
        cannot wait is dropped, counted, and reported in the log once a minute.

        Args:
            decision: what was answered.
            most_bytes: what it may take up, see `Decision.encoded_within`; None, whatever it needs.

        Raises:
            BusyError: too much is waiting for the disk; the decision is dropped.
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
            self._let_go(decision, size)
            problem = done.exception()
            if problem is None:
                self._named.add(digest)
            else:
                self._drop(str(problem))

        try:
            done = self._writer.submit(work, defer=True)
        except BusyError as problem:
            self._let_go(decision, size)
            self._drop(str(problem))
            raise
        except StoreError:
            self._let_go(decision, size)
            raise
        done.add_done_callback(written)
        return done

    def _hold(self, decision: Decision, size: int) -> None:
        with self._lock:
            if not self._unwritten or self._bytes + size <= MOST_UNWRITTEN_BYTES:
                self._unwritten[decision.recommendation_id] = decision
                self._bytes += size
                return
            reason = f"{self._bytes / 1e6:,.0f} MB of decisions are waiting for the disk already"
        self._drop(reason)
        raise BusyError(f"{reason}: the decision is not logged")

    def _let_go(self, decision: Decision, size: int) -> None:
        with self._lock:
            self._unwritten.pop(decision.recommendation_id, None)
            self._bytes -= size

    def _drop(self, reason: str) -> None:
        """Counts a decision that is not logged, and reports the count at most once a minute."""
        with self._lock:
            self._dropped += 1
            if monotonic() - self._reported < _REPORT_SECONDS:
                return
            dropped, self._dropped, self._reported = self._dropped, 0, monotonic()
        _LOG.error("decisions that were dropped since the last report: %d (%s)", dropped, reason)

    def find(self, recommendation_id: str) -> Decision | None:
        """A decision by its id; None if there is none."""
        waiting = self._unwritten.get(recommendation_id)
        if waiting is not None:
            return waiting
        of_id = decisions.c.recommendation_id == recommendation_id
        found = self._found(select(decisions.c.content).where(of_id))
        return found[0] if found else None

    def latest(self, most: int) -> list[Decision]:
        """The latest decisions, the latest first."""
        asked = select(decisions.c.content).order_by(decisions.c.time.desc()).limit(most)
        return self._found(asked)

    def totals(self) -> DecisionTotals:
        """How many there are, and what they take up."""
        with self._read() as connection:
            held = counted(connection, DECISIONS)
            oldest = connection.execute(select(func.min(decisions.c.time))).scalar()
        return DecisionTotals(held.rows, held.bytes, oldest)

    def prune(self, before: int, most_bytes: int, at_once: int = PRUNED_AT_ONCE) -> "Future[int]":
        """Removes some of the oldest decisions that are too old, or too many; how many, when done.

        Call it again until that is 0. Each call is one small transaction, so that whatever else is
        to be written waits for milliseconds only.

        Args:
            before: those made before this moment are too old, microseconds.
            most_bytes: what all together may take up.
            at_once: how many to remove at most.
        """
        return self._writer.submit(
            lambda connection: prune(connection, before, most_bytes, at_once), defer=True
        )

    def is_prunable(self, before: int, most_bytes: int) -> bool:
        """Whether `prune` would remove anything."""
        found = self.totals()
        too_old = found.oldest is not None and found.oldest < before
        return too_old or (found.rows > 0 and found.bytes > most_bytes)

    def _found(self, asked: Select[tuple[bytes]]) -> list[Decision]:
        with self._read() as connection:
            names = _FeatureNames(connection)
            rows = connection.execute(asked).all()
            return [Decision.decoded(row.content, names) for row in rows]


class _FeatureNames(dict[str, tuple[str, ...]]):
    """Digest → names of features, each read when it is first needed."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def __missing__(self, digest: str) -> tuple[str, ...]:
        asked = select(feature_names.c.names).where(feature_names.c.digest == digest)
        names = self._connection.execute(asked).scalar()
        if names is None:
            raise KeyError(digest)
        found = self[digest] = tuple(json.loads(names))
        return found


def prune(connection: Connection, before: int, most_bytes: int, at_once: int) -> int:
    """Removes old decisions inside a transaction; see `DecisionLog.prune`."""
    size = counted(connection, DECISIONS).bytes
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
    forget(connection, ids, freed)
    return len(ids)


def forget(connection: Connection, ids: list[str], freed: int) -> None:
    """Removes decisions by their ids, inside a transaction; `freed`: what they took up."""
    if ids:
        connection.execute(_DROP, [{"of_id": id_} for id_ in ids])
        add_to_count(connection, DECISIONS, -len(ids), -freed)
