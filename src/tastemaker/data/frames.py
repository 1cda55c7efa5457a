"""Polars, pandas and Arrow frames, at the door made Polars."""

from typing import Any

import numpy as np
import polars as pl

from tastemaker.errors import DataError


def as_polars(frame: Any, name: str) -> pl.DataFrame:
    """A Polars, pandas or Arrow frame as Polars.

    Args:
        frame: the frame.
        name: what to call it in messages.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    if type(frame).__module__.split(".")[0] == "pandas":
        return pl.DataFrame({str(column): _from_pandas(frame[column]) for column in frame.columns})
    if hasattr(frame, "__arrow_c_stream__"):
        return pl.DataFrame(frame)
    raise DataError(f"{name}: expected a Polars, pandas or Arrow frame, got {type(frame).__name__}")


def _from_pandas(column: Any) -> pl.Series:
    """A pandas column as Polars, with or without pyarrow: missing is null, moments are in UTC."""
    if column.dtype.kind == "M":
        moments = column if column.dt.tz is None else column.dt.tz_convert(None)
        return pl.Series(moments.to_numpy("datetime64[us]"))
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufb":
        return pl.Series(column.to_numpy(), nan_to_null=True)
    pairs = zip(column.tolist(), column.isna().tolist())
    return pl.Series([None if missing else cell for cell, missing in pairs], strict=False)
