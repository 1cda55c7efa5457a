"""Operations on item vectors: cosines, most similar items, and inner products."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged, rows_of
from tastemaker.data.requests import Requests
from tastemaker.index import exact_top_n
from tastemaker.retrieval.connected import ConnectedItems

_SIMILAR_BYTES = 4 << 20


def cosines(
    vectors: NDArray[np.float32],
    norms: NDArray[np.float32],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    connected: ConnectedItems,
) -> NDArray[np.float32]:
    """The cosine of each pair of vectors, float32[pairs]; 0 if an item is unknown or zero.

    Args:
        vectors: float32[items × factors].
        norms: float32[items], the lengths of the vectors.
        left: int32[pairs], the first item of each pair.
        right: int32[pairs], the second item.
        connected: which items the events connect; the cosine of others is 0.
    """
    out = np.zeros(len(left), np.float32)
    _cosines(vectors, norms, left, right, out)
    if not connected.is_whole:
        out[~connected.related(left, right)] = 0
    return out


def most_similar(
    vectors: NDArray[np.float32],
    norms: NDArray[np.float32],
    items: NDArray[np.int32],
    n: int,
    connected: ConnectedItems,
) -> Candidates:
    """For each item, the n connected items of highest cosine, without the item itself."""
    requests = Requests.of([[int(item)] for item in items])
    everything = np.arange(len(vectors), dtype=np.int32)

    def score(chunk: slice) -> NDArray[np.float32]:
        left = np.repeat(items[chunk], len(everything))
        right = np.tile(everything, len(items[chunk]))
        return cosines(vectors, norms, left, right, connected).reshape(-1, len(everything))

    return exact_top_n(score, requests, n, len(vectors), min_score=0.0, chunk_bytes=_SIMILAR_BYTES)


def inner_products(
    x: NDArray[np.float32],
    items: Ragged,
    vectors: NDArray[np.float32],
    popularity_weight: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The inner products of each request's vector with those of its items, added as in an index.

    Args:
        x: float32[requests × factors].
        items: the items to score for each request.
        vectors: float32[items × factors].
        popularity_weight: float32[items], the factor of each vector.

    Returns:
        float32[total], NaN if an item is unknown.
    """
    scores = np.empty(len(items.values), np.float32)
    _products(x, rows_of(items.offsets), items.values, vectors, popularity_weight, scores)
    return scores


@kernel
def _cosines(vectors, norms, left, right, cosines):  # type: ignore[no-untyped-def]
    """Writes the cosine of each pair of rows; 0 if a row is unknown or zero.

    Four sums are interleaved, so that a step does not wait for the previous one. The order of
    additions is fixed.
    """
    factors = vectors.shape[1]
    whole = factors - factors % 4
    for pair in range(len(left)):
        i, j = left[pair], right[pair]
        known = 0 <= i < len(vectors) and 0 <= j < len(vectors)
        if not known or norms[i] == 0 or norms[j] == 0:
            cosines[pair] = 0
            continue
        one, other = vectors[i], vectors[j]
        a = b = c = d = np.float32(0)
        for f in range(0, whole, 4):
            a += one[f] * other[f]
            b += one[f + 1] * other[f + 1]
            c += one[f + 2] * other[f + 2]
            d += one[f + 3] * other[f + 3]
        for f in range(whole, factors):
            a += one[f] * other[f]
        cosine = ((a + b) + (c + d)) / (np.float64(norms[i]) * norms[j])
        cosines[pair] = min(max(cosine, -1.0), 1.0)


@kernel
def _products(x, row, item, vectors, popularity_weight, scores):  # type: ignore[no-untyped-def]
    """Writes x[row] · (vectors[item] × popularity_weight[item]), NaN if the item is unknown.

    The order of additions is that of the index. Four entries are interleaved, so that a step does
    not wait for the previous one.
    """
    last, n_items = len(item) - 1, len(vectors)
    if n_items == 0:
        scores[:] = np.nan
        return
    for first in range(0, len(item), 4):
        second, third, fourth = min(first + 1, last), min(first + 2, last), min(first + 3, last)
        i, j = _known_or_first(item[first], n_items), _known_or_first(item[second], n_items)
        k, m = _known_or_first(item[third], n_items), _known_or_first(item[fourth], n_items)
        a = b = c = d = np.float32(0)
        for f in range(vectors.shape[1]):
            a += x[row[first], f] * (vectors[i, f] * popularity_weight[i])
            b += x[row[second], f] * (vectors[j, f] * popularity_weight[j])
            c += x[row[third], f] * (vectors[k, f] * popularity_weight[k])
            d += x[row[fourth], f] * (vectors[m, f] * popularity_weight[m])
        scores[first], scores[second], scores[third], scores[fourth] = a, b, c, d
        for entry in range(first, fourth + 1):
            if not 0 <= item[entry] < n_items:
                scores[entry] = np.nan


@kernel
def _known_or_first(item, n_items):  # type: ignore[no-untyped-def]
    """The item, or 0 if it is unknown."""
    return item if 0 <= item < n_items else np.int32(0)
