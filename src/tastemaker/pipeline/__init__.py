"""The pipeline of one request, from sources to a list."""

from tastemaker.pipeline.pipeline import Pipeline
from tastemaker.pipeline.recommendations import Recommendations
from tastemaker.pipeline.recommender import Recommender

__all__ = ["Pipeline", "Recommendations", "Recommender"]
