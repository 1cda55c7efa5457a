"""Splits a batch of events into parts, so that other writes can run between them.

One transaction of ten thousand events takes most of a second, and a client that sends a single
event has to wait for it.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from tastemaker.store.adding import Added, add_events
from tastemaker.store.incoming import EventRow
from tastemaker.store.limits import Limits
from tastemaker.store.write_queue import ROWS_AT_ONCE
from tastemaker.store.writer import Writer


def add_in_parts(
    writer: Writer,
    rows: Sequence[EventRow],
    *,
    timed: bool,
    limits: Limits | None,
    caller: str | None,
) -> "Future[Added]":
    """Adds events in parts of `ROWS_AT_ONCE`.

    The future is done when all parts are on disk or one part fails. Parts after a failed part are
    not written. The result then counts the parts before it, lists the events from there on, and
    contains the error. If the first part fails, the future raises the error.

    Args:
        writer: the writer that queues the parts.
        rows: the events.
        timed: see `add_events`.
        limits: see `add_events`.
        caller: the client that sent them.

    Raises:
        BusyError: this client has too many rows in the queue; no part is written.
        StoreError: the store is closed.
    """
    starts = range(0, max(len(rows), 1), ROWS_AT_ONCE)
    parts = [rows[start : start + ROWS_AT_ONCE] for start in starts]
    add = partial(add_events, timed=timed, limits=limits)
    works = [(partial(add, rows=part), len(part)) for part in parts]
    futures = writer.submit_all(works, caller=caller)
    return futures[0] if len(parts) == 1 else _joined(futures, [len(part) for part in parts])


def _joined(futures: "Sequence[Future[Added]]", sizes: Sequence[int]) -> "Future[Added]":
    """One future for the whole batch, done when its last part is done."""
    joined: Future[Added] = Future()
    joined.set_running_or_notify_cancel()  # its parts are already queued: it cannot be cancelled
    lock, left = threading.Lock(), len(futures)

    def count(done: "Future[Added]") -> None:
        nonlocal left
        if not done.cancelled() and done.exception() is not None:
            for later in futures[futures.index(done) + 1 :]:
                later.cancel()
        with lock:
            left -= 1
            is_last = left == 0
        if is_last:
            _finish(joined, futures, sizes)

    for future in futures:
        future.add_done_callback(count)
    return joined


def _finish(
    joined: "Future[Added]", futures: "Sequence[Future[Added]]", sizes: Sequence[int]
) -> None:
    new, duplicates, start = 0, 0, 0
    conflicts, unwritten = list[tuple[int, str]](), list[int]()
    problem: BaseException | None = None
    for future, size in zip(futures, sizes):
        failure = None if future.cancelled() else future.exception()
        problem = failure if problem is None else problem
        if failure is not None or future.cancelled():
            unwritten += range(start, start + size)
        else:
            added = future.result()
            new, duplicates = new + added.new, duplicates + added.duplicates
            conflicts += [(start + index, reason) for index, reason in added.conflicts]
        start += size
    if len(unwritten) == start:
        joined.set_exception(problem)
    else:
        joined.set_result(Added(new, duplicates, tuple(conflicts), tuple(unwritten), problem))
