"""Proposes a project from data files, for `init`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from tastemaker.data.dataset import Dataset
from tastemaker.data.files import DataFile
from tastemaker.data.propose import Proposal, propose
from tastemaker.data.propose_kinds import MAX_KINDS, propose_kinds, propose_value
from tastemaker.data.read import open_table
from tastemaker.data.recognize import recognize_events, recognize_id
from tastemaker.data.schema import MAX_BAD_ROWS, EventKind, Schema
from tastemaker.errors import DataError
from tastemaker.project.file_words import event_word, kind_of_word
from tastemaker.project.look import ROWS_TO_LOOK_AT, TablePreview, read_preview

_MOST_BAD_ROWS = 0.5
"""A table with a larger share of unusable rows has been misread."""


@dataclass(frozen=True, slots=True)
class ProposedProject:
    """The project that `init` proposes; `project_text` writes it.

    Attributes:
        files: table → its files, each with its format.
        schema: the meaning of the columns and event types.
        guessed: the columns that were recognized by their values only.
        lacking: the required columns that were not found.
        columns: the columns of the event log.
        max_bad_rows: table → the share of unusable rows, if it exceeds the default limit.
        data: the data as the project reads it; None if it cannot be read yet.
        problem: the reason why it cannot be read; empty if it can.
        left_out: messages about tables and event type columns that cannot be used.
        not_read: other tables in the same folder.
    """

    files: dict[str, tuple[DataFile, ...]]
    schema: Schema
    guessed: frozenset[str]
    lacking: tuple[str, ...]
    columns: tuple[str, ...]
    max_bad_rows: dict[str, float]
    data: Dataset | None
    problem: str = ""
    left_out: tuple[str, ...] = ()
    not_read: tuple[Path, ...] = ()

    def require_data(self) -> Dataset:
        """Returns the data.

        Raises:
            DataError: the data cannot be read yet.
        """
        if self.data is None:
            lacking = f"no column looks like {' or '.join(self.lacking)}"
            raise DataError(self.problem or lacking)
        return self.data


def propose_project(
    tables: Mapping[str, Sequence[Path]],
    hints: Mapping[str, str] | None = None,
    earlier: Mapping[str, Mapping[str, str]] | None = None,
) -> ProposedProject:
    """Returns a proposed project for the files.

    Args:
        tables: `events`, and optionally `items` and `users` → files.
        hints: ours → theirs, for known columns of the event log.
        earlier: name of an event file (empty: any) → ours → theirs, from an earlier project file;
            columns that no longer exist are ignored.

    Raises:
        DataError: a file cannot be read at all, or a hint names a column that no event file has.
    """
    previews, problems = {"events": [read_preview(path) for path in tables["events"]]}, []
    for table in sorted(tables.keys() - {"events"}):
        try:
            previews[table] = [read_preview(path) for path in tables[table][:1]]
        except DataError as problem:  # a project needs only the events
            problems.append(f"the {table} table is left out: {problem}")
    events = previews["events"]
    others = {table: found[0] for table, found in previews.items() if table != "events"}
    _require_hinted(events, hints or {})
    hints_of = [_known_columns(one, hints or {}, earlier or {}) for one in events]
    for table in list(others):
        problem_of_ids = _problem_of_ids(table, others[table], events[0], hints_of[0])
        if problem_of_ids:
            problems.append(f"the {table} table is left out: {problem_of_ids}")
            del others[table]
    items, users = (others[t].frame if t in others else None for t in ("items", "users"))
    proposals = []
    for one, known in zip(events, hints_of):
        word = event_word(one.path)
        usual = word if len(events) > 1 or not _is_positive(word) else "interaction"
        try:
            proposal = propose(one.frame, items, users, hints=known, usual_kind=usual)
        except DataError as problem:
            column = recognize_events(one.frame, known).columns.get("event_type")
            if column is None:
                raise
            rest = one.frame.drop(column)
            known = {ours: theirs for ours, theirs in known.items() if theirs != column}
            proposal = propose(rest, items, users, hints=known, usual_kind=usual)
            problems.append(f"{one.path.name}: {problem}; the column is not used until then")
        proposals.append(_with_sign_of_word(proposal, usual))
    proposals = _reconciled(proposals, events)
    schema = _merged(proposals)
    if len(events) == 1:
        schema = _with_rare_kinds(schema, events[0])
    files = {
        "events": tuple(
            DataFile(one.path, _for_file(schema, one, proposal, is_event=True))
            for one, proposal in zip(events, proposals)
        ),
        **{
            table: (DataFile(one.path, _for_file(schema, one, proposals[0], is_event=False)),)
            for table, one in others.items()
        },
    }
    proposed = ProposedProject(
        files,
        schema,
        frozenset().union(*(proposal.guessed for proposal in proposals)),
        tuple(dict.fromkeys(part for proposal in proposals for part in proposal.lacking)),
        tuple(events[0].frame.columns),
        {},
        None,
        left_out=tuple(problems),
    )
    return proposed if proposed.lacking else _with_data(proposed)


def _known_columns(
    one: TablePreview, hints: Mapping[str, str], earlier: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Ours → theirs, for the known columns of an event file."""
    named = {**earlier.get("", {}), **earlier.get(one.path.name, {}), **hints}
    return {ours: theirs for ours, theirs in named.items() if theirs in one.frame.columns}


def _problem_of_ids(
    table: str, one: TablePreview, events: TablePreview, known: Mapping[str, str]
) -> str:
    """The error if an item or user table has no id column; empty if it has one."""
    ours = "item_id" if table == "items" else "user_id"
    theirs = recognize_events(events.frame, known).columns.get(ours)
    try:
        ids = None if theirs is None else events.frame[theirs]
        recognize_id(one.frame, ours, ids, theirs)
    except DataError as problem:
        return f"{one.path.name}: {problem}"
    return ""


def _is_positive(word: str) -> bool:
    return kind_of_word(word).role == "positive"


def _with_sign_of_word(proposal: Proposal, word: str) -> Proposal:
    """The proposal, adjusted to a file name that suggests events that are not positive.

    A negative word overrides the values of the events. The other words do not override ratings.
    """
    schema, word_kind = proposal.schema, kind_of_word(word)
    if schema.default_kind is None or word_kind.role == "positive":
        return proposal
    kind = schema.kinds[schema.default_kind]
    if kind.role != "positive" or (
        kind.positive_threshold is not None and word_kind.role != "negative"
    ):
        return proposal
    strength = kind.strength if word_kind.role == "negative" else None
    return _with_kind(proposal, word, word_kind.model_copy(update={"strength": strength}))


def _require_hinted(events: Sequence[TablePreview], hints: Mapping[str, str]) -> None:
    for ours, theirs in hints.items():
        if not any(theirs in one.frame.columns for one in events):
            known = ", ".join(dict.fromkeys(c for one in events for c in one.frame.columns))
            raise DataError(
                f"no column '{theirs}' for {ours} in the event log; its columns are {known}"
            )


def _reconciled(proposals: Sequence[Proposal], previews: Sequence[TablePreview]) -> list[Proposal]:
    """The proposals of several event files, with one meaning for each event type.

    Files with the same event type share the thresholds of all their values. If only some of them
    have values, the events of the others are plain interactions.
    """
    found = list(proposals)
    for name in {proposal.schema.default_kind for proposal in found} - {None}:
        named = [at for at, one in enumerate(found) if one.schema.default_kind == name]
        kinds = {at: found[at].schema.kinds[str(name)] for at in named}
        valued = [at for at in named if kinds[at].uses_value]
        for at in set(named) - set(valued) if valued else ():
            found[at] = _with_kind(found[at], "interaction", EventKind())
        if len({kinds[at].model_dump_json() for at in valued}) > 1:
            columns = [found[at].schema.event_columns.get("value", "value") for at in valued]
            values = [previews[at].frame[column] for at, column in zip(valued, columns)]
            together = pl.concat(series.cast(pl.String) for series in values).alias(columns[0])
            kind = propose_value(together) or kinds[valued[0]]
            weight = {"weight": kinds[valued[0]].weight}
            for at in valued:
                found[at] = _with_kind(found[at], str(name), kind.model_copy(update=weight))
    return found


def _with_kind(proposal: Proposal, name: str, kind: EventKind) -> Proposal:
    """The proposal with this type for all events of the file."""
    changes = {"kinds": {name: kind}, "default_kind": name}
    return replace(proposal, schema=proposal.schema.model_copy(update=changes))


def _merged(proposals: Sequence[Proposal]) -> Schema:
    """One schema for all event files: all event types, and times if every file has them."""
    kinds: dict[str, EventKind] = {}
    for proposal in proposals:
        kinds = {**proposal.schema.kinds, **kinds}
    if len(proposals) > 1 and len(kinds) <= MAX_KINDS:  # a return in one file, an order in another
        alike, _ = propose_kinds(pl.Series("event_type", list(kinds)), None)
        kinds = {
            name: kind.model_copy(update={"replaces": kind.replaces or alike[name].replaces})
            for name, kind in kinds.items()
        }
    timed = all(proposal.schema.clock == "absolute" for proposal in proposals)
    return proposals[0].schema.model_copy(
        update={
            "kinds": kinds,
            "clock": "absolute" if timed else "none",
        }
    )


def _for_file(schema: Schema, one: TablePreview, proposal: Proposal, *, is_event: bool) -> Schema:
    """The schema with the settings of one file: columns, delimiter, header and encoding."""
    columns, header = proposal.schema.event_columns, one.form.header
    if is_event and header:  # the file has no column names
        theirs = {theirs: ours for ours, theirs in columns.items()}
        header = tuple(theirs.get(column, column) for column in header)
        columns = {}
    if schema.clock != "absolute":
        columns = {ours: theirs for ours, theirs in columns.items() if ours != "timestamp"}
    return schema.model_copy(
        update={
            "event_columns": columns,
            "default_kind": proposal.schema.default_kind,
            "time_format": proposal.schema.time_format if schema.clock == "absolute" else None,
            "separator": one.form.separator,
            "encoding": one.form.encoding,
            "header": header,
            "max_bad_rows": 1.0,
        }
    )


def _with_rare_kinds(schema: Schema, one: TablePreview) -> Schema:
    """The schema with event types that do not occur in the first rows."""
    column = schema.event_columns.get("event_type", "event_type")
    if column not in one.frame.columns or one.frame.height < ROWS_TO_LOOK_AT:
        return schema
    with open_table(one.path, one.form) as table:
        names = table.frame.select(pl.col(column).cast(pl.String).unique()).collect()
    if names[column].drop_nulls().len() > MAX_KINDS:  # rows of rare types are reported instead
        return schema
    every, _ = propose_kinds(names[column], None)
    return schema.model_copy(update={"kinds": {**every, **schema.kinds}})


def _with_data(proposed: ProposedProject) -> ProposedProject:
    """The project with all data read, and with a limit that allows its unusable rows."""
    try:
        data = Dataset.from_data_files(proposed.files, proposed.schema)
    except DataError as problem:
        return replace(proposed, problem=str(problem))
    shares: dict[str, float] = {}
    for report in data.reports:
        share = report.quarantined / max(report.read, 1)
        if share > MAX_BAD_ROWS:
            shares[report.table] = max(share, shares.get(report.table, 0.0))
    if any(share > _MOST_BAD_ROWS for share in shares.values()):
        summaries = "; ".join(report.summary() for report in data.reports if report.quarantined)
        return replace(proposed, data=data, problem=summaries)
    return replace(proposed, data=data, max_bad_rows=shares)
