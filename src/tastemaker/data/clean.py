"""Cleaning of files or frames: tables of valid rows, with a report per source."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from tastemaker.data import times
from tastemaker.data.clean_entities import clean_entities
from tastemaker.data.clean_events import clean_events
from tastemaker.data.event_ids import KnownIds
from tastemaker.data.files import DataFile, table_fingerprint
from tastemaker.data.read import open_table
from tastemaker.data.report import ReadReport
from tastemaker.data.schema import Schema
from tastemaker.data.table import Table

_IDS = {"items": "item_id", "users": "user_id"}
_FEW_IDS = 0.05
"""Share of ids that occur in the event log; below it, the table probably has other ids."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Tables of valid rows.

    Attributes:
        tables: `events` (user_id, item_id, kind, value, time, and event_id if the source has one;
            in the source's order), and optionally `items` and `users`.
        reports: how each file or frame was read.
        sources: table → fingerprint of its files; empty for frames.
    """

    tables: dict[str, pl.DataFrame]
    reports: tuple[ReadReport, ...]
    sources: dict[str, str] = field(default_factory=dict)


def clean_files(files: Mapping[str, Sequence[DataFile]], quarantine: Path | None = None) -> Cleaned:
    """The valid rows of files (CSV, JSON lines, Parquet); see `clean_tables`."""
    # before reading, so that a change of a file during reading is detected
    sources = {
        table: table_fingerprint(table, of_table)
        for table, of_table in files.items()
        if all(file.path.is_file() for file in of_table)
    }
    with ExitStack() as stack:
        tables = {
            table: [
                (stack.enter_context(open_table(file.path, file.schema, file.name)), file.schema)
                for file in of_table
            ]
            for table, of_table in files.items()
        }
        return replace(clean_tables(tables, quarantine), sources=sources)


def clean_tables(
    tables: Mapping[str, Sequence[tuple[Table, Schema]]], quarantine: Path | None = None
) -> Cleaned:
    """The valid rows of tables.

    Args:
        tables: any of `events`, `items` and `users` → raw rows and the schema of each source;
            several sources of a table are concatenated.
        quarantine: folder for invalid rows.

    Raises:
        DataError: a column is missing, or too many rows of a source are invalid.
    """
    clean = {
        "events": lambda table, schema: clean_events(table, schema, times.now()),
        "items": lambda table, schema: clean_entities(table, "item_id", schema),
        "users": lambda table, schema: clean_entities(table, "user_id", schema),
    }
    done: dict[str, pl.DataFrame] = {}
    reports: list[ReadReport] = []
    for name, of_table in tables.items():
        parts = []
        known = KnownIds(of_table[0][1].clock == "absolute")
        for table, schema in of_table:
            rows, report = clean[name](table, schema)
            if len(of_table) > 1:
                rows, report = known.left(table, rows, report)
            if quarantine is not None:
                report.write_quarantine(quarantine)
            report.refuse_if_too_many(schema.max_bad_rows)
            parts.append((rows, report))
        done[name] = _joined([rows for rows, _ in parts], of_table[0][1].clock == "ordinal")
        reports += (report for _, report in parts)
    return Cleaned(done, tuple(_with_unknown_ids(report, done) for report in reports))


def _with_unknown_ids(report: ReadReport, tables: Mapping[str, pl.DataFrame]) -> ReadReport:
    """The report of an item or user table, with a note if the event log has few of its ids."""
    ours = _IDS.get(report.table)
    log, table = tables.get("events"), tables.get(report.table)
    if ours is None or log is None or table is None or not (log.height and table.height):
        return report
    ids, known = table[ours].cast(pl.String), log[ours].unique().cast(pl.String)
    found = int(ids.is_in(known.implode()).sum())
    if found >= _FEW_IDS * min(ids.len(), known.len()):  # a large catalogue may have a small log
        return report
    mine, theirs = (
        one.filter(~one.is_in(other.implode())).sort()[0]
        for one, other in ((ids, known), (known, ids))
    )
    note = (
        f"{found:,} of {ids.len():,} {report.table} occur in the event log; ids such as {mine} "
        f"against {theirs}: check [data.columns.{report.table}] and [data.columns.events]"
    )
    return replace(report, notes=(*report.notes, note))


def _joined(parts: Sequence[pl.DataFrame], ordered: bool) -> pl.DataFrame:
    """The rows of several event files, concatenated; with an ordinal clock, the order continues."""
    if len(parts) == 1:
        return parts[0]
    rows, before = [], 0
    for part in parts:
        columns = [pl.col("user_id", "item_id").cast(pl.String)]
        if "event_id" in part.columns:
            columns.append(pl.col("event_id").cast(pl.String))
        if ordered:
            columns.append(pl.col("time") + before)
            before += int(part["time"].to_numpy().max(initial=0))
        rows.append(part.with_columns(*columns))
    return pl.concat(rows, how="diagonal_relaxed")
