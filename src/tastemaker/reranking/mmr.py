"""Maximal marginal relevance: at each place the best item that is unlike those above it."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tastemaker.compilation import kernel
from tastemaker.component import ItemSimilarity, Reranked, Reranker, Retriever
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import Catalogue, VectorColumn
from tastemaker.data.item_similarity import (
    attribute_columns,
    attribute_similarity,
    vector_similarity,
)
from tastemaker.data.ragged import offsets_of, ranges, rows_of
from tastemaker.data.requests import Requests
from tastemaker.errors import SettingError, did_you_mean
from tastemaker.inventory import Inventory
from tastemaker.reranking.cost import given_up

ATTRIBUTES = "attributes"
_PAIRS_AT_ONCE = 1 << 14

Similarity = Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.float32]]


class MMRConfig(Settings):
    """Settings of `MMR`."""

    relevance: float = Field(0.7, ge=0, le=1)
    """λ: 1 keeps the order, 0 looks at nothing but how alike items are."""
    depth: int = Field(100, ge=1)
    """Only the first so many candidates compete for places; the rest follow in their order."""
    space: str = ATTRIBUTES
    """Where items are compared: `attributes`, the catalogue's tags and categories; the name of a
    source of the placement that compares items, such as `als`; or a column of vectors."""


class MMR(Reranker):
    """Maximal marginal relevance (Carbonell & Goldstein 1998).

    With S the items already placed, each place takes, of the candidates R that are left,

        argmax over i ∈ R∖S of  λ·rel(i) − (1 − λ)·max over j ∈ S of sim(i, j)

    where rel is the score brought to [0, 1] by the lowest and the highest score among the
    request's competing candidates (1 for all where these are equal), so that it meets the
    similarity on one scale; the maximum over nothing is 0. Among equals the earlier candidate.

    It looks at scores and likeness alone: a reranker whose places must hold stands after it.

    Cost: places × min(depth, candidates) comparisons a request; never all pairs.

    Example:
        >>> MMR(relevance=0.5)
        MMR(relevance=0.5)
    """

    name = "mmr"
    purpose = "made varied"
    config: MMRConfig

    def rerank(
        self,
        requests: Requests,
        candidates: Candidates,
        n: int,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
    ) -> Reranked:
        """The first n places by marginal relevance, then the others in their order.

        Raises:
            SettingError: `space` names no source that compares items, or the catalogue has no
                attributes; names what is there.
        """
        likeness = self._likeness(inventory.catalogue, sources)
        order = np.arange(len(candidates.item))
        if self.config.relevance < 1:
            together = max(1, _PAIRS_AT_ONCE // self.config.depth)
            for start in range(0, len(candidates), together):
                rows = slice(start, min(start + together, len(candidates)))
                self._reorder(candidates, rows, n, likeness, order)
        reranked = candidates.entries(order, candidates.offsets)
        return Reranked(reranked, given_up(candidates, reranked, n), _notes(candidates, order, n))

    def _likeness(self, catalogue: Catalogue, sources: Mapping[str, Retriever]) -> Similarity:
        """How items are compared."""
        space, columns = self.config.space, catalogue.columns
        if space == ATTRIBUTES and attribute_columns(catalogue):
            return partial(attribute_similarity, catalogue)
        if space in sources:
            source = sources[space]
            if isinstance(source, ItemSimilarity):
                return source.similarity
        column = columns.get(space)
        if isinstance(column, VectorColumn):
            return partial(vector_similarity, column.values)
        if space == ATTRIBUTES:
            problem = "the catalogue has no tags or category to compare by"
        elif space in sources:
            problem = f"the source '{space}' does not compare items"
        else:
            problem = f"there is no space '{space}'"
        spaces = [name for name, one in sources.items() if isinstance(one, ItemSimilarity)]
        spaces += [name for name, one in columns.items() if isinstance(one, VectorColumn)]
        spaces += [ATTRIBUTES] if attribute_columns(catalogue) else []
        raise SettingError(f"MMR: {problem}{did_you_mean(space, spaces)}")

    def _reorder(
        self,
        candidates: Candidates,
        rows: slice,
        n: int,
        likeness: Similarity,
        order: NDArray[np.int64],
    ) -> None:
        """Writes the new order of some requests' competing candidates to `order`."""
        counts = np.minimum(candidates.counts[rows], self.config.depth)
        entries, offsets = ranges(candidates.offsets[:-1][rows], counts), offsets_of(counts)
        items = candidates.item[entries]
        relevance = np.empty(len(items))
        _normalize(offsets, candidates.score[entries], relevance)
        places = min(n, int(counts.max(initial=0)))
        place_of = np.full(len(items), places, np.int64)
        most, left = np.zeros(len(items), np.float32), np.empty_like(items)
        for place in range(places):
            alike = most if place == 0 else likeness(left, items)
            _pick(
                offsets, items, relevance, self.config.relevance, alike, most, place_of, place, left
            )
        order[entries] = entries[np.lexsort((place_of, rows_of(offsets)))]


def _notes(candidates: Candidates, order: NDArray[np.int64], n: int) -> tuple[tuple[str, ...], ...]:
    """How many of the shown places hold another item than before."""
    changed = (order != np.arange(len(order))) & (candidates.ranks < n)
    counts = np.bincount(candidates.rows[changed], minlength=len(candidates)).tolist()
    shown = np.minimum(candidates.counts, max(0, n)).tolist()
    return tuple(
        (f"for variety, {count} of {places} places hold another item",) if count else ()
        for count, places in zip(counts, shown)
    )


@kernel
def _normalize(offsets, score, relevance):  # type: ignore[no-untyped-def]
    """Brings each row's scores to [0, 1] by its lowest and highest; all equal, all are 1."""
    for row in range(len(offsets) - 1):
        first, last = offsets[row], offsets[row + 1]
        if first == last:
            continue
        low, high = np.float64(score[first]), np.float64(score[first])
        for entry in range(first, last):
            low, high = min(low, np.float64(score[entry])), max(high, np.float64(score[entry]))
        for entry in range(first, last):
            relevance[entry] = (score[entry] - low) / (high - low) if high > low else 1.0


@kernel
def _pick(  # type: ignore[no-untyped-def]
    offsets, items, relevance, weight, alike, most, place_of, place, left
):
    """Gives every row's place `place` to its candidate of the largest marginal relevance.

    `alike` is the likeness to the item of the place before, `most` the largest so far, brought up
    to date here. An entry whose `place_of` is below `place` has its place. The item chosen is
    written to `left` along the row, as the left side of the next comparison.
    """
    for row in range(len(offsets) - 1):
        first, last = offsets[row], offsets[row + 1]
        best, best_value = -1, 0.0
        for entry in range(first, last):
            if place == 1 or alike[entry] > most[entry]:
                most[entry] = alike[entry]
            if place_of[entry] < place:
                continue
            value = weight * relevance[entry] - (1.0 - weight) * most[entry]
            if best < 0 or value > best_value:
                best, best_value = entry, value
        if best >= 0:
            place_of[best] = place
            left[first:last] = items[best]
