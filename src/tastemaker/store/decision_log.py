"""The decisions of a store: written together, read by id, removed when too old or too many."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy import Connection, Select, bindparam, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from tastemaker.errors import BusyError, StoreError
from tastemaker.store.decision import Decision
from tastemaker.store.tables import ROW_BYTES, decisions, feature_names, totals
from tastemaker.store.writer import Writer

PRUNED_AT_ONCE = 200
"""Decisions that one transaction removes: a few milliseconds, so that events hardly wait."""
_NAME = "decisions"

_ADD_NAMES = insert(feature_names).on_conflict_do_nothing()
_ADD_DECISION = insert(decisions).on_conflict_do_nothing()
_DROP = delete(decisions).where(decisions.c.recommendation_id == bindparam("of_id"))
_added = insert(totals).values(name=_NAME)
_COUNT = _added.on_conflict_do_update(
    index_elements=["name"],
    set_={
        "rows": totals.c.rows + _added.excluded.rows,
        "bytes": totals.c.bytes + _added.excluded.bytes,
    },
)


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

    def add(self, decision: Decision, most_bytes: int | None = None) -> "Future[None]":
        """Keeps a decision; it can be read at once, and is on disk when the future is done.

        Nobody waits for it: it is written within a tenth of a second, together with others.

        Args:
            decision: what was answered.
            most_bytes: what it may take up, see `Decision.encoded_within`; None, whatever it needs.

        Raises:
            BusyError: too much is waiting for the disk.
            StoreError: the store is closed.
        """
        self._unwritten[decision.recommendation_id] = decision
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
                connection.execute(_COUNT, {"rows": 1, "bytes": len(content) + ROW_BYTES})

        def written(done: "Future[None]") -> None:
            self._unwritten.pop(decision.recommendation_id, None)
            if done.exception() is None:
                self._named.add(digest)

        try:
            done = self._writer.submit(work, patient=True)
        except (StoreError, BusyError):
            del self._unwritten[decision.recommendation_id]
            raise
        done.add_done_callback(written)
        return done

    def find(self, recommendation_id: str) -> Decision | None:
        """A decision by its id; None if there is none."""
        waiting = self._unwritten.get(recommendation_id)
        if waiting is not None:
            return waiting
        of_id = decisions.c.recommendation_id == recommendation_id
        return next(self._found(select(decisions.c.content).where(of_id)), None)

    def latest(self, most: int) -> list[Decision]:
        """The latest decisions, the latest first."""
        asked = select(decisions.c.content).order_by(decisions.c.time.desc()).limit(most)
        return list(self._found(asked))

    def totals(self) -> DecisionTotals:
        """How many there are, and what they take up."""
        with self._read() as connection:
            rows, size = _totals(connection)
            oldest = connection.execute(select(func.min(decisions.c.time))).scalar()
        return DecisionTotals(rows, size, oldest)

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
            lambda connection: prune(connection, before, most_bytes, at_once), patient=True
        )

    def is_prunable(self, before: int, most_bytes: int) -> bool:
        """Whether `prune` would remove anything."""
        found = self.totals()
        too_old = found.oldest is not None and found.oldest < before
        return too_old or (found.rows > 0 and found.bytes > most_bytes)

    def _found(self, asked: Select[tuple[bytes]]) -> Iterator[Decision]:
        with self._read() as connection:
            contents = [row.content for row in connection.execute(asked)]
            named = connection.execute(select(feature_names)).all()
        known = {digest: tuple(json.loads(names)) for digest, names in named}
        return (Decision.decoded(content, known) for content in contents)


def prune(connection: Connection, before: int, most_bytes: int, at_once: int) -> int:
    """Removes old decisions inside a transaction; see `DecisionLog.prune`."""
    _, size = _totals(connection)
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
        connection.execute(_COUNT, {"rows": -len(ids), "bytes": -freed})


def _totals(connection: Connection) -> tuple[int, int]:
    asked = select(totals.c.rows, totals.c.bytes).where(totals.c.name == _NAME)
    rows, size = connection.execute(asked).first() or (0, 0)
    return rows, size
