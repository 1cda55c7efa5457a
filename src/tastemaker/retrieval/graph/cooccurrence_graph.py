"""The graph of items that the same users like: a retriever, and the graph of Node2Vec."""

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
    """Settings for the edges of the graph and their weights."""

    neighbors: int = Field(100, ge=1)
    """Maximum number of edges per item: the heaviest are kept."""
    max_items: int = Field(500, ge=2)
    """Maximum number of items of a user that are joined to each other, sampled at random; a user
    with m items takes m² steps."""
    min_users: int = Field(1, ge=1)
    """Items are joined only if at least this many users liked both."""
    degree_exponent: float = Field(0.5, ge=0, le=1)
    """The weight of an edge is divided by the users of each of its items to this power. With 0 it
    is the number of users who like both, which favours popular items; with 0.5 it is the cosine.
    Best about 0.4 on sparse data (Gowalla) and 0.65 on dense data (MovieLens)."""
    activity_exponent: float = Field(0.5, ge=0, le=1)
    """A user has weight 1 / items to this power: users with many items say little about a pair."""


class CooccurrenceGraph(ItemRows):
    """A graph that joins items by the number of users who like both.

    Let U be the users who like both i and j, m_u the number of items that user u likes, and d_i the
    number of users who like i, all counted over the items sampled for each user. Then

        w(i, j) = Σ over U of m_u^−a / (d_i d_j)^b

    with a `activity_exponent` and b `degree_exponent`. For users with more than `max_items` items,
    this many are sampled by a hash of the user's id and the item. The sample is the same in every
    fit, and one more event changes at most one item of it. A candidate scores Σ over the history
    of w.

    Attributes:
        weights: float32[items × items]; row i has the heaviest edges of i.

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
        """The capped likes of each user, weighted so that their products sum to edge weights."""
        users = capped(dataset, self.config.max_items)
        items = np.diff(users.indptr)
        weight = np.power(np.maximum(items, 1), -self.config.activity_exponent / 2)
        users.data = np.repeat(weight.astype(np.float32), items)
        return users

    def learner(self, pairs: Interactions) -> RowLearner:
        """The learner of the heaviest edges."""
        users = np.diff(pairs.item_offsets)
        divisor = np.power(users, self.config.degree_exponent).astype(np.float32)
        none = np.zeros_like(divisor)
        measure = Measure(none, none, divisor, divisor, none[:0])
        counted = nearest_items(
            pairs, measure, shrinkage=0.0, min_common=self.config.min_users, relative=False
        )
        # A change in the sample of a user can leave all counts unchanged: digests detect it.
        samples = np.zeros(len(users), np.uint64)
        _digest_samples(pairs.user_offsets, pairs.user_items, self.config.max_items, samples)
        statistics = np.stack([divisor.astype(np.float64), samples.astype(np.float64)])
        return RowLearner(counted.learn, statistics)


def capped(dataset: Dataset, most: int) -> csr_array:
    """The likes as ones, float32[users × items], with at most `most` items per user.

    Args:
        dataset: the events.
        most: the maximum number of items per user.
    """
    users = dataset.interactions(reduce="binary")
    counts, offsets = np.diff(users.indptr), users.indptr.astype(np.int64)
    busy = np.flatnonzero(counts > most)
    # Seeds depend on the id, since a user's index changes when others join.
    seeds = [crc32(id_.encode()) for id_ in dataset.users.ids(busy)]
    keep = np.ones(users.nnz, np.bool_)
    _sample(busy, np.array(seeds, np.uint64), offsets, users.indices, most, keep)
    entries = np.flatnonzero(keep)
    kept = offsets_of(np.minimum(counts, most))
    return csr_array((users.data[entries], users.indices[entries], kept), shape=users.shape)


@kernel
def _sample(rows, seeds, offsets, items, most, keep):  # type: ignore[no-untyped-def]
    """Unsets all but the `most` entries of smallest hash in each of `rows`."""
    for place in range(len(rows)):
        start, stop = offsets[rows[place]], offsets[rows[place] + 1]
        hashes = np.empty(stop - start, np.uint64)
        for entry in range(start, stop):
            hashes[entry - start] = mixed(mixed(seeds[place], 0), items[entry])
        last = np.sort(hashes)[most - 1]
        for entry in range(start, stop):
            keep[entry] = hashes[entry - start] <= last


@kernel
def _digest_samples(offsets, items, most, samples):  # type: ignore[no-untyped-def]
    """Adds a 50-bit digest of each user with `most` items to the samples of the user's items."""
    for row in range(len(offsets) - 1):
        if offsets[row + 1] - offsets[row] == most:
            digest = np.uint64(0)
            for entry in range(offsets[row], offsets[row + 1]):
                digest = digest + mixed(np.uint64(1), items[entry])
            for entry in range(offsets[row], offsets[row + 1]):
                both = samples[items[entry]] + digest
                samples[items[entry]] = both & np.uint64((1 << 50) - 1)
