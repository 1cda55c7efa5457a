"""Hypothesis draws the same examples on every run, and never judges by the clock."""

from hypothesis import settings

settings.register_profile("tastemaker", deadline=None, derandomize=True, database=None)
settings.load_profile("tastemaker")
