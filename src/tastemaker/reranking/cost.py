"""The cost of a reranked list: the predicted value that it gives up."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.candidates import Candidates


def list_cost(before: Candidates, after: Candidates, n: int) -> NDArray[np.float32]:
    """The sum of the best scores minus the sum of the listed scores, float32[requests].

    The comparison uses the best scores of `before`, not its first ones. After several rerankers,
    the cost of the last one is therefore that of the whole list. Places that `before` cannot fill
    do not count.

    Args:
        before: the candidates before reranking.
        after: the reranked lists.
        n: the number of places shown.

    Returns:
        At least 0; exactly 0 if the first n candidates are the best ones.
    """
    cost = np.empty(len(before), np.float32)
    _list_cost(before.offsets, before.score, after.offsets, after.score, max(0, n), cost)
    return cost


@kernel
def _list_cost(offsets, score, shown_offsets, shown_score, n, cost):  # type: ignore[no-untyped-def]
    """Sums the differences place by place in float64, so that equal orders give exactly 0."""
    for row in range(len(cost)):
        best = np.sort(score[offsets[row] : offsets[row + 1]])
        first = shown_offsets[row]
        places = min(n, len(best), shown_offsets[row + 1] - first)
        shown = np.sort(shown_score[first : first + places])
        total = 0.0
        for place in range(1, places + 1):
            total += np.float64(best[-place]) - np.float64(shown[-place])
        cost[row] = max(total, 0.0)
