"""Which index, by settings: one call to build any of them."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tastemaker.config import Settings
from tastemaker.index.approximate import ApproximateIndex
from tastemaker.index.cosine import CosineIndex, unit_vectors
from tastemaker.index.products import ProductIndex
from tastemaker.index.quantized import QuantizedIndex
from tastemaker.index.vector_index import VectorIndex

_LARGEST_SHARE = 0.25
"""Of the cells; where more had to be read, the index is exact after all."""

IndexKind = Literal["exact", "int8", "approximate"]


class IndexSettings(Settings):
    """Settings of `build_index`."""

    kind: IndexKind = "exact"
    """`exact` reads float32, `int8` bytes first (as exact), `approximate` only near items."""
    metric: Literal["product", "cosine"] = "product"
    """What a score is: the inner product, or that of vectors made one long."""
    recall: float = Field(0.95, gt=0, le=1)
    """Of `approximate`: the share of the exact best 100 to be found."""
    cells: int | None = Field(None, ge=1)
    """Of `approximate`: how many; by default about 2·√items."""
    smallest: int = Field(20_000, ge=0)
    """Of `approximate`: with fewer items the index is exact, which is as fast there, and so it is
    where more than a quarter of the cells would have to be read."""


def build_index(
    vectors: NDArray[np.float32],
    settings: IndexSettings = IndexSettings(),
    *,
    queries: NDArray[np.float32] | None = None,
    seed: int = 0,
    threads: int = 1,
) -> VectorIndex:
    """Lays out vectors for search.

    Args:
        vectors: float32[items × factors].
        settings: which index, and how.
        queries: float32[any × factors], vectors such as will be asked, on which an approximate
            index tunes and measures itself; by default the items'.
        seed: of whatever is drawn.
        threads: processors to use.

    Raises:
        LibraryError: the index is approximate and faiss cannot be loaded.

    Example:
        >>> index = build_index(np.eye(3, dtype=np.float32), IndexSettings(kind="int8"))
        >>> index.size, index.recall
        (3, 1.0)
    """
    if settings.metric == "cosine":
        alike = settings.model_copy(update={"metric": "product"})
        asked = None if queries is None else unit_vectors(queries)
        inner = build_index(unit_vectors(vectors), alike, queries=asked, seed=seed, threads=threads)
        return CosineIndex(inner)
    if settings.kind == "int8":
        return QuantizedIndex.of(vectors)
    if settings.kind == "exact" or len(vectors) < max(1, settings.smallest):
        return ProductIndex.of(vectors)
    built = ApproximateIndex.of(
        vectors,
        queries=queries,
        recall=settings.recall,
        cells=settings.cells,
        seed=seed,
        threads=threads,
    )
    # Without clusters, a search through half of the cells costs more than one through all bytes.
    few = built.breadth[0] <= max(1, built.n_cells * _LARGEST_SHARE)
    return built if few else QuantizedIndex.of(vectors)


def index_bytes(items: int, factors: int, kind: IndexKind) -> int:
    """About how many bytes building an index needs beside the vectors given."""
    copies = {"exact": 4, "int8": 6, "approximate": 13}
    return items * factors * copies[kind]
