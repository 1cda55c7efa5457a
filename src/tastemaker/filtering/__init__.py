"""The filter stage: removes what must not be shown, and counts it."""

from tastemaker.filtering.verify import verify

__all__ = ["verify"]
