"""Offline evaluation of retrievers and recommenders on later events."""

from tastemaker.evaluation.evaluator import evaluate
from tastemaker.evaluation.report import Evaluation

__all__ = ["Evaluation", "evaluate"]
