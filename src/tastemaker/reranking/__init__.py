"""Rerankers: components that turn scored candidates into the final list."""

from tastemaker.reranking.explore import Explore
from tastemaker.reranking.mmr import MMR
from tastemaker.reranking.rules import Rules

__all__ = ["MMR", "Explore", "Rules"]
