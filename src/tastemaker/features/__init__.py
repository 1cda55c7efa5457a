"""Numeric features of a candidate at the time of its request."""

from tastemaker.features.feature_set import FeatureSet
from tastemaker.features.pairs import Family, Pairs

__all__ = ["Family", "FeatureSet", "Pairs"]
