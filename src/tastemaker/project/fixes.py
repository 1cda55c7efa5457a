"""Suggestions for values of the wrong shape: what to write instead."""

from typing import Any, get_origin

from pydantic import BaseModel, ByteSize

from tastemaker.data.schema import ColumnRole, EventKind
from tastemaker.faults import Path, choices, members
from tastemaker.project.sections import (
    Budget,
    ComponentSection,
    Placement,
    SplitSection,
    StoreSection,
)
from tastemaker.project.toml_file import shown, table_name, written

RENAMED = {
    "blocks": "hide_item",
    "dislike": "negative_threshold",
    "like": "positive_threshold",
    "longest_wait": "max_queue_wait_ms",
    "must_earn": "require_improvement",
    "pause": "session_gap",
    "use": "type",
    "value": "objective_weights",
    "young": "max_age",
}
"""Setting in an earlier version → its current name."""
RENAMED_COMPONENTS = {"newcomers": "new_items"}
_QUOTA = 100
_WORDS = {
    bool: "true or false",
    int: "a valid integer",
    float: "a valid number",
    str: "text",
    ByteSize: "a number of bytes such as 8GiB",
}


def kinds(annotation: Any) -> str:
    """The description of a type in a message, such as `a valid number or text`."""
    types = list(members(annotation))
    if str in types and float in types:
        return "a duration such as '30d' or a share between 0 and 1"
    words = [_WORDS[member] for member in types if member in _WORDS]
    listed = [f"'{choice}'" for choice in choices(annotation)]
    if listed:
        words.append(" or ".join([", ".join(listed[:-1]), listed[-1]]) if listed[1:] else listed[0])
    if any(get_origin(member) in (tuple, list) for member in types):
        words.append("a list")
    return " or ".join(dict.fromkeys(words)) or "a table"


def listed(name: str, value: Any) -> str:
    """The suggestion to write one value as a list."""
    return f"write {name} = [{written(value)}]"


def single(name: str, value: list[Any]) -> str:
    """The suggestion to write a list of one as a plain value; empty for other lists."""
    if len(value) == 1 and isinstance(value[0], str | int | float):
        return f"; write {name} = {written(value[0])}"
    return ""


def table(annotation: Any, value: Any, place: Path) -> str:
    """The suggestion to write a table instead of a value or a list; empty if it is unknown."""
    header, name = table_name(tuple(map(str, place))), str(place[-1])
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    models = [m for m in members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
    model = models[0] if models else None
    if model is EventKind and is_number:
        return f"; write {header} with weight = {shown(value)}"
    if model is EventKind:
        return f"; write {header} and its settings below, if any"
    if model is ColumnRole and isinstance(value, str):
        separator = ', separator = "|"' if value == "tags" else ""
        return f'; write {name} = {{ role = "{value}"{separator} }}'
    if model is ComponentSection:
        use = written(value) if isinstance(value, str) else '"COMPONENT"'
        return f"; write {header} with type = {use}"
    if model is Placement:
        return f"; write {header} with retrievers = {{ {_quotas(value)} }}"
    if model is Budget and is_number:
        return f"; write {name} = {{ total = {shown(value)} }}"
    if model is SplitSection and (is_number or isinstance(value, str)):
        return f"; write [split] with test = {written(value)}"
    if model is StoreSection and isinstance(value, str):
        return f"; write [store] with url = {written(value)}"
    if model is None and place[-1] == "retrievers" and len(place) > 1:
        return f"; write retrievers = {{ {_quotas(value)} }}"
    if model is None and place[-1] == "seen" and isinstance(value, str):
        return f"; write seen = {{ TYPE = {written(value)} }}, where TYPE is an event type"
    if len(place) == 1:
        return f"; write {table_name((name, 'NAME'))}" if model is None else f"; write {header}"
    return ""


def _quotas(value: Any) -> str:
    """The sources with default quotas, as TOML."""
    names = value if isinstance(value, list) else [value]
    sources = [name for name in names if isinstance(name, str)] or ["NAME"]
    return ", ".join(f"{name} = {_QUOTA}" for name in sources)


def needed(section: str) -> str:
    """The error for a required section that is missing, with the fix."""
    return {
        "data": 'no [data] table: write [data] with events = "FILE"',
        "events": "no [events.TYPE] table: declare each event type, such as [events.view]",
        "retrievers": "no [retrievers.NAME] table: declare each source, such as "
        '[retrievers.popular] with type = "popular"',
        "placements": "no [placements.NAME] table: declare each recommendation list, such as "
        "[placements.home] with retrievers = { popular = 100 }",
    }[section]


def missing(place: Path, known: tuple[str, ...] = ()) -> str:
    """Returns the error for a required setting that is missing, with the fix.

    Args:
        place: the place of the setting.
        known: for `type`, the names of the components.
    """
    name = place[-1]
    if name == "type":
        use = place[1] if place[1] in known else "popular" if "popular" in known else known[-1]
        return f'is missing: name the component, such as type = "{use}"'
    return {
        "events": 'is missing: write events = "FILE"',
        "file": 'is missing: write file = "FILE"',
        "retrievers": "is missing: name the sources, such as retrievers = { popular = 100 }",
        "role": "is missing: write role as text, tags, category, number or time",
    }.get(str(name), "is missing")
