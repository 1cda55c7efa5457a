"""Rankers: what scores candidates by their features."""

from tastemaker.ranking.gbm import GBM

__all__ = ["GBM"]
