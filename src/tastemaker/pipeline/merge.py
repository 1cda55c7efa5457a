"""Many sources into one list: quotas, each item once, order by reciprocal rank fusion."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import ranges, sorted_distinct

RANK_OFFSET = 20
"""The constant k of Cormack, Clarke & Büttcher 2009, who took 60 for lists of a thousand."""
_DEEPEST = np.iinfo(np.int16).max
"""Ranks are int16: no source gives more."""


def merge(found: Mapping[str, Candidates], quotas: Mapping[str, int], n: int = 0) -> Candidates:
    """Merges what several sources found for the same n requests.

    Each source gives its best up to its quota; what a source cannot fill is passed on to the
    others, in their order. Where that leaves a request fewer than `n` distinct items, all its
    quotas are doubled until it has them or the sources are exhausted. An item found by several
    sources stands once, with the rank and score it had in each, also beyond a source's quota. The
    fused score is Σ wₛ / (k + rankₛ), k = `RANK_OFFSET`, over the sources that found it (Cormack,
    Clarke & Büttcher 2009), wₛ the source's quota over the largest quota; scores of different
    scales are never added.

    Args:
        found: source → its candidates, best first.
        quotas: source → how many it may give; its trust in the fusion is in proportion.
        n: how many distinct items every request should have, if the sources found as many.

    Returns:
        Candidates by fused score; among equals the lower item index first.
    """
    counts = np.minimum([candidates.counts for candidates in found.values()], _DEEPEST)
    quota = np.array([quotas[name] for name in found])
    shares = np.repeat(quota[:, None], counts.shape[1], axis=1)
    while True:
        takes = _takes(counts, shares)
        merged = _fused(found, takes, quota / quota.max())
        short = (merged.counts < n) & (takes < counts).any(axis=0)
        if not short.any():
            return merged
        shares[:, short] *= 2


def _fused(
    found: Mapping[str, Candidates], takes: NDArray[np.int64], trust: NDArray[np.float64]
) -> Candidates:
    """The first `takes` [sources × n] of each source, each item once, by fused score."""
    names = tuple(found)
    span = np.int64(max(int(c.item.max(initial=0)) for c in found.values())) + 1
    keys = [c.rows * span + c.item for c in found.values()]
    taken = [key[ranges(c.offsets[:-1], take)] for key, c, take in zip(keys, found.values(), takes)]
    pairs = sorted_distinct(np.concatenate(taken))
    source_rank = np.full((len(pairs), len(names)), -1, np.int16)
    source_score = np.full((len(pairs), len(names)), np.nan, np.float32)
    for source, (key, candidates) in enumerate(zip(keys, found.values())):
        place = np.minimum(np.searchsorted(pairs, key), max(len(pairs) - 1, 0))
        kept = np.flatnonzero(pairs[place] == key) if len(pairs) else place
        source_rank[place[kept], source] = np.minimum(candidates.ranks[kept], _DEEPEST)
        source_score[place[kept], source] = candidates.score[kept]
    parts = np.where(source_rank >= 0, trust / (RANK_OFFSET + 1 + source_rank), 0)
    fused = parts.sum(axis=1).astype(np.float32)  # what differs by rounding alone is a tie
    pair_row, pair_item = pairs // span, (pairs % span).astype(np.int32)
    order = np.lexsort((pair_item, -fused, pair_row))
    return Candidates(
        np.searchsorted(pair_row, np.arange(takes.shape[1] + 1)).astype(np.int64),
        pair_item[order],
        fused[order],
        names,
        source_rank[order],
        source_score[order],
    )


def _takes(counts: NDArray[np.int64], shares: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many each source gives to each request, int64[sources × n]; unused ones are passed on."""
    takes = np.minimum(counts, shares)
    spare = shares.sum(axis=0) - takes.sum(axis=0)
    for source in range(len(counts)):
        more = np.minimum(counts[source] - takes[source], spare)
        takes[source] += more
        spare -= more
    return takes
