"""Exploration: some places go to items that are too new for the ranker to know."""

from collections.abc import Mapping
from dataclasses import replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tastemaker.compilation import kernel
from tastemaker.component import PROPENSITY, Reranked, Reranker, Retriever
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.errors import SettingError, did_you_mean
from tastemaker.inventory import Inventory
from tastemaker.reranking.cost import list_cost


class ExploreConfig(Settings):
    """Settings of `Explore`."""

    source: str = "new_items"
    """The retriever whose items are tried out, by its name in the placement."""
    share: float = Field(0.05, ge=0, le=1)
    """The expected share of a list's places that go to these items; 0 turns exploration off."""
    keep: int = Field(3, ge=0)
    """The number of first places that do not change."""


class Explore(Reranker):
    """Gives a few places of each list to items of one source, drawn with the request's seed.

    A ranker that learned from past events ranks items without events low, so they never get any.
    With `Explore`, each place from `keep` on, independently and with probability

        p = min(1, share · n / (n − keep))

    goes to the candidate that `source` ranks highest among those not placed yet. All others keep
    their order and move down; no candidate is lost. An item that is next in the list anyway does
    not count as tried out.

    The column `propensity` of each candidate is the probability of this item at this place given
    the items above it: p if it is tried out, 1 − p if another item could have been tried out,
    otherwise 1. It is exact if no later reranker removes or holds back a shown item that depends
    on the draw. Pins move the items below them with certainty and do not change propensities.

    Put `Explore` after MMR, which would undo it, and before Rules, which also apply to the items
    tried out. If the source found nothing or failed, nothing is tried out.

    The cost of a list uses the scores of the ranker, which can be wrong for new items.

    Cost: per request, one pass over its candidates and a sort of the source's items.

    Example:
        >>> Explore(share=0.1)
        Explore(share=0.1)
    """

    name = "explore"
    purpose = "new items tried out"
    config: ExploreConfig

    def rerank(
        self,
        requests: Requests,
        candidates: Candidates,
        n: int,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
    ) -> Reranked:
        """The lists with some items of the source moved up.

        Raises:
            SettingError: `source` is not a retriever of the placement; the message suggests a
                name.
        """
        source, keep, n = self.config.source, self.config.keep, max(0, n)
        if source not in sources:
            hint = did_you_mean(source, sources)
            raise SettingError(f"Explore: source: the placement has no retriever '{source}'{hint}")
        found = np.full(len(candidates.item), -1, np.int16)
        if source in candidates.sources:
            place = candidates.sources.index(source)
            found = np.ascontiguousarray(candidates.source_rank[:, place])
        probability = min(1.0, self.config.share * n / (n - keep)) if n > keep else 0.0
        own_draws = np.uint64(
            crc32(f"explore {source}".encode())
        )  # independent of other draws with the seed
        order = np.empty(len(candidates.item), np.int64)
        propensity = np.ones(len(order), np.float32)
        explored = np.zeros(len(order), np.bool_)
        _explore(
            *(candidates.offsets, found, requests.seed ^ own_draws, n, keep, probability),
            *(order, propensity, explored),
        )
        listed = candidates.entries(order, candidates.offsets)
        if PROPENSITY in candidates.columns:  # from an earlier draw
            propensity[~explored] *= listed.columns[PROPENSITY][~explored]
        listed = replace(listed, columns={**listed.columns, PROPENSITY: propensity})
        return Reranked(
            listed, list_cost(candidates, listed, n), _notes(listed, explored, inventory)
        )


def _notes(
    listed: Candidates, explored: NDArray[np.bool_], inventory: Inventory
) -> tuple[tuple[str, ...], ...]:
    """The notes of each list: the items tried out, and their positions."""
    notes: list[list[str]] = [[] for _ in range(len(listed))]
    entries = np.flatnonzero(explored)
    rows = np.searchsorted(listed.offsets, entries, "right") - 1
    for row, entry in zip(rows.tolist(), entries.tolist()):
        id_ = inventory.catalogue.items.id(int(listed.item[entry]))
        notes[row].append(f"'{id_}' tried out at {entry - listed.offsets[row] + 1}")
    return tuple(tuple(row) for row in notes)


@kernel
def _explore(  # type: ignore[no-untyped-def]
    offsets, found, seeds, n, keep, probability, order, propensity, explored
):
    """Writes the order, the propensities and the places tried out of each row, place by place.

    `found` is the rank of each entry in the source, −1 if the source did not find it.
    """
    placed = np.zeros(len(order), np.bool_)
    for row in range(len(offsets) - 1):
        first, last = offsets[row], offsets[row + 1]
        new = np.flatnonzero(found[first:last] >= 0)
        new = first + new[np.argsort(found[first:last][new], kind="mergesort")]
        usual, next_new = first, 0
        for entry in range(first, last):
            while placed[usual]:
                usual += 1
            while next_new < len(new) and placed[new[next_new]]:
                next_new += 1
            chosen, place = usual, entry - first
            if keep <= place < n and next_new < len(new) and new[next_new] != usual:
                if _uniform(seeds[row], place) < probability:
                    chosen = new[next_new]
                    explored[entry] = True
                    propensity[entry] = probability
                else:
                    propensity[entry] = 1.0 - probability
            placed[chosen] = True
            order[entry] = chosen


@kernel
def _uniform(seed, place):  # type: ignore[no-untyped-def]
    """A number in [0, 1) for each place of a seed: splitmix64 (Steele, Lea & Flood 2014)."""
    drawn = _mix(_mix(np.uint64(seed)) + np.uint64(place))
    return np.float64(drawn >> np.uint64(11)) * 2.0**-53


@kernel
def _mix(z):  # type: ignore[no-untyped-def]
    """The finalizer of splitmix64, after one step of its counter."""
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
