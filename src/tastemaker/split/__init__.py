"""Splits of a log into training data and evaluation tasks: by time, and as in papers."""

from tastemaker.split.by_time import Split, by_time, relevant_after, window_task
from tastemaker.split.given import given
from tastemaker.split.holdout import holdout
from tastemaker.split.unseen import new_items, new_users

__all__ = [
    "Split",
    "by_time",
    "given",
    "holdout",
    "new_items",
    "new_users",
    "relevant_after",
    "window_task",
]
