"""Retrievers: whoever finds candidates for a request."""

from tastemaker.retrieval.als import ALS
from tastemaker.retrieval.content import Content
from tastemaker.retrieval.linear import EASE
from tastemaker.retrieval.neighbors import ItemKNN
from tastemaker.retrieval.newcomers import Newcomers
from tastemaker.retrieval.popular import Popular
from tastemaker.retrieval.trending import Trending

__all__ = ["ALS", "EASE", "Content", "ItemKNN", "Newcomers", "Popular", "Trending"]
