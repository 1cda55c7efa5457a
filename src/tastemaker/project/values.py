"""The values of a project file against their bounds; what is wrong is reported and left out."""

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
    """The settings of a file without those that are wrong, which are reported.

    Args:
        problems: takes the errors; its source has the values.

    Raises:
        ProjectError: nothing is left of the file.
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
        raise ProjectError(f"{problems.source.name}: cannot be used as a project file")
    return file


def usable(
    settings: type[BaseModel], values: dict[str, Any], place: Path, problems: Problems
) -> Any:
    """An instance of `settings` from those values that are right; the others are reported.

    Args:
        settings: the class.
        values: name → value; what is wrong is taken out.
        place: where the values are in the file.
        problems: takes the errors.

    Returns:
        None where nothing useful is left.
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
            _take_out(values, path, fault)
    return None


def _last_first(values: dict[str, Any], faults: list[Fault]) -> list[tuple[Path, Fault]]:
    """The faults with their places, so that taking one out moves none of the others."""
    placed = [(as_written(values, fault.path), fault) for fault in faults]
    return sorted(
        placed,
        key=lambda pair: [(isinstance(p, int), str(p).zfill(9)) for p in pair[0]],
        reverse=True,
    )


def _follows(fault: Fault, where: Path, problems: Problems, *, is_first: bool) -> bool:
    """Whether a fault is there only because of one that was reported before."""
    if fault.kind == "missing":
        return not is_first or any(
            part[: len(where)] == where or where[: len(part)] == part for part in problems.broken
        )
    others = [part for part in problems.broken if part[:-1] == where]
    named = any(f"'{part[-1]}'" in fault.text for part in others)
    return named if fault.kind == "rule" else where in problems.broken


def text_of(fault: Fault, where: Path) -> str:
    """What is wrong, to follow the place."""
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
        return f"{text}; write a share without quotes"
    return text


def as_written(values: Mapping[str, Any], path: Path) -> Path:
    """A path inside settings as a path inside the values: one file may stand for a list of one."""
    at: Any = values
    kept: list[str | int] = []
    for part in path:
        if isinstance(part, int) and not isinstance(at, list | tuple):
            continue
        if isinstance(at, str):
            break
        kept.append(part)
        if isinstance(part, int):
            at = at[part] if isinstance(at, list | tuple) and part < len(at) else None
        else:
            at = at.get(part) if isinstance(at, dict) else None
    return tuple(kept)


def _take_out(values: dict[str, Any], path: Path, fault: Fault) -> None:
    """Removes what is wrong, or puts something harmless in its place."""
    if not path:
        values.clear()
        return
    *around, name = path
    table: Any = values
    for part in around:
        try:
            table = table[part]
        except (KeyError, IndexError):
            return  # taken out with another
    if path == ("data", "events") or (path[0] == "data" and name == "file"):
        table[name] = _ANY_FILE
    elif fault.kind == "missing" and name == "retrievers":
        table[name] = {}
    elif fault.kind == "missing" and around:
        _take_out(values, tuple(around), Fault(tuple(around), "wrong"))
    elif fault.kind == "rule" and isinstance(table, dict) and table.get(name):
        table[name] = {}
    elif isinstance(table, list) and isinstance(name, int):
        del table[name : name + 1]
    elif isinstance(table, dict):
        table.pop(name, None)
