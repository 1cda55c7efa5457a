"""Conversion of pandas columns to Polars columns, with or without pyarrow.

pandas is not imported: only methods of its objects are used.
"""

from typing import Any

import numpy as np
import polars as pl

from tastemaker.data.arrow_frame import arrow_series
from tastemaker.data.column_types import unreadable_type
from tastemaker.data.plain import microseconds
from tastemaker.data.python_objects import objects_series


def is_pandas(thing: Any, name: str) -> bool:
    """Whether a value is an instance of a pandas class (`DataFrame`, `Series`) or a subclass."""
    return any(
        base.__name__ == name and base.__module__.split(".")[0] == "pandas"
        for base in type(thing).__mro__
    )


def pandas_columns(frame: Any) -> list[tuple[str, pl.Series]]:
    """The names and columns of a pandas frame.

    Named index levels become the first columns, unless a column has the same name. The parts of a
    multi-level column name are joined by `_`.
    """
    names = [_name(name) for name in frame.columns.tolist()]
    columns = [(name, frame.iloc[:, place]) for place, name in enumerate(names)]
    levels = [
        (_name(name), frame.index.get_level_values(level).to_series())
        for level, name in enumerate(frame.index.names)
        if name is not None and _name(name) not in names
    ]
    return [(name, pandas_series(column)) for name, column in levels + columns]


def pandas_series(column: Any) -> pl.Series:
    """A pandas column as a Polars series; missing is null, moments are in UTC."""
    kind = column.dtype
    if isinstance(kind, np.dtype):
        return _of_numpy(column)
    name = type(kind).__name__
    if name == "ArrowDtype":
        return arrow_series(column.array.__arrow_array__())
    if name == "CategoricalDtype":
        return _of_categories(column)
    if name == "SparseDtype":
        return pandas_series(column.sparse.to_dense())
    if name == "DatetimeTZDtype":
        return _of_numpy(column.dt.tz_convert(None))
    if name == "PeriodDtype":
        return _of_numpy(column.dt.to_timestamp())
    missing = column.isna()
    if name == "IntervalDtype":
        texts = column.astype(str).tolist()
        return objects_series([None if no else text for text, no in zip(texts, missing)])
    if hasattr(kind, "numpy_dtype") and kind.kind in "iufb":
        values = pl.Series(column.to_numpy(kind.numpy_dtype, na_value=0), nan_to_null=True)
        return values.set(pl.Series(missing.to_numpy()), None)
    return objects_series(column.astype(object).tolist(), str(kind))


def _name(name: Any) -> str:
    if isinstance(name, tuple):
        return "_".join(part for part in map(_name, name) if part)
    return str(name).encode(errors="replace").decode()


def _of_numpy(column: Any) -> pl.Series:
    values = column.to_numpy()
    kind = values.dtype.newbyteorder("=")
    if kind.kind == "M":
        ticks = pl.Series("cell", values.astype(np.int64, copy=False)).to_frame()
        present = pl.when(pl.Series(~np.isnat(values))).then(pl.col("cell"))
        return ticks.select(microseconds(present, np.datetime_data(kind)[0])).to_series()
    if kind.kind == "f":
        kept = np.float32 if kind.itemsize < 4 else np.float64 if kind.itemsize > 8 else kind
        with np.errstate(over="ignore"):  # a long double beyond float64 is infinite
            return pl.Series(values.astype(kept, copy=False), nan_to_null=True)
    if kind.kind in "iub":
        return pl.Series(values.astype(kind, copy=False))
    if kind.kind == "O":
        return objects_series(column.tolist())
    return pl.Series([None] * len(values), dtype=unreadable_type(str(kind)))


def _of_categories(column: Any) -> pl.Series:
    """A categorical column: categories of text are kept, others become their values."""
    categories = pandas_series(column.cat.categories.to_series())
    codes = pl.Series(column.cat.codes.to_numpy().astype(np.int64)).replace(-1, None)
    cells = categories.gather(codes)
    return cells.cast(pl.Categorical) if cells.dtype == pl.String else cells
