"""Vector indexes and exact search for the top-n items."""

from tastemaker.index.approximate import ApproximateIndex
from tastemaker.index.build import IndexSettings, build_index, index_bytes
from tastemaker.index.cosine import CosineIndex
from tastemaker.index.exact import exact_top_n, ranked_top_n
from tastemaker.index.products import ProductIndex
from tastemaker.index.quantized import QuantizedIndex
from tastemaker.index.sharded import ShardedIndex, Sizing
from tastemaker.index.vector_index import VectorIndex, load_index

__all__ = [
    "ApproximateIndex",
    "CosineIndex",
    "IndexSettings",
    "ProductIndex",
    "QuantizedIndex",
    "ShardedIndex",
    "Sizing",
    "VectorIndex",
    "build_index",
    "exact_top_n",
    "index_bytes",
    "load_index",
    "ranked_top_n",
]
