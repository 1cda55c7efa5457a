"""The conformance tests of every index."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.index import (
    ApproximateIndex,
    IndexSettings,
    ProductIndex,
    QuantizedIndex,
    ShardedIndex,
    VectorIndex,
    build_index,
)
from tastemaker.testing import IndexConformance


class TestProductIndex(IndexConformance):
    def make(self, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> VectorIndex:
        return ProductIndex.of(vectors)


class TestQuantizedIndex(IndexConformance):
    def make(self, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> VectorIndex:
        return QuantizedIndex.of(vectors)


class TestApproximateIndex(IndexConformance):
    def make(self, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> VectorIndex:
        made = ApproximateIndex.of(vectors, queries=queries)
        assert made.breadth[0] < made.n_cells / 4, "the search reads too many cells"
        return made


class TestShardedIndex(IndexConformance):
    def make(self, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> VectorIndex:
        parts = np.array_split(vectors, [700, 701, len(vectors) // 2])
        return ShardedIndex([build_index(part, IndexSettings(kind="int8")) for part in parts])
