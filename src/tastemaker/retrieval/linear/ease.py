"""EASE: a linear item–item model in closed form, often the one to beat."""

from typing import Any, ClassVar, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import lapack
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import FitOptions, Serves, Task
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Reduce
from tastemaker.data.requests import Requests
from tastemaker.errors import TastemakerError
from tastemaker.index import exact_top_n
from tastemaker.index.exact import ScoreChunk
from tastemaker.retrieval.cooccurrence import BothWays, strongest_reasons
from tastemaker.retrieval.scoring import ScoringRetriever
from tastemaker.threads import blas_threads, run_chunks
from tastemaker.world import World


class EASEConfig(Settings):
    """Settings of `EASE`."""

    regularization: float = Field(500.0, gt=0)
    """λ: larger on smaller or noisier data."""
    reduce: Reduce = "log"
    """How repeated events of a pair become one weight."""


class EASE(ScoringRetriever):
    """Embarrassingly shallow autoencoder (Steck 2019, equation 8).

    P = (XᵀX + λI)⁻¹, B = I − P·diag(P)⁻¹: the linear model with zero diagonal that best
    reconstructs every user's row from the rest of it.

    Attributes:
        weights: float32[items × items], B; row: the item of the history, column: the candidate.

    Cost: `fit` takes items³ steps and 4 × items² bytes; a request, history × items.

    Raises:
        MemoryBudgetError: from `fit`, when the matrix would exceed the budget.

    Example:
        >>> EASE(regularization=1000.0)
        EASE(regularization=1000.0)
    """

    name = "ease"
    serves: ClassVar = Serves(history="native", similar_items=True)
    config: EASEConfig
    weights: NDArray[np.float32]

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Solves for B."""
        users = dataset.interactions(reduce=self.config.reduce)
        n_items = users.shape[1]
        # B is zero for an item nobody liked: solving for the others alone gives the same.
        liked = np.flatnonzero(users.sum(axis=0))
        copies = 1 if len(liked) == n_items else 2
        options.require_memory(
            copies * 4 * n_items**2 + 40 * users.nnz,
            f"EASE on {n_items:,} items",
            "leave it out for a catalogue of this size; ItemKNN and ALS grow more slowly",
        )
        if copies == 1:
            self.weights = self._solve(users, options)
        else:
            self.weights = np.zeros((n_items, n_items), np.float32)
            if len(liked):
                self.weights[np.ix_(liked, liked)] = self._solve(users[:, liked], options)
        self.n_fitted = n_items
        return self

    def _solve(self, users: csr_array, options: FitOptions) -> NDArray[np.float32]:
        """B from X, in place: one matrix of items × items is all it holds."""
        steps = options.progress.track(range(3), "EASE: Gram matrix, factor, inverse", 3)
        next(steps)
        gram = _gram(users, options.threads)
        gram[np.diag_indices(len(gram))] += np.float32(self.config.regularization)
        next(steps)
        with blas_threads(options.threads):
            factor, failed = lapack.spotrf(gram.T, lower=0, overwrite_a=1)
            next(steps)
            inverse, failed_too = lapack.spotri(factor, lower=0, overwrite_c=1)
        if failed or failed_too:
            raise TastemakerError(
                "EASE: XᵀX + λI is not positive definite in float32; raise 'regularization'"
            )
        for _ in steps:
            pass
        return _to_weights(inverse.T)

    def scores(self, requests: Requests) -> ScoreChunk:
        """How strongly each history reconstructs every item."""
        liked = requests.history.interactions(self.n_fitted, reduce=self.config.reduce)
        return lambda chunk: liked[chunk] @ self.weights

    def similar(self, items: NDArray[np.int32], n: int, world: World) -> Candidates:
        """The items that each item speaks for most."""
        self.require_fitted()
        asked = Requests.of([[int(item)] for item in items])

        def score(chunk: slice) -> NDArray[np.float32]:
            known = items[chunk] < self.n_fitted
            return np.where(known[:, None], self.weights[np.where(known, items[chunk], 0)], 0)

        return exact_top_n(score, asked, n, self.n_fitted, above=0.0)

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history that speaks most for each candidate."""
        self.require_fitted()

        def between(history: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[Any]:
            return self.weights[np.ix_(history, found)]

        liked = requests.history.interactions(self.n_fitted, reduce=self.config.reduce)
        return strongest_reasons(liked, candidates, between)

    def compare(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        """How much each left item speaks for its right one, B as it is, at most 1."""
        self.require_fitted()
        known = (left >= 0) & (left < self.n_fitted) & (right >= 0) & (right < self.n_fitted)
        likeness = np.zeros(len(left), np.float32)
        likeness[known] = np.minimum(self.weights[left[known], right[known]], 1)
        return likeness

    def save(self, writer: ArtifactWriter) -> None:
        """Writes B."""
        writer.array("weights", self.weights)

    def load(self, reader: ArtifactReader) -> Self:
        """Maps B."""
        self.weights = reader.array("weights")
        self.n_fitted = len(self.weights)
        return self


def _gram(users: csr_array, threads: int) -> NDArray[np.float32]:
    """The lower triangle of XᵀX, zeros above it, float32[items × items]."""
    pairs = BothWays.of(users)
    gram = np.zeros((users.shape[1], users.shape[1]), np.float32)
    run_chunks(
        lambda start, stop: _gram_rows(start, stop, pairs, gram), pairs.item_offsets, threads
    )
    return gram


@njit(nogil=True, cache=True)
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
    """B = I − P·diag(P)⁻¹ in place, from the lower triangle of P alone."""
    n = len(inverse)
    scale = -1.0 / inverse.diagonal().copy()
    for start in range(0, n, block):
        rows = slice(start, min(start + block, n))
        corner = np.tril(inverse[rows, rows], -1)
        inverse[rows, rows] = corner + corner.T
        inverse[rows, rows.stop :] = inverse[rows.stop :, rows].T
    inverse *= scale
    return inverse
