"""Exploration: now and then a place goes to an item that is too new to be known."""

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
from tastemaker.reranking.cost import given_up


class ExploreConfig(Settings):
    """Settings of `Explore`."""

    source: str = "new_items"
    """Whose finds are tried out: the name of one of the placement's retrievers."""
    share: float = Field(0.05, ge=0, le=1)
    """The share of a list's places that are given away, in expectation; 0 gives none away."""
    keep: int = Field(3, ge=0)
    """So many of the best places are left alone."""


class Explore(Reranker):
    """Gives a few places of each list to what one source found, drawn by the request's seed.

    A ranker that learned from the past holds back what has none, and so it would stay. Each place
    from `keep` on, independently and with probability

        p = min(1, share · n / (n − keep))

    goes to the candidate that `source` ranks highest of those not placed yet; all others keep their
    order and move down, none is lost. An item the list would have there anyway is not tried out.

    Each candidate's column `propensity` is the probability of this item at this place given those
    above it: p where it was tried out, 1 − p where another one could have been, else 1. It is
    exact as long as no later reranker leaves out or holds back a shown item that the draw decides
    on; pins move what is below them, for certain, and change none of it.

    It stands after MMR, which would undo it, and before Rules, which bind what is tried out too.
    Where the source found nothing, or did not answer, nothing is tried out.

    The cost of a list is what the ranker, which may be wrong about the new, thinks of it.

    Cost: a request, its candidates once, and sorting what the source found.

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
        """The lists with some of the source's finds moved up.

        Raises:
            SettingError: `source` is no retriever of the placement; names the near miss.
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
        own_draws = np.uint64(crc32(f"explore {source}".encode()))  # apart from others of the seed
        order = np.empty(len(candidates.item), np.int64)
        propensity = np.ones(len(order), np.float32)
        tried = np.zeros(len(order), np.bool_)
        _explore(
            *(candidates.offsets, found, requests.seed ^ own_draws, n, keep, probability),
            *(order, propensity, tried),
        )
        listed = candidates.entries(order, candidates.offsets)
        if PROPENSITY in candidates.columns:  # of a draw before this one
            propensity[~tried] *= listed.columns[PROPENSITY][~tried]
        listed = replace(listed, columns={**listed.columns, PROPENSITY: propensity})
        return Reranked(listed, given_up(candidates, listed, n), _notes(listed, tried, inventory))


def _notes(
    listed: Candidates, tried: NDArray[np.bool_], inventory: Inventory
) -> tuple[tuple[str, ...], ...]:
    """What was tried out in each list, and where."""
    notes: list[list[str]] = [[] for _ in range(len(listed))]
    entries = np.flatnonzero(tried)
    rows = np.searchsorted(listed.offsets, entries, "right") - 1
    for row, entry in zip(rows.tolist(), entries.tolist()):
        id_ = inventory.catalogue.items.id(int(listed.item[entry]))
        notes[row].append(f"'{id_}' tried out at {entry - listed.offsets[row] + 1}")
    return tuple(tuple(told) for told in notes)


@kernel
def _explore(  # type: ignore[no-untyped-def]
    offsets, found, seeds, n, keep, probability, order, propensity, tried
):
    """Writes each row's order, place by place, its propensities, and which places were given away.

    `found` is the rank each entry has in the source, −1 where that did not find it.
    """
    placed = np.zeros(len(order), np.bool_)
    for row in range(len(offsets) - 1):
        first, last = offsets[row], offsets[row + 1]
        fresh = np.flatnonzero(found[first:last] >= 0)
        fresh = first + fresh[np.argsort(found[first:last][fresh], kind="mergesort")]
        usual, next_fresh = first, 0
        for entry in range(first, last):
            while placed[usual]:
                usual += 1
            while next_fresh < len(fresh) and placed[fresh[next_fresh]]:
                next_fresh += 1
            chosen, place = usual, entry - first
            if keep <= place < n and next_fresh < len(fresh) and fresh[next_fresh] != usual:
                if _uniform(seeds[row], place) < probability:
                    chosen = fresh[next_fresh]
                    tried[entry] = True
                    propensity[entry] = probability
                else:
                    propensity[entry] = 1.0 - probability
            placed[chosen] = True
            order[entry] = chosen


@kernel
def _uniform(seed, place):  # type: ignore[no-untyped-def]
    """A number from [0, 1) for each place of a seed: splitmix64 (Steele, Lea & Flood 2014)."""
    drawn = _mixed(_mixed(np.uint64(seed)) + np.uint64(place))
    return np.float64(drawn >> np.uint64(11)) * 2.0**-53


@kernel
def _mixed(z):  # type: ignore[no-untyped-def]
    """The finalizer of splitmix64, after one step of its counter."""
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
