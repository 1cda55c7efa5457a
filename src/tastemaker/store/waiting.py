"""What waits to be written: each client has its own queue, and they take turns by rows written.

The client that has had the fewest rows written is next (start-time fair queueing: Goyal, Vin and
Cheng, 1996). Transactions are small, so that a single event waits for the one under way and no
other, whatever somebody else sends.
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
"""Rows of one transaction: about 20 ms, as others wait. Batches are cut into pieces of so many;
each piece counts as one row at least."""
MOST_WAITING = 50_000
"""Rows that may wait, shared equally by the clients that wait: about five seconds' worth."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of work.

    Attributes:
        work: writes by the connection it is given.
        done: its result.
        rows: about how many it writes.
    """

    work: Work
    done: "Future[Any]"
    rows: int


@dataclass(eq=False, slots=True)
class _Queue:
    """What one client has waiting.

    Attributes:
        turn: the clock when its next piece is due; the least is next.
        pieces: in the order they came.
        rows: of all of them.
    """

    turn: int
    pieces: deque[Piece] = field(default_factory=deque)
    rows: int = 0


class Waiting:
    """The queues of all clients. The caller holds a lock."""

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
            BusyError: the client has its share of the rows that may wait already.
        """
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = _Queue(self._clock)
        elif queue.rows >= MOST_WAITING // len(self._queues):
            raise BusyError(
                f"{queue.rows:,} rows are waiting for the disk already: try again shortly"
            )
        is_first = not queue.pieces
        queue.pieces.extend(pieces)
        queue.rows += sum(piece.rows for piece in pieces)
        if is_first:
            self._enter(caller, queue)

    def take(self) -> list[Piece]:
        """As much as one transaction shall write."""
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
