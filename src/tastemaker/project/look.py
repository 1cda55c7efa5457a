"""The beginning of a file with inferred types, and how the file is written."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tastemaker.data.read import open_table
from tastemaker.data.schema import Schema
from tastemaker.data.table import LINE
from tastemaker.project.sniff import sniff

ROWS_TO_LOOK_AT = 200_000


@dataclass(frozen=True, slots=True)
class Looked:
    """A file as `init` sees it.

    Attributes:
        path: where it is.
        form: its separator, header and encoding.
        frame: its beginning, with inferred types.
    """

    path: Path
    form: Schema
    frame: pl.DataFrame


def look_at(path: Path, rows: int = ROWS_TO_LOOK_AT) -> Looked:
    """The beginning of a table with inferred types, and how the file is written.

    Args:
        path: the file.
        rows: how many rows to read.

    Raises:
        DataError: the file cannot be used, whatever its delimiter.
    """
    form = sniff(path)
    with open_table(path, form) as table:
        head = table.frame.head(rows).drop(LINE).collect()
    return Looked(path, form, _inferred(head))


def _inferred(frame: pl.DataFrame) -> pl.DataFrame:
    """Text columns that hold nothing but numbers, as numbers."""
    columns = []
    for column in frame:
        for kind in (pl.Int64, pl.Float64):
            number = column.cast(kind, strict=False) if column.dtype == pl.String else column
            if number.null_count() == column.null_count():
                break
        else:
            number = column
        columns.append(number)
    return pl.DataFrame(columns)
