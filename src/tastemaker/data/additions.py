"""Items that come after training: their ids and attributes, checked as the catalogue takes them."""

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
"""So many labels may come between two trainings that the catalogue did not have."""
_LARGEST = float(np.finfo(np.float32).max)


def new_ids(ids: Any, known: Vocabulary) -> list[str]:
    """The ids of items to be added, as text.

    Raises:
        SettingError: an id is not text, occurs twice or is known already.
    """
    named = ids_text(ids, "ids")
    taken = set[str]()
    for id_ in named:
        if not id_ or not _is_text(id_):
            raise SettingError(f"an id must be text of at least one letter, got {id_!r}")
        if re.search(CONTROL, id_):
            raise SettingError(f"line break or control character in the id {id_!r}: remove it")
        if id_ in taken:
            raise SettingError(f"the item '{id_}' stands twice")
        if known.index(id_) >= 0:
            raise SettingError(f"the item '{id_}' is known already")
        taken.add(id_)
    return named


def new_attributes(
    catalogue: Catalogue, count: int, attributes: Any = None
) -> dict[str, list[Any]]:
    """What is known of `count` new items, as the catalogue's columns take it.

    Raises:
        SettingError: it is not a mapping, a column is not in the catalogue, or a value does not
            fit its column.
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
        matrix = is_vector and getattr(values, "ndim", 1) == 2  # a row for each item
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
    """How much an item that is put may hold, as its labels stay in memory until the next training.

    Attributes:
        title: characters that a title or a label may have.
        labels: how many labels an item may have.
        new_labels: how many labels may come that the catalogue does not know.
    """

    title: int = LONGEST_TITLE
    labels: int = 1_000
    new_labels: int = MOST_NEW_LABELS


def put_attributes(
    catalogue: Catalogue, attributes: Mapping[str, Any], limits: ItemLimits = ItemLimits()
) -> dict[str, Any]:
    """The attributes of one item, as JSON can keep them and the item table's columns take them.

    Args:
        catalogue: whose columns they are.
        attributes: column → value; moments also as ISO 8601 text.
        limits: how much an item may hold.

    Raises:
        SettingError: a column is not in the catalogue, a value does not fit its column, a title or
            a label is too long, or there are too many labels.
    """
    told = dict(attributes)
    for name, value in attributes.items():
        if isinstance(catalogue.columns.get(name), TimeColumn) and value is not None:
            told[name] = parse_moment(value)
            if told[name] is None:
                raise SettingError(
                    f"'{name}' must be a moment: ISO 8601 text or an epoch number, got {value!r}"
                )
    _require_few_labels(catalogue, told, limits.labels)
    checked = new_attributes(catalogue, 1, {name: [value] for name, value in told.items()})
    _require_within(catalogue, checked, limits)
    kept = {}
    for name, (value,) in checked.items():
        if value is not None:
            one_label = catalogue.columns[name].role == "category"
            kept[name] = (value[0] if value else None) if one_label else value
    return kept


def _require_few_labels(catalogue: Catalogue, told: Mapping[str, Any], most: int) -> None:
    """Refuses an item with too many labels before each of them is looked at."""
    count = 0
    for name, value in told.items():
        if isinstance(value, list) and isinstance(catalogue.columns.get(name), TagsColumn):
            count += len(value)
            if count > most:
                raise SettingError(
                    f"'{name}': an item may have {most:,} labels over all columns, got {count:,}: "
                    "leave some out, or raise [server] most_labels"
                )


def _require_within(
    catalogue: Catalogue, checked: Mapping[str, list[Any]], limits: ItemLimits
) -> None:
    """Refuses an item with a title or a label that is too long, or with too many new labels."""
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
                    "and these would be more: use labels that are known, or train again"
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
    """A value as a column of its role takes it; None where it is missing.

    Args:
        name: the column.
        role: text, tags, category, number, time or vector.
        value: what was given; a label may also be a boolean or a whole number.

    Raises:
        SettingError: it is something else.
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
    """The same, but None for what does not fit: it was taken when the column had another role."""
    try:
        return cell(name, role, value)
    except SettingError:
        return None


def _vector(value: Iterable[Any]) -> list[float] | None:
    """A list of numbers that float32 holds; None for what is not one."""
    numbers: list[float] = []
    for number in value:
        if isinstance(number, bool | np.bool_) or not isinstance(number, Real | Decimal):
            return None
        if _is_infinite(number) or not abs(float(number)) <= _LARGEST:
            return None
        numbers.append(float(number))
    return numbers or None


def _label(value: Any) -> str | None:
    """A label as the reading of a file writes it; None for what is not one."""
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
    """Whether a number is beyond what a float holds."""
    try:
        return isinf(value)
    except OverflowError:
        return True


def _is_text(value: Any) -> bool:
    """Whether it is a string that can be written as UTF-8."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
