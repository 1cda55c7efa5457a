"""Validates the values of a project file; reports invalid ones and leaves them out."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from tastemaker.errors import ProjectError, closest
from tastemaker.faults import Fault, Path, faults_of
from tastemaker.project import fixes
from tastemaker.project.places import PARTS
from tastemaker.project.problems import Problems
from tastemaker.project.registry import our_names
from tastemaker.project.sections import ProjectFile
from tastemaker.project.toml_file import shown

_ROUNDS = 50
_ANY_FILE = "?"


def usable_file(problems: Problems) -> ProjectFile:
    """Returns the valid settings of a file, and reports the invalid ones.

    Args:
        problems: collects the errors; its source has the values.

    Raises:
        ProjectError: no usable settings are left.
    """
    values = problems.source.values
    for part in ("events", "retrievers", "placements"):
        values.setdefault(part, {})
    if "data" not in values:
        if not problems.is_broken("data"):
            problems.lines.append(fixes.needed("data"))
        problems.broken.add(("data",))
        values["data"] = {"events": _ANY_FILE}
    file: ProjectFile | None = usable(ProjectFile, values, (), problems)
    if file is None:
        problems.stop()
        raise ProjectError(f"{problems.source.name}: is not a valid project file")
    return file


def usable(
    settings: type[BaseModel], values: dict[str, Any], place: Path, problems: Problems
) -> Any:
    """Returns an instance of `settings` from the valid values, and reports the others.

    Args:
        settings: the class.
        values: name → value; invalid ones are removed in place.
        place: the place of the values in the file.
        problems: collects the errors.

    Returns:
        None if no usable values are left.
    """
    for turn in range(_ROUNDS):
        faults = faults_of(settings, values)
        if not faults:
            return settings.model_validate(values)
        for fault in faults:
            where = (*place, *as_written(values, fault.path))
            if not _follows(fault, where, problems, is_first=turn == 0):
                problems.add(where, text_of(fault, where))
            problems.broken.add(where)
        for path, fault in _last_first(values, faults):
            _remove_value(values, path, fault)
    return None


def _last_first(values: dict[str, Any], faults: list[Fault]) -> list[tuple[Path, Fault]]:
    """The faults with their places, ordered so that removing one does not shift the others."""
    placed = [(as_written(values, fault.path), fault) for fault in faults]
    return sorted(
        placed,
        key=lambda pair: [(isinstance(p, int), str(p).zfill(9)) for p in pair[0]],
        reverse=True,
    )


def _follows(fault: Fault, where: Path, problems: Problems, *, is_first: bool) -> bool:
    """Whether a fault only follows from one that was reported before."""
    if fault.kind == "missing":
        return not is_first or any(
            part[: len(where)] == where or where[: len(part)] == part for part in problems.broken
        )
    others = [part for part in problems.broken if part[:-1] == where]
    named = any(f"'{part[-1]}'" in fault.text for part in others)
    return named if fault.kind == "rule" else where in problems.broken


def text_of(fault: Fault, where: Path) -> str:
    """The message of a fault, without the place."""
    name = where[-1] if where else ""
    if fault.kind == "missing":
        part = PARTS.get(str(where[0]))
        return fixes.missing(where, our_names(part) if part else ())
    if fault.kind == "rule":
        return fault.text.removeprefix(f"'{name}' ")
    text = f"must be {fault.text}, got {shown(fault.value)}"
    if fault.known and isinstance(fault.value, str):
        close = closest(fault.value, fault.known)
        return f"{text}; did you mean '{close}'?" if close else text
    if isinstance(fault.value, str) and name in ("test", "validation", "window"):
        return f"{text}; write the share without quotes"
    return text


def as_written(values: Mapping[str, Any], path: Path) -> Path:
    """Converts a path in the settings to a path in the values, where one file may be no list."""
    at: Any = values
    written: list[str | int] = []
    for part in path:
        if isinstance(part, int) and not isinstance(at, list | tuple):
            continue
        if isinstance(at, str):
            break
        written.append(part)
        if isinstance(part, int):
            at = at[part] if isinstance(at, list | tuple) and part < len(at) else None
        else:
            at = at.get(part) if isinstance(at, dict) else None
    return tuple(written)


def _remove_value(values: dict[str, Any], path: Path, fault: Fault) -> None:
    """Removes an invalid value, or replaces it by a harmless one."""
    if not path:
        values.clear()
        return
    *around, name = path
    table: Any = values
    for part in around:
        try:
            table = table[part]
        except (KeyError, IndexError):
            return  # removed with another value
    if path == ("data", "events") or (path[0] == "data" and name == "file"):
        table[name] = _ANY_FILE
    elif fault.kind == "missing" and name == "retrievers":
        table[name] = {}
    elif fault.kind == "missing" and around:
        _remove_value(values, tuple(around), Fault(tuple(around), "wrong"))
    elif fault.kind == "rule" and isinstance(table, dict) and table.get(name):
        table[name] = {}
    elif isinstance(table, list) and isinstance(name, int):
        del table[name : name + 1]
    elif isinstance(table, dict):
        table.pop(name, None)
