from collections.abc import Callable
from math import isnan

import pytest

from tastemaker.data.catalogue import CategoryColumn, TagsColumn
from tastemaker.features.affinity import Affinity
from tastemaker.inventory import Inventory

Describe = Callable[..., dict[str, list[float]]]

GENRES = TagsColumn.of([["action", "comedy"], ["comedy"], ["drama"], [], ["drama", "horror"]])
COLUMNS = {"genres": GENRES}

FADE = 0.5**0.1
HISTORY = [(2, 4, -2.0), (0, 3, 1.0), (1, 2, 6.0), (2, 1, 1.0)]
"""Drama disliked (2), then action and comedy liked (1), comedy (6), drama (1)."""
LIKED = {"action": 1.0, "comedy": 7.0, "drama": 1.0}
TOTAL = 1 + 8.0  # and the prior of 1
RECENT = {"action": FADE**2, "comedy": FADE**2 + 6 * FADE, "drama": 1.0}
TOTAL_RECENT = 1 + 1 + 6 * FADE + FADE**2

BY_HAND = {
    "genres_affinity": [(1 + 7) / 2 / TOTAL, 7 / TOTAL, 1 / TOTAL, 1 / 2 / TOTAL],
    "genres_affinity_recent": [
        (RECENT["action"] + RECENT["comedy"]) / 2 / TOTAL_RECENT,
        RECENT["comedy"] / TOTAL_RECENT,
        RECENT["drama"] / TOTAL_RECENT,
        RECENT["drama"] / 2 / TOTAL_RECENT,
    ],
    "genres_affinity_best": [7 / TOTAL, 7 / TOTAL, 1 / TOTAL, 1 / TOTAL],
    "genres_aversion": [0, 0, 2 / (1 + 2), 2 / 2 / (1 + 2)],
    "genres_known": [1, 1, 1, 0.5],
}


@pytest.mark.parametrize("column", BY_HAND)
def test_a_column_equals_the_value_computed_by_hand(describe: Describe, column: str) -> None:
    result = describe(Affinity("genres"), [0, 1, 2, 4], history=HISTORY, columns=COLUMNS)
    assert list(result) == list(BY_HAND)
    assert result[column] == pytest.approx(BY_HAND[column], rel=1e-6)


def test_ten_later_events_halve_the_weight_of_an_event(describe: Describe) -> None:
    history = [(2, 50, 1.0), *[(1, 40 - i, 1.0) for i in range(10)]]
    result = describe(Affinity("genres"), [2], history=history, columns=COLUMNS)
    later = sum(FADE**age for age in range(10))
    assert result["genres_affinity_recent"] == pytest.approx([0.5 / (1 + later + 0.5)])
    assert result["genres_affinity"] == pytest.approx([1 / 12])


def test_ten_likes_of_a_label_count_more_than_one(describe: Describe) -> None:
    one = describe(Affinity("genres"), [2], history=[(2, 1, 1.0)], columns=COLUMNS)
    ten = describe(Affinity("genres"), [2], history=[(2, 1, 1.0)] * 10, columns=COLUMNS)
    assert one["genres_affinity"] == pytest.approx([1 / 2])
    assert ten["genres_affinity"] == pytest.approx([10 / 11])


def test_a_category_is_read_like_a_single_label(describe: Describe) -> None:
    shelf = {"shelf": CategoryColumn.of([["a"], ["a"], ["b"], None, ["b"]])}
    result = describe(Affinity("shelf"), [1, 2], history=[(0, 1, 3.0)], columns=shelf)
    assert result["shelf_affinity"] == pytest.approx([3 / 4, 0])
    assert result["shelf_affinity_best"] == result["shelf_affinity"]
    assert result["shelf_known"] == [1, 0]


def test_an_item_without_labels_has_no_affinity(describe: Describe) -> None:
    result = describe(Affinity("genres"), [3], history=HISTORY, columns=COLUMNS)
    assert all(isnan(values[0]) for values in result.values())


def test_without_a_history_every_affinity_is_zero(describe: Describe) -> None:
    result = describe(Affinity("genres"), [0, 2], columns=COLUMNS)
    assert all(values == [0, 0] for values in result.values())


def test_unknown_and_neutral_events_are_ignored(describe: Describe) -> None:
    result = describe(Affinity("genres"), [0, 2], history=HISTORY, columns=COLUMNS)
    more = [*HISTORY, (-1, 0.5, 5.0), (99, 0.4, 5.0), (4, 0.3, 0.0)]
    assert describe(Affinity("genres"), [0, 2], history=more, columns=COLUMNS) == result


def test_labels_of_an_added_item_are_new_to_every_user(
    describe: Describe, make_inventory: Callable[..., Inventory]
) -> None:
    inventory = make_inventory(columns=COLUMNS).with_items(
        ["new"], {"genres": [["comedy", "opera"]]}
    )
    result = describe(Affinity("genres"), [5], history=HISTORY, inventory=inventory)
    assert result["genres_affinity"] == pytest.approx([7 / 2 / TOTAL])
    assert result["genres_known"] == [0.5]
