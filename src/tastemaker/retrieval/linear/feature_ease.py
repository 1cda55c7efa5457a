"""FeatureEASE: EASE with item content, which also scores new items."""

from copy import copy
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, vstack

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import NO_ITEMS, Capabilities, FitOptions, Task
from tastemaker.data.catalogue import Catalogue
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.index.exact import ScoreChunk
from tastemaker.retrieval.content_vectors import ContentEncoder, ContentSettings, SparseRows
from tastemaker.retrieval.linear.ease import EASE, EASEConfig


class FeatureEASEConfig(EASEConfig, ContentSettings):
    """Settings of `FeatureEASE`: those of `EASE`, and those of the item vectors."""

    text_weight: float = Field(0.0, ge=0)
    """Weight of a text column; 0 ignores it, as shared title words say little about items."""
    feature_weight: float = Field(5.0, gt=0)
    """α: two items with the same content count like items that α² users like together."""


class FeatureEASE(EASE):
    """Collective EASE (Jeunen, Van Balen & Goethals 2020, CEASE), extended to new items.

    This is EASE on X with αTᵀ appended as rows, where T has the items' vectors of length 1 over
    tags and categories: a term acts as a user who likes all items that have it. Hence
    P = (XᵀX + α²TTᵀ + λI)⁻¹, B = I − P·diag(P)⁻¹.

    An item added later has content t and no users. Its column is its ridge regression on the
    other items, and its row follows from the inverse of a bordered matrix. Both equal the result of
    fitting EASE with this one additional item:

        w = P·c,   c = α²T·t;   b_j = w_j / (s·P_jj + w_j²),   s = α²‖t‖²/(1 − p) + λ − c·w

    with p the dropout. Weights between added items are not computed.

    Attributes:
        weights: float32[items × items], B, of the fitted items.
        diagonal: float32[items], the diagonal of P.
        encoder: encodes catalogue rows.
        contents: T, float32[items × terms].
        added_rows: float32[added × items], the weights from added items to fitted ones, b.
        added_columns: float32[items × added], the weights from fitted items to added ones, w.

    Cost: `fit`, that of `EASE`, and Σ over terms of (items that have it)² steps; `with_items`, for
    each item, items × those that share a term with it, and a copy of the weights of the items added
    before; a request, history × items.

    Raises:
        MemoryBudgetError: from `fit`, if the matrix would exceed the budget.

    Example:
        >>> FeatureEASE(feature_weight=10.0)
        FeatureEASE(feature_weight=10.0)
    """

    name = "feature_ease"
    capabilities: ClassVar = Capabilities(history="native", new_items=True, similar_items=True)
    config: FeatureEASEConfig
    diagonal: NDArray[np.float32]
    encoder: ContentEncoder
    contents: SparseRows
    added_rows: NDArray[np.float32]
    added_columns: NDArray[np.float32]

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by encoding the catalogue and solving for B."""
        users = dataset.interactions(reduce=self.config.reduce)
        self.encoder = ContentEncoder.of(dataset.catalogue, self.config)
        self.contents = self.encoder.encode(dataset.catalogue, 0, users.shape[1])
        terms = np.float32(self.config.feature_weight) * self._contents().T
        both = vstack([users, terms.astype(np.float32)], format="csr")
        self.weights, self.diagonal = self._learn(both, options)
        self.n_fitted = users.shape[1]
        self._forget_added()
        return self

    @property
    def n_items(self) -> int:
        """The number of known items, fitted and added."""
        return self.n_fitted + len(self.added_rows)

    def with_items(self, catalogue: Catalogue, changed: NDArray[np.int64] = NO_ITEMS) -> Self:
        """A copy that also knows the catalogue's later items, and the new content of changed ones.

        Labels that were unknown in `fit` are ignored.
        """
        self.require_fitted()
        grown = copy(self)
        new = np.arange(self.n_items, len(catalogue))
        items = np.concatenate([changed, new])
        later = self.encoder.encode(catalogue.take(items), 0, len(items))
        similarity = later.matrix(self.encoder.width) @ self._contents().T
        squared = np.float32(self.config.feature_weight**2)
        c = csr_array(squared * similarity).astype(np.float32)
        dense = c.toarray()
        w = self.diagonal * (dense - c @ self.weights)
        t = later.matrix(self.encoder.width)
        kept = np.float32(1 - self.config.dropout)
        own = squared * (t * t).sum(axis=1) / kept + np.float32(self.config.regularization)
        s = own - (dense * w).sum(axis=1)
        b = w / (s[:, None] * self.diagonal + w * w)
        more = np.empty((len(new), self.n_fitted), np.float32)
        grown.added_rows = np.concatenate([self.added_rows, more])
        grown.added_columns = np.concatenate([self.added_columns, more.T], axis=1)
        grown.added_rows[items - self.n_fitted] = b
        grown.added_columns[:, items - self.n_fitted] = w.T
        return grown

    def scores(self, requests: Requests) -> ScoreChunk:
        """The reconstruction of every item, fitted or added, from each history."""
        liked = requests.history.interactions(self.n_items, reduce=self.config.reduce)

        def score(chunk: slice) -> NDArray[np.float32]:
            fitted, added = liked[chunk][:, : self.n_fitted], liked[chunk][:, self.n_fitted :]
            scores = np.empty((chunk.stop - chunk.start, self.n_items), np.float32)
            scores[:, : self.n_fitted] = fitted @ self.weights + added @ self.added_rows
            scores[:, self.n_fitted :] = fitted @ self.added_columns
            return scores

        return score

    def _weights_between(
        self, left: NDArray[np.int32], right: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The weight from each left item to its right item; 0 if either is unknown."""
        n, strength = self.n_fitted, super()._weights_between(left, right)
        old_left, old_right = (left >= 0) & (left < n), (right >= 0) & (right < n)
        new_left, new_right = (
            (left >= n) & (left < self.n_items),
            (right >= n) & (right < self.n_items),
        )
        pair = old_left & new_right
        strength[pair] = self.added_columns[left[pair], right[pair] - n]
        pair = new_left & old_right
        strength[pair] = self.added_rows[left[pair] - n, right[pair]]
        return strength

    def save(self, writer: ArtifactWriter) -> None:
        """Writes B, the encoder and the contents; added items are not written."""
        super().save(writer)
        writer.array("diagonal", self.diagonal)
        self.encoder.save(writer.child("encoder"))
        self.contents.save(writer.child("contents"))

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps B, the encoder and the contents."""
        super().load(reader)
        self.diagonal = reader.array("diagonal")
        self.encoder = ContentEncoder.load(reader.child("encoder"))
        self.contents = SparseRows.load(reader.child("contents"))
        self._forget_added()
        return self

    def _contents(self) -> csr_array:
        """The content matrix T, float32[items × terms]."""
        return self.contents.matrix(self.encoder.width)

    def _forget_added(self) -> None:
        """Removes all added items."""
        self.added_rows = np.empty((0, self.n_fitted), np.float32)
        self.added_columns = np.empty((self.n_fitted, 0), np.float32)
