"""Retrieval from every source of a placement; a source that fails or is too slow is skipped."""

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
from tastemaker.pipeline.latency import Call, Deadline, LatencyTracker, TooManyLateCalls
from tastemaker.pipeline.trace import Trace

POPULARITY_FALLBACK = "popularity_fallback"
"""The source name of items that no retriever found. No retriever may have this name."""


def retrieve_all(
    retrievers: Mapping[str, Retriever],
    requests: Requests,
    n: int,
    inventory: Inventory,
    *,
    deadline: Deadline,
    latency: LatencyTracker,
    trace: Trace,
) -> dict[str, Candidates]:
    """The candidates of each source; none from a source that failed, was too slow or had no time.

    Remote sources are called first and awaited last, so that they run in parallel with local ones.

    Raises:
        NotFittedError: a retriever was not fitted.
    """
    found = dict.fromkeys(retrievers, Candidates.none(len(requests)))
    calls: dict[str, Call[Candidates]] = {}
    for name, source in retrievers.items():
        if source.capabilities.remote:
            try:
                calls[name] = latency.call(name, partial(source.retrieve, requests, n, inventory))
            except TooManyLateCalls as problem:
                trace.degrade(f"retrieve:{name}", str(problem))
    for name, source in retrievers.items():
        stage, milliseconds = f"retrieve:{name}", 0.0
        if source.capabilities.remote:
            continue
        give_way()
        expected, left = latency.estimate(stage, len(requests)), deadline.left
        if expected > left:
            latency.record_skip(stage)
            trace.degrade(stage, f"estimated {expected:.1f} ms, {max(left, 0):.1f} ms left")
            continue
        try:
            result, milliseconds = trace.timed(partial(source.retrieve, requests, n, inventory))
            latency.record(stage, len(requests), milliseconds)
            found[name] = _checked(result, len(requests))
        except NotFittedError:
            raise
        except Exception as problem:
            trace.fail(stage, problem)
        trace.add(stage, None, found[name], milliseconds)
    for name, call in calls.items():
        stage, milliseconds = f"retrieve:{name}", 0.0
        try:
            result_and_time = call.result(deadline)
            if result_and_time is None:
                trace.degrade(stage, "did not answer in time")
            else:
                found[name] = _checked(result_and_time[0], len(requests))
                milliseconds = result_and_time[1]
        except NotFittedError:
            raise
        except Exception as problem:
            trace.fail(stage, problem)
        trace.add(stage, None, found[name], milliseconds)
    return found


def _checked(found: Candidates, requests: int) -> Candidates:
    """The candidates that a source returned; the filter removes unknown items later.

    Raises:
        ValueError: the number of lists is not the number of requests, the offsets do not fit the
            items, or a list contains an item twice.
    """
    if len(found) != requests:
        raise ValueError(f"returned {len(found)} lists for {requests} requests")
    first, last, total = found.offsets[0], found.offsets[-1], len(found.item)
    if first != 0 or last != total or len(found.score) != total or (found.counts < 0).any():
        raise ValueError(f"returned offsets that do not fit its {total} items")
    if _has_duplicates(found.offsets, found.item):
        raise ValueError("returned an item twice in one list")
    return found


@kernel
def _has_duplicates(offsets, items):  # type: ignore[no-untyped-def]
    """Whether any row contains an item twice."""
    held, requests = item_table(offsets)
    for row in range(len(offsets) - 1):
        for item in items[offsets[row] : offsets[row + 1]]:
            slot = slot_of(held, requests, row, item)
            if requests[slot] == row:
                return True
            held[slot], requests[slot] = item, row
    return False


def popularity_fallback(requests: Requests, n: int, inventory: Inventory) -> Candidates:
    """The most liked items as of each moment: the fallback if the sources find too few items.

    Cost: one pass over the items per distinct moment, and one binary search per item if there are
    events after that moment.
    """

    def score(chunk: slice) -> NDArray[np.float32]:
        moments, place = np.unique(requests.time[chunk], return_inverse=True)
        counts = [inventory.statistics.of_every_item(moment) for moment in moments.tolist()]
        return np.stack(counts)[place]

    return exact_top_n(score, requests, n, inventory.statistics.n_items)
