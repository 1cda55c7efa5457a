"""Reads the first rows of a file and infers its format and column types."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tastemaker.data.read import open_table
from tastemaker.data.schema import Schema
from tastemaker.data.table import LINE
from tastemaker.project.sniff import sniff

ROWS_TO_LOOK_AT = 200_000


@dataclass(frozen=True, slots=True)
class TablePreview:
    """The first rows of a table.

    Attributes:
        path: the file.
        form: its separator, header and encoding.
        frame: its first rows, with inferred types.
    """

    path: Path
    form: Schema
    frame: pl.DataFrame


def read_preview(path: Path, rows: int = ROWS_TO_LOOK_AT) -> TablePreview:
    """Returns the first rows of a table with inferred types, and the file's format.

    Args:
        path: the file.
        rows: how many rows to read.

    Raises:
        DataError: the file cannot be used with any delimiter.
    """
    form = sniff(path)
    with open_table(path, form) as table:
        head = table.frame.head(rows).drop(LINE).collect()
    return TablePreview(path, form, _inferred(head))


def _inferred(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with text columns of numbers converted to numbers."""
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
