"""Vector columns: all cell formats, one dimension; invalid cells are missing and reported."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tastemaker.data.additions import new_attributes
from tastemaker.data.catalogue import Catalogue, VectorColumn
from tastemaker.data.clean_entities import clean_entities
from tastemaker.data.dataset import Dataset
from tastemaker.data.propose_roles import propose_roles
from tastemaker.data.read import open_table
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.table import frame_table
from tastemaker.errors import DataError, SettingError


def read(cells: Any, separator: str | None = None, dtype: Any = None) -> tuple[list[Any], str]:
    """The cells as vectors, and the note about those that do not fit."""
    column = cells if isinstance(cells, pl.Series) else pl.Series(cells, dtype=dtype)
    frame = pl.DataFrame({"item_id": [f"i{i}" for i in range(len(column))], "v": column})
    role = ColumnRole(role="vector", separator=separator)
    schema = Schema(item_roles={"v": role})
    kept, report = clean_entities(frame_table(frame.lazy(), "items"), "item_id", schema)
    return kept["v"].to_list(), " ".join(report.notes)


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["[0.5, -1.25]", "[2, 3e1]"], None),
        (["0.5 -1.25", "2  3e1 "], None),
        (["(0.5,-1.25)", "( 2 , 30 )"], None),
        (["0.5;-1.25", "2;30"], ";"),
        (["0.5|-1.25", "2|30"], None),
        ([[0.5, -1.25], [2.0, 30.0]], None),
        ([["0.5", "-1.25"], ["2", "30"]], None),
        (pl.Series([[0.5, -1.25], [2.0, 30.0]], dtype=pl.Array(pl.Float32, 2)), None),
        (pl.Series([[0.5, -1.25], [2.0, 30.0]], dtype=pl.List(pl.Float32)), None),
    ],
)
def test_a_vector_is_read_from_every_form(cells: Any, separator: str | None) -> None:
    assert read(cells, separator) == ([[0.5, -1.25], [2.0, 30.0]], "")


def test_vectors_of_whole_numbers_are_read() -> None:
    assert read([[1, 2], [3, 4]])[0] == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("odd", "shown"),
    [([0.5, 1.0, 2.0], "'0.5, 1.0, 2.0'"), ([0.5, float("nan")], "NaN"),
     ([float("inf"), 1.0], "inf"), ([0.5, None], "0.5"), ([], "''"),
     ("[0.5, 1, 2]", "[0.5, 1, 2]"), ("[0.5, x]", "[0.5, x]"), ("1e60 0.5", "1e60 0.5"),
     ("none of it", "none of it")],
)  # fmt: skip
def test_a_cell_that_does_not_fit_is_missing_and_reported(odd: Any, shown: str) -> None:
    if isinstance(odd, str):
        cells: list[Any] = ["[0.5, 1.5]", odd, "[1.0, 2.5]", None]
    else:
        cells = [[0.5, 1.5], odd, [1.0, 2.5], None]
    got, note = read(cells)
    assert got == [[0.5, 1.5], None, [1.0, 2.5], None]
    assert note.startswith("v: 1 of 4 cells cannot be read as vectors of 2 finite numbers")
    assert shown in note


def test_a_column_that_cannot_hold_vectors_is_refused() -> None:
    for cells, dtype in (([0.5], pl.Float64), ([[["a"]]], None), ([True], None)):
        with pytest.raises(DataError, match=r"'v' \(vector\) holds .*lists of numbers"):
            read(cells, dtype=dtype)


def test_a_column_without_any_vector_has_no_dimension() -> None:
    assert read(["", "x", None])[0] == [None, None, None]


def proposed(cells: list[Any], dtype: Any = None) -> ColumnRole | None:
    ids = [f"i{i}" for i in range(len(cells))]
    frame = pl.DataFrame({"item_id": ids, "v": pl.Series(cells, dtype=dtype)})
    return propose_roles(frame, "item_id").get("v")


@pytest.mark.parametrize(
    "cells",
    [
        [[0.5, 0.25], [1.0, 2.0], None],
        [["0.5", "0.25"], ["1.5", "2"]],
        ["[0.25, -1.5]", "[1, 2]"],
        ["0.25 -1.5 3", "1 2 3.5"],
        ["(.5;1.5)", "(2.5;1)"],
        [list(range(16)), list(range(16))],
    ],
)
def test_lists_of_as_many_fractions_are_proposed_as_vectors(cells: list[Any]) -> None:
    assert proposed(cells * 10) == ColumnRole(role="vector")


@pytest.mark.parametrize(
    "cells",
    [
        [[1, 2], [3, 4]],  # codes
        [[0.5, 0.25], [1.0]],  # of different lengths
        ["48.1, 11.5", "52.5, 13.4"],  # coordinates
        ["[1, 2]", "[3, 4]"],
        [["a", "b"], ["c", "d"]],
        ["2024-01-01", "2024-01-02"],
        ["0.5", "1.5"],
        ["1 2 3", "4 5 6"],
    ],
)
def test_possible_labels_are_not_taken_for_vectors(cells: list[Any]) -> None:
    role = proposed(cells * 10)
    assert role is None or role.role != "vector"


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_vectors_of_every_form_of_file_are_the_same(tmp_path: Path, form: str) -> None:
    vectors = [[0.1, -0.25, 3.0], None, [1e-3, 2.0, 7.5]]
    frame = pl.DataFrame({"item_id": ["a", "b", "c"], "v": vectors})
    path = tmp_path / f"items.{form}"
    if form == "csv":
        texts = [None if v is None else str(v) for v in vectors]
        frame.with_columns(v=pl.Series(texts, dtype=pl.String)).write_csv(path)
    elif form == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    schema = Schema(item_roles={"v": ColumnRole(role="vector")})
    with open_table(path, schema) as table:
        kept, _ = clean_entities(table, "item_id", schema)
    assert kept["v"].to_list() == pl.Series(vectors, dtype=pl.List(pl.Float32)).to_list()


# --- in the catalogue ---


def catalogue(cells: Any = None) -> Catalogue:
    vectors = [[1.0, 0.0], [0.0, 1.0], None] if cells is None else cells
    items = pd.DataFrame({"item_id": ["a", "b", "c"], "v": vectors})
    events = pl.DataFrame({"user_id": ["u"], "item_id": ["a"], "timestamp": ["2024-01-01"]})
    schema = Schema(
        kinds={"view": EventKind()},
        default_kind="view",
        item_roles={"v": ColumnRole(role="vector")},
    )
    return Dataset.from_frames(events, items=items, schema=schema).catalogue


def vectors_of(known: Catalogue) -> list[list[float]]:
    column = known.columns["v"]
    assert isinstance(column, VectorColumn)
    return column.values.tolist()


@pytest.mark.parametrize("form", [list, tuple, np.array])
def test_frames_of_objects_hold_vectors(form: Any) -> None:
    known = catalogue([form([1.0, 0.5]), None, form([0.25, 2.0])])
    assert np.array_equal(
        vectors_of(known), [[1.0, 0.5], [np.nan, np.nan], [0.25, 2.0]], equal_nan=True
    )


def test_the_dimension_is_that_of_most_vectors() -> None:
    column = catalogue([[1.0, 0.5], [1.0], [0.25, 2.0]]).columns["v"]
    assert isinstance(column, VectorColumn)
    assert column.dimension == 2
    assert column.present.tolist() == [True, False, True]


def test_a_changed_item_has_its_new_vector() -> None:
    later = catalogue().changed(np.array([1, 2]), {"v": [[0.5, 0.5], [2.0, 2.0]]})
    assert vectors_of(later) == [[1.0, 0.0], [0.5, 0.5], [2.0, 2.0]]
    assert np.isnan(vectors_of(catalogue().changed(np.array([0]), {}))[0]).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [([1.0, 2.0, 3.0], "'v' must be a list of 2 numbers, got 3"),
     ([1.0, "x"], "'v' must be a list of finite numbers"),
     ([1.0, float("inf")], "'v' must be a list of finite numbers"),
     ([1.0, float("nan")], "'v' must be a list of finite numbers"),
     ([True, False], "'v' must be a list of finite numbers"),
     ([1e300, 1.0], "'v' must be a list of finite numbers"),
     ([], "'v' must be a list of finite numbers"), (3.0, "'v' must be a list of finite numbers"),
     ("1 2", "'v' must be a list of finite numbers")],
)  # fmt: skip
def test_a_vector_of_a_new_item_is_checked(value: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        new_attributes(catalogue(), 1, {"v": [value]})


def test_new_items_can_have_vectors_of_all_types() -> None:
    cells = [[1, 2.5], np.array([0.5, 1.0], np.float32), None, pl.Series([2.0, 3.0])]
    checked = new_attributes(catalogue(), 4, {"v": cells})
    assert checked == {"v": [[1.0, 2.5], [0.5, 1.0], None, [2.0, 3.0]]}
    assert new_attributes(catalogue(), 2, {"v": np.ones((2, 2))}) == {"v": [[1, 1], [1, 1]]}
