"""Finds the table that a misplaced setting of a project file belongs to."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from tastemaker.component import Ranker, Reranker, Retriever
from tastemaker.data.schema import EVENT_COLUMNS
from tastemaker.errors import ProjectError
from tastemaker.faults import Path, members
from tastemaker.project.registry import component_class, our_names
from tastemaker.project.sections import ProjectFile

PARTS = {"retrievers": Retriever, "rankers": Ranker, "rerankers": Reranker}
"""Section → the kind of component that it holds."""
_NAMED = {"events": "TYPE", "roles": "COLUMN"}
_ANY = "NAME"
PLACEHOLDERS = (*_NAMED.values(), _ANY)
"""Placeholders for names that the user chooses."""
_NOT_SUGGESTED = {"type"}


def home_of(key: str, value: Any, place: Path, values: Mapping[str, Any]) -> Path | None:
    """Returns the table that a setting belongs to, with placeholders for chosen names.

    Args:
        key: the setting.
        value: its value.
        place: the table that contains it.
        values: the whole file.

    Returns:
        None if there is no such setting; empty for a top-level section.
    """
    if key in EVENT_COLUMNS and place in ((), ("data",), ("data", "columns")):
        declared = values.get("events")
        if key == "event_type" and isinstance(declared, dict) and value in declared:
            return ("data", "defaults")
        if isinstance(value, str):
            return ("data", "columns", "events")
    is_table = isinstance(value, dict)
    for name, table, holds_table in _settings(ProjectFile, ()):
        fits = holds_table if is_table else bool(table)
        if name == key and table != place and fits:
            return _with_names(table, values)
    if is_table:
        return _named_table(value)
    if key not in _NOT_SUGGESTED and not is_component(place):
        return _component_with(key, values)
    return None


def is_component(place: Path) -> bool:
    """Whether a place is the table of a component, or inside one."""
    return len(place) > 1 and place[0] in PARTS


def _named_table(value: Mapping[str, Any]) -> Path | None:
    """The section of a misplaced table: `placements` if it has retrievers, else None."""
    return ("placements",) if isinstance(value.get("retrievers"), dict) else None


def _settings(annotation: Any, table: Path) -> Iterator[tuple[str, Path, bool]]:
    """Yields every setting: its name, its table, and whether its value is a table."""
    for member in members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            for name, field in member.model_fields.items():
                if name not in _NOT_SUGGESTED:
                    yield name, table, _is_table(field.annotation)
            for name, field in member.model_fields.items():
                yield from _settings(field.annotation, (*table, name))
        elif get_origin(member) is dict:
            yield from _settings(get_args(member)[1], (*table, _NAMED.get(str(table[-1]), _ANY)))
        elif get_origin(member) is tuple:
            yield from _settings(get_args(member)[0], table)


def _is_table(annotation: Any) -> bool:
    return any(
        get_origin(member) is dict or (isinstance(member, type) and issubclass(member, BaseModel))
        for member in members(annotation)
    )


def _with_names(table: Path, values: Mapping[str, Any]) -> Path:
    """The table with the actual name if the file declares only one."""
    if len(table) < 2 or table[1] not in PLACEHOLDERS:
        return table
    section = values.get(str(table[0]))
    names = list(section) if isinstance(section, dict) else []
    return (table[0], names[0], *table[2:]) if len(names) == 1 else table


def _component_with(key: str, values: Mapping[str, Any]) -> Path | None:
    """The table of a component with this setting: one in the file, or else any."""
    for section, part in PARTS.items():
        tables = values.get(section)
        for name, table in tables.items() if isinstance(tables, dict) else ():
            use = table.get("type") if isinstance(table, dict) else None
            if isinstance(use, str) and key in _setting_names(use, part):
                return (section, name)
    for section, part in PARTS.items():
        if any(key in _setting_names(use, part) for use in our_names(part)):
            return (section, _ANY)
    return None


def _setting_names(use: str, part: Any) -> list[str]:
    try:
        return list(component_class(use, part).config_class().model_fields)
    except ProjectError:
        return []
