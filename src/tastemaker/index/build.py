"""Build any kind of index from its settings with one call."""

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
"""Maximum share of cells to read; if a search needs more, an exact index is built instead."""

IndexKind = Literal["exact", "int8", "approximate"]


class IndexSettings(Settings):
    """Settings of `build_index`."""

    kind: IndexKind = "exact"
    """`exact` reads float32 vectors; `int8` reads bytes first and is also exact; `approximate`
    reads only the vectors near the request."""
    metric: Literal["product", "cosine"] = "product"
    """The score: the inner product, or the cosine."""
    recall: float = Field(0.95, gt=0, le=1)
    """For `approximate`: the share of the exact best 100 to find."""
    cells: int | None = Field(None, ge=1)
    """For `approximate`: the number of cells; defaults to about 2·√items."""
    smallest: int = Field(20_000, ge=0)
    """For `approximate`: with fewer items an exact index is built, which is as fast. The same
    applies if a search would read more than a quarter of the cells."""


def build_index(
    vectors: NDArray[np.float32],
    settings: IndexSettings = IndexSettings(),
    *,
    queries: NDArray[np.float32] | None = None,
    seed: int = 0,
    threads: int = 1,
) -> VectorIndex:
    """An index of the vectors, of the kind that the settings select.

    Args:
        vectors: float32[items × factors].
        settings: the kind of index and its parameters.
        queries: float32[any × factors], typical request vectors, used to tune and measure an
            approximate index; defaults to the item vectors.
        seed: random seed.
        threads: number of threads to use.

    Raises:
        LibraryError: the index is approximate and faiss cannot be loaded.

    Example:
        >>> index = build_index(np.eye(3, dtype=np.float32), IndexSettings(kind="int8"))
        >>> index.size, index.recall
        (3, 1.0)
    """
    if settings.metric == "cosine":
        by_product = settings.model_copy(update={"metric": "product"})
        unit_queries = None if queries is None else unit_vectors(queries)
        inner = build_index(
            unit_vectors(vectors), by_product, queries=unit_queries, seed=seed, threads=threads
        )
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
    # If the vectors have no clusters, reading half of the cells costs more than reading all bytes.
    few = built.breadth[0] <= max(1, built.n_cells * _LARGEST_SHARE)
    return built if few else QuantizedIndex.of(vectors)


def index_bytes(items: int, factors: int, kind: IndexKind) -> int:
    """The approximate memory in bytes to build an index, not counting the given vectors."""
    copies = {"exact": 4, "int8": 6, "approximate": 13}
    return items * factors * copies[kind]
