"""The write queue: each client has its own queue, and clients take turns by rows written.

The client with the fewest written rows is next (start-time fair queueing: Goyal, Vin and Cheng,
1996). Transactions are small, so that a single event only waits for the current transaction,
regardless of the load from other clients.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from sqlalchemy import Connection

from tastemaker.errors import BusyError

Work = Callable[[Connection], Any]

ROWS_AT_ONCE = 200
"""Rows of one transaction: about 20 ms, because other writes wait for it. Batches are split into
pieces of this size; each piece counts as at least one row."""
MAX_QUEUED_ROWS = 50_000
"""The maximum number of queued rows, divided equally among the waiting clients: about five seconds
of writes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of work.

    Attributes:
        work: writes with the connection it gets.
        future: its result.
        rows: the approximate number of rows it writes.
    """

    work: Work
    future: "Future[Any]"
    rows: int


@dataclass(eq=False, slots=True)
class _Queue:
    """The queue of one client.

    Attributes:
        turn: the virtual time of its next piece; the queue with the smallest value is next.
        pieces: the pieces in order of arrival.
        rows: the total number of rows of the pieces.
    """

    turn: int
    pieces: deque[Piece] = field(default_factory=deque)
    rows: int = 0


class WriteQueue:
    """The queues of all clients. Not thread-safe: callers must hold a lock."""

    def __init__(self) -> None:
        self._queues: dict[str | None, _Queue] = {}
        self._due: list[tuple[int, int, int, str | None]] = []  # turn, rows, number, client
        self._clock = 0
        self._number = 0

    def __bool__(self) -> bool:
        return bool(self._due)

    def add(self, caller: str | None, pieces: Sequence[Piece]) -> None:
        """Adds pieces of work of one client, all or none.

        Args:
            caller: the client; None for work of the store itself.
            pieces: the work, at least one piece.

        Raises:
            BusyError: the client already uses its share of the queue.
        """
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = _Queue(self._clock)
        elif queue.rows >= MAX_QUEUED_ROWS // len(self._queues):
            raise BusyError(
                f"{queue.rows:,} rows are waiting for the disk already: try again shortly"
            )
        is_first = not queue.pieces
        queue.pieces.extend(pieces)
        queue.rows += sum(piece.rows for piece in pieces)
        if is_first:
            self._enter(caller, queue)

    def take(self) -> list[Piece]:
        """Removes and returns the pieces for the next transaction."""
        group: list[Piece] = []
        size = 0
        while self._due:
            turn, rows, _, caller = self._due[0]
            if group and size + rows > ROWS_AT_ONCE:
                break
            heappop(self._due)
            queue = self._queues[caller]
            group.append(queue.pieces.popleft())
            size += max(1, rows)
            self._clock = turn
            queue.turn = turn + rows
            queue.rows -= rows
            if queue.pieces:
                self._enter(caller, queue)
            else:
                del self._queues[caller]
        return group

    def _enter(self, caller: str | None, queue: _Queue) -> None:
        self._number += 1
        heappush(self._due, (queue.turn, queue.pieces[0].rows, self._number, caller))
