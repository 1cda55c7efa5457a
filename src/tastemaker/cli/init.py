"""`tastemaker init`: look at the files, and always leave a project file to edit."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tastemaker.cli import show
from tastemaker.data.describe import describe
from tastemaker.disk import replacing
from tastemaker.errors import DataError, ProjectError
from tastemaker.project.find_files import find_tables
from tastemaker.project.project import FILE_NAME
from tastemaker.project.project_text import project_text
from tastemaker.project.propose import ProposedProject, propose_project


def init(
    folder: Path,
    given: Mapping[str, Sequence[Path]],
    hints: Mapping[str, str],
    force: bool,
    as_json: bool,
) -> None:
    """Writes a project file for the tables given, or found in the folder.

    Args:
        folder: where the project file goes.
        given: table → files.
        hints: ours → theirs, for columns of the event log; what an existing file says of them
            holds where these say nothing.
        force: replace an existing project file.
        as_json: print the result as JSON.

    Raises:
        ProjectError: there is a project file already, or no such folder.
        DataError: no file can be read, or the data cannot be read as the file written says.
    """
    path = folder / FILE_NAME
    if path.exists() and not force:
        raise ProjectError(f"{path} exists; change it, or replace it with --force")
    if not folder.is_dir():
        raise ProjectError(f"{folder} is not a folder")
    before = _columns_of(path)
    tables = dict(given) if "events" in given else {**find_tables(folder), **given}
    names = ", ".join(file.name for files in tables.values() for file in files)
    with show.step(f"looking at {names}"):
        proposed = propose_project(tables, {**_still_there(before, tables), **hints})
        text = project_text(proposed, folder)
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
        _require_readable(proposed, path)
    if as_json:
        files = {table: ", ".join(file.name for file in of) for table, of in tables.items()}
        show.result_json(
            {
                "project": str(path),
                "files": files,
                "guessed": sorted(proposed.guessed),
                **describe(proposed.require_data()),
            }
        )
    else:
        show.result(text)
    _report(proposed, path)


def _require_readable(proposed: ProposedProject, path: Path) -> None:
    """Says what has to be filled in or corrected in the file that was written.

    Raises:
        DataError: a column is lacking, or the data cannot be read as the file says.
    """
    if proposed.lacking:
        options = " ".join(_option(part) for part in proposed.lacking)
        columns = ", ".join(proposed.columns)
        raise DataError(
            f"wrote {path}, but no column looks like {' or '.join(proposed.lacking)}: fill it in, "
            f"or run init again with --force {options}; the columns are {columns}"
        )
    if proposed.problem:
        raise DataError(f"wrote {path}, but the data cannot be read like this: {proposed.problem}")


def _report(proposed: ProposedProject, path: Path) -> None:
    """Says what to check, and what is not used."""
    for part in sorted(proposed.guessed):
        show.say(f"{part} is a guess: check [data.columns], or name the column: {_option(part)}")
    for problem in proposed.left_out:
        show.say(problem)
    for report in proposed.data.reports if proposed.data else ():
        for note in report.notes:
            show.say(f"{report.source}: {note}")
        if report.unused:
            show.say(f"{report.source}: not used: {', '.join(report.unused)}")
    show.say(f"wrote {path}; read it, then: tastemaker validate, train, evaluate")


def _option(part: str) -> str:
    return f"--{part.replace('_', '-').replace('items.', '')} COLUMN"


def _columns_of(path: Path) -> dict[str, str]:
    """What an existing project file calls the columns of the event log, whatever else it holds."""
    try:
        values: Any = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        columns = values["data"]["columns"]["events"]
        return {ours: theirs for ours, theirs in columns.items() if isinstance(theirs, str)}
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return {}


def _still_there(before: dict[str, str], tables: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """The columns of an earlier project file that the event files still have."""
    from tastemaker.project.propose import look_at

    if not before:
        return {}
    columns = {column for path in tables["events"] for column in look_at(path).frame.columns}
    return {ours: theirs for ours, theirs in before.items() if theirs in columns}
