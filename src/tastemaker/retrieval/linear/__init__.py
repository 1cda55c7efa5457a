"""Linear models: a history times a matrix, learned in closed form or by convex optimization."""

from tastemaker.retrieval.linear.bspm import BSPM
from tastemaker.retrieval.linear.ease import EASE
from tastemaker.retrieval.linear.feature_ease import FeatureEASE
from tastemaker.retrieval.linear.graph_filter import GraphFilter
from tastemaker.retrieval.linear.slim import SLIM
from tastemaker.retrieval.linear.sparse_ease import SparseEASE

__all__ = ["BSPM", "EASE", "SLIM", "FeatureEASE", "GraphFilter", "SparseEASE"]
