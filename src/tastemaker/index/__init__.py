"""Finding the best of many items."""

from tastemaker.index.exact import exact_top_n, ranked_top_n
from tastemaker.index.products import ProductIndex

__all__ = ["ProductIndex", "exact_top_n", "ranked_top_n"]
