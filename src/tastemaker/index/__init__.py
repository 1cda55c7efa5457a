"""Finding the best of many items."""

from tastemaker.index.exact import exact_top_n, ranked_top_n

__all__ = ["exact_top_n", "ranked_top_n"]
