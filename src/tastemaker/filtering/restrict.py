"""Restricts requests to the items that may be shown, before retrieval cuts the lists."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tastemaker.component import Reranker
from tastemaker.data.requests import Masks, Requests
from tastemaker.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Restricted:
    """Requests for which blocked items are not eligible.

    Attributes:
        requests: the requests.
        blocked: reranker → the number of items of the catalogue that it blocks.
        failed: reranker → the exception that it raised.
    """

    requests: Requests
    blocked: dict[str, int]
    failed: dict[str, Exception]


def restrict(
    requests: Requests, rerankers: Mapping[str, Reranker], inventory: Inventory
) -> Restricted:
    """Removes the items that rerankers block from the eligible items of every request.

    If a reranker that must run fails, no item is eligible.

    Args:
        requests: n requests.
        rerankers: name → reranker.
        inventory: item data.
    """
    eligible, row = requests.eligible, np.zeros(len(requests), np.int32)
    blocked, failed = dict[str, int](), dict[str, Exception]()
    for name, reranker in rerankers.items():
        try:
            allowed = reranker.allowed_items(inventory)
        except Exception as problem:
            failed[name] = problem
            allowed = np.zeros(len(inventory.catalogue), np.bool_) if reranker.must_run else None
        if allowed is not None:
            eligible = eligible.intersect(Masks(allowed[None], row))
            blocked[name] = int(len(allowed) - np.count_nonzero(allowed))
    return Restricted(replace(requests, eligible=eligible), blocked, failed)
