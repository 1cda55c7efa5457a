"""Merges the lists of several sources by quotas and reciprocal rank fusion, without duplicates."""

from collections.abc import Mapping

import numpy as np

from tastemaker.compilation import kernel
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import offsets_of

RANK_OFFSET = 20
"""The constant k of Cormack, Clarke & Büttcher 2009, who took 60 for lists of a thousand."""
_DEEPEST = np.iinfo(np.int16).max
"""The most candidates of a source, because ranks are int16."""
_LARGEST = np.int64(np.iinfo(np.int32).max)


def merge(
    found: Mapping[str, Candidates],
    quotas: Mapping[str, int],
    n: int = 0,
    *,
    weights: Mapping[str, float] | None = None,
) -> Candidates:
    """Merges the candidates of several sources for the same n requests.

    The merged list holds as many distinct items as all quotas add up to, and at least `n`. The
    best items of each source, up to its quota, are included for certain. Places that are left,
    because sources agree or found too few items, go to the other items by fused score. An item
    found by several sources occurs once, with its rank and score in each. The fused score is
    Σ wₛ (k + 1) / (k + rankₛ), k = `RANK_OFFSET`, over the sources that found it (Cormack, Clarke
    & Büttcher 2009), so that the first item of a source of weight 1 gets 1 from it; scores of
    different scales are never added.

    Args:
        found: source → its candidates, best first.
        quotas: source → how many of its best items are included.
        weights: source → its weight wₛ, above 0; by default its quota over the largest quota.
        n: the number of distinct items per request, if the sources found as many.

    Returns:
        Candidates by fused score; ties by ascending item index.
    """
    names = tuple(found)
    lists = [candidates.head(_DEEPEST) for candidates in found.values()]
    quota = np.array([quotas[name] for name in names])
    weight = quota / quota.max()
    if weights is not None:
        weight = np.array([weights[name] for name in names], np.float64)
    requests, capacity = len(lists[0]), max(n, int(quota.sum()))
    capacity = min(capacity, int(np.sum([c.counts for c in lists], axis=0).max(initial=0)))
    item = np.empty((requests, capacity), np.int32)
    score = np.empty((requests, capacity), np.float32)
    source_rank = np.empty((requests, capacity, len(names)), np.int16)
    source_score = np.empty((requests, capacity, len(names)), np.float32)
    starts = offsets_of([len(candidates.item) for candidates in lists])
    counts = _fuse(
        np.stack([c.offsets + start for c, start in zip(lists, starts)]),
        np.concatenate([candidates.item for candidates in lists]),
        np.concatenate([candidates.score for candidates in lists]),
        *(quota, weight, item, score, source_rank, source_score),
    )
    is_used = np.arange(capacity) < counts[:, None]
    return Candidates(
        offsets_of(counts),
        item[is_used],
        score[is_used],
        names,
        source_rank[is_used],
        source_score[is_used],
    )


@kernel
def _fuse(  # type: ignore[no-untyped-def]
    offsets, found, found_score, quota, weight, item, score, source_rank, source_score
):
    """Fills the row of each request, best first, and returns its number of entries, int64[n].

    `offsets` [sources × n + 1] holds where the list of each source for each request begins in
    `found`. The sort key of an entry is its inverted fused score in the high bits and its item in
    the low bits: scores that differ only in float64 are ties, which go to the lower item.
    """
    sources, requests = offsets.shape[0], offsets.shape[1] - 1
    capacity = item.shape[1]
    counts = np.zeros(requests, np.int64)
    place = np.full(max(found.max() + 1, 0) if len(found) else 0, -1, np.int64)
    deepest = 0
    for row in range(requests):
        deepest = max(deepest, (offsets[:, row + 1] - offsets[:, row]).sum())
    items = np.empty(deepest, np.int32)
    ranks = np.empty((deepest, sources), np.int16)
    scores = np.empty((deepest, sources), np.float32)
    fused = np.empty(deepest)
    certain = np.empty(deepest, np.bool_)
    single = np.empty(deepest, np.float32)
    keys = np.empty(deepest, np.int64)
    for row in range(requests):
        size = 0
        for source in range(sources):
            first = offsets[source, row]
            for entry in range(first, offsets[source, row + 1]):
                if found[entry] < 0:
                    continue
                at = place[found[entry]]
                if at < 0:
                    at = place[found[entry]] = size
                    size += 1
                    items[at] = found[entry]
                    ranks[at] = -1
                    scores[at] = np.nan
                    fused[at] = 0
                    certain[at] = False
                rank = entry - first
                ranks[at, source] = rank
                scores[at, source] = found_score[entry]
                fused[at] += weight[source] * (RANK_OFFSET + 1) / (RANK_OFFSET + 1 + rank)
                certain[at] |= rank < quota[source]
        for at in range(size):
            single[at] = fused[at]
            place[items[at]] = at
        inverted = single[:size].view(np.int32)
        taken, others = 0, size
        for at in range(size):
            key = (np.int64(_LARGEST - inverted[at]) << 32) | items[at]
            if certain[at] or size <= capacity:
                keys[taken] = key
                taken += 1
            else:
                others -= 1
                keys[others] = key
        if others < size:
            keys[others:size].sort()
            more = min(capacity - taken, size - others)
            keys[taken : taken + more] = keys[others : others + more].copy()
            taken += more
        keys[:taken].sort()
        for entry in range(taken):
            at = place[np.int32(keys[entry] & _LARGEST)]
            item[row, entry], score[row, entry] = items[at], single[at]
            source_rank[row, entry] = ranks[at]
            source_score[row, entry] = scores[at]
        for at in range(size):
            place[items[at]] = -1
        counts[row] = taken
    return counts
