"""The final check of exclusions: removes and counts disallowed items that a retriever returned."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.candidates import Candidates
from tastemaker.data.item_table import item_table, slot_of
from tastemaker.data.requests import Requests


def verify(
    candidates: Candidates, requests: Requests, n_items: int
) -> tuple[Candidates, NDArray[np.int64]]:
    """Removes excluded, ineligible and unknown items.

    Args:
        candidates: n lists.
        requests: the n requests of the lists.
        n_items: the number of items in the catalogue.

    Returns:
        The other candidates in their order, and the number removed from each list, int64[n].
    """
    rows, items = candidates.rows, candidates.item
    keep = requests.eligible.allows(rows, items) & (items >= 0) & (items < n_items)
    exclude = requests.exclude
    _without(candidates.offsets, items, exclude.offsets, exclude.values, keep)
    removed = np.bincount(rows[~keep], minlength=len(candidates))
    return (candidates.where(keep) if removed.any() else candidates), removed


@kernel
def _without(offsets, items, exclude_offsets, excluded, keep):  # type: ignore[no-untyped-def]
    """Sets `keep` to False for each item that its request excludes."""
    held, requests = item_table(exclude_offsets)
    for row in range(len(offsets) - 1):
        for item in excluded[exclude_offsets[row] : exclude_offsets[row + 1]]:
            slot = slot_of(held, requests, row, item)
            held[slot], requests[slot] = item, row
        for entry in range(offsets[row], offsets[row + 1]):
            slot = slot_of(held, requests, row, items[entry])
            if requests[slot] == row:
                keep[entry] = False
