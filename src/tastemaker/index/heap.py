"""The n best of many scores by a heap of size n: the kernels behind exact search and ItemKNN.

A heap is two arrays, `items` int32[n] and `best` float32[n], of which the first `size` entries
are valid. Its root is the worst entry kept. Among equal scores the lower item is better.
"""

import numpy as np

from tastemaker.compilation import kernel


@kernel
def best_of_row(scores, min_score, items, best):  # type: ignore[no-untyped-def]
    """Writes the best of `scores` higher than `min_score`, best first; returns their number.

    NaN is never higher.
    """
    n, size, threshold = len(items), 0, min_score
    bound = max(min_score, _reached_by(scores, n)) if 64 <= n <= len(scores) // 64 else min_score
    for first in range(0, len(scores), 64):
        if not any_reaches(scores, first, max(threshold, bound)):
            continue
        for place in range(first, min(first + 64, len(scores))):
            # Once the heap is full, an equal score at this higher place is worse than the root.
            if scores[place] > threshold and scores[place] >= bound:
                size = keep(scores[place], np.int32(place), items, best, size)
                if size == n:
                    threshold = best[0] if size > 0 else scores[place]
    best_first(items, best, size)
    return size


@kernel
def _reached_by(scores, n):  # type: ignore[no-untyped-def]
    """A score reached by at least n of `scores` and few more: the n-th best maximum of 64 scores.

    Floats are compared as integers of the same order, which compilers vectorize sixteen at a
    time. NaN is ordered lowest.
    """
    bits = scores.view(np.int32)
    highest = np.empty(len(scores) // 64, np.int32)
    for stretch in range(len(highest)):
        some = bits[64 * stretch : 64 * stretch + 64]
        top = np.int32(-(2**31))
        for place in range(64):
            key = some[place] ^ ((some[place] >> np.int32(31)) & np.int32(0x7FFFFFFF))
            key = np.int32(-(2**31)) if key > np.int32(0x7F800000) else key
            top = key if key > top else top
        highest[stretch] = top
    reached = np.partition(highest, len(highest) - n)[len(highest) - n : len(highest) - n + 1]
    reached ^= (reached >> np.int32(31)) & np.int32(0x7FFFFFFF)
    score = reached.view(np.float32)[0]
    return score if score == score else np.float32(-np.inf)


@kernel
def any_reaches(scores, first, threshold):  # type: ignore[no-untyped-def]
    """Whether one of the 64 scores from `first` on reaches `threshold`; always true near the end.

    Most blocks of 64 have no score worth keeping, and a block is tested in a few instructions.
    """
    if first + 64 > len(scores):
        return True
    stretch = scores[first : first + 64]
    reached = np.int32(0)
    for place in range(64):
        reached |= np.int32(stretch[place] >= threshold)
    return reached != 0


@kernel
def keep(score, item, items, best, size):  # type: ignore[no-untyped-def]
    """Keeps (score, item) if it is among the best so far; returns the heap's new size."""
    if size < len(items):
        _sift_up(best, items, size, score, item)
        return size + 1
    if size > 0 and (score > best[0] or (score == best[0] and item < items[0])):
        _sift_down(best, items, size, score, item)
    return size


@kernel
def best_first(items, best, size):  # type: ignore[no-untyped-def]
    """Sorts the heap in place, best first."""
    for last in range(size - 1, 0, -1):
        score, item = best[last], items[last]
        worst_score, worst_item = best[0], items[0]
        _sift_down(best, items, last, score, item)
        best[last], items[last] = worst_score, worst_item


@kernel
def _sift_up(best, items, size, score, item):  # type: ignore[no-untyped-def]
    """Appends (score, item) to the heap of `size` entries and sifts it up."""
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if best[parent] < score or (best[parent] == score and items[parent] > item):
            break
        best[place], items[place] = best[parent], items[parent]
        place = parent
    best[place], items[place] = score, item


@kernel
def _sift_down(best, items, size, score, item):  # type: ignore[no-untyped-def]
    """Replaces the root by (score, item) and sifts it down among `size` entries."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            best[right] < best[child]
            or (best[right] == best[child] and items[right] > items[child])
        ):
            child = right
        if score < best[child] or (score == best[child] and item > items[child]):
            break
        best[place], items[place] = best[child], items[child]
        place = child
    best[place], items[place] = score, item
