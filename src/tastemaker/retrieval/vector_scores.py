"""Scores of items from request vectors, lowered by dislikes, for connected items only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged, offsets_of
from tastemaker.data.requests import Requests
from tastemaker.index import VectorIndex
from tastemaker.index.exact import packed
from tastemaker.retrieval.connected import ConnectedItems
from tastemaker.retrieval.cosine import inner_products
from tastemaker.retrieval.opinions import Opinions

_SEARCH_BYTES = 32 << 20
"""The maximum size of the lists of one search."""
_WIDER = 4
"""The factor by which the next search is widened if too many scores were lowered."""
_LARGEST = np.int64(np.iinfo(np.int32).max)
_LAST = np.iinfo(np.int64).max
"""A key that sorts after every key of a score and an item."""


ToVectors = Callable[[Requests], NDArray[np.float32]]
"""Requests → the vectors of their likes, float32[requests × factors]."""


class ItemSpace(NamedTuple):
    """The vectors of a model's items.

    Attributes:
        vectors: float32[items × factors].
        popularity_weight: float32[items], the factor of each item's score.
        connected: which items the events connect.
        search: vectors × popularity_weight, laid out for search.
    """

    vectors: NDArray[np.float32]
    popularity_weight: NDArray[np.float32]
    connected: ConnectedItems
    search: VectorIndex


class _Side(NamedTuple):
    """The likes or the dislikes of a batch: a vector for each, and the items it was built from.

    Attributes:
        x: float32[n × factors].
        items: [n × items]; None if all items are connected.
    """

    x: NDArray[np.float32]
    items: csr_array | None

    @classmethod
    def of(cls, requests: Requests, space: ItemSpace, to_vectors: ToVectors) -> "_Side":
        items = None
        if not space.connected.is_whole:
            items = requests.history.interactions(len(space.vectors), reduce="binary")
        return cls(to_vectors(requests), items)

    def scores(
        self, space: ItemSpace, rows: NDArray[np.int64], items: Ragged
    ) -> NDArray[np.float32]:
        """The products of the vectors of `rows` and their items; 0 if they are not connected."""
        return self.connected(
            space,
            rows,
            items,
            inner_products(self.x[rows], items, space.vectors, space.popularity_weight),
        )

    def connected(
        self,
        space: ItemSpace,
        rows: NDArray[np.int64],
        items: Ragged,
        scores: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """The scores, 0 if an item is not connected to the history; NaN is kept."""
        if self.items is None:
            return scores
        reached = space.connected.reached(self.items[rows], items)
        return np.where(reached | np.isnan(scores), scores, np.float32(0))


@dataclass(frozen=True, slots=True)
class VectorScores:
    """A batch of requests as vectors in the space of the items.

    Attributes:
        space: the item vectors.
        likes: the likes of all requests.
        dislikes: the dislikes of the requests that have any; None if no request has one.
        place: int64[requests], the row of each request in `dislikes`, −1 if it has none.
        factor: float32[rows of dislikes], the factor of the scores of the dislikes.
    """

    space: ItemSpace
    likes: _Side
    dislikes: _Side | None
    place: NDArray[np.int64]
    factor: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        requests: Requests,
        space: ItemSpace,
        to_vectors: ToVectors,
        dislike_weight: float,
        *,
        averages: bool,
    ) -> "VectorScores":
        """The vectors of a batch.

        Args:
            requests: the batch.
            space: the item vectors.
            to_vectors: returns float32[n × factors] for the likes of n requests.
            dislike_weight: the setting of the model.
            averages: whether a vector is a mean over the history, so that a dislike must count
                less the more likes there are.
        """
        opinions = Opinions.of(requests, dislike_weight)
        likes = _Side.of(opinions.likes, space, to_vectors)
        place = np.full(len(requests), -1, np.int64)
        place[opinions.rows] = np.arange(len(opinions.rows))
        dislikes = None
        if opinions.dislikes is not None:
            dislikes = _Side.of(opinions.dislikes, space, to_vectors)
        weight = np.float32(dislike_weight)
        factor = weight * opinions.share if averages else np.full_like(opinions.share, weight)
        return cls(space, likes, dislikes, place, factor)

    def of_items(self, items: Ragged) -> NDArray[np.float32]:
        """The score of each item for its request, float32[total]; NaN if the item is unknown."""
        rows = np.arange(len(items))
        return self._lowered(rows, items, self.likes.scores(self.space, rows, items))

    def top_n(self, requests: Requests, n: int) -> Candidates:
        """The items of highest score above 0, best first; ties by lower index.

        The index returns the items that score highest by the likes alone. The following steps only
        lower scores, so a list is final once its last score is higher than the last one the index
        returned; otherwise the search is widened. A quarter more than n is nearly always enough.
        """
        if self.dislikes is None and self.likes.items is None:
            return self.space.search.top_n(self.likes.x, requests, n, min_score=0.0)
        size = self.space.search.size
        n = min(n, size)
        if n <= 0:
            return Candidates.none(len(requests))
        items = np.zeros((len(requests), n), np.int32)
        best = np.zeros((len(requests), n), np.float32)
        counts = np.zeros(len(requests), np.int64)
        wide, left = n + n // 4 + 1, np.arange(len(requests))
        while len(left):
            wide, again = min(wide, size), []
            for some in np.array_split(left, -(-len(left) * wide * 8 // _SEARCH_BYTES)):
                of_some = requests if len(some) == len(requests) else requests.take(some)
                found = self.space.search.top_n(self.likes.x[some], of_some, wide, min_score=0.0)
                items[some], best[some], counts[some] = _best(found, self._adjusted(some, found), n)
                settled = _is_settled(found, best[some], counts[some], wide, size)
                again.append(some[~settled])
            wide, left = _WIDER * wide, np.concatenate(again)
        return packed(items, best, counts)

    def _adjusted(self, rows: NDArray[np.int64], found: Candidates) -> NDArray[np.float32]:
        """The final scores of the items that the index found for the likes of `rows`."""
        items = Ragged(found.offsets, found.item)
        likes = self.likes.connected(self.space, rows, items, found.score)
        return self._lowered(rows, items, likes)

    def _lowered(
        self, rows: NDArray[np.int64], items: Ragged, scores: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The scores reduced by those of the dislikes."""
        place = self.place[rows]
        some = np.flatnonzero(place >= 0)
        if self.dislikes is None or not len(some):
            return scores
        if len(some) == len(rows):
            against = np.maximum(self.dislikes.scores(self.space, place, items), 0)
            lowered: NDArray[np.float32] = (
                scores - np.repeat(self.factor[place], items.counts) * against
            )
            return lowered
        less = np.zeros(len(scores), np.float32)
        counts = np.where(place >= 0, items.counts, 0)
        chosen = np.repeat(place >= 0, items.counts)
        disliked = Ragged(offsets_of(counts[some]), items.values[chosen])
        against = np.maximum(self.dislikes.scores(self.space, place[some], disliked), 0)
        less[chosen] = np.repeat(self.factor[place[some]], counts[some]) * against
        return scores - less


def _best(
    found: Candidates, scores: NDArray[np.float32], n: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """The first n of each list by new scores above 0: items, scores, and their number.

    Positive floats sort in the order of their bits. The inverted bits of the score and the item
    below them form one integer, which sorts many times faster than separate columns.
    """
    bits = scores.view(np.int32).astype(np.int64)
    keys = np.full((len(found), int(found.counts.max(initial=0))), _LAST)
    keys[np.arange(keys.shape[1]) < found.counts[:, None]] = np.where(
        scores > 0, ((_LARGEST - bits) << 32) | found.item, _LAST
    )
    keys.sort(axis=1)
    first = np.full((len(found), n), _LAST)
    first[:, : keys.shape[1]] = keys[:, :n]
    best = (_LARGEST - (first >> 32)).astype(np.int32).view(np.float32)
    return (first & _LARGEST).astype(np.int32), best, (first < _LAST).sum(axis=1)


def _is_settled(
    found: Candidates,
    best: NDArray[np.float32],
    counts: NDArray[np.int64],
    wide: int,
    size: int,
) -> NDArray[np.bool_]:
    """Whether the first n of each request are final, bool[requests]: no other item can enter.

    Args:
        found: the items found for each request by the likes alone.
        best: float32[requests × n], the scores of the first n.
        counts: int64[requests], the number of valid entries of `best`.
        wide: the number of items searched for.
        size: the total number of items.
    """
    done: NDArray[np.bool_] = (found.counts < wide) | (wide >= size)
    full = counts >= best.shape[1]
    done[full] |= best[full, -1] > found.score[found.offsets[1:][full] - 1]
    return done
