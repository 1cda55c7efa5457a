"""How much memory it takes to read a file, estimated before it is read."""

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from tastemaker.data.schema import ColumnRole

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_ROW_BYTES = 160
"""Memory a row of an event log takes while it is cleaned, sorted and indexed."""
_TEXT_COPIES = 6
"""Memory a byte of an item's text takes while it is read and packed."""
_LABEL_BYTES = 130
"""Memory a label takes while its column is read and indexed."""


def bytes_to_read(path: Path, roles: Mapping[str, ColumnRole] | None = None) -> int:
    """About how much memory it takes to read a file and index it; 0 for what cannot be read.

    Args:
        path: the file.
        roles: the columns that are kept of an item or user table; None for an event log.

    Cost: one pass over a CSV; of a Parquet file over the columns of text.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
        measured = _parquet_size if head.startswith(_PARQUET) else _csv_size
        rows, text, labels = measured(path, roles or {})
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError):
        return 0  # reading says what is wrong
    return _ROW_BYTES * rows + (1 if roles is None else _TEXT_COPIES) * text + _LABEL_BYTES * labels


def _parquet_size(path: Path, roles: Mapping[str, ColumnRole]) -> tuple[int, int, int]:
    """Rows, and bytes and labels of the columns of text; small packed text may be long."""
    frame = pl.scan_parquet(path, glob=False)
    types = frame.collect_schema()
    text, labels = pl.lit(0), pl.lit(0)
    for name, role in roles.items():
        cell, kind = pl.col(name), types.get(name)
        if kind in (pl.String, pl.Categorical, pl.Enum):
            cell = cell.cast(pl.String)
            text += cell.str.len_bytes().cast(pl.Int64).sum()
            if role.role == "tags":
                mark = role.separator or "|"
                labels += cell.str.count_matches(mark, literal=True).cast(pl.Int64).sum()
        elif isinstance(kind, pl.List):
            labels += cell.list.len().cast(pl.Int64).sum()
    sizes = frame.select(pl.len().cast(pl.Int64), text=text, labels=labels)
    return sizes.collect(engine="streaming").row(0)


def _csv_size(path: Path, roles: Mapping[str, ColumnRole]) -> tuple[int, int, int]:
    """Lines, bytes, and marks between labels, of all columns together."""
    with path.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    marks = {(role.separator or "|").encode() for role in roles.values() if role.role == "tags"}
    lines = text = labels = 0
    with gzip.open(path, "rb") if packed else path.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            lines += chunk.count(b"\n")
            text += len(chunk)
            labels += sum(chunk.count(mark) for mark in marks)
    return lines, text, labels
