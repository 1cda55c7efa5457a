"""The registry of trained versions: list, promote, roll back and prune."""

from tastemaker.registry.registry import Registry, Switch
from tastemaker.registry.version import Version

__all__ = ["Registry", "Switch", "Version"]
