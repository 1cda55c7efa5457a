"""Proposed roles for the columns of an item table."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tastemaker.data.clean_entities import clean_entities
from tastemaker.data.propose_roles import propose_roles
from tastemaker.data.read import open_table
from tastemaker.data.schema import ColumnRole, Schema
from tastemaker.data.table import frame_table


def role_of(values: list[Any], name: str = "extra", dtype: Any = None) -> ColumnRole | None:
    ids = [f"i{i}" for i in range(len(values))]
    frame = pl.DataFrame({"item_id": ids, name: pl.Series(values, dtype=dtype)})
    return propose_roles(frame, "item_id").get(name)


def labels_of(cells: list[str | None], separator: str = ",") -> list[Any]:
    frame = pl.DataFrame({"item_id": [f"i{i}" for i in range(len(cells))], "tags": cells})
    role = ColumnRole(role="tags", separator=separator)
    schema = Schema(item_roles={"tags": role})
    kept, _ = clean_entities(frame_table(frame.lazy(), "items"), "item_id", schema)
    return kept["tags"].to_list()


@pytest.mark.parametrize(
    "cell",
    ["['a', 'g1']", '["x","y1"]', "[1, 2]", " ['a'] ", "['a, b', 'c']", "[]", "['The Title']"],
)
def test_lists_that_are_written_as_text_are_tags(cell: str) -> None:
    assert role_of([cell, "['b', 'g2']", None, '["z"]'] * 10) == ColumnRole(
        role="tags", separator=","
    )


@pytest.mark.parametrize(
    "cell",
    [
        '{"a": 1, "b": 2}',
        "{'a': [1, 2]}",
        '[{"id": 1}, {"id": 2}]',
        "[[1, 2], [3]]",
        "[0.25]",
    ],
)
def test_nested_values_are_not_used(cell: str) -> None:
    assert role_of([cell] * 30) is None


@pytest.mark.parametrize("dtype", [pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.Date, pl.Null])
def test_a_column_without_values_is_not_used(dtype: Any) -> None:
    assert role_of([None] * 5, dtype=dtype) is None


def test_a_column_of_blanks_is_not_used() -> None:
    assert role_of(["", " "] * 5) is None


def test_labels_of_other_separators_stay_tags() -> None:
    assert role_of(["Drama|War", "Comedy|War"] * 20) == ColumnRole(role="tags", separator="|")


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['a', 'g1']", ["a", "g1"]),
        ('["x","y1"]', ["x", "y1"]),
        ("""["it's", 'b, c']""", ["it's", "b, c"]),
        ("[1, 2]", ["1", "2"]),
        ("[rock, hip hop]", ["rock", "hip hop"]),
        ("[]", []),
        (" ['a'] ", ["a"]),
        ("['']", []),
        ("a, b", ["a", "b"]),
        ("'n' sync, b", ["'n' sync", "b"]),
        ("[a] x, [b]", ["[a] x", "[b]"]),
        (None, None),
    ],
)
def test_labels_of_lists_have_no_brackets_and_quotes(cell: str | None, labels: Any) -> None:
    assert labels_of([cell, "z"])[0] == labels


def test_brackets_stay_where_the_separator_is_another() -> None:
    assert labels_of(["[Live]|Rock", "[Live]"], "|") == [["[Live]", "Rock"], ["[Live]"]]


def test_lists_in_a_file_become_labels(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text('item_id,genres\n1,"[\'a\', \'g1\']"\n2,"[""b"",""g1""]"\n')
    schema = Schema(item_roles={"genres": ColumnRole(role="tags", separator=",")})
    with open_table(path, schema) as table:
        kept, _ = clean_entities(table, "item_id", schema)
    assert kept["genres"].to_list() == [["a", "g1"], ["b", "g1"]]
