"""Item2Vec: embeds items that the same users like close to each other, like words in a text."""

from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged, offsets_of, ranges
from tastemaker.index import index_bytes
from tastemaker.retrieval.connected import ConnectedItems
from tastemaker.retrieval.graph.skip_gram import WORTH_THREADS, SkipGram, SkipGramSettings
from tastemaker.retrieval.graph.streams import below, mixed, next_state, uniform
from tastemaker.retrieval.item_vectors import ItemVectors
from tastemaker.threads import run_chunks


class Item2VecConfig(SkipGramSettings):
    """Settings of `Item2Vec`."""

    factors: int = Field(64, ge=1, le=2_048)
    """Length of the vectors."""
    window: int = Field(5, ge=1)
    """The maximum distance between the items of a pair; drawn from 1 to this for each item."""
    epochs: int = Field(15, ge=1)
    """Number of passes over all histories."""
    order: Literal["set", "time"] = "set"
    """`set`: histories are shuffled in every epoch, so that any two items can be a pair; `time`:
    only items that are close in time are pairs."""
    subsample: float = Field(1e-3, gt=0)
    """t: a like of an item with the share f of all likes is kept with probability
    min(1, √(t / f))."""


class Item2Vec(ItemVectors):
    """Skip-gram with negative sampling over histories (Barkan & Koenigstein 2016, equation 4).

    Every like is a word and every user's history a sentence; see `SkipGram` for the objective.
    Pairs are items of a history at most `window` places apart, in a new random order each epoch, as
    in the paper for sets. Frequent items are subsampled as in Mikolov et al. 2013.

    Attributes:
        vectors: float32[items × factors], `SkipGram.items` at length 1.

    Cost: `fit`, epochs × likes × window × (1 + negatives) × factors steps, 8 × items × factors
    bytes and about 130 MB; a request, at most items × factors.

    Example:
        >>> Item2Vec(factors=32, order="time")
        Item2Vec(factors=32, order='time')
    """

    name = "item2vec"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    config: Item2VecConfig

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by reading all histories in every epoch."""
        config = self.config
        liked = likes_in_order(dataset)
        n_items, factors = len(dataset.catalogue), config.factors
        counts = np.bincount(liked.values, minlength=n_items)
        options.require_memory(
            SkipGram.memory(n_items, factors)
            + 8 * n_items * factors
            + index_bytes(n_items, factors, config.index)
            + 24 * len(liked.values),
            f"Item2Vec with {factors} factors for {n_items:,} items",
            "lower 'factors'",
        )
        model = SkipGram(counts, config, options)
        share = counts / max(1, int(counts.sum()))
        keep = np.minimum(1, np.sqrt(config.subsample / np.maximum(share, 1e-12)))
        epochs = range(config.epochs)
        for epoch in options.progress.track(epochs, "Item2Vec: epochs", config.epochs):
            seed = np.uint64(options.seed * config.epochs + epoch)
            read = thinned(liked, keep, config.order == "set", seed, options.threads)
            model.learn(read, epoch / config.epochs, (epoch + 1) / config.epochs)
        connected = ConnectedItems.by_users(dataset.interactions(reduce="binary"))
        return self._take(model.items(), counts, options, connected)


def likes_in_order(dataset: Dataset) -> Ragged:
    """The distinct items that each user liked, in the order of their first like."""
    events = dataset.events
    liked = np.flatnonzero(events.weight > 0)
    pair = events.user[liked].astype(np.int64) * len(dataset.catalogue) + events.item[liked]
    first = np.sort(np.unique(pair, return_index=True)[1])
    chosen = liked[first]
    counts = np.bincount(events.user[chosen], minlength=len(dataset.users))
    return Ragged(offsets_of(counts), events.item[chosen])


def thinned(
    sequences: Ragged, keep: NDArray[np.float64], shuffled: bool, seed: np.uint64, threads: int
) -> Ragged:
    """Randomly subsampled sequences; a sequence with only one item left becomes empty.

    Args:
        sequences: items in their order.
        keep: float64[items], the probability that an item is kept.
        shuffled: whether to shuffle the items that are kept.
        seed: random seed.
        threads: number of threads to use.
    """
    values = np.empty_like(sequences.values)
    counts = np.zeros(len(sequences), np.int64)

    def thin(start: int, stop: int) -> None:
        _thin(
            start, stop, sequences.offsets, sequences.values, keep, shuffled, seed, values, counts
        )

    run_chunks(thin, sequences.offsets, threads if len(values) >= WORTH_THREADS else 1)
    entries = ranges(sequences.offsets[:-1], counts)
    return Ragged(offsets_of(counts), values[entries])


@kernel
def _thin(start, stop, offsets, items, keep, shuffled, seed, values, counts):  # type: ignore[no-untyped-def]
    """Writes the kept items of rows start … stop − 1 to the start of each row, and their number."""
    for row in range(start, stop):
        state, first, size = mixed(seed, row), offsets[row], 0
        for entry in range(first, offsets[row + 1]):
            state = next_state(state)
            if uniform(state) < keep[items[entry]]:
                values[first + size] = items[entry]
                size += 1
        if shuffled:
            for last in range(size - 1, 0, -1):  # Fisher and Yates
                state = next_state(state)
                other = first + below(state, last + 1)
                values[first + last], values[other] = values[other], values[first + last]
        counts[row] = size if size > 1 else 0
