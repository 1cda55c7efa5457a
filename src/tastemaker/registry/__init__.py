"""Which trained versions there are, which one serves, and going back."""

from tastemaker.registry.registry import Registry, Switch
from tastemaker.registry.version import Version

__all__ = ["Registry", "Switch", "Version"]
