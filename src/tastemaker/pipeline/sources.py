"""Asks every source of a placement; one that fails, or has no time, is left out with the reason."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.component import Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.item_table import item_table, slot_of
from tastemaker.data.requests import Requests
from tastemaker.errors import NotFittedError
from tastemaker.giving_way import give_way
from tastemaker.index import exact_top_n
from tastemaker.inventory import Inventory
from tastemaker.pipeline.latency import Call, Deadline, LatencyTracker, StillWaiting
from tastemaker.pipeline.trace import Trace

POPULARITY_FALLBACK = "popularity_fallback"
"""The source of items that no retriever found; no retriever can have this name."""


def ask(
    retrievers: Mapping[str, Retriever],
    requests: Requests,
    n: int,
    inventory: Inventory,
    *,
    deadline: Deadline,
    watch: LatencyTracker,
    trace: Trace,
) -> dict[str, Candidates]:
    """What each source found; nothing from a source that raised, was too slow or had no time.

    Remote sources are asked first and waited for last, so that they work while local ones do.

    Raises:
        NotFittedError: a retriever was not fitted.
    """
    found = dict.fromkeys(retrievers, Candidates.none(len(requests)))
    calls: dict[str, Call[Candidates]] = {}
    for name, source in retrievers.items():
        if source.capabilities.remote:
            try:
                calls[name] = watch.call(name, partial(source.retrieve, requests, n, inventory))
            except StillWaiting as problem:
                trace.degrade(f"retrieve:{name}", str(problem))
    for name, source in retrievers.items():
        stage, milliseconds = f"retrieve:{name}", 0.0
        if source.capabilities.remote:
            continue
        give_way()
        expected, left = watch.estimate(stage, len(requests)), deadline.left
        if expected > left:
            watch.leave_out(stage)
            trace.degrade(stage, f"estimated {expected:.1f} ms, {max(left, 0):.1f} ms left")
            continue
        try:
            answer, milliseconds = trace.timed(partial(source.retrieve, requests, n, inventory))
            watch.record(stage, len(requests), milliseconds)
            found[name] = _usable(answer, len(requests))
        except NotFittedError:
            raise
        except Exception as problem:
            trace.fail(stage, problem)
        trace.add(stage, None, found[name], milliseconds)
    for name, call in calls.items():
        stage, milliseconds = f"retrieve:{name}", 0.0
        try:
            came = call.result(deadline)
            if came is None:
                trace.degrade(stage, "did not answer in time")
            else:
                found[name] = _usable(came[0], len(requests))
                milliseconds = came[1]
        except NotFittedError:
            raise
        except Exception as problem:
            trace.fail(stage, problem)
        trace.add(stage, None, found[name], milliseconds)
    return found


def _usable(found: Candidates, requests: int) -> Candidates:
    """A source's answer, if it is one; items that are none are left to the filter.

    Raises:
        ValueError: it has not one list for each request, its offsets do not fit its items, or an
            item is twice in a list.
    """
    if len(found) != requests:
        raise ValueError(f"gave {len(found)} lists for {requests} requests")
    first, last, total = found.offsets[0], found.offsets[-1], len(found.item)
    if first != 0 or last != total or len(found.score) != total or (found.counts < 0).any():
        raise ValueError(f"gave offsets that do not fit its {total} items")
    if _has_twice(found.offsets, found.item):
        raise ValueError("gave an item twice in one list")
    return found


@kernel
def _has_twice(offsets, items):  # type: ignore[no-untyped-def]
    """Whether an item is twice in a row."""
    held, requests = item_table(offsets)
    for row in range(len(offsets) - 1):
        for item in items[offsets[row] : offsets[row + 1]]:
            slot = slot_of(held, requests, row, item)
            if requests[slot] == row:
                return True
            held[slot], requests[slot] = item, row
    return False


def popularity_fallback(requests: Requests, n: int, inventory: Inventory) -> Candidates:
    """The fallback where the sources found too little: the items most liked as of each moment.

    Cost: one pass over the items for every distinct moment; a binary search an item where events
    are later than it.
    """

    def score(chunk: slice) -> NDArray[np.float32]:
        moments, place = np.unique(requests.time[chunk], return_inverse=True)
        counts = [inventory.statistics.of_every_item(moment) for moment in moments.tolist()]
        return np.stack(counts)[place]

    return exact_top_n(score, requests, n, inventory.statistics.n_items)
