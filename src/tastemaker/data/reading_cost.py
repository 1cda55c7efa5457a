"""Estimates of the memory needed to read a file."""

import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from tastemaker.data.json_lines import json_form
from tastemaker.data.packed import is_parquet, open_plain
from tastemaker.data.schema import ColumnRole

_UTF_16 = b"\xff\xfe"
_FLAT_LIST = re.compile(rb"\[[^\[\]{}]+\]")
_ROW_BYTES = 160
"""Memory per row of an event log while it is cleaned, sorted and indexed."""
_COPIES = {None: 4.0, "lines": 1.75, "array": 5.5}
"""Memory per byte of an event log while it is read, by format: delimited text is read column by
column, JSON lines become a frame of text, an array is parsed completely first."""
_TEXT_COPIES = 6.0
"""Memory per byte of an item's text while it is read and packed."""
_LABEL_BYTES = 130
"""Memory per label while its column is read and indexed."""
_NUMBER_BYTES = 24
"""Memory per number of a vector while its column is read and indexed."""


def bytes_to_read(path: Path, roles: Mapping[str, ColumnRole] | None = None) -> int:
    """The approximate memory in bytes to read and index a file; 0 if it cannot be read.

    Args:
        path: the file.
        roles: the columns to keep of an item or user table; None for an event log.

    Cost: one pass over a text file, or over the text columns of a Parquet file.
    """
    try:
        copies = 1.0
        if is_parquet(path):
            rows, text, labels = _parquet_size(path, roles or {})
        else:
            with open_plain(path) as stream:
                form = json_form(stream.read(1 << 12).replace(b"\0", b"").removeprefix(_UTF_16))
            copies = _COPIES[form]
            rows, text, labels = _text_size(path, roles or {}, form)
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError):
        return 0  # reading reports the error
    copies = copies if roles is None else max(copies, _TEXT_COPIES)
    return _ROW_BYTES * rows + int(copies * text) + _LABEL_BYTES * labels


def _parquet_size(path: Path, roles: Mapping[str, ColumnRole]) -> tuple[int, int, int]:
    """Rows, and the bytes and labels of text columns, whose compressed size can be misleading."""
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
        elif role.role == "vector" and isinstance(kind, pl.List | pl.Array):
            numbers = cell.cast(pl.List(kind.inner)).list.len().cast(pl.Int64).sum()
            text += _NUMBER_BYTES * numbers
        elif isinstance(kind, pl.List):
            labels += cell.list.len().cast(pl.Int64).sum()
    sizes = frame.select(pl.len().cast(pl.Int64), text=text, labels=labels)
    return sizes.collect(engine="streaming").row(0)


def _text_size(
    path: Path, roles: Mapping[str, ColumnRole], form: str | None
) -> tuple[int, int, int]:
    """The rows, bytes and labels of all columns.

    Rows are lines, or the objects of a JSON array. Labels are counted by separators, or by the
    elements of lists in a JSON file.
    """
    tags = [role for role in roles.values() if role.role == "tags"]
    marks = {(role.separator or "|").encode() for role in tags}
    row = b"{" if form == "array" else b"\n"
    rows = text = labels = 0
    with open_plain(path) as stream:
        while chunk := stream.read(1 << 22):
            rows += chunk.count(row)
            text += len(chunk)
            labels += sum(chunk.count(mark) for mark in marks)
            if form and tags:
                labels += sum(found.count(b",") + 1 for found in _FLAT_LIST.findall(chunk))
    return rows, text, labels
