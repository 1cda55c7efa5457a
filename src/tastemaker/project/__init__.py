"""The project file and the registry of components it can name."""

from tastemaker.project.checks import RESERVED
from tastemaker.project.project import Project, find_project, load_project
from tastemaker.project.registry import component_class
from tastemaker.project.sections import Budget, Placement, Training

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
