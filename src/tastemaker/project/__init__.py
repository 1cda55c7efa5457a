"""The project file and the registry of components it can name."""

from tastemaker.project.project import Placement, Project, find_project, load_project
from tastemaker.project.registry import component_class

__all__ = ["Placement", "Project", "component_class", "find_project", "load_project"]
