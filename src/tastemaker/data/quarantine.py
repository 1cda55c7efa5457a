"""Shared steps of cleaning events, items and users: column lookup and quarantine of bad rows."""

from collections.abc import Sequence

import polars as pl

from tastemaker.data.cells import Ids
from tastemaker.data.report import ReadReport
from tastemaker.data.table import LINE, Table
from tastemaker.errors import DataError, did_you_mean

HELPER = "?"
"""The prefix of columns that are used for the report only."""


def find_columns(
    table: Table, renamed: dict[str, str], ours: Sequence[str], required: Sequence[str]
) -> dict[str, str]:
    """Tastemaker's column → the source's column, for the columns that exist."""
    found = {}
    for name in renamed:
        if name not in ours:
            raise DataError(f"{table.source}: unknown name '{name}'{did_you_mean(name, ours)}")
    for name in ours:
        theirs = renamed.get(name, name)
        if theirs in table.columns:
            found[name] = theirs
        elif name in renamed or name in required:
            raise DataError(
                f"{table.source}: no column '{theirs}'{did_you_mean(theirs, table.columns)}"
            )
    return found


def id_columns(ours: str, column: Ids) -> list[pl.Expr]:
    """The columns of an id: itself, and whether it was written as a float."""
    return [column.id.alias(ours), column.whole_float.alias(f"{HELPER}whole {ours}")]


def whole_float_note(rows: pl.DataFrame, ours: str, column: str) -> str:
    """A note that ids such as 17850.0 were read as 17850; empty if there are none."""
    whole = rows[f"{HELPER}whole {ours}"]
    count = int(whole.sum() or 0)
    if not count:
        return ""
    shown = rows[ours].filter(whole)[0] if whole.len() == rows.height else rows[ours][0]
    rows_named = "row" if count == 1 else "rows"
    return f"{column}: {count:,} {rows_named} with an id such as {shown}.0, read as {shown}"


def refuse_float_ids(rows: pl.DataFrame, ours: str, column: str, source: str) -> None:
    """Rejects an id column that contains only floats.

    Raises:
        DataError: all ids are floats.
    """
    floats = rows.filter(pl.col("reason") == f"float {ours}")
    present = rows.filter(pl.col("reason").is_null() | (pl.col("reason") != f"missing {ours}"))
    if floats.height and floats.height == present.height:
        raise DataError(
            f"{source}: the column '{column}' ({ours}) holds floats such as "
            f"{floats[ours][0]}; write ids as integers or text"
        )


def split_off_bad(
    table: Table, rows: pl.DataFrame, unique: str | None
) -> tuple[pl.DataFrame, ReadReport]:
    """The valid rows, and the report with the quarantine; of equal `unique` ids the first stays."""
    usable = pl.col("reason").is_null()
    quarantine = table.rejects
    bad = rows.filter(~usable).select(LINE, "reason")
    if bad.height:
        shown = table.rows_at(bad[LINE])
        bad = bad.join(shown, on=LINE, how="left", maintain_order="left")
        quarantine = pl.concat([bad, quarantine], how="vertical_relaxed").sort(LINE)
    helpers = [column for column in rows.columns if column.startswith(HELPER)]
    kept = rows.filter(usable).drop("reason", *helpers)
    duplicates = 0
    if unique is not None:
        once = kept.filter(pl.col(unique).is_null() | pl.col(unique).is_first_distinct())
        duplicates, kept = kept.height - once.height, once
    counts = quarantine["reason"].value_counts(sort=True)
    report = ReadReport(
        table.source,
        rows.height + table.rejects.height,
        kept.height,
        duplicates,
        dict(counts.iter_rows()),
        quarantine,
    )
    return kept, report
