"""Attributes of added items are stored like those read from a file."""

from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from tastemaker.data.additions import cell, new_ids
from tastemaker.data.clean_entities import clean_entities
from tastemaker.data.schema import ColumnRole, Schema
from tastemaker.data.table import frame_table
from tastemaker.data.vocabulary import Vocabulary
from tastemaker.errors import SettingError


def read(role: ColumnRole, value: Any) -> Any:
    """The cell of a frame's only row."""
    frame = pl.DataFrame({"item_id": ["i"], "column": [value]})
    schema = Schema(item_roles={"column": role})
    return clean_entities(frame_table(frame.lazy(), "items"), "item_id", schema)[0]["column"][0]


@pytest.mark.parametrize("value", ["Horror", True, False, 5, -7, 0, 5.0, 2**40])
def test_a_category_is_the_same_label_as_in_a_file(value: Any) -> None:
    assert cell("column", "category", value) == [read(ColumnRole(role="category"), value)]


@pytest.mark.parametrize("values", [["a", "b"], [True, False], [5, 7], []])
def test_tags_are_the_same_labels_as_in_a_file(values: list[Any]) -> None:
    role = ColumnRole(role="tags", separator="|")
    assert cell("column", "tags", values) == list(read(role, values))


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (np.bool_(True), "true"),
        (pa.scalar(False), "false"),
        (np.int16(5), "5"),
        (np.float32(5), "5"),
        (pa.scalar(5), "5"),
        (Decimal("5.00"), "5"),
        (np.str_("x"), "x"),
    ],
)
def test_a_label_may_come_from_any_library(value: Any, label: str) -> None:
    assert cell("column", "category", value) == cell("column", "category", [value]) == [label]
    assert cell("column", "tags", [value, "z"]) == [label, "z"]
    assert cell("column", "tags", np.array([label, "z"])) == [label, "z"]


@pytest.mark.parametrize("value", [1.5, float("inf"), 1e300, b"x", {"a": 1}, object(), [["a"]]])
def test_a_value_that_is_not_a_label_is_rejected(value: Any) -> None:
    with pytest.raises(SettingError, match="'column' must be one label, got"):
        cell("column", "category", value)
    with pytest.raises(SettingError, match="'column' must be a list of labels, got"):
        cell("column", "tags", [value])


@pytest.mark.parametrize("id_", ["a\n", "a\x1b[2J", "a\x7f", "a\x9b", "a\u2029"])
def test_a_new_id_with_a_control_character_is_refused(id_: str) -> None:
    with pytest.raises(SettingError, match="line break or control character in the id") as refused:
        new_ids(["fine", id_], Vocabulary.of([]))
    assert str(refused.value).isprintable()


def test_a_new_id_may_be_of_any_script() -> None:
    named = ["日本", "עברית\u200f", "é", "a b"]
    assert new_ids(named, Vocabulary.of([])) == named
