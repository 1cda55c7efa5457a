"""The interface of all vector indexes: given a request's vector, return the best items.

`ProductIndex` and `QuantizedIndex` are exact; `ApproximateIndex` reports its measured recall.
`CosineIndex` and `ShardedIndex` wrap other indexes. `build_index` selects one by its settings.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.errors import ArtifactError, did_you_mean

_KINDS: dict[str, type["VectorIndex"]] = {}


class VectorIndex(ABC):
    """Item vectors laid out for search by inner product; immutable once built.

    Every index computes a score as x₀y₀ + x₁y₁ + … in float32, rounding each product and adding in
    that order. A request therefore gets bitwise identical scores alone, in a batch, and on any
    number of threads. Ties are broken by the lower item index.

    An index is replaced as a whole, together with its artifact: a request during a rebuild is
    answered by either the old index or the new one.

    Attributes:
        kind: the name by which `load_index` finds the class.
        recall: the share of the exact best 100 that it finds, measured at build time on queries
            that were not used for tuning; 1 if the index is exact.
    """

    kind: ClassVar[str]
    recall: float

    def __init_subclass__(cls) -> None:
        _KINDS[cls.kind] = cls

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of items in the index."""

    @abstractmethod
    def top_n(
        self,
        x: NDArray[np.float32],
        requests: Requests,
        n: int,
        *,
        min_score: float = -np.inf,
        threads: int = 1,
    ) -> Candidates:
        """The n eligible items of largest inner product, best first; ties by lower item index.

        Args:
            x: float32[requests × factors], the vector of each request.
            requests: their `exclude` and `eligible` are applied before cutting to n, so that n
                items are returned even for selective filters, if that many exist.
            n: the maximum number of items per request.
            min_score: only items that score higher than this are returned.
            threads: number of threads for a batch; a single request uses one.
        """

    @abstractmethod
    def added(self, vectors: NDArray[np.float32]) -> Self:
        """A new index that also holds float32[items × factors]; this one is unchanged.

        The new items are searchable immediately. Their indices start at `size`.
        """

    @abstractmethod
    def save(self, writer: ArtifactWriter) -> None:
        """Writes the arrays; `load_index` reads them."""

    @classmethod
    @abstractmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Memory-maps the arrays: processes that load the same artifact share them."""


def load_index(reader: ArtifactReader) -> VectorIndex:
    """The saved index, of any kind.

    Raises:
        ArtifactError: the index is of an unknown kind.
        LibraryError: the index is approximate and faiss cannot be loaded.
    """
    # Artifacts of the exact index, the oldest kind, do not name their kind.
    kind = reader.json("about")["kind"] if reader.has("about.json") else "exact"
    if kind not in _KINDS:
        raise ArtifactError(f"unknown kind of index {kind!r}{did_you_mean(str(kind), _KINDS)}")
    return _KINDS[kind].load(reader)
