import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.catalogue import Catalogue, CategoryColumn, NumberColumn, TagsColumn
from tastemaker.data.item_similarity import attribute_columns, attribute_similarity
from tastemaker.data.vocabulary import Vocabulary

tags = st.none() | st.lists(st.sampled_from("abcde"), max_size=5)
category = st.none() | st.sampled_from("xyz")
rows = st.lists(st.tuples(tags, category), min_size=1, max_size=8)


def catalogue_of(*items: tuple[list[str] | None, str | None]) -> Catalogue:
    return Catalogue(
        Vocabulary.of([f"item-{i}" for i in range(len(items))]),
        {
            "tags": TagsColumn.of([labels for labels, _ in items]),
            "price": NumberColumn.of([1.0] * len(items)),
            "category": CategoryColumn.of([label and [label] for _, label in items]),
        },
    )


def similarity(catalogue: Catalogue, *pairs: tuple[int, int]) -> list[float]:
    left, right = np.array(pairs, np.int32).reshape(-1, 2).T
    found = attribute_similarity(catalogue, left, right)
    assert found.dtype == np.float32
    return found.tolist()


def test_label_similarity_equals_a_manual_calculation() -> None:
    catalogue = catalogue_of((["a", "b"], "x"), (["b", "c"], "x"), (["b"], "y"), (["d"], None))
    expected = [(1 / 3 + 1) / 2, (1 / 2 + 0) / 2, 0, 1]
    assert similarity(catalogue, (0, 1), (0, 2), (0, 3), (0, 0)) == pytest.approx(expected)


def test_labels_missing_in_both_items_do_not_add_similarity() -> None:
    catalogue = catalogue_of((None, "x"), ([], "x"), (None, None), ([], None))
    assert similarity(catalogue, (0, 1), (2, 3), (0, 2)) == [0.5, 0, 0]


def test_items_outside_the_catalogue_have_similarity_zero() -> None:
    catalogue = catalogue_of((["a"], "x"), (["a"], "x"))
    assert similarity(catalogue, (0, 1), (-1, 0), (0, 2), (9, 9), (-1, -1)) == [1, 0, 0, 0, 0]


def test_an_added_item_is_compared_by_its_own_labels() -> None:
    catalogue = catalogue_of((["a", "b"], "x")).extended(
        ["new", "bare"], {"tags": [["b"], None], "category": [["y"], None]}
    )
    assert similarity(catalogue, (0, 1), (0, 2), (1, 2)) == [0.25, 0, 0]


def test_without_labels_all_similarities_are_zero() -> None:
    bare = Catalogue(Vocabulary.of(["a", "b"]), {"price": NumberColumn.of([1.0, 1.0])})
    assert attribute_columns(bare) == {}
    assert similarity(bare, (0, 1), (1, 1)) == [0, 0]


def test_no_pairs_give_an_empty_result() -> None:
    assert similarity(catalogue_of((["a"], "x"))) == []


@given(rows)
def test_similarity_is_the_mean_jaccard_index_of_label_sets(
    items: list[tuple[list[str] | None, str | None]],
) -> None:
    catalogue = catalogue_of(*items)
    pairs = [(i, j) for i in range(len(items)) for j in range(len(items))]

    def jaccard(one: set[str], other: set[str]) -> float:
        return len(one & other) / len(one | other) if one | other else 0.0

    expected = [
        (
            jaccard(set(items[i][0] or ()), set(items[j][0] or ()))
            + jaccard(set(items[i][1] or ()), set(items[j][1] or ()))
        )
        / 2
        for i, j in pairs
    ]
    assert similarity(catalogue, *pairs) == pytest.approx(expected)


@given(rows, st.randoms(use_true_random=False))
def test_a_result_does_not_depend_on_the_other_pairs(
    items: list[tuple[list[str] | None, str | None]], random: object
) -> None:
    catalogue = catalogue_of(*items)
    pairs = [(i, j) for i in range(len(items)) for j in range(len(items))]
    random.shuffle(pairs)  # type: ignore[attr-defined]
    together = similarity(catalogue, *pairs)
    assert together == [similarity(catalogue, pair)[0] for pair in pairs]
    assert together == similarity(catalogue, *((j, i) for i, j in pairs))
