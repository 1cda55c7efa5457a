"""The filter stage: restricts items before retrieval, and removes disallowed candidates after."""

from tastemaker.filtering.restrict import Restricted, restrict
from tastemaker.filtering.verify import verify

__all__ = ["Restricted", "restrict", "verify"]
