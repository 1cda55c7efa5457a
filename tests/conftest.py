"""Hypothesis draws the same examples on every run, and never judges by the clock."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tastemaker",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tastemaker")
