"""The best of a subset of items by inner product, computed from float32 rows.

Sums are added factor by factor as in `products`, so that every index gives a pair the same score.
"""

import numpy as np

from tastemaker.compilation import kernel
from tastemaker.index.heap import best_first, keep


@kernel
def best_of_chosen(  # type: ignore[no-untyped-def]
    x, vectors, chosen, tail, excluded, bitmap, min_score, items, best
):
    """Fills `items` and `best` with the best eligible items, best first.

    Args:
        x: float32[factors].
        vectors: float32[all × factors].
        chosen: int64[any], the items to score, −1 for an empty place; distinct, all below `tail`.
        tail: all items from this index on are scored too.
        excluded: int32[any], sorted, the excluded items.
        bitmap: bool[any], the eligible items; items beyond its end are not eligible. If it is
            empty, all items are eligible.
        min_score: only scores higher than this are kept.
        items: int32[n], written.
        best: float32[n], written.

    Returns:
        (number of eligible items, number of items kept).
    """
    allowed = np.empty(len(chosen) + len(vectors) - tail, np.int64)
    count = 0
    for place in range(len(allowed)):
        item = chosen[place] if place < len(chosen) else tail + place - len(chosen)
        outside = len(bitmap) > 0 and (item >= len(bitmap) or not bitmap[item])
        if item < 0 or outside or _contains(excluded, item):
            continue
        allowed[count] = item
        count += 1
    scores = np.empty(count, np.float32)
    row_products(x, vectors, allowed[:count], scores)
    size = 0
    for place in range(count):
        score = scores[place]
        if score > min_score and (size < len(items) or score >= best[0]):
            size = keep(score, np.int32(allowed[place]), items, best, size)
    best_first(items, best, size)
    return count, size


@kernel
def row_products(x, vectors, rows, scores):  # type: ignore[no-untyped-def]
    """Writes Σ x[f]·vectors[row, f] for each of `rows`, added in the order of f.

    Eight sums are interleaved, so that a step does not wait for the previous one.
    """
    whole = len(rows) - len(rows) % 8
    for k in range(0, whole, 8):
        a, b, c, d = (
            vectors[rows[k]],
            vectors[rows[k + 1]],
            vectors[rows[k + 2]],
            vectors[rows[k + 3]],
        )
        e, f, g, h = (
            vectors[rows[k + 4]], vectors[rows[k + 5]], vectors[rows[k + 6]], vectors[rows[k + 7]],
        )  # fmt: skip
        sa = sb = sc = sd = se = sf = sg = sh = np.float32(0)
        for j in range(len(x)):
            xj = x[j]
            sa, sb, sc, sd = sa + xj * a[j], sb + xj * b[j], sc + xj * c[j], sd + xj * d[j]
            se, sf, sg, sh = se + xj * e[j], sf + xj * f[j], sg + xj * g[j], sh + xj * h[j]
        scores[k], scores[k + 1], scores[k + 2], scores[k + 3] = sa, sb, sc, sd
        scores[k + 4], scores[k + 5], scores[k + 6], scores[k + 7] = se, sf, sg, sh
    for k in range(whole, len(rows)):
        scores[k] = row_product(x, vectors[rows[k]])


@kernel
def row_product(x, vector):  # type: ignore[no-untyped-def]
    """Σ x[f]·vector[f], added in the order of f."""
    score = np.float32(0)
    for f in range(len(x)):
        score += x[f] * vector[f]
    return score


@kernel
def _contains(values, value):  # type: ignore[no-untyped-def]
    """Whether sorted `values` contain `value`."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < len(values) and values[low] == value
