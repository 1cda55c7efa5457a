"""Parsing of vector columns: lists of numbers, or text with numbers; invalid cells are missing.

A column has one dimension, the most frequent length of its cells; all numbers are finite.
"""

from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tastemaker.data.column_types import type_name
from tastemaker.data.table import Table
from tastemaker.errors import DataError

VECTOR = pl.List(pl.Float32)
_BETWEEN = r"[\s,;|]+"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FEWEST_PLAIN = 3
"""Minimum length of a vector without brackets; two numbers may be coordinates."""
_FEWEST_WHOLE = 16
"""Minimum length of a vector of whole numbers; fewer numbers may be codes."""
_NEARLY_ALL = 0.95


def vectors(table: Table, column: str, types: pl.Schema, separator: str | None = None) -> pl.Expr:
    """A column as vectors of one dimension, lists of float32; null for cells that do not fit.

    Args:
        table: the source.
        column: the column's name in the source.
        types: the table's types.
        separator: the separator of the numbers of a text; by default commas, semicolons, bars and
            blanks.

    Raises:
        DataError: the column's type cannot hold vectors.
    """
    kind = types[column]
    is_list = isinstance(kind, pl.List | pl.Array)
    inner = kind.inner if isinstance(kind, pl.List | pl.Array) else kind
    readable = inner in (pl.String, pl.Null) or (is_list and inner.is_numeric())
    if not readable:
        raise DataError(
            f"{table.source}: the column '{column}' (vector) holds {type_name(kind)}; write lists "
            "of numbers, or text such as [0.1, 0.2]"
        )
    read = partial(read_vectors, separator=separator)  # on the whole column at once
    return pl.col(column).map_batches(lambda cells, **_: read(cells), return_dtype=VECTOR)


def read_vectors(cells: pl.Series, separator: str | None = None) -> pl.Series:
    """Lists of numbers, or texts, as vectors of one dimension; null for cells that do not fit."""
    if cells.dtype == pl.String:
        texts = cells.str.strip_chars().str.strip_chars("[]()").str.strip_chars()
        mark = separator.strip() if separator else None
        if mark:
            parts = texts.str.split(mark)
        else:
            parts = texts.str.replace_all(_BETWEEN, " ").str.strip_chars().str.split(" ")
        lists = parts.list.eval(pl.element().str.strip_chars())
    elif cells.dtype == pl.Null:
        return cells.cast(VECTOR)
    else:
        lists = cells.cast(pl.List(cells.dtype.inner)) if cells.dtype == pl.Array else cells  # type: ignore[attr-defined]
    numbers = lists.cast(VECTOR, strict=False)
    whole = numbers.list.eval(pl.element().is_finite().fill_null(False)).list.all()
    return of_one_dimension(numbers.set(~whole.fill_null(False), None))


def of_one_dimension(lists: pl.Series) -> pl.Series:
    """The lists of the most frequent length above 0, the longer among equals; null for others."""
    lengths = lists.list.len().alias("length")
    counted = lengths.filter(lengths > 0).drop_nulls().value_counts()
    if not counted.height:
        return lists.set(lists.is_not_null(), None)
    dimension = counted.sort("count", "length", descending=True)["length"][0]
    return lists.set((lengths != dimension).fill_null(False), None)


def as_matrix(lists: pl.Series) -> NDArray[np.float32]:
    """Vectors as float32[rows × dimension], all NaN if missing; see `of_one_dimension`.

    Args:
        lists: lists of numbers, null if missing.
    """
    fitting = of_one_dimension(lists.cast(VECTOR))
    present = fitting.is_not_null().to_numpy()
    flat = fitting.drop_nulls().explode().to_numpy()
    rows = int(present.sum())
    values = np.full((len(lists), len(flat) // rows if rows else 0), np.nan, np.float32)
    values[present] = flat.reshape(rows, -1) if rows else np.empty((0, 0))
    return values


def are_vectors(cells: pl.Series) -> bool:
    """Whether the cells of a column look like vectors rather than labels.

    Nearly all cells must have the same number of finite numbers. Fractions must be at least two in
    brackets or a list, or three without brackets; whole numbers, which may be codes, at least
    sixteen.

    Args:
        cells: text, or lists of numbers or of text; none of them missing.
    """
    fewest = 2
    if cells.dtype == pl.String:
        written = rf"^\s*[\[(]?\s*{_NUMBER}(?:{_BETWEEN}{_NUMBER})+\s*[\])]?\s*$"
        if float(cells.str.contains(written).mean() or 0) < _NEARLY_ALL:  # type: ignore[arg-type]
            return False
        bracketed = float(cells.str.contains(r"^\s*[\[(]").mean() or 0)  # type: ignore[arg-type]
        fewest = 2 if bracketed >= _NEARLY_ALL else _FEWEST_PLAIN
    read = read_vectors(cells)
    fitting = read.drop_nulls()
    if len(fitting) < _NEARLY_ALL * len(cells) or not len(fitting):
        return False
    dimension = int(fitting.list.len()[0])
    numbers = fitting.explode()
    fractions = float((numbers != numbers.round()).mean())  # type: ignore[arg-type]
    return dimension >= (fewest if fractions > 0 else _FEWEST_WHOLE)
