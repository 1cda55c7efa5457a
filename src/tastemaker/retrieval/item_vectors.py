"""The base class of models that consist of one vector per item."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.component import FitOptions, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.decay import LEAST_DECAY
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.errors import ArtifactError
from tastemaker.index import IndexSettings, VectorIndex, build_index, load_index
from tastemaker.inventory import Inventory
from tastemaker.retrieval.connected import ConnectedItems
from tastemaker.retrieval.cooccurrence import strongest_reasons
from tastemaker.retrieval.cosine import cosines, most_similar
from tastemaker.retrieval.opinions import DislikeSettings, Opinions
from tastemaker.retrieval.vector_scores import ItemSpace, VectorScores

_ARRAYS = ("vectors", "norms", "popularity_weight")


class VectorSettings(DislikeSettings):
    """Settings of models that consist of one vector per item."""

    popularity: float = Field(0.15, ge=0, le=1)
    """β: a candidate's score is multiplied by its number of users, relative to the maximum, to this
    power; 0 leaves the cosines unchanged."""
    half_life: float | None = Field(None, gt=0)
    """A like counts half after this many later likes in the history; None weights all equally."""
    index: Literal["exact", "int8", "approximate"] = "exact"
    """How to search for the best items: `exact`; `int8`, which returns the same lists and reads
    fewer bytes; `approximate`, which finds about 95 % of the best items and takes effect from
    20,000 items on."""


class ItemVectors(Retriever):
    """A retriever that scores items by inner product with the mean vector of the history.

    With v̂ an item's vector at length 1, the vector of a request is

        x = Σ ½^(age / half_life) · log₂(1 + weight) · v̂ / Σ ½^(age / half_life) · log₂(1 + weight)

    over the likes of its history; age is the number of later likes. A candidate scores
    x · v̂ × popularity_weight, where popularity_weight = (users / maximum users)^β. Dislikes lower
    the score as in `Opinions`. Items that the events do not connect have no similarity. A subclass
    learns vectors in `fit` and passes them to `_take`; this class implements the rest.

    Attributes:
        vectors: float32[items × factors], each of length 1, or 0 for an item without data.
        norms: float32[items], the lengths after rounding.
        popularity_weight: float32[items], the factor of each candidate's score.
        index: vectors × popularity_weight, laid out for search.
        connected: which items the events connect.

    Cost: a request, its history × factors for its vector and at most items × factors to find the
    best.
    """

    config: VectorSettings
    vectors: NDArray[np.float32]
    norms: NDArray[np.float32]
    popularity_weight: NDArray[np.float32]
    index: VectorIndex
    connected: ConnectedItems

    def _take(
        self,
        vectors: NDArray[np.float32],
        users: NDArray[np.integer],
        options: FitOptions,
        connected: ConnectedItems | None = None,
    ) -> Self:
        """Stores the learned vectors and builds the search index.

        Args:
            vectors: float32[items × factors], of any length; 0 for an item that is never found.
            users: int[items], the number of users of each item.
            options: seed and threads for the index.
            connected: which items the events connect; defaults to all.
        """
        self.connected = connected or ConnectedItems.whole(len(vectors))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(lengths > 0, lengths, 1)
        self.vectors = np.ascontiguousarray(unit, np.float32)
        self.norms = np.linalg.norm(self.vectors, axis=1).astype(np.float32)
        share = users / max(1, int(users.max(initial=0)))
        self.popularity_weight = np.power(share, self.config.popularity).astype(np.float32)
        self.index = build_index(
            self.vectors * self.popularity_weight[:, None],
            IndexSettings(kind=self.config.index),
            queries=self.vectors,
            seed=options.seed,
            threads=options.threads,
        )
        self.n_fitted = len(vectors)
        return self

    def request_vectors(self, requests: Requests) -> NDArray[np.float32]:
        """The vector of each request, float32[requests × factors]; 0 without known likes."""
        self.require_fitted()
        history = requests.history
        x = np.zeros((len(requests), self.vectors.shape[1]), np.float32)
        _means(history.offsets, history.item, self._event_weights(requests), self.vectors, x)
        return x

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """The items whose vectors have the largest inner product with the history's vector."""
        return self._scored(requests).top_n(requests, n)

    def score(self, requests: Requests, items: Ragged) -> NDArray[np.float32]:
        """The score of each item for its request, whether or not it would be retrieved."""
        return self._scored(requests).of_items(items)

    def similar(self, items: NDArray[np.int32], n: int, inventory: Inventory) -> Candidates:
        """The items whose vectors have the highest cosine with each item's vector."""
        self.require_fitted()
        return most_similar(self.vectors, self.norms, items, n, self.connected)

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        """The cosine of the two vectors of each pair; 0 if the events do not connect the items."""
        self.require_fitted()
        return cosines(self.vectors, self.norms, left, right, self.connected)

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history that supports each candidate most, by cosine × weight."""
        self.require_fitted()

        def between(history: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[Any]:
            left, right = np.repeat(history, len(found)), np.tile(found, len(history))
            return self.similarity(left, right).reshape(len(history), len(found))

        requests = Opinions.of(requests, self.config.dislike_weight).likes
        history, event_weight = requests.history, self._event_weights(requests)
        known = event_weight > 0
        offsets = np.concatenate([[0], np.cumsum(known)])[history.offsets]
        shape = (len(requests), self.n_fitted)
        liked = csr_array((event_weight[known], history.item[known], offsets), shape=shape)
        liked.sum_duplicates()
        return strongest_reasons(liked, candidates, between)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the vectors and their search layout, so that processes can share both."""
        for name in _ARRAYS:
            writer.array(name, getattr(self, name))
        self.index.save(writer.child("index"))
        self.connected.save(writer)

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps the vectors."""
        self.vectors = reader.array("vectors", np.float32, (None, None))
        self.n_fitted = len(self.vectors)
        self.norms = reader.array("norms", np.float32, (self.n_fitted,))
        self.popularity_weight = reader.array("popularity_weight", np.float32, (self.n_fitted,))
        self.connected = ConnectedItems.load(reader, self.n_fitted)
        self.index = load_index(reader.child("index"))
        if self.index.size != self.n_fitted:
            raise ArtifactError(
                f"the index has {self.index.size:,} vectors, its model {self.n_fitted:,}: "
                "train again"
            )
        return self

    def _scored(self, requests: Requests) -> VectorScores:
        self.require_fitted()
        space = ItemSpace(self.vectors, self.popularity_weight, self.connected, self.index)
        weight = self.config.dislike_weight
        return VectorScores.of(requests, space, self.request_vectors, weight, averages=True)

    def _event_weights(self, requests: Requests) -> NDArray[np.float32]:
        """The weight of each event of the histories, float32[total]; 0 if disliked or unknown."""
        history = requests.history
        event_weight = np.zeros(len(history.item), np.float32)
        half_life = np.inf if self.config.half_life is None else self.config.half_life
        _weigh_events(
            history.offsets, history.item, history.weight, self.n_fitted, half_life, event_weight
        )
        return event_weight


@kernel
def _weigh_events(offsets, item, weight, n_items, half_life, event_weight):  # type: ignore[no-untyped-def]
    """Writes ½^(age / half_life) · log₂(1 + weight) of each liked event of a known item, else 0."""
    for row in range(len(offsets) - 1):
        age = 0
        for event in range(offsets[row + 1] - 1, offsets[row] - 1, -1):
            event_weight[event] = 0
            if 0 <= item[event] < n_items and weight[event] > 0:
                decay = max(0.5 ** (age / half_life), LEAST_DECAY)
                event_weight[event] = decay * np.log2(1.0 + weight[event])
                age += 1


@kernel
def _means(offsets, item, event_weight, vectors, x):  # type: ignore[no-untyped-def]
    """Writes the mean of each history's vectors, weighted by event_weight, added in its order."""
    for row in range(len(x)):
        total = np.float32(0)
        for event in range(offsets[row], offsets[row + 1]):
            if event_weight[event] > 0:
                total += event_weight[event]
                for f in range(vectors.shape[1]):
                    x[row, f] += event_weight[event] * vectors[item[event], f]
        if total > 0:
            for f in range(vectors.shape[1]):
                x[row, f] /= total
