"""What is known of a candidate at its request's moment, in numbers."""

from tastemaker.features.feature_set import FeatureSet
from tastemaker.features.pairs import Family, Pairs

__all__ = ["Family", "FeatureSet", "Pairs"]
