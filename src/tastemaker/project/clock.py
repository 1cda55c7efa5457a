"""Errors for components and splits that need times, for data without them."""

from typing import Any

from tastemaker.data.schema import Clock
from tastemaker.project.places import PARTS
from tastemaker.project.registry import component_class
from tastemaker.project.sections import ProjectFile

_ENOUGH: dict[Clock, tuple[Clock, ...]] = {
    "absolute": ("absolute",),
    "ordinal": ("absolute", "ordinal"),
    "none": ("absolute", "ordinal", "none"),
}
_MAP = "map a column of times under [data.columns.events] and remove clock"


def clock_lines(file: ProjectFile, *, to_evaluate: bool) -> list[str]:
    """Returns one line for each part of the file that needs better times than the data has.

    Args:
        file: the settings.
        to_evaluate: whether to check the split as well.
    """
    clock = file.data.clock
    if clock == "absolute":
        return []
    has = f'but [data] clock is "{clock}"'
    lines = []
    if file.data.exclude.max_events_per_day is not None:
        lines.append(f"[data.exclude] max_events_per_day needs times, {has}: remove it, or {_MAP}")
    for name, section in file.retrievers.items():
        part: Any = component_class(section.type, PARTS["retrievers"])
        if clock not in _ENOUGH[part.requires_timestamps]:
            need = "times" if part.requires_timestamps == "absolute" else "the order of events"
            lines.append(
                f"[retrievers.{name}] {section.type} needs {need}, {has}: remove it here "
                f"and from placements, or {_MAP}"
            )
    for name, placement in file.placements.items():
        if placement.ranker is not None:
            also = " and objective_weights" if placement.objective_weights else ""
            lines.append(
                f'[placements.{name}] ranker = "{placement.ranker}": a ranker learns from '
                f"later events, {has}: remove ranker{also}, or {_MAP}"
            )
    if to_evaluate and file.split.type == "by_time":
        lines.append(
            f'[split] by_time needs points in time, {has}: write type = "holdout" and test = 0.2 '
            f"under [split], or {_MAP}"
        )
    return lines
