"""`init`: inspects the data files and writes a project file to edit."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tastemaker.cli import show
from tastemaker.data.describe import describe
from tastemaker.data.schema import EVENT_COLUMNS
from tastemaker.disk import read_text, replacing
from tastemaker.errors import DataError, ProjectError
from tastemaker.project.find_files import FoundFiles, find_files
from tastemaker.project.project import FILE_NAME
from tastemaker.project.project_text import not_read_text, project_text, unclear_text
from tastemaker.project.propose import ProposedProject, propose_project


def init(
    folder: Path,
    given: Mapping[str, Sequence[Path]],
    hints: Mapping[str, str],
    force: bool,
    as_json: bool,
) -> None:
    """Writes a project file for the given tables, or for the tables in the folder.

    Args:
        folder: the folder for the project file.
        given: table → files.
        hints: ours → theirs, for columns of the event log; they override an existing project file.
        force: whether to replace an existing project file.
        as_json: whether to print the result as JSON.

    Raises:
        ProjectError: there is already a project file, or there is no such folder.
        DataError: no file can be read, or the data cannot be read with the written settings.
    """
    path = folder / FILE_NAME
    if path.exists() and not force:
        raise ProjectError(f"{path} already exists; edit it, or replace it with --force")
    if not folder.is_dir():
        raise ProjectError(f"{folder} is not a folder")
    found = _found(folder, path, given)
    tables, not_read = found.tables, found.not_read
    if "events" not in tables:
        _write(path, unclear_text(found.candidates, tables, folder))
        shown = ", ".join(file.name for file in found.candidates)
        raise DataError(
            f"wrote {path}, but no file is clearly the event log: found {shown}; fill it in and "
            "run init again with --force, or specify --events FILE"
        )
    names = ", ".join(file.name for files in tables.values() for file in files)
    with show.step(f"inspecting {names}"):
        proposed = propose_project(tables, hints, _columns_of(path))
        proposed = replace(proposed, not_read=not_read)
        text = project_text(proposed, folder)
        _write(path, text)
        _require_readable(proposed, path)
    if as_json:
        files = {table: ", ".join(file.name for file in of) for table, of in tables.items()}
        show.result_json(
            {
                "project": str(path),
                "files": files,
                "not_read": [str(file) for file in not_read],
                "guessed": sorted(proposed.guessed),
                **describe(proposed.require_data()),
            }
        )
    else:
        show.result(text)
    _report(proposed, path)


def _found(folder: Path, path: Path, given: Mapping[str, Sequence[Path]]) -> FoundFiles:
    """Returns the files from the options, an existing project file, and the folder.

    Raises:
        DataError: there is no table.
    """
    known = {**_files_of(path), **given}
    if "events" in given:  # no other files are searched for
        return FoundFiles({table: list(files) for table, files in known.items()})
    return find_files(folder, known)


def _write(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _require_readable(proposed: ProposedProject, path: Path) -> None:
    """Raises an error if the written project file needs to be completed or corrected.

    Raises:
        DataError: a column is missing, or the data cannot be read with the written settings.
    """
    if proposed.lacking:
        options = " ".join(_option(part) for part in proposed.lacking)
        columns = ", ".join(proposed.columns)
        raise DataError(
            f"wrote {path}, but no column looks like {' or '.join(proposed.lacking)}: fill it in, "
            f"or run init again with --force {options}; the columns are {columns}"
        )
    if proposed.problem:
        problems = "; ".join([*proposed.left_out, proposed.problem])
        raise DataError(
            f"wrote {path}, but the data cannot be read with these settings: {problems}"
        )


def _report(proposed: ProposedProject, path: Path) -> None:
    """Prints what to check, and what is not used."""
    for part in sorted(proposed.guessed):
        show.say(f"{part} is a guess: {_how_to_check(part, proposed)}")
    for problem in proposed.left_out:
        show.say(problem)
    if proposed.not_read:
        show.say(not_read_text(proposed.not_read))
    for report in proposed.data.reports if proposed.data else ():
        if report.quarantined:
            show.say(report.summary())
        for note in report.notes:
            show.say(f"{report.source}: {note}")
        if report.unused:
            show.say(f"{report.source}: not used: {', '.join(report.unused)}")
    show.say(f"wrote {path}; review it, then run: tastemaker validate, train, evaluate")


def _how_to_check(part: str, proposed: ProposedProject) -> str:
    table, _, column = part.rpartition(".")
    if table:
        return f"check [data.columns.{table}]"
    events = proposed.files["events"]
    file = events[0]
    if part == "timestamp" and file.schema.time_format:
        return f"check the time_format {file.schema.time_format}: is the day or the month first?"
    place = "columns under [[data.events]]" if len(events) > 1 else "[data.columns.events]"
    if any(file.schema.header for file in events):
        place = "header under [[data.events]]"
    return f"check {place}, or specify the column: {_option(column)}"


def _option(part: str) -> str:
    return f"--{part.replace('_', '-')} COLUMN"


def _data_of(path: Path) -> Any:
    """[data] of an existing project file; None if it cannot be read."""
    try:
        return tomllib.loads(read_text(path, "utf-8-sig"))["data"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None


def _files_of(path: Path) -> dict[str, list[Path]]:
    """Table → the existing files that a project file names.

    Files of the event log are left out of the other tables.
    """
    data = _data_of(path)
    found: dict[str, list[Path]] = {}
    for table in ("events", "items", "users"):
        given = _at(data, table)
        files = []
        for one in given if isinstance(given, list) else [given]:
            name = one if isinstance(one, str) else _at(one, "file")
            if isinstance(name, str) and "\0" not in name and (path.parent / name).is_file():
                files.append(path.parent / name)
        files = [file for file in files if file not in found.get("events", ())]
        if files:
            found[table] = files
    return found


def _columns_of(path: Path) -> dict[str, dict[str, str]]:
    """Event file (empty: any) → ours → theirs, from an existing project file.

    Other content of the project file, and errors in it, are ignored.
    """
    data = _data_of(path)
    found = {"": _names(_at(data, "columns", "events"))}
    files = _at(data, "events")
    for file in files if isinstance(files, list) else [files]:
        name, header = _at(file, "file"), _at(file, "header")
        columns = _names(_at(file, "columns"))
        if isinstance(header, list):  # column names for a file without a header
            places = {str(ours): f"column_{at}" for at, ours in enumerate(header, 1)}
            columns |= {ours: theirs for ours, theirs in places.items() if ours in EVENT_COLUMNS}
        if isinstance(name, str):
            found[Path(name).name] = columns
    return found


def _at(value: Any, *keys: str) -> Any:
    """The value at a path inside tables; None if there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _names(columns: Any) -> dict[str, str]:
    given = columns.items() if isinstance(columns, dict) else ()
    return {ours: theirs for ours, theirs in given if isinstance(theirs, str)}
