"""The text of a commented `tastemaker.toml` for a proposed project."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from tastemaker.data.event_words import is_known
from tastemaker.data.files import DataFile
from tastemaker.data.packed import is_parquet
from tastemaker.data.schema import EventKind, Schema
from tastemaker.project.propose import ProposedProject
from tastemaker.project.propose_sources import source_lines, split_lines
from tastemaker.project.toml_text import comment_text, toml_key, toml_list, toml_table, toml_text

_GUESS = "  # a guess from the values: please check"
_DAY_OR_MONTH = "  # a guess: day and month may be swapped: please check"
_FILL_IN = "FILL IN"


def project_text(proposed: ProposedProject, folder: Path) -> str:
    """Returns the text of the project file, with comments.

    Args:
        proposed: the proposed project.
        folder: the folder of the file; paths inside it are written as relative paths.
    """
    schema = proposed.schema
    lines = [
        "# Describes the data, the sources of candidates, and the recommendation lists.",
        "# `tastemaker validate` checks the data, `train` fits a model, `evaluate` measures it.",
    ]
    if proposed.problem:
        lines += [
            "#",
            f"# The data cannot be read with these settings yet: {comment_text(proposed.problem)}",
        ]
    lines += [f"# {comment_text(problem)}" for problem in proposed.left_out]
    if proposed.not_read:
        lines.append(f"# {comment_text(not_read_text(proposed.not_read))}")
    lines += [*_data_lines(proposed, folder), *_column_lines(proposed)]
    for table, roles in (("items", schema.item_roles), ("users", schema.user_roles)):
        if roles:
            lines += ["", f"[{table}.roles]  # role: text, tags, category, number, time or vector"]
        for name, role in roles.items():
            extras = {"separator": role.separator, "format": role.format}
            extra = "".join(f", {key} = {toml_text(v)}" for key, v in extras.items() if v)
            lines.append(f'{toml_key(name)} = {{ role = "{role.role}"{extra} }}')
    for name, kind in schema.kinds.items():
        lines += ["", f"[events.{toml_key(name)}]", *_kind_lines(name, kind)]
    lines += [*source_lines(proposed.data, schema.clock), *split_lines(proposed.data, schema.clock)]
    return "\n".join(lines) + "\n"


def not_read_text(files: Sequence[Path]) -> str:
    """The message about files that `init` does not read, with the fix."""
    names = ", ".join(path.name for path in files)
    return f"not read: {names}; add event files under [[data.events]] or with --events FILE"


def unclear_text(
    candidates: Sequence[Path], others: Mapping[str, Sequence[Path]], folder: Path
) -> str:
    """Returns the start of a project file for a folder without a clear event log.

    Args:
        candidates: the files that may hold the events.
        others: `items`, `users` → files.
        folder: the folder of the file; paths inside it are written as relative paths.
    """
    names = comment_text(", ".join(_relative(path, folder) for path in candidates))
    lines = [
        "# Fill in the file that holds the events, then run: tastemaker init --force",
        "",
        "[data]",
        f"events = {toml_text(_FILL_IN)}  # one of: {names}",
    ]
    lines += [
        f"{table} = {toml_text(_relative(path, folder))}"
        for table, files in others.items()
        for path in files[:1]
    ]
    return "\n".join(lines) + "\n"


def _data_lines(proposed: ProposedProject, folder: Path) -> list[str]:
    """[data], and [[data.events]] if an event file needs its own settings."""
    files, schema = proposed.files, proposed.schema
    texts = [file for of_table in files.values() for file in of_table if not is_parquet(file.path)]
    common: dict[str, set[str | None]] = {
        "separator": {file.schema.separator for file in texts},
        "encoding": {file.schema.encoding for file in texts},
    }
    if texts:
        common["time_format"] = {file.schema.time_format for file in files["events"]}
    shared = {key: values.pop() for key, values in common.items() if len(values) == 1}
    shared = {key: value for key, value in shared.items() if value not in (None, "utf-8")}
    own = {
        file.path: _own_settings(file, shared) for of_table in files.values() for file in of_table
    }
    events = files["events"]
    alone = len(events) == 1 and not own[events[0].path]
    lines = ["", "[data]"]
    if alone:
        lines.append(f"events = {toml_text(_relative(events[0].path, folder))}")
    for table in ("items", "users"):
        for file in files.get(table, ()):
            settings = own[file.path]
            path = toml_text(_relative(file.path, folder))
            extras = "".join(f", {key} = {value}" for key, value in settings.items())
            lines.append(
                f"{table} = {{ file = {path}{extras} }}" if extras else f"{table} = {path}"
            )
    for key, value in shared.items():
        unsure = key == "time_format" and "timestamp" in proposed.guessed
        lines.append(f"{key} = {toml_text(str(value))}{_DAY_OR_MONTH if unsure else ''}")
    if schema.clock != "absolute":
        where = "" if len(events) == 1 else " in every event file"
        lines.append(f'clock = "{schema.clock}"  # no time column was found{where}')
    if not alone:
        for file in events:
            lines += ["", "[[data.events]]", f"file = {toml_text(_relative(file.path, folder))}"]
            settings = dict(own[file.path])
            if len(events) > 1:
                if file.schema.default_kind:
                    settings["event_type"] = toml_text(file.schema.default_kind)
                if file.schema.event_columns:
                    settings["columns"] = toml_table(file.schema.event_columns)
            lines += [f"{key} = {value}" for key, value in settings.items()]
            if file.schema.header and proposed.guessed:
                lines[-1] += _GUESS
    if proposed.max_bad_rows:
        lines += ["", "[data.max_bad_rows]  # maximum share of unusable rows"]
    for table, share in proposed.max_bad_rows.items():
        allowed = min(1.0, ceil(share * 105) / 100)
        lines.append(f"{table} = {allowed:g}  # {_reasons(proposed, table)}")
    return lines


def _own_settings(file: DataFile, shared: dict[str, str | None]) -> dict[str, str]:
    """The settings that only this file needs, as TOML."""
    settings: dict[str, str] = {}
    if is_parquet(file.path):
        return settings
    if file.schema.separator and "separator" not in shared:
        settings["separator"] = toml_text(file.schema.separator)
    if file.schema.encoding != "utf-8" and "encoding" not in shared:
        settings["encoding"] = toml_text(file.schema.encoding)
    if file.schema.time_format and "time_format" not in shared:
        settings["time_format"] = toml_text(file.schema.time_format)
    if file.schema.header:
        settings["header"] = toml_list(file.schema.header)
    return settings


def _column_lines(proposed: ProposedProject) -> list[str]:
    """[data.columns.*] and [data.defaults]."""
    schema, events = proposed.schema, proposed.files["events"]
    lines = []
    if len(events) == 1:
        lines += _event_column_lines(proposed, events[0].schema)
    elif proposed.guessed or proposed.lacking:
        lines += ["", f"# please check: {', '.join(sorted(proposed.guessed))}"]
        lines += [f"# no column for {part} was found" for part in proposed.lacking]
    for table, columns in (("items", schema.item_columns), ("users", schema.user_columns)):
        if columns:
            lines += ["", f"[data.columns.{table}]  # ours = theirs"]
        for ours, theirs in columns.items():
            guess = _GUESS if f"{table}.{ours}" in proposed.guessed else ""
            lines.append(f"{ours} = {toml_text(theirs)}{guess}")
    if len(events) == 1 and schema.default_kind:
        kind = toml_text(schema.default_kind)
        lines += ["", "[data.defaults]", f"event_type = {kind}  # for rows without one"]
    return lines


def _event_column_lines(proposed: ProposedProject, schema: Schema) -> list[str]:
    renamed = schema.event_columns
    columns = [
        f"{ours} = {toml_text(theirs)}{_GUESS if ours in proposed.guessed else ''}"
        for ours, theirs in renamed.items()
    ]
    columns += [
        f"{part} = {toml_text(_FILL_IN)}  # one of: {comment_text(', '.join(proposed.columns))}"
        for part in proposed.lacking
    ]
    lines = ["", "[data.columns.events]  # ours = theirs", *columns] if columns else []
    report = proposed.data.reports[0] if proposed.data and proposed.data.reports else None
    if report and report.unused:
        unused = comment_text(", ".join(report.unused))
        lines += [*([] if columns else [""]), f"# not used: {unused}"]
    return lines


def _kind_lines(name: str, kind: EventKind) -> list[str]:
    lines = []
    if kind.positive_threshold is not None:
        lines.append(
            f"positive_threshold = {kind.positive_threshold:g}  # values from here up are positive"
        )
        if kind.negative_threshold is not None:
            meaning = "values from here down are negative; values between are neutral"
            lines.append(f"negative_threshold = {kind.negative_threshold:g}  # {meaning}")
        if kind.unrated:
            codes = ", ".join(f"{code:g}" for code in kind.unrated)
            lines.append(
                f'unrated = [{codes}]  # treated as "not rated"; remove it if it is a rating'
            )
        return lines
    if kind.role == "negative":
        lines += ['role = "negative"  # a sign of dislike']
        lines += ["# hide_item = true  # never show the item to this user again"]
    elif kind.role == "exposure":
        lines.append('role = "exposure"  # the item was shown; not a sign of taste')
    elif kind.role == "neutral":
        lines.append('role = "neutral"  # neither positive nor negative')
    else:
        unknown = (
            "" if is_known(name) else "  # a guess: the name is unknown; role may also be negative"
        )
        lines.append(f"weight = {kind.weight}{unknown}")
    if kind.strength is not None:
        meaning = "the weight grows with the value, an amount; a negative amount is a return"
        lines.append(f'strength = "{kind.strength}"  # {meaning}')
    if kind.replaces:
        lines.append(
            f"replaces = {toml_list(kind.replaces)}  # cancels earlier events of these types"
        )
    return lines


def _reasons(proposed: ProposedProject, table: str) -> str:
    reports = proposed.data.reports if proposed.data else ()
    return "; ".join(
        comment_text(report.summary())
        for report in reports
        if report.table == table and report.reasons
    )


def _relative(path: Path, folder: Path) -> str:
    whole, base = path.resolve(), folder.resolve()
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) else whole.as_posix()
