"""Keeps lists full: more items where the candidates are too few, or where the caps refuse them."""

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
"""A refill adds so many items for each place that is short, and n more."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the rerankers made of a batch of n requests.

    Attributes:
        candidates: the lists; nothing where a reranker that must run failed.
        short: int64[n], places that no candidate could take without breaking a rule.
        suitable: the items that could take them.
        stages: what each reranker did.
        failed: whether a reranker that must run failed, so that nothing may be shown.
    """

    candidates: Candidates
    short: NDArray[np.int64]
    suitable: Masks
    stages: list[Stage]
    failed: bool = False


def filled(
    ranked: Candidates,
    n: int,
    requests: Requests,
    inventory: Inventory,
    rerank: Callable[[Candidates], Listed],
    retrieve: Callable[[Requests], Candidates],
    deadline: Deadline,
    trace: Trace,
) -> Candidates:
    """The lists as the rerankers make them, with min(n, allowed) items each.

    Where fewer than n candidates were found, the most liked of the allowed items follow them, with
    the source `POPULARITY_FALLBACK`. Where the lists are short all the same, because a reranker has
    no candidate that its rules allow, the sources are called once more with only the suitable items
    eligible, and the best of what they find are added: a few for each such place. Then the most
    liked of the suitable items are added, twice as many each time. The rerankers run again each
    time. It ends when no list is short or no suitable item is left.

    Cost: nothing where no list is short. A second retrieval, and at most log₂(items) passes over
    the items and calls of the rerankers, for a batch in which one is.

    Args:
        ranked: n lists, best first.
        n: how many items are requested.
        requests: n requests, with all that is excluded or not eligible.
        inventory: whose items are counted.
        rerank: applies all rerankers to the lists.
        retrieve: what the placement's sources find for some requests.
        deadline: when no further items are looked for.
        trace: gets the stages.
    """
    fill = _Fill(with_source(ranked), requests, inventory)
    _, milliseconds = trace.timed(partial(fill.add_most_liked, n - ranked.counts))
    listed, turn = rerank(fill.pool), 0
    while not listed.failed and (short := _short(listed, n)).any():
        open_items = fill.open_items(listed.suitable, short)
        if not len(open_items.rows):
            break
        if deadline.left <= 0:
            trace.degrade("fill", "no time left to look for more items that the rules allow")
            break
        if turn == 0:
            more = partial(fill.add_found, n + _MORE * short, open_items, retrieve)
        else:
            more = partial(fill.add_most_liked, short << (turn - 1), open_items)
        added, took = trace.timed(more)
        milliseconds, turn = milliseconds + took, turn + 1
        if added:
            listed = rerank(fill.pool)
    if fill.has_added:
        trace.add("fill", ranked.counts, fill.pool, milliseconds, fill.notes())
    trace.stages.extend(listed.stages)
    return listed.candidates


def with_source(ranked: Candidates) -> Candidates:
    """The candidates with `POPULARITY_FALLBACK` as their last source, which has found none of them.

    Every batch has it: the columns of an answer must not depend on what else is in the batch.
    """
    total = len(ranked.item)
    rank, score = np.full((total, 1), -1, np.int16), np.full((total, 1), np.nan, np.float32)
    return replace(
        ranked,
        sources=(*ranked.sources, POPULARITY_FALLBACK),
        source_rank=np.concatenate([ranked.source_rank, rank], axis=1),
        source_score=np.concatenate([ranked.source_score, score], axis=1),
    )


def _short(listed: Listed, n: int) -> NDArray[np.int64]:
    """How many places of each list are empty or break a rule, int64[requests]."""
    empty = n - listed.candidates.counts
    return np.maximum(empty, 0) + listed.short


@dataclass(frozen=True, slots=True)
class _Open:
    """The m requests for which there are suitable items that are not among the candidates.

    Attributes:
        rows: int64[m], which of the batch.
        requests: these, with nothing but the suitable items eligible.
    """

    rows: NDArray[np.int64]
    requests: Requests


class _Fill:
    """The candidates of a batch, as items are added."""

    def __init__(self, pool: Candidates, requests: Requests, inventory: Inventory) -> None:
        self.pool = pool
        self._requests, self._inventory = requests, inventory
        self._from_sources = np.zeros(len(requests), np.int64)
        self._from_most_liked = np.zeros(len(requests), np.int64)

    @property
    def has_added(self) -> bool:
        """Whether any list has got an item."""
        return bool(self._from_sources.any() or self._from_most_liked.any())

    def open_items(self, suitable: Masks, short: NDArray[np.int64]) -> _Open:
        """What could still be added to the lists that are short."""
        rows, n_items = np.flatnonzero(short), len(self._inventory.catalogue)
        selected = self._requests.take(rows)
        masks = selected.eligible.intersect(suitable.take(rows))
        able = np.zeros((len(rows), n_items), np.bool_)
        width = min(n_items, masks.bitmaps.shape[1])
        able[:, :width] = masks.bitmaps[masks.row, :width] if width else False
        able[masks.row < 0] = True
        away = self._away(rows)
        known = (away.values >= 0) & (away.values < n_items)
        able[rows_of(away.offsets)[known], away.values[known]] = False
        some = np.flatnonzero(able.any(axis=1))
        eligible = Masks(able[some], np.arange(len(some), dtype=np.int32))
        return _Open(rows[some], replace(selected.take(some), eligible=eligible))

    def add_found(
        self,
        counts: NDArray[np.int64],
        open_items: _Open,
        retrieve: Callable[[Requests], Candidates],
    ) -> int:
        """Adds at most so many of what the sources find to each list; how many items that were."""
        found = retrieve(open_items.requests)
        found = found.where(found.ranks < np.repeat(counts[open_items.rows], found.counts))
        self._from_sources[open_items.rows] += found.counts
        return self._add(open_items.rows, found)

    def add_most_liked(self, counts: NDArray[np.int64], open_items: _Open | None = None) -> int:
        """Adds at most so many of the most liked items to each list; how many items that were."""
        if open_items is None:
            rows = np.flatnonzero(counts > 0)
            if not len(rows):
                return 0
            selected = replace(self._requests.take(rows), exclude=self._away(rows))
        else:
            rows, selected = open_items.rows, open_items.requests
        wanted = counts[rows]
        found = popularity_fallback(selected, int(wanted.max()), self._inventory)
        found = found.where(found.ranks < np.repeat(wanted, found.counts))
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
        """What was added to each list."""
        pairs = zip(self._from_sources.tolist(), self._from_most_liked.tolist())
        return tuple(
            (
                *((f"{found} more from the sources, for the caps",) if found else ()),
                *((f"{liked} of the most liked items",) if liked else ()),
            )
            for found, liked in pairs
        )

    def _add(self, rows: NDArray[np.int64], found: Candidates) -> int:
        """Puts what was found for some rows at the end of their lists."""
        counts = np.zeros(len(self.pool), np.int64)
        counts[rows] = found.counts
        self.pool = self.pool.followed_by(replace(found, offsets=offsets_of(counts)))
        return len(found.item)

    def _away(self, rows: NDArray[np.int64]) -> Ragged:
        """What some requests exclude, and what is among their candidates already."""
        exclude, pool = self._requests.exclude, self.pool
        return Ragged.of([np.concatenate([exclude[row], pool[row]]) for row in rows.tolist()])
