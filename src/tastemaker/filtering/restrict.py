"""What may be shown at all, decided before anything is retrieved: no filter follows a cut."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tastemaker.component import Reranker
from tastemaker.data.requests import Masks, Requests
from tastemaker.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Restricted:
    """Requests for which nothing that is blocked is eligible.

    Attributes:
        requests: the requests.
        blocked: reranker → how many items of the catalogue it blocks.
        failed: reranker → what it raised instead of an answer.
    """

    requests: Requests
    blocked: dict[str, int]
    failed: dict[str, Exception]


def restrict(
    requests: Requests, rerankers: Mapping[str, Reranker], inventory: Inventory
) -> Restricted:
    """Takes the items that rerankers never show from the eligible ones of every request.

    Where a reranker that must run fails to say which these are, nothing is eligible.

    Args:
        requests: n requests.
        rerankers: name → reranker.
        inventory: what is known of the items.
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
