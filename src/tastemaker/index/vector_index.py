"""What every index promises: vectors go in, the best of them for a request's vector come out.

`ProductIndex` and `QuantizedIndex` are exact; `ApproximateIndex` says how much it finds of what
they would. `CosineIndex` and `ShardedIndex` stand around others. `build_index` chooses.
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
    """Vectors of items, laid out for search by inner product; never changed once built.

    A score is x₀y₀ + x₁y₁ + … in float32, each product rounded and added in that order, whatever
    the index: a request gets the same bits alone, in a batch, and on any number of threads. Among
    equal scores the lower index comes first.

    An index is replaced whole, with the artifact it stands in: a request during a rebuild is
    answered by the old one or the new one.

    Attributes:
        kind: what `load_index` knows it by.
        recall: the share of the exact best 100 that it finds, measured when it was built on queries
            that nothing was tuned on; 1 where it is exact.
    """

    kind: ClassVar[str]
    recall: float

    def __init_subclass__(cls) -> None:
        _KINDS[cls.kind] = cls

    @property
    @abstractmethod
    def size(self) -> int:
        """How many items it holds."""

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
        """The n eligible items of largest inner product, best first; among equals the lower index.

        Args:
            x: float32[requests × factors], the vector of each request.
            requests: whose `exclude` and `eligible` are respected before cutting to n: n items
                come back however selective they are, if there are so many.
            n: how many at most.
            min_score: only items that score higher than this are returned.
            threads: processors for a batch; one request is answered on one.
        """

    @abstractmethod
    def added(self, vectors: NDArray[np.float32]) -> Self:
        """An index that holds float32[items × factors] more, found at once; this one stays.

        The new items have the indices from `size` on.
        """

    @abstractmethod
    def save(self, writer: ArtifactWriter) -> None:
        """Writes its arrays; `load_index` reads them."""

    @classmethod
    @abstractmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Maps its arrays: processes that load the same artifact share them."""


def load_index(reader: ArtifactReader) -> VectorIndex:
    """The index that was saved, whichever it is.

    Raises:
        ArtifactError: of a kind that is not known.
        LibraryError: it is approximate and faiss cannot be loaded.
    """
    # The exact index was there before it had company, and says nothing of itself.
    kind = reader.json("about")["kind"] if reader.has("about.json") else "exact"
    if kind not in _KINDS:
        raise ArtifactError(f"no index is of kind {kind!r}{did_you_mean(str(kind), _KINDS)}")
    return _KINDS[kind].load(reader)
