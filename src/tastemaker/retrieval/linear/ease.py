"""EASE: a linear item–item model in closed form, and a strong baseline."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Reduce
from tastemaker.data.requests import Requests
from tastemaker.index import exact_top_n
from tastemaker.index.exact import ScoreChunk
from tastemaker.inventory import Inventory
from tastemaker.retrieval.cooccurrence import Interactions, strongest_reasons
from tastemaker.retrieval.linear.by_users import bytes_by_users, few_users, inverse_by_users
from tastemaker.retrieval.linear.inverse import BLOCK, invert_in_place
from tastemaker.retrieval.opinions import DislikeSettings
from tastemaker.retrieval.scoring import ScoringRetriever
from tastemaker.threads import blas_threads, run_chunks

_SIMILAR_BYTES = 4 << 20
_MOST = 0.7
"""If at least this share of the items has likes, the regression is solved for all items."""


class EASEConfig(DislikeSettings):
    """Settings of `EASE`."""

    regularization: float = Field(500.0, gt=0)
    """λ: larger on smaller or noisier data."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """p: the model is trained as if this share of every history were hidden, which dampens popular
    items (Steck 2020)."""
    reduce: Reduce = "log"
    """How to combine repeated events of a pair into one weight."""


class EASE(ScoringRetriever):
    """Embarrassingly shallow autoencoder (Steck 2019, equation 8).

    P = (XᵀX + Λ)⁻¹, B = I − P·diag(P)⁻¹: the linear model with zero diagonal that best
    reconstructs every user's row from the rest of it. Λ is λ on the diagonal, plus
    p/(1 − p)·diag(XᵀX) with dropout p (Steck 2020, Autoencoders that don't overfit towards the
    identity).

    Attributes:
        weights: float32[items × items], B; the row is the item of the history, the column the
            candidate.

    Cost: `fit` takes items³ steps, or users³ + entries × items if users are few, and
    4 × items² + 24,576 × items bytes; a request, history × items.

    Raises:
        MemoryBudgetError: from `fit`, if the matrix would exceed the budget.

    Example:
        >>> EASE(regularization=1000.0)
        EASE(regularization=1000.0)
    """

    name = "ease"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    reason_text: ClassVar[str] = "goes with what you chose"
    config: EASEConfig
    weights: NDArray[np.float32]

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by solving for B."""
        users = dataset.interactions(reduce=self.config.reduce)
        self.weights, _ = self._learn(users, options)
        self.n_fitted = users.shape[1]
        return self

    def _learn(
        self, users: csr_array, options: FitOptions
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """B and the diagonal of P, from X."""
        n_items, name = users.shape[1], type(self).__name__
        # B is zero for items without likes: solving for the others gives the same result. If nearly
        # all items have likes, this would cost a second matrix and save little.
        liked = np.flatnonzero(users.sum(axis=0))
        only_liked = len(liked) < _MOST * n_items
        extra = 12 * n_items * min(n_items, BLOCK)
        if few_users(users):
            extra = bytes_by_users(users)
        options.require_memory(
            4 * (n_items**2 + only_liked * len(liked) ** 2) + extra + 40 * users.nnz,
            f"{name} on {n_items:,} items",
            'use SparseEASE (type = "sparse_ease"), its approximation for large catalogues, or '
            "leave out items with few events",
        )
        if not only_liked:
            return self._solve(users, options)
        weights = np.zeros((n_items, n_items), np.float32)
        diagonal = np.full(n_items, 1 / self.config.regularization, np.float32)
        if len(liked):
            weights[np.ix_(liked, liked)], diagonal[liked] = self._solve(users[:, liked], options)
        return weights, diagonal

    def _solve(
        self, users: csr_array, options: FitOptions
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """B and the diagonal of P, solved in place in one matrix of items × items."""
        if few_users(users):
            with blas_threads(options.threads):
                inverse = inverse_by_users(
                    users, self.config.regularization, self.config.dropout, options.progress
                )
            diagonal = inverse.diagonal().copy()
            return _to_weights(inverse), diagonal
        gram = _gram(users, options.threads)
        on_diagonal = np.diag_indices(len(gram))
        gram[on_diagonal] /= np.float32(1 - self.config.dropout)
        gram[on_diagonal] += np.float32(self.config.regularization)
        with blas_threads(options.threads):
            invert_in_place(gram, options.progress, f"{type(self).__name__}: inverse")
        diagonal = gram.diagonal().copy()
        return _to_weights(gram), diagonal

    def scores(self, requests: Requests) -> ScoreChunk:
        """The reconstruction of every item from each history."""
        liked = requests.history.interactions(self.n_fitted, reduce=self.config.reduce)
        return lambda chunk: liked[chunk] @ self.weights

    def similar(self, items: NDArray[np.int32], n: int, inventory: Inventory) -> Candidates:
        """The items with the largest weights in each item's row of B."""
        self.require_fitted()
        requests = Requests.of([[int(item)] for item in items])
        everything = np.arange(self.n_items, dtype=np.int32)

        def score(chunk: slice) -> NDArray[np.float32]:
            left = np.repeat(items[chunk], len(everything))
            right = np.tile(everything, len(items[chunk]))
            return self._weights_between(left, right).reshape(-1, len(everything))

        return exact_top_n(
            score, requests, n, self.n_items, min_score=0.0, chunk_bytes=_SIMILAR_BYTES
        )

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history that supports each candidate most."""
        self.require_fitted()

        def between(history: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[Any]:
            left, right = np.repeat(history, len(found)), np.tile(found, len(history))
            return self._weights_between(left, right).reshape(len(history), len(found))

        history = self.likes(requests).history
        liked = history.interactions(self.n_items, reduce=self.config.reduce)
        return strongest_reasons(liked, candidates, between)

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        """The weight in B from each left item to its right item, at most 1."""
        self.require_fitted()
        return np.minimum(self._weights_between(left, right), np.float32(1))

    def _weights_between(
        self, left: NDArray[np.int32], right: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The weight in B from each left item to its right item; 0 if either is unknown."""
        known = (left >= 0) & (left < self.n_fitted) & (right >= 0) & (right < self.n_fitted)
        strength = np.zeros(len(left), np.float32)
        strength[known] = self.weights[left[known], right[known]]
        return strength

    def save(self, writer: ArtifactWriter) -> None:
        """Writes B."""
        writer.array("weights", self.weights)

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps B."""
        self.weights = reader.array("weights", np.float32, (None, None))
        self.n_fitted = len(self.weights)
        reader.array("weights", shape=(self.n_fitted, self.n_fitted))
        return self


def _gram(users: csr_array, threads: int) -> NDArray[np.float32]:
    """The lower triangle of XᵀX, zeros above it, float32[items × items]."""
    pairs = Interactions.of(users)
    gram = np.zeros((users.shape[1], users.shape[1]), np.float32)
    run_chunks(
        lambda start, stop: _gram_rows(start, stop, pairs, gram), pairs.item_offsets, threads
    )
    return gram


@kernel
def _gram_rows(start, stop, pairs, gram):  # type: ignore[no-untyped-def]
    """Fills rows start … stop − 1 of the lower triangle of XᵀX."""
    for item in range(start, stop):
        for entry in range(pairs.item_offsets[item], pairs.item_offsets[item + 1]):
            user, weight = pairs.item_users[entry], pairs.item_weights[entry]
            for place in range(pairs.user_offsets[user], pairs.user_offsets[user + 1]):
                other = pairs.user_items[place]
                if other > item:
                    break
                gram[item, other] += weight * pairs.user_weights[place]


def _to_weights(inverse: NDArray[np.float32], block: int = 1_024) -> NDArray[np.float32]:
    """B = I − P·diag(P)⁻¹, computed in place from the lower triangle of P."""
    n = len(inverse)
    scale = -1.0 / inverse.diagonal().copy()
    for start in range(0, n, block):
        rows = slice(start, min(start + block, n))
        corner = np.tril(inverse[rows, rows], -1)
        inverse[rows, rows] = corner + corner.T
        inverse[rows, rows.stop :] = inverse[rows.stop :, rows].T
    inverse *= scale
    return inverse
