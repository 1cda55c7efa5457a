"""Fills lists that are too short because there are too few candidates or because of caps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged, offsets_of, rows_of
from tastemaker.data.requests import Masks, Requests
from tastemaker.inventory import Inventory
from tastemaker.pipeline.latency import Deadline
from tastemaker.pipeline.sources import POPULARITY_FALLBACK, popularity_fallback
from tastemaker.pipeline.trace import Stage, Trace

_MORE = 4
"""The number of items that a refill adds for each missing place, besides n."""


@dataclass(frozen=True, slots=True)
class RerankedLists:
    """The results of all rerankers for a batch of n requests.

    Attributes:
        candidates: the lists; empty if a reranker that must run failed.
        short: int64[n], places that no candidate could take without breaking a rule.
        suitable: the items that could take those places.
        stages: the stage of each reranker.
        failed: whether a reranker that must run failed, so that nothing may be shown.
    """

    candidates: Candidates
    short: NDArray[np.int64]
    suitable: Masks
    stages: list[Stage]
    failed: bool = False


def fill_lists(
    ranked: Candidates,
    n: int,
    requests: Requests,
    inventory: Inventory,
    rerank: Callable[[Candidates], RerankedLists],
    retrieve: Callable[[Requests], Candidates],
    deadline: Deadline,
    trace: Trace,
) -> Candidates:
    """The reranked lists, with min(n, allowed) items each.

    If there are fewer than n candidates, the most liked allowed items follow them, with the source
    `POPULARITY_FALLBACK`. If a list is still short because the rules of a reranker allow none of
    its candidates, the sources are called once more with only the suitable items eligible, and
    the best new items are added: a few for each missing place. Then the most liked suitable items
    are added, twice as many each time. The rerankers run again each time. Filling ends when no
    list is short or no suitable item is left.

    Cost: nothing if no list is short. Otherwise a second retrieval for the batch, and at most
    log₂(items) passes over the items and calls of the rerankers.

    Args:
        ranked: n lists, best first.
        n: the number of items requested.
        requests: n requests with their excluded and eligible items.
        inventory: item data, whose statistics give the most liked items.
        rerank: applies all rerankers to the lists.
        retrieve: calls the sources of the placement for some requests.
        deadline: when to stop looking for further items.
        trace: receives the stages.
    """
    fill = _Fill(with_source(ranked), requests, inventory)
    _, milliseconds = trace.timed(partial(fill.add_most_liked, n - ranked.counts))
    listed, turn = rerank(fill.pool), 0
    while not listed.failed and (short := _short(listed, n)).any():
        refillable = fill.refillable(listed.suitable, short)
        if not len(refillable.rows):
            break
        if deadline.left <= 0:
            trace.degrade("fill", "no time left to find more items that the rules allow")
            break
        if turn == 0:
            more = partial(fill.add_found, n + _MORE * short, refillable, retrieve)
        else:
            more = partial(fill.add_most_liked, short << (turn - 1), refillable)
        added, took = trace.timed(more)
        milliseconds, turn = milliseconds + took, turn + 1
        if added:
            listed = rerank(fill.pool)
    if fill.has_added:
        trace.add("fill", ranked.counts, fill.pool, milliseconds, fill.notes())
    trace.stages.extend(listed.stages)
    return listed.candidates


def with_source(ranked: Candidates) -> Candidates:
    """The candidates with `POPULARITY_FALLBACK` as an additional source that found none of them.

    Every batch has it, because the columns of an answer must not depend on the rest of the batch.
    """
    total = len(ranked.item)
    rank, score = np.full((total, 1), -1, np.int16), np.full((total, 1), np.nan, np.float32)
    return replace(
        ranked,
        sources=(*ranked.sources, POPULARITY_FALLBACK),
        source_rank=np.concatenate([ranked.source_rank, rank], axis=1),
        source_score=np.concatenate([ranked.source_score, score], axis=1),
    )


def _short(listed: RerankedLists, n: int) -> NDArray[np.int64]:
    """The number of places of each list that are empty or break a rule, int64[requests]."""
    empty = n - listed.candidates.counts
    return np.maximum(empty, 0) + listed.short


@dataclass(frozen=True, slots=True)
class _Refillable:
    """The m requests with suitable items that are not among their candidates.

    Attributes:
        rows: int64[m], their rows in the batch.
        requests: these requests, with only the suitable items eligible.
    """

    rows: NDArray[np.int64]
    requests: Requests


class _Fill:
    """The candidates of a batch, to which items are added."""

    def __init__(self, pool: Candidates, requests: Requests, inventory: Inventory) -> None:
        self.pool = pool
        self._requests, self._inventory = requests, inventory
        self._from_sources = np.zeros(len(requests), np.int64)
        self._from_most_liked = np.zeros(len(requests), np.int64)

    @property
    def has_added(self) -> bool:
        """Whether an item was added to any list."""
        return bool(self._from_sources.any() or self._from_most_liked.any())

    def refillable(self, suitable: Masks, short: NDArray[np.int64]) -> _Refillable:
        """The short lists to which suitable items can still be added."""
        rows, n_items = np.flatnonzero(short), len(self._inventory.catalogue)
        selected = self._requests.take(rows)
        masks = selected.eligible.intersect(suitable.take(rows))
        addable = np.zeros((len(rows), n_items), np.bool_)
        width = min(n_items, masks.bitmaps.shape[1])
        addable[:, :width] = masks.bitmaps[masks.row, :width] if width else False
        addable[masks.row < 0] = True
        excluded = self._excluded(rows)
        known = (excluded.values >= 0) & (excluded.values < n_items)
        addable[rows_of(excluded.offsets)[known], excluded.values[known]] = False
        some = np.flatnonzero(addable.any(axis=1))
        eligible = Masks(addable[some], np.arange(len(some), dtype=np.int32))
        return _Refillable(rows[some], replace(selected.take(some), eligible=eligible))

    def add_found(
        self,
        counts: NDArray[np.int64],
        refillable: _Refillable,
        retrieve: Callable[[Requests], Candidates],
    ) -> int:
        """Adds at most `counts` items of the sources to each list; returns how many were added."""
        found = retrieve(refillable.requests)
        found = found.where(found.ranks < np.repeat(counts[refillable.rows], found.counts))
        self._from_sources[refillable.rows] += found.counts
        return self._add(refillable.rows, found)

    def add_most_liked(
        self, counts: NDArray[np.int64], refillable: _Refillable | None = None
    ) -> int:
        """Adds at most `counts` most liked items to each list; returns how many were added."""
        if refillable is None:
            rows = np.flatnonzero(counts > 0)
            if not len(rows):
                return 0
            selected = replace(self._requests.take(rows), exclude=self._excluded(rows))
        else:
            rows, selected = refillable.rows, refillable.requests
        limit = counts[rows]
        found = popularity_fallback(selected, int(limit.max()), self._inventory)
        found = found.where(found.ranks < np.repeat(limit, found.counts))
        before = np.repeat(self._from_most_liked[rows], found.counts)
        ranks = np.minimum(before + found.ranks, np.iinfo(np.int16).max).astype(np.int16)
        found = replace(
            found,
            sources=(POPULARITY_FALLBACK,),
            source_rank=ranks[:, None],
            source_score=found.score[:, None],
        )
        self._from_most_liked[rows] += found.counts
        return self._add(rows, found)

    def notes(self) -> tuple[tuple[str, ...], ...]:
        """The notes about the items added to each list."""
        pairs = zip(self._from_sources.tolist(), self._from_most_liked.tolist())
        return tuple(
            (
                *((f"{found} more from the sources, for the caps",) if found else ()),
                *((f"{liked} of the most liked items",) if liked else ()),
            )
            for found, liked in pairs
        )

    def _add(self, rows: NDArray[np.int64], found: Candidates) -> int:
        """Appends candidates to the lists of some rows."""
        counts = np.zeros(len(self.pool), np.int64)
        counts[rows] = found.counts
        self.pool = self.pool.followed_by(replace(found, offsets=offsets_of(counts)))
        return len(found.item)

    def _excluded(self, rows: NDArray[np.int64]) -> Ragged:
        """The items that some requests exclude or that are already among their candidates."""
        exclude, pool = self._requests.exclude, self.pool
        return Ragged.of([np.concatenate([exclude[row], pool[row]]) for row in rows.tolist()])
