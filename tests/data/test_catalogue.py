from pathlib import Path

import numpy as np
import pytest

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.data.catalogue import (
    NO_TIME,
    Catalogue,
    CategoryColumn,
    NumberColumn,
    TagsColumn,
    TextColumn,
    TimeColumn,
)
from tastemaker.data.vocabulary import Vocabulary


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue(
        Vocabulary.of(["a", "b", "c"]),
        {
            "title": TextColumn.of(["Alpha", None, "Gämma"]),
            "genres": TagsColumn.of([["war", "art"], None, ["art"]]),
            "brand": CategoryColumn.of([["x"], ["y"], None]),
            "price": NumberColumn.of([1.5, None, 3.0]),
            "released": TimeColumn.of([NO_TIME, 5, None]),
        },
    )


def contents(catalogue: Catalogue) -> dict[str, list[object]]:
    """The content of a catalogue as plain lists."""
    known: dict[str, list[object]] = {"id": list(catalogue.items.ids(range(len(catalogue))))}
    for name, column in catalogue.columns.items():
        if isinstance(column, TextColumn):
            known[name] = [column.texts[i] for i in range(len(column.texts))]
        elif isinstance(column, TagsColumn):
            rows = [column.codes[i] for i in range(len(column.codes))]
            known[name] = [column.labels.ids(row.tolist()) for row in rows]
        else:
            known[name] = column.values.tolist()
    return known


def test_columns_keep_given_and_missing_values(catalogue: Catalogue) -> None:
    known = contents(catalogue)
    assert known["title"] == ["Alpha", "", "Gämma"]
    assert known["genres"] == [["art", "war"], [], ["art"]]
    assert known["brand"] == [["x"], ["y"], []]
    assert known["released"] == [NO_TIME, 5, NO_TIME]
    np.testing.assert_array_equal(known["price"], [1.5, np.nan, 3.0])


def test_a_label_given_twice_counts_once() -> None:
    assert TagsColumn.of([["art", "art"]]).codes.counts.tolist() == [1]


def test_the_rows_of_each_label_are_ascending() -> None:
    tags = TagsColumn.of([["b"], None, ["a", "b"], [], ["b", "c"]])
    column = tags.extended([["d", "a"]])
    rows = [column.rows_by_label[code].tolist() for code in range(len(column.labels))]
    expected = {"a": [2, 5], "b": [0, 2, 4], "c": [4], "d": [5]}
    assert dict(zip(column.labels.ids(range(4)), rows)) == expected
    assert len(tags.rows_by_label) == 3


def test_a_title_is_text_or_none(catalogue: Catalogue) -> None:
    assert [catalogue.title(i) for i in range(3)] == ["Alpha", None, "Gämma"]
    assert Catalogue(catalogue.items, {}).title(0) is None
    plot = Catalogue(catalogue.items, {"plot": TextColumn.of(["one", "two", "three"])})
    assert plot.title(1) == "two"


def test_a_new_item_comes_after_the_fitted_ones(catalogue: Catalogue) -> None:
    attributes = {"title": ["Delta"], "genres": [["war", "new"]], "price": [4.0]}
    extended = catalogue.extended(["d"], attributes)
    known = contents(extended)
    assert known["id"] == ["a", "b", "c", "d"]
    assert known["title"][3] == "Delta"
    assert known["genres"] == [["art", "war"], [], ["art"], ["war", "new"]]
    assert known["brand"][3] == []
    assert known["released"][3] == NO_TIME
    assert (extended.n_fitted, len(extended)) == (3, 4)


def test_only_what_changes_of_an_item_is_replaced(catalogue: Catalogue) -> None:
    attributes = {
        "title": ["Later", "Alpha"],
        "genres": [["new"], ["war", "art"]],
        "price": [9.0, 1.5],
    }
    changed = catalogue.changed(np.array([2, 0]), attributes)
    found, before = contents(changed), contents(catalogue)
    assert found["title"] == ["Alpha", before["title"][1], "Later"]
    assert found["genres"] == [["art", "war"], [], ["new"]]
    assert found["price"][2] == 9.0
    assert found["brand"][2] == []
    assert (changed.n_fitted, found["id"]) == (catalogue.n_fitted, before["id"])


def test_columns_in_which_nothing_changes_are_shared(catalogue: Catalogue) -> None:
    before = contents(catalogue)
    attributes = {name: [values[0]] for name, values in before.items() if name != "id"}
    changed = catalogue.changed(np.array([0]), {**attributes, "price": [7.0]})
    for name in ("title", "genres", "brand"):
        assert changed.columns[name] is catalogue.columns[name]
    assert contents(changed)["price"][0] == 7.0
    assert str(contents(catalogue)) == str(before)


def test_extending_leaves_the_old_catalogue_alone(catalogue: Catalogue) -> None:
    before = str(contents(catalogue))
    catalogue.extended(["d"], {"genres": [["new"]]}).extended(["e"])
    assert str(contents(catalogue)) == before


def test_extending_keeps_the_role_of_a_column(catalogue: Catalogue) -> None:
    extended = catalogue.extended(["d"], {"brand": [["x"]]})
    assert {n: c.role for n, c in extended.columns.items()} == {
        n: c.role for n, c in catalogue.columns.items()
    }


def test_a_known_item_cannot_be_added(catalogue: Catalogue) -> None:
    with pytest.raises(ValueError, match="new and distinct"):
        catalogue.extended(["b"])


def test_a_loaded_catalogue_equals_the_saved_one(catalogue: Catalogue, tmp_path: Path) -> None:
    with create_artifact(tmp_path / "c", "catalogue", {}) as writer:
        catalogue.save(writer)
    loaded = Catalogue.load(open_artifact(tmp_path / "c", "catalogue")[0])
    assert str(contents(loaded)) == str(contents(catalogue))
    assert list(loaded.columns) == list(catalogue.columns)
    assert loaded.n_fitted == 3
    extended = loaded.extended(["d"], {"genres": [["war"]]})
    assert contents(extended)["genres"][3] == ["war"]
