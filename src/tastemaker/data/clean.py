"""Files or frames → tables whose rows can all be used, with a report on how each was read."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from tastemaker.data import times
from tastemaker.data.clean_entities import clean_entities
from tastemaker.data.clean_events import clean_events
from tastemaker.data.files import DataFile, table_fingerprint
from tastemaker.data.read import open_table
from tastemaker.data.report import ReadReport
from tastemaker.data.schema import Schema
from tastemaker.data.table import Table


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Tables whose rows can all be used.

    Attributes:
        tables: `events` (user_id, item_id, kind, value, time, and event_id where there is one; in
            the source's order), and `items` and `users` as far as there are any.
        reports: how each file or frame was read.
        sources: table → fingerprint of the files it is of; empty for frames.
    """

    tables: dict[str, pl.DataFrame]
    reports: tuple[ReadReport, ...]
    sources: dict[str, str] = field(default_factory=dict)


def clean_files(files: Mapping[str, Sequence[DataFile]], quarantine: Path | None = None) -> Cleaned:
    """The usable rows of files (CSV, JSON lines, Parquet); see `clean_tables`."""
    # before they are read: a file that changes meanwhile is then known to have changed
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
    """The usable rows of tables.

    Args:
        tables: any of `events`, `items` and `users` → rows as they are in the source, and what
            their columns mean; several sources of a table follow each other.
        quarantine: folder for the rows that cannot be used.

    Raises:
        DataError: a column is missing, or too many of a source's rows cannot be used.
    """
    clean = {
        "events": lambda table, schema: clean_events(table, schema, times.now()),
        "items": lambda table, schema: clean_entities(table, "item_id", schema),
        "users": lambda table, schema: clean_entities(table, "user_id", schema),
    }
    done, reports = {}, []
    for name, of_table in tables.items():
        parts = []
        for table, schema in of_table:
            rows, report = clean[name](table, schema)
            if quarantine is not None:
                report.write_quarantine(quarantine)
            report.refuse_if_too_many(schema.max_bad_rows)
            parts.append(rows)
            reports.append(report)
        ordered = of_table[0][1].clock == "order"
        done[name] = parts[0] if len(parts) == 1 else _joined(parts, ordered)
    return Cleaned(done, tuple(reports))


def _joined(parts: Sequence[pl.DataFrame], ordered: bool) -> pl.DataFrame:
    """The rows of several event files, one after the other; an order of rows goes on."""
    rows, before = [], 0
    for part in parts:
        columns = [pl.col("user_id", "item_id").cast(pl.String)]
        if ordered:
            columns.append(pl.col("time") + before)
            before += int(part["time"].to_numpy().max(initial=0))
        rows.append(part.with_columns(*columns))
    joined = pl.concat(rows, how="diagonal_relaxed")
    if "event_id" in joined.columns:
        event_id = pl.col("event_id").cast(pl.String)
        joined = joined.filter(event_id.is_null() | event_id.is_first_distinct())
    return joined
