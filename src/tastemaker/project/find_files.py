"""Finds the event, item and user tables of a folder, by file names or else by columns."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tastemaker.data.recognize import recognize_events
from tastemaker.errors import DataError
from tastemaker.project.file_words import (
    WHOLE_LOGS,
    event_word,
    is_copy_of,
    is_partial_copy,
    plainest,
    table_of,
)
from tastemaker.project.look import TablePreview, read_preview

_TABLE_ENDINGS = (".csv", ".tsv", ".dat", ".data", ".jsonl", ".ndjson", ".json")
_PARQUET_ENDINGS = (".parquet", ".pq")
_ENDINGS = (*_TABLE_ENDINGS, *(f"{ending}.gz" for ending in _TABLE_ENDINGS), *_PARQUET_ENDINGS)
_TEXT_ENDINGS = (".txt", ".txt.gz")
"""Files with these extensions are tables only if their name suggests one."""
_OTHER_ENDINGS = (".item", ".user", ".test", ".base", ".genre")
"""Extensions of tables in published data sets; they are reported, not read."""
_PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst")
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_ROWS = 2_000
"""Number of rows to read to recognize an event log by its columns."""


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The tables of a folder.

    Attributes:
        tables: `events`, `items`, `users` → files; without `events` if no file clearly holds them.
        not_read: the folder's other tables, and archives and spreadsheets.
        candidates: the tables that may hold the events, if no file clearly does.
    """

    tables: dict[str, list[Path]]
    not_read: tuple[Path, ...] = ()
    candidates: tuple[Path, ...] = ()


def find_tables(folder: Path) -> dict[str, list[Path]]:
    """The files in a folder that look like events, items and users.

    Raises:
        DataError: no file looks like an event log.
    """
    found = find_files(folder)
    if "events" not in found.tables:
        shown = ", ".join(path.name for path in found.candidates)
        raise DataError(f"no file is clearly the event log: found {shown}; specify --events FILE")
    return found.tables


def find_files(
    folder: Path, known: Mapping[str, Sequence[Path]] = MappingProxyType({})
) -> FoundFiles:
    """The files in a folder that look like events, items and users.

    Several event files form one log if each has a different event word (`purchase`, `play`), if
    their names differ only in digits (`events_2023`, `events_2024`), or if they have the same word
    and the same columns. If no name suggests the event log, it is the only table, or the only one
    with a user column and an item column.

    Args:
        folder: where to look.
        known: table → files that are already known; no others are searched for.

    Raises:
        DataError: there is no table.
    """
    tables = {table: list(paths) for table, paths in known.items()}
    every = _others(folder, tables)
    files = [path for path in every if _is_table(path)]
    if not files and "events" not in known:
        raise DataError(_no_table(every))
    events = [path for path in files if table_of(path) == "events"]
    chosen = [] if "events" in known else _chosen(events) if events else _by_columns(files)
    if chosen:
        tables["events"] = chosen
    for table in ("items", "users"):
        named = [path for path in files if table_of(path) == table and path not in chosen]
        if named and table not in known:
            tables[table] = [plainest(named)]
    others = [path for path in _others(folder, tables) if _may_be_table(path)]
    return FoundFiles(tables, tuple(others), () if "events" in tables else tuple(files))


def _others(folder: Path, used: Mapping[str, Sequence[Path]]) -> list[Path]:
    """The files of a folder that are not used yet."""
    known = {path.resolve() for paths in used.values() for path in paths}
    return [path for path in sorted(folder.iterdir()) if path.resolve() not in known]


def _is_table(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith("."):
        return False
    if name.endswith(_TEXT_ENDINGS):
        return table_of(path) not in (None, "other") and path.is_file()
    return name.endswith(_ENDINGS) and path.is_file()


def _may_be_table(path: Path) -> bool:
    """Whether to report a file that is not read."""
    reported = (*_OTHER_ENDINGS, *_PACKED, *_SPREADSHEETS)
    is_reported = path.name.lower().endswith(reported) and not path.name.startswith(".")
    return _is_table(path) or (is_reported and path.is_file())


def _no_table(files: Sequence[Path]) -> str:
    packed = [path.name for path in files if path.name.lower().endswith(_PACKED)]
    sheets = [path.name for path in files if path.name.lower().endswith(_SPREADSHEETS)]
    steps = [f"extract {', '.join(packed)}"] if packed else []
    steps += [f"export {', '.join(sheets)} as CSV"] if sheets else []
    fix = f"; {' and '.join(steps)} first, or" if steps else ";"
    return (
        "no event log found: the folder has no table (CSV, JSON lines, Parquet)"
        f"{fix} specify --events FILE"
    )


def _chosen(events: list[Path]) -> list[Path]:
    """The event files that are parts of one log."""
    words: dict[str, list[Path]] = {}
    for path in events:
        words.setdefault(event_word(path), []).append(path)
    whole = [plainest(paths) for word, paths in words.items() if word in WHOLE_LOGS]
    if whole:
        return _one_log(words[event_word(plainest(whole))])
    return sorted(path for paths in words.values() for path in _one_log(paths))


def _one_log(paths: list[Path]) -> list[Path]:
    """The parts of one log among files with the same event word: same columns, no copies."""
    originals = [path for path in paths if not any(is_copy_of(path, other) for other in paths)]
    if len(originals) < 2:
        return originals
    parts: dict[str, list[Path]] = {}
    for path in originals:
        parts.setdefault(re.sub(r"\d+", "#", path.name), []).append(path)
    if len(parts) == 1:
        return originals
    previews = {path: _preview_of(path) for path in originals}
    complete = [path for path in originals if _has_ids(previews[path], guessed=False)]
    full = [path for path in complete if not is_partial_copy(path)]
    first = plainest(full or complete or originals)
    return [
        path
        for of_name in parts.values()
        for path in of_name
        if first in of_name or _same_columns(previews[path], previews[first])
    ]


def _by_columns(files: list[Path]) -> list[Path]:
    """The event log among files whose names do not suggest one; empty if it is not clear."""
    if len(files) == 1:
        return files
    previews = {path: _preview_of(path) for path in files}
    for guessed in (False, True):
        fitting = [
            path
            for path, preview in previews.items()
            if _has_ids(preview, guessed=guessed)
            and (not guessed or table_of(path) in (None, "other"))
        ]
        fitting = [path for path in fitting if not any(is_copy_of(path, o) for o in fitting)]
        whole = [path for path in fitting if not is_partial_copy(path)]
        for paths in (fitting, whole):
            if paths and all(_same_columns(previews[path], previews[paths[0]]) for path in paths):
                return paths
        if fitting:
            break
    return []


def _preview_of(path: Path) -> TablePreview | None:
    """The first rows of a file; None if it cannot be read."""
    try:
        return read_preview(path, _ROWS)
    except DataError:
        return None


def _has_ids(preview: TablePreview | None, *, guessed: bool) -> bool:
    """Whether a file has user and item columns, judged by names or, if guessed, by values."""
    if preview is None:
        return False
    found = recognize_events(preview.frame)
    ids = {"user_id", "item_id"}
    return ids <= found.columns.keys() and (guessed or not ids & found.guessed)


def _same_columns(one: TablePreview | None, other: TablePreview | None) -> bool:
    return one is not None and other is not None and one.frame.columns == other.frame.columns
