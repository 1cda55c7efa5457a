"""The best of one row of scores by a heap of n: the kernel under exact search and ItemKNN."""

from numba import njit
from numpy import int32


@njit(nogil=True, cache=True)
def best_of_row(scores, above, items, best):  # type: ignore[no-untyped-def]
    """Writes the best of `scores` to `items` and `best`, best first, and returns how many.

    Only scores higher than `above` count, NaN never does; ties go to the lower index. `items`
    int32[n] and `best` float32[n] are a heap whose root is the worst kept, until it is full the
    threshold is `above`, then the root.
    """
    n = len(items)
    size = 0
    threshold = above
    for place in range(len(scores)):
        score = scores[place]
        if score > threshold and n > 0:
            item = int32(place)
            if size < n:
                _rise(best, items, size, score, item)
                size += 1
            else:
                _sink(best, items, n, score, item)
            if size == n:
                threshold = best[0]
    left = size
    while left > 1:
        left -= 1
        score, item = best[left], items[left]
        worst_score, worst_item = best[0], items[0]
        _sink(best, items, left, score, item)
        best[left], items[left] = worst_score, worst_item
    return size


@njit(nogil=True, cache=True)
def _rise(best, items, size, score, item):  # type: ignore[no-untyped-def]
    """Adds (score, item) behind the `size` entries of the heap and lets it rise to its place."""
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if best[parent] < score or (best[parent] == score and items[parent] > item):
            break
        best[place], items[place] = best[parent], items[parent]
        place = parent
    best[place], items[place] = score, item


@njit(nogil=True, cache=True)
def _sink(best, items, size, score, item):  # type: ignore[no-untyped-def]
    """Replaces the root by (score, item) and lets it sink to its place among `size`."""
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
