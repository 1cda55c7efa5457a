"""Checks of column types, and their names in messages.

A column of an unsupported type (binary, durations, Python objects) is replaced by an empty struct
whose field names the type, so that an error message can name the type if the column is used.
"""

import polars as pl

from tastemaker.errors import DataError

SUBSTITUTE = "\x1a"
"""ASCII's "substitute": marks an unreadable cell at its start, or replaces an invalid character."""
LATEST = 1 << 62
"""Microseconds; Polars cannot format moments much further from 1970. The cleaner rejects it."""
_UNREADABLE = "unreadable "
_LONGEST_NAME = 80
_LABELS = (pl.String, pl.Categorical, pl.Enum, pl.Null)
_MOMENTS = (pl.Datetime, pl.Date)


def unreadable_type(name: str) -> pl.Struct:
    """The placeholder type of a column whose type is not supported.

    Args:
        name: the name of the type in messages.
    """
    return pl.Struct({_UNREADABLE + name: pl.String})


def is_unreadable(kind: pl.DataType) -> bool:
    """Whether a type is the placeholder type."""
    if not isinstance(kind, pl.Struct) or len(kind.fields) != 1:
        return False
    return kind.fields[0].name.startswith(_UNREADABLE)


def type_name(kind: pl.DataType) -> str:
    """The name of a type in messages.

    >>> type_name(pl.Float64()), type_name(pl.List(pl.String)), type_name(unreadable_type("bytes"))
    ('floats', 'List(String)', 'bytes')
    """
    if isinstance(kind, pl.Struct) and is_unreadable(kind):
        return kind.fields[0].name.removeprefix(_UNREADABLE)
    if kind == pl.Null:
        return "nothing but missing values"
    if kind.is_float():
        return "floats"
    name = str(kind)
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def require_type(source: str, column: str, kind: pl.DataType, role: str) -> None:
    """Checks that a column's type is suitable for its role.

    Args:
        source: the table.
        column: the column.
        kind: its type.
        role: `event_type`, `event_id`, or the role of an attribute: `text`, `category`, `tags`.

    Raises:
        DataError: the type is not suitable.
    """
    held = kind.inner if role == "tags" and isinstance(kind, pl.List | pl.Array) else kind
    is_scalar = held in _LABELS or held.is_numeric() or held == pl.Boolean
    fits = {
        "event_type": is_scalar,
        "event_id": is_scalar and held != pl.Boolean,
    }.get(role, is_scalar or held in _MOMENTS)
    if not fits:
        fix = {
            "event_type": "write event types as text",
            "event_id": "write ids as integers or text",
            "tags": "write text or lists of text",
        }.get(role, "write text")
        raise DataError(
            f"{source}: the column '{column}' ({role}) holds {type_name(kind)}; {fix}, or map "
            "another column"
        )
