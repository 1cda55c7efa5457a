"""Honest ways to part what was known from what is to be predicted, and the papers' ways."""

from tastemaker.split.by_time import Split, by_time, wanted_after, window_task
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
    "wanted_after",
    "window_task",
]
