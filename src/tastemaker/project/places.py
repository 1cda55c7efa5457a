"""Where each setting of a project file belongs, for those that stand elsewhere."""

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
"""The sections of components → what they hold."""
_NAMED = {"events": "TYPE", "roles": "COLUMN"}
_ANY = "NAME"
PLACEHOLDERS = (*_NAMED.values(), _ANY)
"""What a name of the user's choice is called where it is not known which."""
_NOT_TOLD = {"type"}


def home_of(key: str, value: Any, place: Path, values: Mapping[str, Any]) -> Path | None:
    """The table in which a setting belongs; names of the user's choice in capitals.

    Args:
        key: the setting.
        value: what was given.
        place: the table it stands in.
        values: the whole file.

    Returns:
        None where there is no such setting; empty for a section of the file itself.
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
    if key not in _NOT_TOLD and not is_component(place):
        return _component_with(key, values)
    return None


def is_component(place: Path) -> bool:
    """Whether a place is a component's table, or inside one."""
    return len(place) > 1 and place[0] in PARTS


def _named_table(value: Mapping[str, Any]) -> Path | None:
    """The section of a table that stands outside: a placement, by what it has."""
    return ("placements",) if isinstance(value.get("retrievers"), dict) else None


def _settings(annotation: Any, table: Path) -> Iterator[tuple[str, Path, bool]]:
    """Every setting there is: name, table, and whether its value is itself a table."""
    for member in members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            for name, field in member.model_fields.items():
                if name not in _NOT_TOLD:
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
    """The same table with the one name the file has, where it has one alone."""
    if len(table) < 2 or table[1] not in PLACEHOLDERS:
        return table
    section = values.get(str(table[0]))
    names = list(section) if isinstance(section, dict) else []
    return (table[0], names[0], *table[2:]) if len(names) == 1 else table


def _component_with(key: str, values: Mapping[str, Any]) -> Path | None:
    """The table of a component with such a setting: one of the file, or any there is."""
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
