"""The filter stage: what may be shown, before retrieval; what must not, removed and counted."""

from tastemaker.filtering.restrict import Restricted, restrict
from tastemaker.filtering.verify import verify

__all__ = ["Restricted", "restrict", "verify"]
