"""Judging systems on what users went on to want."""

from tastemaker.evaluation.evaluator import evaluate
from tastemaker.evaluation.report import Evaluation

__all__ = ["Evaluation", "evaluate"]
