"""Proposals for the roles of an item or user table's columns."""

import re

import polars as pl

from tastemaker.data.recognize import NAMES, TITLES, plain
from tastemaker.data.schema import ColumnRole
from tastemaker.data.time_forms import ISO, time_form
from tastemaker.data.vectors import are_vectors

_CATEGORY = re.compile(r"(?:id|code|category|genre|brand|type|class|group|cluster|department)$")
_SEPARATORS = ("|", ";", ", ", ",")
_TAGGED = 0.2
_FEW_LABELS = 0.25
_NEARLY_ALL = 0.95
_LIST = r"(?s)^\s*\[.*\]\s*$"
_NESTED = r"(?s)^\s*(?:\{.*\}|\[\s*[\[{].*\])\s*$"
_NUMBERS = r"^\s*\[\s*[+-]?\d*\.\d"
"""A list of fractions, such as an embedding."""


def propose_roles(frame: pl.DataFrame, id_column: str) -> dict[str, ColumnRole]:
    """Column → its likely role; columns without a suitable role are left out.

    Lists written as text (`["a", "b"]`) are tags; lists of fractions with equal lengths are
    vectors. Objects, nested lists and lists of fractions with different lengths are left out.

    Args:
        frame: the table, or its beginning; columns with the types inferred by the reader.
        id_column: the id column, which has no role.
    """
    roles = {}
    for name in frame.columns:
        role = None if name == id_column else _role(frame[name])
        if role is not None:
            roles[name] = role
    return roles


def _role(column: pl.Series) -> ColumnRole | None:
    kind, name = column.dtype, plain(column.name)
    if column.null_count() == column.len():
        return None
    if isinstance(kind, pl.Datetime) or kind == pl.Date:
        return ColumnRole(role="time")
    if isinstance(kind, pl.List | pl.Array):
        flat = not kind.inner.is_nested()
        if flat and are_vectors(column.drop_nulls()):
            return ColumnRole(role="vector")
        return ColumnRole(role="tags", separator="|") if flat else None
    if kind in (pl.Categorical, pl.Enum, pl.Boolean):
        return ColumnRole(role="category")
    if kind.is_numeric():
        if name in NAMES["timestamp"].split():
            return ColumnRole(role="time")
        whole = column.drop_nulls()
        is_code = bool(_CATEGORY.search(name)) and bool((whole == whole.round()).all())
        return ColumnRole(role="category" if is_code else "number")
    texts = column.drop_nulls() if kind == pl.String else column.clear()
    texts = texts.filter(texts.str.contains(r"\S")) if kind == pl.String else texts
    return _role_of_text(texts, name) if texts.len() else None


def _role_of_text(texts: pl.Series, name: str) -> ColumnRole | None:
    if are_vectors(texts):
        return ColumnRole(role="vector")
    if _share(texts, _NESTED) > 0.5 or _share(texts, _NUMBERS) > 0.5:
        return None
    if _share(texts, _LIST) > _NEARLY_ALL:
        return ColumnRole(role="tags", separator=",")
    form = time_form(texts)
    if form is not None:
        return ColumnRole(role="time", format=None if form == ISO else form)
    if any(name.endswith(word) for word in TITLES):
        return ColumnRole(role="text")
    if _share(texts, r"^\s*(?:https?:)?//") > 0.5 or _is_identifier(texts):
        return None
    if _share(texts, r"^\s*[+-]?\d*[.,]?\d+\s*$") > 0.98:
        return ColumnRole(role="number")
    for separator in _SEPARATORS:
        tagged = texts.str.contains(separator, literal=True)
        if float(tagged.mean()) > _TAGGED:  # type: ignore[arg-type]
            if separator.startswith(",") and not _are_labels(texts, separator):
                continue
            return ColumnRole(role="tags", separator=separator.strip() or separator)
    few = texts.n_unique() <= max(20, len(texts) // 20)
    return ColumnRole(role="category" if few else "text")


def _share(texts: pl.Series, pattern: str) -> float:
    return float(texts.str.contains(pattern).mean())  # type: ignore[arg-type]


def _is_identifier(texts: pl.Series) -> bool:
    """Whether every row has a distinct code, such as an ISBN, which is useless for learning."""
    distinct = texts.n_unique() > 0.95 * texts.len() and texts.len() > 20
    return distinct and _share(texts, r"^\S*\d\S*$") > 0.95


def _are_labels(texts: pl.Series, separator: str) -> bool:
    """Whether the separated parts are a small set of short labels rather than prose."""
    parts = texts.str.split(separator).explode().str.strip_chars()
    short = float((parts.str.count_matches(" ") <= 2).mean()) > 0.95  # type: ignore[arg-type]
    return short and parts.n_unique() <= _FEW_LABELS * parts.len()
