"""The last word on exclusion: whatever a retriever let through is removed here and counted."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import rows_of
from tastemaker.data.requests import Requests


def verify(
    candidates: Candidates, requests: Requests, n_items: int
) -> tuple[Candidates, NDArray[np.int64]]:
    """Removes excluded, ineligible and unknown items.

    Args:
        candidates: n lists.
        requests: the n requests they answer.
        n_items: items in the catalogue.

    Returns:
        The rest in their order, and how many were removed from each list, int64[n].
    """
    rows, items = candidates.rows, candidates.item
    exclude = requests.exclude
    known = (exclude.values >= 0) & (exclude.values < n_items)
    away = rows_of(exclude.offsets)[known] * np.int64(n_items) + exclude.values[known]
    keep = ~np.isin(rows * np.int64(n_items) + items, away)
    keep &= requests.eligible.allows(rows, items) & (items >= 0) & (items < n_items)
    removed = np.bincount(rows[~keep], minlength=len(candidates))
    return (candidates.where(keep) if removed.any() else candidates), removed
