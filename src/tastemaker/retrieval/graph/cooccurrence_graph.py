"""The graph of items that the same people like: a retriever, and what Node2Vec walks on."""

from typing import ClassVar
from zlib import crc32

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.compilation import kernel
from tastemaker.component import Capabilities
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import offsets_of
from tastemaker.retrieval.cooccurrence import Interactions
from tastemaker.retrieval.graph.streams import mixed
from tastemaker.retrieval.item_rows import ItemRows, RowLearner
from tastemaker.retrieval.neighbors.nearest import nearest_items
from tastemaker.retrieval.neighbors.similarity import Measure
from tastemaker.retrieval.opinions import DislikeSettings


class GraphSettings(DislikeSettings):
    """Which items are joined, and how strongly."""

    neighbors: int = Field(100, ge=1)
    """How many edges of each item are kept: the heaviest."""
    max_items: int = Field(500, ge=2)
    """At most so many items of a user are joined to each other, drawn by chance; a user of m
    items takes m² steps."""
    min_users: int = Field(1, ge=1)
    """Only items that so many users liked together are joined."""
    degree_exponent: float = Field(0.5, ge=0, le=1)
    """An edge is divided by the users of both its items to this power: 0 leaves it the number of
    users who like both, ruled by what is popular; 0.5 makes it the cosine. Best about 0.4 where
    likes are few (Gowalla), 0.65 where they are many (MovieLens)."""
    activity_exponent: float = Field(0.5, ge=0, le=1)
    """A user counts 1 / items to this power: whoever likes everything says little of each pair."""


class CooccurrenceGraph(ItemRows):
    """Items joined by how many users like both.

    With U the users who like both i and j, m_u how many items a user likes and d_i how many users
    like i, of the items drawn for each user,

        w(i, j) = Σ over U of m_u^−a / (d_i d_j)^b

    a being `activity_exponent` and b `degree_exponent`. Of users with more than `max_items` items,
    as many are drawn by a hash of their id and the item: the same ones each time, and one event
    more changes one of them at most. A candidate scores Σ over the history of w.

    Attributes:
        weights: float32[items × items], row i the heaviest edges of i.

    Cost: `fit` takes Σ over users of min(items, max_items)² steps and 8 × items × neighbors bytes;
    a request, history × neighbors.

    Example:
        >>> CooccurrenceGraph(degree_exponent=0, min_users=2)
        CooccurrenceGraph(min_users=2, degree_exponent=0.0)
    """

    name = "cooccurrence_graph"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    reason_text: ClassVar = "chosen by people who chose what you did"
    config: GraphSettings

    def evidence(self, dataset: Dataset) -> csr_array:
        """Who likes what, each user's likes capped, weighted so that products are edges."""
        users = capped(dataset, self.config.max_items)
        items = np.diff(users.indptr)
        weight = np.power(np.maximum(items, 1), -self.config.activity_exponent / 2)
        users.data = np.repeat(weight.astype(np.float32), items)
        return users

    def learner(self, pairs: Interactions) -> RowLearner:
        """The heaviest edges."""
        users = np.diff(pairs.item_offsets)
        divisor = np.power(users, self.config.degree_exponent).astype(np.float32)
        none = np.zeros_like(divisor)
        measure = Measure(none, none, divisor, divisor, none[:0])
        counted = nearest_items(
            pairs, measure, shrinkage=0.0, min_common=self.config.min_users, relative=False
        )
        # Who is drawn less for one item and more for another leaves counts as they were.
        crowds = np.zeros(len(users), np.uint64)
        _crowds(pairs.user_offsets, pairs.user_items, self.config.max_items, crowds)
        figures = np.stack([divisor.astype(np.float64), crowds.astype(np.float64)])
        return RowLearner(counted.learn, figures)


def capped(dataset: Dataset, most: int) -> csr_array:
    """Who likes what, float32[users × items] of ones, with at most so many items of a user.

    Args:
        dataset: what happened.
        most: how many items of a user count.
    """
    users = dataset.interactions(reduce="binary")
    counts, offsets = np.diff(users.indptr), users.indptr.astype(np.int64)
    busy = np.flatnonzero(counts > most)
    # By the id, since a user's index changes when others join.
    seeds = [crc32(id_.encode()) for id_ in dataset.users.ids(busy)]
    keep = np.ones(users.nnz, np.bool_)
    _draw(busy, np.array(seeds, np.uint64), offsets, users.indices, most, keep)
    entries = np.flatnonzero(keep)
    kept = offsets_of(np.minimum(counts, most))
    return csr_array((users.data[entries], users.indices[entries], kept), shape=users.shape)


@kernel
def _draw(rows, seeds, offsets, items, most, keep):  # type: ignore[no-untyped-def]
    """Unsets in each of `rows` all but the `most` entries of smallest hash."""
    for place in range(len(rows)):
        start, stop = offsets[rows[place]], offsets[rows[place] + 1]
        hashes = np.empty(stop - start, np.uint64)
        for entry in range(start, stop):
            hashes[entry - start] = mixed(mixed(seeds[place], 0), items[entry])
        last = np.sort(hashes)[most - 1]
        for entry in range(start, stop):
            keep[entry] = hashes[entry - start] <= last


@kernel
def _crowds(offsets, items, most, crowds):  # type: ignore[no-untyped-def]
    """Adds to each item's figure a digest of each of its users who have `most` items: 50 bits."""
    for row in range(len(offsets) - 1):
        if offsets[row + 1] - offsets[row] == most:
            digest = np.uint64(0)
            for entry in range(offsets[row], offsets[row + 1]):
                digest = digest + mixed(np.uint64(1), items[entry])
            for entry in range(offsets[row], offsets[row + 1]):
                both = crowds[items[entry]] + digest
                crowds[items[entry]] = both & np.uint64((1 << 50) - 1)
