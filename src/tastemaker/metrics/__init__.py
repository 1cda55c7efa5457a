"""Ranking metrics, list metrics and bootstrap intervals over users."""

from tastemaker.metrics.intervals import Estimate, UserBootstrap
from tastemaker.metrics.lists import coverage, gini, intra_list_diversity, novelty
from tastemaker.metrics.ranking import (
    average_precision,
    gains_of,
    hit_rate,
    ndcg,
    precision,
    recall,
    recall_min,
    reciprocal_rank,
)

__all__ = [
    "Estimate",
    "UserBootstrap",
    "average_precision",
    "coverage",
    "gains_of",
    "gini",
    "hit_rate",
    "intra_list_diversity",
    "ndcg",
    "novelty",
    "precision",
    "recall",
    "recall_min",
    "reciprocal_rank",
]
