"""Implicit alternating least squares: user and item vectors from confidence-weighted events."""

from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Retriever, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.index import (
    IndexSettings,
    VectorIndex,
    build_index,
    index_bytes,
    load_index,
)
from tastemaker.inventory import Inventory
from tastemaker.retrieval.connected import ConnectedItems
from tastemaker.retrieval.cosine import cosines, most_similar
from tastemaker.retrieval.opinions import DislikeSettings
from tastemaker.retrieval.vector_scores import ItemSpace, VectorScores
from tastemaker.threads import blas_threads, run_chunks

_FOLD_IN_STEPS = 64
_FOLD_IN_TOLERANCE = 1e-6
_ARRAYS = ("item_factors", "gram", "norms")


class ALSConfig(DislikeSettings):
    """Settings of `ALS`."""

    factors: int = Field(64, ge=1, le=2_048)
    """Length of the vectors."""
    iterations: int = Field(15, ge=1)
    """Sweeps over users and items."""
    regularization: float = Field(10.0, gt=0)
    """λ, before the scaling below; if it is too large for the data, all vectors shrink to zero."""
    frequency_scaling: float = Field(0.25, ge=0, le=1)
    """ν: a row's λ is multiplied by its total confidence to this power; every unobserved pair adds
    1 to the total. 0 uses the same λ for all rows; 1 suits small catalogues with λ about 0.003."""
    alpha: float = Field(10.0, gt=0)
    """α: how much more weight an observed pair has than an unobserved one."""
    confidence: Literal["linear", "log"] = "linear"
    """c = 1 + α·r, or c = 1 + α·ln(1 + r)."""
    conjugate_gradient_steps: int = Field(3, ge=1)
    """Solver steps per row and sweep."""
    index: Literal["exact", "int8", "approximate"] = "exact"
    """How to search for the best items: `exact`; `int8`, which returns the same lists and reads
    fewer bytes if vectors have equal lengths; `approximate`, which finds about 95 % of the best
    items and takes effect from 20,000 items on."""


class ALS(Retriever):
    """Implicit matrix factorization (Hu, Koren & Volinsky 2008), solved by conjugate gradient.

    Minimizes Σ c_ui (p_ui − x_u·y_i)² + λ Σ (Σ_i c_ui)^ν ‖x_u‖² + the same for items, with p = 1
    where there is an event. Conjugate gradient follows Takács, Pilászy & Tikk 2011, the scaling of
    λ Rendle, Krichene, Zhang & Koren 2022. The vector of a request is solved to convergence from
    its history with the item vectors fixed, for known and unknown users alike. Dislikes are solved
    in the same way and lower the score as in `Opinions`. Items that the events do not connect have
    no similarity and no score.

    Attributes:
        item_factors: float32[items × factors], Y.
        gram: float32[factors × factors], YᵀY.
        norms: float32[items], ‖y‖.
        index: a copy of the item vectors laid out for search.
        connected: which items the events connect.

    Cost: `fit`, iterations × (events × factors + (users + items) × factors²) steps and
    4 × (users + items) × factors bytes; a request, at most items × factors, a tenth of that in a
    large catalogue, where most vectors are too short to enter a list.

    Raises:
        LibraryError: from `fit` and `load`, if the index is approximate and faiss is missing.

    Example:
        >>> ALS(factors=32)
        ALS(factors=32)
    """

    name = "als"
    capabilities: ClassVar = Capabilities(history="exact", similar_items=True)
    config: ALSConfig
    item_factors: NDArray[np.float32]
    gram: NDArray[np.float32]
    norms: NDArray[np.float32]
    index: VectorIndex
    connected: ConnectedItems
    _popularity_weight: NDArray[np.float32]

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by alternating between user and item vectors."""
        pairs = dataset.interactions()
        confidence = self._confidence(pairs.data)
        users = csr_array((confidence, pairs.indices, pairs.indptr), shape=pairs.shape)
        items = users.T.tocsr()
        del pairs, confidence
        (n_users, n_items), factors = users.shape, self.config.factors
        options.require_memory(
            4 * (n_users + n_items) * factors
            + index_bytes(n_items, factors, self.config.index)
            + 24 * users.nnz,
            f"ALS with {factors} factors for {n_users:,} users and {n_items:,} items",
            "lower 'factors'",
        )
        random = np.random.default_rng(options.seed)
        x = np.zeros((n_users, factors), np.float32)
        y = random.normal(0, 0.1 / np.sqrt(factors), (n_items, factors)).astype(np.float32)
        steps = self.config.conjugate_gradient_steps
        sweeps = range(self.config.iterations)
        for _ in options.progress.track(sweeps, "ALS: sweeps", self.config.iterations):
            self._solve(users, y, x, steps, options.threads)
            self._solve(items, x, y, steps, options.threads)
        self.item_factors = y
        self.connected = ConnectedItems.by_users(users)
        self.gram = y.T @ y
        self.norms = np.linalg.norm(y, axis=1).astype(np.float32)
        self.index = build_index(
            y,
            IndexSettings(kind=self.config.index),
            queries=x,
            seed=options.seed,
            threads=options.threads,
        )
        self._popularity_weight = np.ones(n_items, np.float32)
        self.n_fitted = n_items
        return self

    def user_factors(self, requests: Requests, threads: int = 1) -> NDArray[np.float32]:
        """The vector of each request, solved from its history, float32[requests × factors]."""
        self.require_fitted()
        liked = requests.history.interactions(self.n_fitted)
        liked.data = self._confidence(liked.data)
        x = np.zeros((len(requests), self.config.factors), np.float32)
        self._solve(liked, self.item_factors, x, _FOLD_IN_STEPS, threads, self.gram)
        return x

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """The items whose vectors have the largest inner product with the request's vector."""
        return self._scored(requests).top_n(requests, n)

    def score(self, requests: Requests, items: Ragged) -> NDArray[np.float32]:
        """The inner product of the request's vector and each item's vector."""
        return self._scored(requests).of_items(items)

    def similar(self, items: NDArray[np.int32], n: int, inventory: Inventory) -> Candidates:
        """The items whose vectors have the highest cosine with each item's vector."""
        self.require_fitted()
        return most_similar(self.item_factors, self.norms, items, n, self.connected)

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        """The cosine of the two vectors of each pair; 0 if the events do not connect the items."""
        self.require_fitted()
        return cosines(self.item_factors, self.norms, left, right, self.connected)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the item vectors and their search layout, so that processes can share both."""
        for name in _ARRAYS:
            writer.array(name, getattr(self, name))
        self.index.save(writer.child("index"))
        self.connected.save(writer)

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps the item vectors."""
        for name in _ARRAYS:
            setattr(self, name, reader.array(name))
        self.index = load_index(reader.child("index"))
        self.n_fitted = len(self.item_factors)
        self._popularity_weight = np.ones(self.n_fitted, np.float32)
        self.connected = ConnectedItems.load(reader, self.n_fitted)
        return self

    def _scored(self, requests: Requests) -> VectorScores:
        self.require_fitted()
        space = ItemSpace(self.item_factors, self._popularity_weight, self.connected, self.index)
        weight = self.config.dislike_weight
        return VectorScores.of(requests, space, self.user_factors, weight, averages=False)

    def _confidence(self, strength: NDArray[np.float32]) -> NDArray[np.float32]:
        """The additional weight of each observed pair, c − 1."""
        if self.config.confidence == "log":
            strength = np.log1p(strength)
        return (self.config.alpha * strength).astype(np.float32)

    def _solve(
        self,
        confidence: csr_array,
        fixed: NDArray[np.float32],
        solved: NDArray[np.float32],
        steps: int,
        threads: int,
        gram: NDArray[np.float32] | None = None,
    ) -> None:
        """Improves every row of `solved` in place, with the vectors of the other side fixed."""
        if gram is None:
            with blas_threads(threads):
                gram = fixed.T @ fixed
        indptr, indices, data = confidence.indptr, confidence.indices, confidence.data
        offsets = indptr.astype(np.int64)
        total = _row_sums(offsets, data).astype(np.float64) + confidence.shape[1]
        scaled = self.config.regularization * total**self.config.frequency_scaling
        regularization = scaled.astype(np.float32)

        def improve(start: int, stop: int) -> None:
            _conjugate_gradient(
                *(start, stop, indptr, indices, data, fixed, gram, regularization),
                *(solved, steps, np.float32(_FOLD_IN_TOLERANCE)),
            )

        run_chunks(improve, offsets, threads)


@kernel
def _row_sums(offsets, values):  # type: ignore[no-untyped-def]
    """The sum of each row's values, float32[rows]."""
    sums = np.zeros(len(offsets) - 1, np.float32)
    for row in range(len(sums)):
        for entry in range(offsets[row], offsets[row + 1]):
            sums[row] += values[entry]
    return sums


@kernel(fastmath=True)
def _conjugate_gradient(  # type: ignore[no-untyped-def]
    start, stop, indptr, indices, extra, fixed, gram, regularization, solved, steps, tolerance
):
    """Solves (YᵀY + Σ (c − 1) y yᵀ + λI) x = Σ c y for rows start … stop − 1, from the given x.

    `indptr`, `indices` and `extra` hold c − 1 of the observed pairs by rows; `fixed` is Y, `gram`
    YᵀY, `regularization` λ of each row. The rows x of `solved` are improved in place in at most
    `steps` steps, and fewer once the residual is below `tolerance` of the right-hand side.
    """
    factors = fixed.shape[1]
    # Compilers use a slower code path with other rounding for vectors that are close in memory:
    # a kilobyte between them makes the result independent of the memory layout.
    scratch = np.empty((5, max(factors, 256)), np.float32)
    r, p, ap = scratch[1, :factors], scratch[2, :factors], scratch[3, :factors]
    for row in range(start, stop):
        x = solved[row]
        if indptr[row] == indptr[row + 1]:
            x[:] = 0
            continue
        _times(gram, regularization[row], x, r)
        right = np.float32(0)
        for f in range(factors):
            r[f] = -r[f]
            ap[f] = 0
        for entry in range(indptr[row], indptr[row + 1]):
            y = fixed[indices[entry]]
            dot = np.float32(0)
            for f in range(factors):
                dot += y[f] * x[f]
            gain = 1 + extra[entry]
            step = gain - extra[entry] * dot
            for f in range(factors):
                r[f] += step * y[f]
                ap[f] += gain * y[f]
        squared = np.float32(0)
        for f in range(factors):
            p[f] = r[f]
            squared += r[f] * r[f]
            right += ap[f] * ap[f]
        for _ in range(steps):
            if squared <= tolerance * tolerance * right:
                break
            _times(gram, regularization[row], p, ap)
            for entry in range(indptr[row], indptr[row + 1]):
                y = fixed[indices[entry]]
                dot = np.float32(0)
                for f in range(factors):
                    dot += y[f] * p[f]
                dot *= extra[entry]
                for f in range(factors):
                    ap[f] += dot * y[f]
            curvature = np.float32(0)
            for f in range(factors):
                curvature += p[f] * ap[f]
            if not curvature > 0:  # vectors so small that their squares underflow
                break
            length = squared / curvature
            before = squared
            squared = np.float32(0)
            for f in range(factors):
                x[f] += length * p[f]
                r[f] -= length * ap[f]
                squared += r[f] * r[f]
            for f in range(factors):
                p[f] = r[f] + (squared / before) * p[f]


@kernel(fastmath=True)
def _times(gram, regularization, vector, out):  # type: ignore[no-untyped-def]
    """Writes (gram + λI) · vector to `out`."""
    factors = len(vector)
    for f in range(factors):
        out[f] = regularization * vector[f]
    for g in range(factors):
        weight = vector[g]
        for f in range(factors):
            out[f] += gram[g, f] * weight
