"""Propagation: item vectors without training, by propagating random vectors over the likes."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import eigh, qr
from scipy.sparse import csr_array

from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.dataset import Dataset
from tastemaker.index import index_bytes
from tastemaker.retrieval.connected import ConnectedItems
from tastemaker.retrieval.item_vectors import ItemVectors, VectorSettings
from tastemaker.threads import blas_threads, run_chunks

_SPARE = 16
"""Additional directions to iterate, which improve the accuracy of the last directions kept."""
_ITEMS_EACH = 4
"""The minimum number of liked items per direction: with as many directions as items, all items
would be orthogonal."""
_ROUNDING = 1e-6
"""Directions below this share of the largest squared strength are rounding errors."""


class PropagationConfig(VectorSettings):
    """Settings of `Propagation`."""

    factors: int = Field(256, ge=1, le=2_048)
    """Length of the vectors: the number of smoothest directions to keep, at most one per four liked
    items."""
    rounds: int = Field(3, ge=1)
    """Number of propagations from items to users and back."""
    user_exponent: float = Field(0.25, ge=0, le=1)
    """a: a user's likes are divided by their number to this power; smaller values give active users
    more weight."""
    item_exponent: float = Field(0.5, ge=0, le=1)
    """b: an item's likes are divided by their number to this power."""


class Propagation(ItemVectors):
    """Item vectors from the low-frequency directions of the graph of likes, without training.

    With R̃ = D_u^−a R D_i^−b, iterates Q ← orthonormal(R̃ᵀ(R̃ Q)) from a random Q, `rounds` times
    (Halko, Martinsson & Tropp 2011, algorithm 4.4). After many rounds this converges to the leading
    eigenvectors of R̃ᵀR̃, the smoothest signals on the graph. Light graph convolution is the trained
    form of this low-pass filter (Shen et al. 2021, equation 10).

    Attributes:
        vectors: float32[items × at most factors], each at length 1.

    Cost: `fit`, rounds × (likes × factors + items × factors²) steps, seconds; 4 × (users + 4 ×
    items) × factors bytes; a request, at most items × factors.

    Example:
        >>> Propagation(factors=64)
        Propagation(factors=64)
    """

    name = "propagation"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    config: PropagationConfig

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by propagating random vectors over the likes."""
        config, liked = self.config, dataset.interactions(reduce="binary")
        n_users, n_items = liked.shape
        users = np.bincount(liked.indices, minlength=n_items)
        factors = min(config.factors, max(2, int(np.count_nonzero(users)) // _ITEMS_EACH))
        n_directions = min(factors + _SPARE, n_users, n_items)
        options.require_memory(
            4 * (n_users + 4 * n_items) * n_directions
            + 8 * n_items * factors
            + index_bytes(n_items, factors, config.index)
            + 24 * liked.nnz,
            f"Propagation with {factors} factors for {n_items:,} items",
            "lower 'factors'",
        )
        there = scaled(liked, users, config.user_exponent, config.item_exponent)
        back: csr_array = there.T.tocsr()
        random = np.random.default_rng(options.seed)
        vectors = random.normal(size=(n_items, n_directions)).astype(np.float32)
        rounds = range(config.rounds)
        with blas_threads(1):  # BLAS sums depend on the number of threads
            for _ in options.progress.track(rounds, "Propagation: rounds", config.rounds):
                passed = _product(there, vectors, options.threads)
                passed = _product(back, passed, options.threads)
                vectors = qr(passed, mode="economic", overwrite_a=True, check_finite=False)[0]
            passed = _product(there, vectors, options.threads)
            strength, directions = eigh(passed.T @ passed)
            real = strength > _ROUNDING * strength.max(initial=0)
            vectors = vectors @ directions[:, real][:, ::-1][:, :factors]
        vectors[users == 0] = 0
        return self._take(vectors, users, options, ConnectedItems.by_users(liked))


def scaled(
    liked: csr_array, users: NDArray[np.int64], user_exponent: float, item_exponent: float
) -> csr_array:
    """R̃ = D_u^−a R D_i^−b, float32[users × items].

    Args:
        liked: R, ones.
        users: int64[items], the number of users of each item.
        user_exponent: a.
        item_exponent: b.
    """
    items = np.diff(liked.indptr)
    by_user = np.power(np.maximum(items, 1), -user_exponent)
    by_item = np.power(np.maximum(users, 1), -item_exponent)
    data = np.repeat(by_user, items) * by_item[liked.indices]
    return csr_array((data.astype(np.float32), liked.indices, liked.indptr), shape=liked.shape)


def _product(matrix: csr_array, dense: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
    """The product of a sparse and a dense matrix, with rows distributed over threads."""
    out = np.empty((matrix.shape[0], dense.shape[1]), np.float32)

    def work(start: int, stop: int) -> None:
        out[start:stop] = matrix[start:stop] @ dense

    run_chunks(work, matrix.indptr.astype(np.int64), threads)
    return out
