"""Items added after training: validation of their ids and attributes."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import isinf
from numbers import Integral, Real
from typing import Any

import numpy as np

from tastemaker.data.arguments import id_text, ids_text, is_missing, is_moment, listed, moment
from tastemaker.data.catalogue import (
    LONGEST_TITLE,
    Catalogue,
    TagsColumn,
    TimeColumn,
    VectorColumn,
)
from tastemaker.data.id_forms import CONTROL
from tastemaker.data.times import parse_moment
from tastemaker.data.vocabulary import Vocabulary
from tastemaker.errors import SettingError, did_you_mean

MOST_NEW_LABELS = 1_000_000
"""The maximum number of new labels between two trainings."""
_LARGEST = float(np.finfo(np.float32).max)


def new_ids(ids: Any, known: Vocabulary) -> list[str]:
    """The ids of items to add, as text.

    Raises:
        SettingError: an id is not text, occurs twice or is already known.
    """
    named = ids_text(ids, "ids")
    taken = set[str]()
    for id_ in named:
        if not id_ or not _is_text(id_):
            raise SettingError(f"an id must be text of at least one character, got {id_!r}")
        if re.search(CONTROL, id_):
            raise SettingError(f"line break or control character in the id {id_!r}: remove it")
        if id_ in taken:
            raise SettingError(f"the item '{id_}' occurs twice")
        if known.index(id_) >= 0:
            raise SettingError(f"the item '{id_}' already exists")
        taken.add(id_)
    return named


def new_attributes(
    catalogue: Catalogue, count: int, attributes: Any = None
) -> dict[str, list[Any]]:
    """The attributes of `count` new items as values for the catalogue's columns.

    Raises:
        SettingError: `attributes` is not a mapping, a column is not in the catalogue, or a value
            does not fit its column.
    """
    checked: dict[str, list[Any]] = {}
    if attributes is None:
        return checked
    if not hasattr(attributes, "items"):
        kind = type(attributes).__name__
        raise SettingError(f"'attributes' must map each column to its values, got {kind}")
    for name, values in attributes.items():
        if name not in catalogue.columns:
            hint = did_you_mean(name, catalogue.columns)
            raise SettingError(f"the catalogue has no column '{name}'{hint}")
        is_vector = isinstance(catalogue.columns[name], VectorColumn)
        matrix = is_vector and getattr(values, "ndim", 1) == 2  # one row per item
        cells = list(values) if matrix else listed(values, name)
        if len(cells) != count:
            raise SettingError(
                f"'{name}' needs a list of {count} values, one for each item, got {len(cells)}"
            )
        column = catalogue.columns[name]
        checked[name] = [cell(name, column.role, value) for value in cells]
        if isinstance(column, VectorColumn):
            _require_dimension(name, column.dimension, checked[name])
    return checked


def _require_dimension(name: str, dimension: int, vectors: list[list[float] | None]) -> None:
    for vector in vectors:
        if vector is not None and len(vector) != dimension:
            raise SettingError(f"'{name}' must be a list of {dimension} numbers, got {len(vector)}")


@dataclass(frozen=True, slots=True)
class ItemLimits:
    """Size limits of an item that is added or updated.

    New labels stay in memory until the next training.

    Attributes:
        title: the maximum number of characters of a title or a label.
        labels: the maximum number of labels of an item.
        new_labels: the maximum number of labels that are not in the catalogue.
    """

    title: int = LONGEST_TITLE
    labels: int = 1_000
    new_labels: int = MOST_NEW_LABELS


def put_attributes(
    catalogue: Catalogue, attributes: Mapping[str, Any], limits: ItemLimits = ItemLimits()
) -> dict[str, Any]:
    """The validated attributes of one item, as values for JSON and for the item table's columns.

    Args:
        catalogue: the catalogue that has the columns.
        attributes: column → value; moments may be ISO 8601 text.
        limits: the size limits.

    Raises:
        SettingError: a column is not in the catalogue, a value does not fit its column, a title or
            a label is too long, or there are too many labels.
    """
    given = dict(attributes)
    for name, value in attributes.items():
        if isinstance(catalogue.columns.get(name), TimeColumn) and value is not None:
            given[name] = parse_moment(value)
            if given[name] is None:
                raise SettingError(
                    f"'{name}' must be a moment: ISO 8601 text or an epoch number, got {value!r}"
                )
    _require_few_labels(catalogue, given, limits.labels)
    checked = new_attributes(catalogue, 1, {name: [value] for name, value in given.items()})
    _require_within(catalogue, checked, limits)
    kept = {}
    for name, (value,) in checked.items():
        if value is not None:
            one_label = catalogue.columns[name].role == "category"
            kept[name] = (value[0] if value else None) if one_label else value
    return kept


def _require_few_labels(catalogue: Catalogue, attributes: Mapping[str, Any], most: int) -> None:
    """Rejects an item with too many labels before they are validated one by one."""
    count = 0
    for name, value in attributes.items():
        if isinstance(value, list) and isinstance(catalogue.columns.get(name), TagsColumn):
            count += len(value)
            if count > most:
                raise SettingError(
                    f"'{name}': an item may have {most:,} labels over all columns, got {count:,}: "
                    "remove some, or raise [server] most_labels"
                )


def _require_within(
    catalogue: Catalogue, checked: Mapping[str, list[Any]], limits: ItemLimits
) -> None:
    """Rejects an item with a title or a label that is too long, or with too many new labels."""
    new = 0
    for name, (value,) in checked.items():
        column = catalogue.columns[name]
        labels = set[str]()
        if isinstance(column, TagsColumn):
            labels = set(value or ())
            new += sum(column.labels.index(label) < 0 for label in labels)
            if new > limits.new_labels:
                raise SettingError(
                    f"'{name}': {MOST_NEW_LABELS:,} labels may be added between two trainings, "
                    "and these would exceed the limit: use existing labels, or train again"
                )
        what = "a label" if labels else "a title"
        for text in (value,) if name == catalogue.title_name else labels:
            if text is not None and len(text) > limits.title:
                raise SettingError(
                    f"'{name}': {what} may have {limits.title:,} characters, got "
                    f"{len(text):,}: {text[:40]!r}…"
                )


_CELLS = {
    "text": "text",
    "tags": "a list of labels",
    "category": "one label",
    "number": "a finite number",
    "time": "a moment: microseconds, a datetime, a date or ISO 8601 text",
    "vector": "a list of finite numbers",
}


def cell(name: str, role: str, value: Any) -> Any:
    """A value converted for a column of a role; None if missing.

    Args:
        name: the column.
        role: text, tags, category, number, time or vector.
        value: the value; a label may also be a boolean or a whole number.

    Raises:
        SettingError: the value does not fit the role.
    """
    if hasattr(value, "as_py"):
        value = value.as_py()  # an Arrow scalar
    if is_missing(value):
        return None
    if role == "text" and _is_text(value):
        return str(value)
    if role == "category" and (label := _label(value)) is not None:
        return [label]
    is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    if role == "vector" and is_list and (vector := _vector(value)) is not None:
        return vector
    if role in ("tags", "category") and is_list:
        labels = list(map(_label, value))
        if None not in labels and (role == "tags" or len(labels) <= 1):
            return labels
    if not isinstance(value, bool | np.bool_):
        if role == "number" and isinstance(value, Real | Decimal) and not _is_infinite(value):
            return float(value)
        if role == "time" and (isinstance(value, Integral) or is_moment(value)):
            return moment(value, name)
    raise SettingError(f"'{name}' must be {_CELLS[role]}, got {value!r}")


def fitting_cell(name: str, role: str, value: Any) -> Any:
    """Like `cell`, but None for a value that does not fit, such as one stored for another role."""
    try:
        return cell(name, role, value)
    except SettingError:
        return None


def _vector(value: Iterable[Any]) -> list[float] | None:
    """A list of numbers within the range of float32; None for anything else."""
    numbers: list[float] = []
    for number in value:
        if isinstance(number, bool | np.bool_) or not isinstance(number, Real | Decimal):
            return None
        if _is_infinite(number) or not abs(float(number)) <= _LARGEST:
            return None
        numbers.append(float(number))
    return numbers or None


def _label(value: Any) -> str | None:
    """A label in the form that file readers produce; None for anything else."""
    if hasattr(value, "as_py"):
        value = value.as_py()
    if _is_text(value):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, Real | Decimal):
        try:
            return id_text(value)
        except SettingError:
            return None
    return None


def _is_infinite(value: Real | Decimal) -> bool:
    """Whether a number exceeds the range of a float."""
    try:
        return isinf(value)
    except OverflowError:
        return True


def _is_text(value: Any) -> bool:
    """Whether a value is a string that can be encoded as UTF-8."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
