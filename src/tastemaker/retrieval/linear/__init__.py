"""Linear models: a history times a matrix, learnt in closed form or by convex optimization."""

from tastemaker.retrieval.linear.ease import EASE

__all__ = ["EASE"]
