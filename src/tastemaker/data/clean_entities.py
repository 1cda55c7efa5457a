"""Cleaning of item and user tables: typed columns by role; unreadable cells become missing.

A note states how many cells of a column could not be read.
"""

from dataclasses import replace

import polars as pl

from tastemaker.data.cells import ids, missing, numbers
from tastemaker.data.column_types import SUBSTITUTE, require_type
from tastemaker.data.moments import moments
from tastemaker.data.quarantine import (
    HELPER,
    find_columns,
    id_columns,
    refuse_float_ids,
    split_off_bad,
    whole_float_note,
)
from tastemaker.data.report import ReadReport
from tastemaker.data.schema import ColumnRole, Schema
from tastemaker.data.table import Table
from tastemaker.data.vectors import vectors
from tastemaker.errors import DataError, did_you_mean

_SHOWN = 60
"""The number of characters of an unreadable cell shown in a note."""
_LIST = r"(?s)^\s*\[([^\[\]]*)\]\s*$"
_LIST_ENTRY = r"""(?s)"[^"]*"|'[^']*'|[^,\s'"][^,]*"""
"""A list written as text, and its entries: `['a', "b, c", 3]`."""


def clean_entities(table: Table, id_column: str, schema: Schema) -> tuple[pl.DataFrame, ReadReport]:
    """The valid rows of an item or user table, one per id, and the report.

    Args:
        table: the source.
        id_column: `item_id` or `user_id`; selects the schema's columns and roles to read.
        schema: the name of the id column, and the columns to keep with their roles; unreadable
            cells become missing, and a note states how many.

    Returns:
        `id_column` and the columns of the roles: text, list of text, float64 or int64 microseconds.

    Raises:
        DataError: a column is missing, or all ids are floats.
    """
    is_item = id_column == "item_id"
    renamed = schema.item_columns if is_item else schema.user_columns
    roles = schema.item_roles if is_item else schema.user_roles
    columns = find_columns(table, renamed, (id_column,), (id_column,))
    types = table.frame.collect_schema()
    for name in roles:
        if name == id_column:
            raise DataError(
                f"{table.source}: '{name}' is the id column and cannot be an attribute; rename the "
                "column or remove it from the roles"
            )
        if name not in types:
            raise DataError(
                f"{table.source}: no column '{name}'{did_you_mean(name, table.columns)}"
            )
    id_ = ids(table, id_column, columns[id_column], types)
    selected = [*id_columns(id_column, id_), id_.problem.alias("reason")]
    for name, role in roles.items():
        cell = _cell(table, name, role, types, schema)
        selected.append(cell.alias(f"={name}"))
        if role.role in ("number", "time", "vector"):
            raw, kind = pl.col(name), types[name]
            if isinstance(kind, pl.List | pl.Array):
                raw = raw.cast(pl.List(pl.String)).list.join(", ", ignore_nulls=True)
            unread = pl.when(~missing(name, types) & cell.is_null()).then(raw)
            selected.append(unread.cast(pl.String).alias(f"{HELPER}raw {name}"))
    rows = table.collect(*selected)
    notes = [
        whole_float_note(rows, id_column, columns[id_column]),
        *(_unread_note(rows, name, role) for name, role in roles.items()),
    ]
    refuse_float_ids(rows, id_column, columns[id_column], table.source)
    kept, report = split_off_bad(table, rows, id_column)
    used = {columns[id_column], *roles}
    return kept.rename({f"={name}": name for name in roles}), replace(
        report,
        table="items" if is_item else "users",
        unused=tuple(column for column in table.columns if column not in used),
        notes=tuple(note for note in notes if note),
    )


def _unread_note(rows: pl.DataFrame, name: str, role: ColumnRole) -> str:
    """A note on how many cells of an attribute could not be read; empty if all could."""
    if f"{HELPER}raw {name}" not in rows.columns:
        return ""
    unread = rows[f"{HELPER}raw {name}"].drop_nulls()
    if not unread.len():
        return ""
    what: str = role.role
    if what == "vector":
        lengths = rows[f"={name}"].list.len().drop_nulls()
        what = f"vectors of {lengths[0]} finite numbers" if len(lengths) else "vectors"
    return (
        f"{name}: {unread.len():,} of {rows.height:,} cells cannot be read as {what}, such as "
        f"{unread[0][:_SHOWN]!r}, and are left empty"
    )


def _cell(table: Table, name: str, role: ColumnRole, types: pl.Schema, schema: Schema) -> pl.Expr:
    cell, kind = pl.col(name), types[name]
    if role.role == "number":
        return numbers(table, name, types, schema.decimal)
    if role.role == "time":
        return moments(table, name, types, "auto", role.format)
    if role.role == "vector":
        return vectors(table, name, types, role.separator)
    require_type(table.source, name, kind, role.role)
    present = ~missing(name, types)
    if kind.is_float():  # a code of 3.0 is the code 3
        whole = cell.cast(pl.Int64, strict=False)
        text = pl.when(cell == whole).then(whole.cast(pl.String)).otherwise(cell.cast(pl.String))
        cell, present = text, present & cell.is_finite()
    if role.role == "tags":
        is_list = isinstance(kind, pl.List | pl.Array)
        text = cell.cast(pl.List(pl.String)) if is_list else cell.cast(pl.String)
        if is_list:
            return _labels(text)
        parts = pl.when(present).then(text).str.split(role.separator or "|")
        if role.separator != ",":
            return _labels(parts)
        inside = text.str.extract(_LIST).str.extract_all(_LIST_ENTRY)
        inside = inside.list.eval(pl.element().str.strip_chars().str.strip_chars("'\""))
        return _labels(pl.when(text.str.contains(_LIST)).then(inside).otherwise(parts))
    text = cell.cast(pl.String).str.strip_chars()
    return pl.when((text != "") & ~text.str.starts_with(SUBSTITUTE)).then(text)


def _labels(parts: pl.Expr) -> pl.Expr:
    """The labels of lists of text, stripped and without empty labels."""
    labels = pl.element().str.strip_chars()
    return parts.list.eval(labels.filter((labels != "") & ~labels.str.starts_with(SUBSTITUTE)))
