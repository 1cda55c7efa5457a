"""Rankers: models that score candidates by their features."""

from tastemaker.ranking.gbm import GBM

__all__ = ["GBM"]
