"""The meaning of event type names, word by word."""

import pytest

from tastemaker.data.event_words import is_known, kind_of_name, replaced_by, value_is_amount


@pytest.mark.parametrize(
    "name",
    [
        "dislike", "Disliked", "skip", "track_skipped", "thumbs_down", "ThumbsDown", "downvote",
        "dismiss", "ignore", "rejected", "swipe_left", "mute", "negative", "complaint", "hidden",
        "bounce", "not_interested", "report", "reported", "pass", "returned", "refund", "cancelled",
        "order_canceled", "blocked",
    ],
)  # fmt: skip
def test_a_dislike_has_many_names(name: str) -> None:
    assert kind_of_name(name).role == "negative"
    assert is_known(name)


@pytest.mark.parametrize(
    "name",
    [
        "download", "report_viewed", "save_report", "returned_visit", "skip_ad", "unlock", "upload",
        "update", "season_pass", "view", "purchase", "pv", "password_change",
    ],
)  # fmt: skip
def test_part_of_a_word_is_no_dislike(name: str) -> None:
    assert kind_of_name(name).role == "positive"


@pytest.mark.parametrize("name", ["unlike", "unfollow", "unfavorited", "remove_from_cart"])
def test_an_event_that_undoes_another_is_neutral(name: str) -> None:
    assert kind_of_name(name).role == "neutral"


@pytest.mark.parametrize("name", ["impressions", "shown", "item_displayed", "exposure"])
def test_an_item_that_was_only_shown_is_an_exposure(name: str) -> None:
    assert kind_of_name(name).role == "exposure"


@pytest.mark.parametrize(("name", "weight"), [("update", 1), ("liked", 2), ("buy", 6)])
def test_weights_follow_whole_words(name: str, weight: float) -> None:
    assert kind_of_name(name).weight == weight


@pytest.mark.parametrize("name", ["unlock", "update", "zap", "level_up", "whatever"])
def test_a_name_without_a_known_word_is_not_known(name: str) -> None:
    assert not is_known(name)


@pytest.mark.parametrize(
    ("name", "replaced"),
    [
        ("unlike", ("like",)),
        ("remove_dislike", ("dislike",)),
        ("dislike", ("like",)),
        ("like", ("dislike",)),
        ("remove_from_cart", ("add_to_cart",)),
        ("refund", ("purchase",)),
        ("purchase", ("refund",)),
        ("view", ()),
    ],
)
def test_each_event_undoes_only_its_own_kind(name: str, replaced: tuple[str, ...]) -> None:
    names = ["like", "dislike", "unlike", "remove_dislike", "add_to_cart", "remove_from_cart"]
    assert replaced_by(name, [*names, "purchase", "refund", "view"]) == replaced


def test_values_of_purchases_are_amounts_and_of_reviews_ratings() -> None:
    assert value_is_amount("purchase")
    assert value_is_amount("add_to_cart")
    assert not value_is_amount("review")
    assert not value_is_amount("rate_view")
