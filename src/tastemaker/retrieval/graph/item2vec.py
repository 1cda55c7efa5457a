"""Item2Vec: items that the same people like stand near each other, as words in sentences do."""

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
    """Items at most so many places apart are pairs; how many is drawn for each item, 1 to this."""
    epochs: int = Field(15, ge=1)
    """How often every history is read."""
    order: Literal["set", "time"] = "set"
    """`set`: a history is shuffled each time it is read, so that any two of its items may be a
    pair; `time`: only items that followed each other closely are."""
    subsample: float = Field(1e-3, gt=0)
    """t: of an item that makes up the share f of all likes, min(1, √(t / f)) are read."""


class Item2Vec(ItemVectors):
    """Skip-gram with negative sampling over histories (Barkan & Koenigstein 2016, equation 4).

    Every like is a word, every user's history a sentence; see `SkipGram` for what is climbed. Pairs
    are items of a history at most `window` places apart, in an order of its own each epoch, as the
    paper has it for sets; frequent items are thinned out by Mikolov et al. 2013.

    Attributes:
        vectors: float32[items × factors], `SkipGram.items` made one long.

    Cost: `fit`, epochs × likes × window × (1 + negatives) × factors steps, 8 × items × factors
    bytes and some 130 MB; a request, at most items × factors.

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
        """Reads all histories, epoch after epoch."""
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
    """The items each user liked, in the order of their first like, each once."""
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
    """The sequences with each item left out by chance; those that one item is left of, empty.

    Args:
        sequences: items in their order.
        keep: float64[items], with which probability an item is kept.
        shuffled: whether what is kept is put in random order.
        seed: of the draws.
        threads: processors to use.
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
    """Writes what is kept of rows start … stop − 1 to the beginning of each row, and how many."""
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
