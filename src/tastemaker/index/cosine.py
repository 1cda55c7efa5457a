"""Search by cosine: a wrapper that normalizes the vectors of any index."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.index.vector_index import VectorIndex, load_index


class CosineIndex(VectorIndex):
    """An index of unit vectors that also normalizes request vectors: scores are cosines.

    The cosine of a zero vector with any other is 0.

    Attributes:
        inner: the wrapped index.

    Cost: that of the inner index.
    """

    kind: ClassVar = "cosine"

    def __init__(self, inner: VectorIndex) -> None:
        self.inner = inner
        self.recall = inner.recall

    @property
    def size(self) -> int:
        """The number of items in the index."""
        return self.inner.size

    def top_n(
        self,
        x: NDArray[np.float32],
        requests: Requests,
        n: int,
        *,
        min_score: float = -np.inf,
        threads: int = 1,
    ) -> Candidates:
        """The n eligible items of highest cosine."""
        return self.inner.top_n(unit_vectors(x), requests, n, min_score=min_score, threads=threads)

    def added(self, vectors: NDArray[np.float32]) -> Self:
        """A new index that also holds the given vectors."""
        return type(self)(self.inner.added(unit_vectors(vectors)))

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the inner index."""
        writer.json("about", {"kind": self.kind})
        self.inner.save(writer.child("inner"))

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Memory-maps the inner index."""
        return cls(load_index(reader.child("inner")))


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors at length 1, float32[any × factors]; a zero vector stays zero.

    >>> unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    unit = np.array(vectors, np.float32, order="C")
    _normalize(unit)
    return unit


@kernel
def _normalize(vectors):  # type: ignore[no-untyped-def]
    """Divides each row by its length; sums are added in the order of the factors."""
    for row in range(len(vectors)):
        squared = 0.0
        for f in range(vectors.shape[1]):
            squared += np.float64(vectors[row, f]) * np.float64(vectors[row, f])
        if squared > 0:
            length = np.sqrt(squared)
            for f in range(vectors.shape[1]):
                vectors[row, f] = vectors[row, f] / length
