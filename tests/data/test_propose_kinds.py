"""Proposals from ratings, labels, amounts and names of event types."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from tastemaker.data.propose_kinds import propose_kinds, propose_value
from tastemaker.data.schema import EventKind


def of_value(name: str, values: list[Any]) -> EventKind | None:
    return propose_value(pl.Series(name, values, strict=False))


@pytest.mark.parametrize(
    ("values", "like", "dislike"),
    [
        ([4, 5] * 20, 4, None),
        ([3, 4, 5] * 20, 4, None),
        ([1, 2, 3, 4, 5], 4, 2),
        ([1, 2, 3, 4], 4, 2),
        ([i / 2 for i in range(1, 9)], 3, 1.5),
        ([7, 8, 9, 10] * 9, 8, None),
        (["0,5", "1,0", "4,5", "5,0"], 4.5, 1.0),
        (list(range(101)), 70, 35),
        ([4, 4], 4, None),
        ([2, 2], 4, 2),
    ],
)
def test_thresholds_follow_the_scale(values: list[Any], like: float, dislike: float | None) -> None:
    kind = of_value("rating", values)
    assert kind is not None
    assert (kind.positive_threshold, kind.negative_threshold) == (like, dislike)


def test_a_continuous_rating_has_thresholds_too() -> None:
    kind = of_value("rating", np.linspace(-10, 10, 400).tolist())
    assert kind is not None
    assert kind.positive_threshold == pytest.approx(4.0)
    assert kind.negative_threshold == pytest.approx(-3.0)


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([0] * 60 + list(range(1, 11)) * 3, (0.0,)),
        ([-1] * 9 + list(range(11)), (-1.0,)),
        (list(range(11)), (0.0,)),
        ([0] * 9 + [0.5, 1, 1.5, 2, 5], (0.0,)),
        ([0, 1, 2, 3, 4, 5, 99], (99.0,)),
        ([99] * 9 + np.linspace(-10, 10, 300).tolist(), (99.0,)),
        ([0, 1, 2, 3], ()),
        (list(range(101)), ()),
        ([0.5, 1, 2, 5], ()),
    ],
)
def test_codes_for_not_rated_are_found(values: list[float], codes: tuple[float, ...]) -> None:
    kind = of_value("rating", values)
    assert kind is not None
    assert kind.unrated == codes
    assert kind.negative_threshold is None or kind.negative_threshold not in codes
    assert kind.positive_threshold not in codes


@pytest.mark.parametrize(
    ("values", "like", "dislike"),
    [
        ([True, False], 1, 0), (["True", "False"], 1, 0), ([1, 0], 1, 0), ([1, -1], 1, -1),
        ([1, 0, -1], 1, -1), ([False], 1, 0), ([True], 1, 0),
    ],
)  # fmt: skip
def test_a_label_is_liked_or_disliked(values: list[Any], like: float, dislike: float) -> None:
    kind = of_value("liked", values)
    assert kind is not None
    assert (kind.positive_threshold, kind.negative_threshold) == (like, dislike)


@pytest.mark.parametrize("name", ["plays", "Quantity", "hours", "weight", "watch_time"])
def test_an_amount_multiplies_the_weight(name: str) -> None:
    assert of_value(name, [900, 1]) == EventKind(strength="log")
    assert of_value(name, [1, 1, 1]) is None


def test_a_rating_next_to_one_event_type_is_used() -> None:
    values = pl.Series("rating", [1.0, 5.0, 3.0, 4.0, 2.0])
    kinds, default = propose_kinds(pl.Series("event_type", ["rating"] * 5), values)
    assert kinds["rating"].positive_threshold == 4
    assert default is None


def test_each_event_type_has_the_values_of_its_own_rows() -> None:
    names = pl.Series("event", ["view", "view", "rate", "rate", "rate", "rate", "rate"])
    values = pl.Series("rating", [None, None, 1.0, 2.0, 3.0, 4.0, 5.0])
    kinds, _ = propose_kinds(names, values)
    assert kinds["view"] == EventKind()
    assert (kinds["rate"].positive_threshold, kinds["rate"].negative_threshold) == (4, 2)


@pytest.mark.parametrize(
    ("names", "replacing", "role", "replaced"),
    [
        (["like", "unlike"], "unlike", "neutral", ("like",)),
        (["purchase", "return", "view"], "return", "negative", ("purchase",)),
        (["purchase", "return", "view"], "purchase", "positive", ("return",)),
        (["buy", "refund"], "refund", "negative", ("buy",)),
        (["add_to_cart", "remove_from_cart"], "remove_from_cart", "neutral", ("add_to_cart",)),
        (["like", "dislike"], "dislike", "negative", ("like",)),
        (["like", "dislike"], "like", "positive", ("dislike",)),
        (["thumbs_up", "thumbs_down"], "thumbs_up", "positive", ("thumbs_down",)),
        (["follow", "unfollow"], "unfollow", "neutral", ("follow",)),
    ],
)
def test_an_event_that_undoes_another_replaces_it(
    names: list[str], replacing: str, role: str, replaced: tuple[str, ...]
) -> None:
    kinds, _ = propose_kinds(pl.Series("event", names), None)
    assert kinds[replacing].role == role
    assert kinds[replacing].replaces == replaced


@pytest.mark.parametrize("name", ["note", "Bewertung", "grade", "opinion"])
def test_values_that_look_like_ratings_are_ratings(name: str) -> None:
    kind = of_value(name, [1, 2, 3, 4, 5])
    assert kind is not None
    assert (kind.positive_threshold, kind.negative_threshold) == (4, 2)
    assert of_value(name, ["0,5", "1,0", "4,5", "5,0"]) == EventKind(
        positive_threshold=4.5, negative_threshold=1.0
    )


@pytest.mark.parametrize("name", ["disliked", "skipped", "cancelled", "is_hidden", "returned"])
@pytest.mark.parametrize("values", [[0, 1], [True, False], ["TRUE", "FALSE"], [1]])
def test_a_true_dislike_is_a_dislike(name: str, values: list[Any]) -> None:
    assert of_value(name, values) == EventKind(role="negative", strength="linear")


@pytest.mark.parametrize("name", ["rating", "feedback", "thumbs", "vote", "value"])
@pytest.mark.parametrize("values", [[-1, 0, 1], [1, -1]])
def test_thumbs_are_thumbs_under_any_name(name: str, values: list[int]) -> None:
    assert of_value(name, values) == EventKind(positive_threshold=1.0, negative_threshold=-1.0)


@pytest.mark.parametrize("event_type", ["purchase", "order", "play", "view"])
def test_a_value_of_a_purchase_is_an_amount(event_type: str) -> None:
    names = pl.Series("event_type", [event_type] * 4)
    kinds, _ = propose_kinds(names, pl.Series("value", [1, 2, 3, -1]))
    assert kinds[event_type].strength == "log"
    assert kinds[event_type].positive_threshold is None


@pytest.mark.parametrize(
    ("values", "like", "dislike"),
    [([5, 6, 7, 8, 9, 10], 8, None), ([2, 3, 4, 5], 4, 2), ([6, 8, 10], 8, None)],
)
def test_values_that_end_at_a_scales_end_are_of_that_scale(
    values: list[float], like: float, dislike: float | None
) -> None:
    kind = of_value("rating", values)
    assert kind is not None
    assert (kind.positive_threshold, kind.negative_threshold) == (like, dislike)
