"""Exact top-n in chunks under a byte budget, with exclusion, eligibility and tie-breaking.

A model only provides scores; these functions turn them into `Candidates`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import offsets_of, ranges
from tastemaker.data.requests import Requests
from tastemaker.index.heap import best_of_row

CHUNK_BYTES = 128 << 20

ScoreChunk = Callable[[slice], NDArray[np.float32]]


def exact_top_n(
    score_chunk: ScoreChunk,
    requests: Requests,
    n: int,
    n_items: int,
    *,
    min_score: float = -np.inf,
    chunk_bytes: int = CHUNK_BYTES,
) -> Candidates:
    """The n best eligible items of each request, best first; ties by lower item index.

    Args:
        score_chunk: returns float32[chunk, n_items] for a slice of the requests, higher is better;
            items that must not be returned can score −∞, NaN or at most `min_score`.
        requests: their `exclude` and `eligible` are applied before cutting to n.
        n: the maximum number of items per request.
        n_items: the number of items scored.
        min_score: only items that score higher than this are returned.
        chunk_bytes: the size of a chunk of scores; time grows with n_items per request.

    Returns:
        Candidates; a request with fewer than n eligible items gets fewer.
    """
    total, n = len(requests), max(0, min(n, n_items))
    if n == 0 or total == 0:
        return Candidates.none(total)
    rows = max(1, chunk_bytes // (4 * n_items))
    items = np.empty((total, n), np.int32)
    scores = np.empty((total, n), np.float32)
    found = np.empty(total, np.int64)
    bitmaps, bitmap_row = requests.eligible.bitmaps, requests.eligible.row
    for start in range(0, total, rows):
        chunk = slice(start, min(start + rows, total))
        dense = np.ascontiguousarray(score_chunk(chunk), np.float32)
        if dense.shape != (chunk.stop - start, n_items):
            expected = (chunk.stop - start, n_items)
            raise ValueError(
                f"score_chunk must return scores of shape {expected}, got {dense.shape}"
            )
        if dense.base is not None:  # never write to a view of the model's arrays
            dense = dense.copy()
        _blank_excluded(
            dense, requests.exclude.offsets, requests.exclude.values, bitmaps, bitmap_row, start
        )
        _top_n(dense, np.float32(min_score), items[chunk], scores[chunk], found[chunk])
    return packed(items, scores, found)


def ranked_top_n(
    rankings: Sequence[tuple[NDArray[np.int32], NDArray[np.float32]]],
    which: NDArray[np.integer],
    requests: Requests,
    n: int,
) -> Candidates:
    """The first n eligible items of a precomputed ranking for each request.

    Args:
        rankings: pairs of (items best first, their scores); requests can share a ranking.
        which: int[requests], the ranking of each request.
        requests: their `exclude` and `eligible` are applied before cutting to n.
        n: the maximum number of items per request.
    """
    total, n = len(requests), max(0, n)
    longest = max((len(items) for items, _ in rankings), default=0)
    n = min(n, longest)
    size = 1 + max((int(items.max(initial=-1)) for items, _ in rankings), default=0)
    items = np.empty((total, n), np.int32)
    scores = np.empty((total, n), np.float32)
    found = np.zeros(total, np.int64)
    mark = np.full(size, -1, np.int64)
    for ranking, (order, score) in enumerate(rankings):
        rows = np.flatnonzero(which == ranking)
        _take_ranked(
            order,
            score,
            rows,
            requests.exclude.offsets,
            requests.exclude.values,
            requests.eligible.bitmaps,
            requests.eligible.row,
            mark,
            items,
            scores,
            found,
        )
    return packed(items, scores, found)


def packed(
    items: NDArray[np.int32], scores: NDArray[np.float32], found: NDArray[np.int64]
) -> Candidates:
    """Candidates from the first found[row] entries of each row of [requests × n].

    Args:
        items: int32[requests × n], best first.
        scores: float32[requests × n].
        found: int64[requests], the number of valid entries of each row.
    """
    if (found == items.shape[1]).all():
        return Candidates(offsets_of(found), items.ravel(), scores.ravel())
    flat = ranges(np.arange(len(items)) * items.shape[1], found)
    return Candidates(offsets_of(found), items.ravel()[flat], scores.ravel()[flat])


@kernel
def _take_ranked(  # type: ignore[no-untyped-def]
    order, score, rows, offsets, excluded, bitmaps, bitmap_row, mark, items, scores, found
):
    """Walks `order` for each of `rows`; mark[item] == row if the item is excluded for the row."""
    for row in rows:
        for entry in range(offsets[row], offsets[row + 1]):
            if 0 <= excluded[entry] < len(mark):
                mark[excluded[entry]] = row
        bitmap = bitmap_row[row]
        size = 0
        for place in range(len(order)):
            if size == items.shape[1]:
                break
            item = order[place]
            outside = bitmap >= 0 and (item >= bitmaps.shape[1] or not bitmaps[bitmap, item])
            if mark[item] != row and not outside:
                items[row, size], scores[row, size] = item, score[place]
                size += 1
        found[row] = size


@kernel
def _blank_excluded(scores, offsets, excluded, bitmaps, bitmap_row, start):  # type: ignore[no-untyped-def]
    """Sets the scores of excluded and ineligible items to −∞, for requests from `start` on."""
    n_items = scores.shape[1]
    for row in range(scores.shape[0]):
        request = start + row
        for entry in range(offsets[request], offsets[request + 1]):
            if 0 <= excluded[entry] < n_items:
                scores[row, excluded[entry]] = -np.inf
        if bitmap_row[request] >= 0:
            bitmap = bitmaps[bitmap_row[request]]
            for item in range(n_items):
                if item >= len(bitmap) or not bitmap[item]:
                    scores[row, item] = -np.inf


@kernel
def _top_n(scores, min_score, items, best, found):  # type: ignore[no-untyped-def]
    """Writes the best items of each row, best first, and their number."""
    for row in range(scores.shape[0]):
        found[row] = best_of_row(scores[row], min_score, items[row], best[row])
