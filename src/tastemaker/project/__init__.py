"""The project file and the registry of components it can name."""

from tastemaker.project.project import (
    RESERVED,
    Budget,
    Placement,
    Project,
    Training,
    find_project,
    load_project,
)
from tastemaker.project.registry import component_class

__all__ = [
    "RESERVED",
    "Budget",
    "Placement",
    "Project",
    "Training",
    "component_class",
    "find_project",
    "load_project",
]
