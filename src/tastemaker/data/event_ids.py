"""Event ids in files: a row with a known id is a duplicate if its content is equal, else an error.

Content is user, item, type, value and, if the clock is absolute, time.
"""

from dataclasses import replace

import polars as pl

from tastemaker.data.quarantine import HELPER
from tastemaker.data.report import ReadReport
from tastemaker.data.table import LINE, Table

CONFLICT = "event_id of another event"
"""The reason why a row with a known event id and other content is quarantined."""
CONTENT = f"{HELPER}content"
_ID = "event_id"


def content(timed: bool) -> pl.Expr:
    """A hash of each row's content.

    Args:
        timed: whether the content includes the time; an order of rows is not included.
    """
    ids = [pl.col(name).cast(pl.String) for name in ("user_id", "item_id")]
    return pl.struct(*ids, "kind", "value", *(["time"] if timed else [])).hash().alias(CONTENT)


def with_conflicts(rows: pl.DataFrame, timed: bool) -> pl.DataFrame:
    """Quarantines valid rows that repeat an earlier valid row's event id with other content."""
    usable = pl.col("reason").is_null() & pl.col(_ID).is_not_null()
    ids = rows.filter(usable)[_ID]
    if ids.n_unique() == ids.len():
        return rows
    content_of_usable = pl.when(usable).then(content(timed))
    first = content_of_usable.drop_nulls().first().over(_ID)
    conflict = usable & (content_of_usable != first)
    reason = pl.when(conflict).then(pl.lit(CONFLICT)).otherwise("reason")
    return rows.with_columns(reason.alias("reason"))


class KnownIds:
    """The event ids of the files read so far.

    Args:
        timed: whether an event's content includes the time.
    """

    def __init__(self, timed: bool) -> None:
        self._timed = timed
        self._known = pl.DataFrame(schema={_ID: pl.String, CONTENT: pl.UInt64})

    def left(
        self, table: Table, rows: pl.DataFrame, report: ReadReport
    ) -> tuple[pl.DataFrame, ReadReport]:
        """The rows of the next file with new event ids, and the updated report.

        Args:
            table: the file.
            rows: its valid rows.
            report: how it was read.
        """
        if _ID not in rows.columns:
            return rows, report
        of_rows = rows.select(LINE, pl.col(_ID).cast(pl.String), content(self._timed))
        known = self._known.rename({CONTENT: "earlier"})
        again = of_rows.join(known, on=_ID, how="inner")
        self._known = pl.concat([self._known, of_rows.drop_nulls(_ID).drop(LINE)]).unique(
            _ID, keep="first", maintain_order=True
        )
        if not again.height:
            return rows, report
        wrong = again.filter(pl.col(CONTENT) != pl.col("earlier")).select(
            LINE, pl.lit(CONFLICT).alias("reason")
        )
        left = rows.filter(~pl.col(LINE).is_in(again[LINE].implode()))
        counted = replace(
            report, kept=left.height, duplicates=report.duplicates + again.height - wrong.height
        )
        return left, _with_quarantined(table, wrong, counted)


def _with_quarantined(table: Table, wrong: pl.DataFrame, report: ReadReport) -> ReadReport:
    """The report with more quarantined rows."""
    if not wrong.height:
        return report
    shown = wrong.join(table.rows_at(wrong[LINE]), on=LINE, how="left", maintain_order="left")
    quarantine = pl.concat([shown, report.quarantine], how="vertical_relaxed").sort(LINE)
    counts = quarantine["reason"].value_counts(sort=True)
    return replace(report, reasons=dict(counts.iter_rows()), quarantine=quarantine)
