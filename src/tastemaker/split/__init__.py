"""Honest ways to part what was known from what is to be predicted."""

from tastemaker.split.by_time import Split, by_time, wanted_after, window_task

__all__ = ["Split", "by_time", "wanted_after", "window_task"]
