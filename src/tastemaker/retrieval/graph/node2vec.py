"""Node2Vec: biased random walks over the graph of items, read as sentences."""

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
    """How many walks begin at each item."""
    walk_length: int = Field(80, ge=2)
    """Items on a walk."""
    p: float = Field(1.0, ge=0.01, le=100)
    """Large: a walk seldom goes back to where it came from."""
    q: float = Field(1.0, ge=0.01, le=100)
    """Below 1: a walk goes on to what its last item is not joined to; above 1: it stays near."""


class Node2Vec(ItemVectors):
    """Skip-gram over second-order random walks (Grover & Leskovec 2016, section 3.2).

    The graph is `CooccurrenceGraph`, an edge as heavy as either item has it. A walk that came from
    t to v goes on to x with a probability proportional to w(v, x) times

        1/p if x is t;   1 if x is joined to t;   1/q otherwise

    drawn by w and then accepted or drawn again (as Zhou, Wu, Cong & Wu 2019), so that no table is
    needed for each edge. See `SkipGram` for what is learnt from the walks.

    Attributes:
        vectors: float32[items × factors], `SkipGram.items` made one long.

    Cost: `fit`, the graph's, and items × walks × walk_length × window × (1 + negatives) × factors
    steps; 8 × items × (factors + neighbors) bytes and some 200 MB; a request, at most items ×
    factors.

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
        """Builds the graph, walks over it, and learns from the walks."""
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
        """The edges both ways, float32[items × items]."""
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
        graph: float32[items × items], the same both ways, columns ascending.
        starts: int32[walks], where each begins; every one must have an edge.
        config: length, p and q.
        seed: of the draws.
        threads: processors to use; they do not change the walks.
    """
    offsets, items = graph.indptr.astype(np.int64), graph.indices.astype(np.int32)
    reached = np.cumsum(graph.data, dtype=np.float64)
    walked = np.empty((len(starts), config.walk_length), np.int32)
    every = offsets_of(np.full(len(starts), config.walk_length))

    def walk(start: int, stop: int) -> None:
        some = slice(start, stop)
        _walk(
            *(starts[some], start, offsets, items, reached, 1 / config.p, 1 / config.q),
            *(seed, walked[some]),
        )

    run_chunks(walk, every, threads if walked.size >= WORTH_THREADS else 1)
    return Ragged(every, walked.ravel())


@kernel
def _walk(starts, first, offsets, items, reached, back, out, seed, walked):  # type: ignore[no-untyped-def]
    """Writes a walk from each of `starts`, which is walk number `first` and those after it.

    `reached` is the sum of all weights up to each edge; `back` is 1/p, `out` 1/q.
    """
    most = max(back, 1.0, out)
    for row in range(len(starts)):
        state = mixed(seed, first + row)
        before, at = np.int32(-1), starts[row]
        walked[row, 0] = at
        for place in range(1, walked.shape[1]):
            start, stop = offsets[at], offsets[at + 1]
            lowest = reached[start - 1] if start > 0 else 0.0
            while True:
                state = next_state(state)
                sought = lowest + uniform(state) * (reached[stop - 1] - lowest)
                edge = start + np.searchsorted(reached[start:stop], sought, side="right")
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
    """Whether the ascending items start … stop − 1 hold `item`."""
    place = start + np.searchsorted(items[start:stop], item)
    return place < stop and items[place] == item
