"""Raw rows of a source with their line numbers."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from tastemaker.errors import DataError

LINE = "__line__"
REJECTS = pl.Schema({LINE: pl.UInt32, "reason": pl.String, "row": pl.String})


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column `LINE` is the row's line in its source.

    Attributes:
        frame: rows with their line; only text for text files, typed for Parquet and frames.
        source: its name in messages.
        columns: the source's columns.
        rejects: the lines that could not be split into fields (`LINE`, reason, row).
    """

    frame: pl.LazyFrame
    source: str
    columns: list[str]
    rejects: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REJECTS))

    def collect(self, *columns: pl.Expr) -> pl.DataFrame:
        """Evaluates `columns` (and `LINE`) over every row.

        Raises:
            DataError: the file is damaged, or a column has an unsuitable type.
        """
        try:
            return self.frame.select(LINE, *columns).collect(engine="streaming")
        except pl.exceptions.PolarsError as problem:
            raise DataError(f"{self.source}: cannot be read ({first_line(problem)})") from None

    def rows_at(self, lines: pl.Series) -> pl.DataFrame:
        """The given lines as in the source: `LINE` and `row`, one JSON object each."""
        whole = pl.struct(pl.all().exclude(LINE)).struct.json_encode().alias("row")
        selected = pl.col(LINE).is_in(lines.implode())
        return self.frame.filter(selected).select(LINE, whole).collect(engine="streaming")


def frame_table(frame: pl.LazyFrame, source: str) -> Table:
    """A table of a frame that is already in memory; lines are numbered from 1.

    Raises:
        DataError: a column has a reserved name.
    """
    columns = frame.collect_schema().names()
    refuse_reserved_names(columns, source)
    return Table(frame.with_row_index(LINE, offset=1), source, columns)


def refuse_reserved_names(columns: Iterable[str], source: str) -> None:
    """Rejects columns named like the line number column, or like a Polars column pattern.

    Raises:
        DataError: a column has a reserved name.
    """
    for column in columns:
        if column == LINE or column == "*" or (column[:1] == "^" and column[-1:] == "$"):
            raise DataError(f"{source}: a column must not be named '{column}'; rename it")


def first_line(problem: Exception) -> str:
    """The first line of another library's message."""
    return io.StringIO(str(problem)).readline().strip()
