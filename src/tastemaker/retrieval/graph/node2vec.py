"""Node2Vec: item vectors from biased random walks over the item graph."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged, offsets_of
from tastemaker.index import index_bytes
from tastemaker.retrieval.connected import ConnectedItems
from tastemaker.retrieval.graph.cooccurrence_graph import CooccurrenceGraph, GraphSettings
from tastemaker.retrieval.graph.skip_gram import WORTH_THREADS, SkipGram, SkipGramSettings
from tastemaker.retrieval.graph.streams import mixed, next_state, uniform
from tastemaker.retrieval.item_vectors import ItemVectors
from tastemaker.threads import run_chunks

_WALKS_AT_A_TIME = 200_000


class Node2VecConfig(SkipGramSettings, GraphSettings):
    """Settings of `Node2Vec`."""

    walks: int = Field(10, ge=1)
    """Number of walks that start at each item."""
    walk_length: int = Field(80, ge=2)
    """Number of items in a walk."""
    p: float = Field(1.0, ge=0.01, le=100)
    """The return parameter: with large values, a walk rarely returns to the previous item."""
    q: float = Field(1.0, ge=0.01, le=100)
    """The in-out parameter: below 1, a walk prefers items not joined to the previous one; above 1,
    it stays near."""


class Node2Vec(ItemVectors):
    """Skip-gram over second-order random walks (Grover & Leskovec 2016, section 3.2).

    The graph is that of `CooccurrenceGraph`; an edge has the larger of its two weights. A walk that
    came from t to v continues to x with a probability proportional to w(v, x) times

        1/p if x is t;   1 if x is joined to t;   1/q otherwise

    This is implemented by rejection sampling from w (as in Zhou, Wu, Cong & Wu 2019), so that no
    table per edge is needed. See `SkipGram` for the objective.

    Attributes:
        vectors: float32[items × factors], `SkipGram.items` at length 1.

    Cost: `fit`, that of the graph, and items × walks × walk_length × window × (1 + negatives) ×
    factors steps; 8 × items × (factors + neighbors) bytes and about 200 MB; a request, at most
    items × factors.

    Example:
        >>> Node2Vec(factors=64, walks=5, q=2)
        Node2Vec(factors=64, walks=5, q=2.0)
    """

    name = "node2vec"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    config: Node2VecConfig

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by building the graph, walking over it, and learning from the walks."""
        config = self.config
        n_items, factors = len(dataset.catalogue), config.factors
        options.require_memory(
            SkipGram.memory(n_items, factors)
            + 8 * n_items * factors
            + index_bytes(n_items, factors, config.index)
            + 40 * n_items * config.neighbors
            + 8 * min(n_items, _WALKS_AT_A_TIME) * config.walk_length,
            f"Node2Vec with {factors} factors for {n_items:,} items",
            "lower 'factors' or 'neighbors'",
        )
        graph = self._graph(dataset, options)
        degree = graph.sum(axis=1)
        mean = degree.sum() / max(1, np.count_nonzero(degree))
        counts = np.ceil(1_000 * degree / max(mean, 1e-12)).astype(np.int64)
        model = SkipGram(counts, config, options)
        random = np.random.default_rng([options.seed, 1])
        joined = np.flatnonzero(counts).astype(np.int32)
        rounds = range(config.walks)
        for walk in options.progress.track(rounds, "Node2Vec: walks", config.walks):
            order = random.permutation(joined)
            for first in range(0, len(order), _WALKS_AT_A_TIME):
                starts = order[first : first + _WALKS_AT_A_TIME]
                seed = np.uint64(random.integers(2**63))
                walked = walks(graph, starts, config, seed, options.threads)
                done, step = walk + first / len(order), len(starts) / len(order)
                model.learn(walked, done / config.walks, (done + step) / config.walks)
        users = np.diff(dataset.interactions(reduce="binary").T.tocsr().indptr)
        return self._take(model.items(), users, options, ConnectedItems.by_edges(graph))

    def _graph(self, dataset: Dataset, options: FitOptions) -> csr_array:
        """The symmetric edges, float32[items × items]."""
        names = GraphSettings.model_fields
        settings = {name: getattr(self.config, name) for name in names}
        edges = CooccurrenceGraph(**settings).fit(dataset, options).weights
        both: csr_array = edges.maximum(edges.T).tocsr()
        both.sort_indices()
        return both


def walks(
    graph: csr_array,
    starts: NDArray[np.int32],
    config: Node2VecConfig,
    seed: np.uint64,
    threads: int,
) -> Ragged:
    """Random walks over a graph, `walk_length` items each.

    Args:
        graph: float32[items × items], symmetric, columns ascending.
        starts: int32[walks], the first item of each walk; it must have an edge.
        config: length, p and q.
        seed: random seed.
        threads: number of threads to use; the walks do not depend on it.
    """
    offsets, items = graph.indptr.astype(np.int64), graph.indices.astype(np.int32)
    cumulative = np.cumsum(graph.data, dtype=np.float64)
    walked = np.empty((len(starts), config.walk_length), np.int32)
    every = offsets_of(np.full(len(starts), config.walk_length))

    def walk(start: int, stop: int) -> None:
        some = slice(start, stop)
        _walk(
            *(starts[some], start, offsets, items, cumulative, 1 / config.p, 1 / config.q),
            *(seed, walked[some]),
        )

    run_chunks(walk, every, threads if walked.size >= WORTH_THREADS else 1)
    return Ragged(every, walked.ravel())


@kernel
def _walk(starts, first, offsets, items, cumulative, back, out, seed, walked):  # type: ignore[no-untyped-def]
    """Writes a walk from each of `starts`; their numbers, which seed them, begin at `first`.

    `cumulative` is the sum of all weights up to each edge; `back` is 1/p, `out` 1/q.
    """
    most = max(back, 1.0, out)
    for row in range(len(starts)):
        state = mixed(seed, first + row)
        before, at = np.int32(-1), starts[row]
        walked[row, 0] = at
        for place in range(1, walked.shape[1]):
            start, stop = offsets[at], offsets[at + 1]
            lowest = cumulative[start - 1] if start > 0 else 0.0
            while True:
                state = next_state(state)
                sought = lowest + uniform(state) * (cumulative[stop - 1] - lowest)
                edge = start + np.searchsorted(cumulative[start:stop], sought, side="right")
                to = items[min(edge, stop - 1)]
                if before < 0 or most == min(back, out) == 1.0:
                    break
                bias = out
                if to == before:
                    bias = back
                elif _joined(items, offsets[before], offsets[before + 1], to):
                    bias = 1.0
                state = next_state(state)
                if uniform(state) * most < bias:
                    break
            before, at = at, to
            walked[row, place] = to


@kernel
def _joined(items, start, stop, item):  # type: ignore[no-untyped-def]
    """Whether the ascending items start … stop − 1 contain `item`."""
    place = start + np.searchsorted(items[start:stop], item)
    return place < stop and items[place] == item
