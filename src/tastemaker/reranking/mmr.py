"""Maximal marginal relevance: lists of relevant items that differ from each other."""

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
from tastemaker.reranking.cost import list_cost

ATTRIBUTES = "attributes"
_PAIRS_AT_ONCE = 1 << 14

Similarity = Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.float32]]


class MMRConfig(Settings):
    """Settings of `MMR`."""

    relevance: float = Field(0.7, ge=0, le=1)
    """λ: 1 keeps the order, 0 uses only the similarity of the items."""
    depth: int = Field(100, ge=1)
    """The number of first candidates that compete for places; the others follow in order."""
    space: str = ATTRIBUTES
    """What compares items: `attributes`, the catalogue's tags and categories; the name of a
    retriever of the placement that compares items, such as `als`; or a column of vectors."""


class MMR(Reranker):
    """Maximal marginal relevance (Carbonell & Goldstein 1998).

    With S the items already placed and R the competing candidates, each place takes

        argmax over i ∈ R∖S of  λ·rel(i) − (1 − λ)·max over j ∈ S of sim(i, j)

    where rel is the score scaled to [0, 1] by the lowest and the highest score of the competing
    candidates (1 for all if these are equal), so that it has the scale of the similarity. The
    maximum over no items is 0. Ties go to the earlier candidate.

    MMR uses only scores and similarities. Put rerankers that fix positions after it.

    Cost: places × min(depth, candidates) comparisons per request, never all pairs.

    Example:
        >>> MMR(relevance=0.5)
        MMR(relevance=0.5)
    """

    name = "mmr"
    purpose = "diversified"
    config: MMRConfig

    def rerank(
        self,
        requests: Requests,
        candidates: Candidates,
        n: int,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
    ) -> Reranked:
        """The lists with the first n places by marginal relevance and the others in order.

        Raises:
            SettingError: `space` is not a retriever that compares items, or the catalogue has no
                attributes; the message lists the valid names.
        """
        similarity = self._similarity(inventory.catalogue, sources)
        order = np.arange(len(candidates.item))
        if self.config.relevance < 1:
            together = max(1, _PAIRS_AT_ONCE // self.config.depth)
            for start in range(0, len(candidates), together):
                rows = slice(start, min(start + together, len(candidates)))
                self._reorder(candidates, rows, n, similarity, order)
        reranked = candidates.entries(order, candidates.offsets)
        return Reranked(reranked, list_cost(candidates, reranked, n), _notes(candidates, order, n))

    def _similarity(self, catalogue: Catalogue, sources: Mapping[str, Retriever]) -> Similarity:
        """The function that compares items."""
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
        similarity: Similarity,
        order: NDArray[np.int64],
    ) -> None:
        """Writes the new order of the competing candidates of some requests to `order`."""
        counts = np.minimum(candidates.counts[rows], self.config.depth)
        entries, offsets = ranges(candidates.offsets[:-1][rows], counts), offsets_of(counts)
        items = candidates.item[entries]
        relevance = np.empty(len(items))
        _normalize(offsets, candidates.score[entries], relevance)
        places = min(n, int(counts.max(initial=0)))
        place_of = np.full(len(items), places, np.int64)
        most, left = np.zeros(len(items), np.float32), np.empty_like(items)
        for place in range(places):
            latest = most if place == 0 else similarity(left, items)
            _pick(
                *(offsets, items, relevance, self.config.relevance, latest, most),
                *(place_of, place, left),
            )
        order[entries] = entries[np.lexsort((place_of, rows_of(offsets)))]


def _notes(candidates: Candidates, order: NDArray[np.int64], n: int) -> tuple[tuple[str, ...], ...]:
    """The notes of each list: the number of shown places with another item than before."""
    changed = (order != np.arange(len(order))) & (candidates.ranks < n)
    counts = np.bincount(candidates.rows[changed], minlength=len(candidates)).tolist()
    shown = np.minimum(candidates.counts, max(0, n)).tolist()
    return tuple(
        (f"for variety, {count} of {places} places hold another item",) if count else ()
        for count, places in zip(counts, shown)
    )


@kernel
def _normalize(offsets, score, relevance):  # type: ignore[no-untyped-def]
    """Scales each row's scores to [0, 1] by its lowest and highest; equal scores become 1."""
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
    offsets, items, relevance, weight, latest, most, place_of, place, left
):
    """Gives place `place` of every row to the candidate with the largest marginal relevance.

    `latest` is the similarity to the item of the previous place, `most` the largest so far, which
    is updated here. An entry whose `place_of` is below `place` is already placed. The chosen item
    is written to `left` along the row, as the left side of the next comparison.
    """
    for row in range(len(offsets) - 1):
        first, last = offsets[row], offsets[row + 1]
        best, best_value = -1, 0.0
        for entry in range(first, last):
            if place == 1 or latest[entry] > most[entry]:
                most[entry] = latest[entry]
            if place_of[entry] < place:
                continue
            value = weight * relevance[entry] - (1.0 - weight) * most[entry]
            if best < 0 or value > best_value:
                best, best_value = entry, value
        if best >= 0:
            place_of[best] = place
            left[first:last] = items[best]
