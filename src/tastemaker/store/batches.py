"""A batch of events as parts that are written one after the other, so that others can come between.

One transaction of ten thousand events takes most of a second, and whoever sends a single event
meanwhile waits for it.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from tastemaker.store.adding import Added, add_events
from tastemaker.store.incoming import EventRow
from tastemaker.store.limits import Limits
from tastemaker.store.waiting import ROWS_AT_ONCE
from tastemaker.store.writer import Writer


def add_in_parts(
    writer: Writer,
    rows: Sequence[EventRow],
    *,
    timed: bool,
    limits: Limits | None,
    caller: str | None,
) -> "Future[Added]":
    """Adds events, `ROWS_AT_ONCE` at a time; done when all of them are on disk, or a part fails.

    The parts after one that fails are not written. The result counts those before it, names the
    events from there on and has the error; where the first part fails, there is only the error.

    Args:
        writer: where they wait for their turn.
        rows: the events.
        timed: see `add_events`.
        limits: see `add_events`.
        caller: the client who sent them.

    Raises:
        BusyError: too much of this client is waiting for the disk; no part will be written.
        StoreError: the store is closed.
    """
    starts = range(0, max(len(rows), 1), ROWS_AT_ONCE)
    parts = [rows[start : start + ROWS_AT_ONCE] for start in starts]
    add = partial(add_events, timed=timed, limits=limits)
    works = [(partial(add, rows=part), len(part)) for part in parts]
    futures = writer.submit_all(works, caller=caller)
    return futures[0] if len(parts) == 1 else _joined(futures, [len(part) for part in parts])


def _joined(futures: "Sequence[Future[Added]]", sizes: Sequence[int]) -> "Future[Added]":
    """The parts' results as that of the batch; done with the last of them."""
    whole: Future[Added] = Future()
    whole.set_running_or_notify_cancel()  # its parts are on their way: it cannot be cancelled
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
            _finish(whole, futures, sizes)

    for future in futures:
        future.add_done_callback(count)
    return whole


def _finish(
    whole: "Future[Added]", futures: "Sequence[Future[Added]]", sizes: Sequence[int]
) -> None:
    new, duplicates, start = 0, 0, 0
    conflicts, unwritten = list[tuple[int, str]](), list[int]()
    problem: BaseException | None = None
    for future, size in zip(futures, sizes):
        failed = None if future.cancelled() else future.exception()
        problem = failed if problem is None else problem
        if failed is not None or future.cancelled():
            unwritten += range(start, start + size)
        else:
            added = future.result()
            new, duplicates = new + added.new, duplicates + added.duplicates
            conflicts += [(start + place, reason) for place, reason in added.conflicts]
        start += size
    if len(unwritten) == start:
        whole.set_exception(problem)
    else:
        whole.set_result(Added(new, duplicates, tuple(conflicts), tuple(unwritten), problem))
