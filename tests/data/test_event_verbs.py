"""What a user did is told by the event type: bought, played, read, watched, liked."""

import pytest

from tastemaker.data.event_verbs import verb_of


@pytest.mark.parametrize(
    ("event_type", "verb"),
    [
        *(("purchase", "bought"), ("Purchased", "bought"), ("order", "bought")),
        *(("add_to_cart", "wanted to buy"), ("wishlist", "wished for"), ("play", "played")),
        *(("read", "read"), ("watch", "watched"), ("listen", "listened to"), ("like", "liked")),
        *(("rating", "liked"), ("ThumbsUp", "liked"), ("view_item", "viewed")),
        *(("click", "clicked"), ("favorite", "liked"), ("bookmark", "saved")),
        *(("event", "chose"), ("x", "chose"), ("", "chose"), ("unlike", "chose")),
    ],
)
def test_a_positive_event_has_its_own_verb(event_type: str, verb: str) -> None:
    assert verb_of(event_type) == verb


@pytest.mark.parametrize(
    ("event_type", "verb"),
    [
        *(("dislike", "disliked"), ("rating", "disliked"), ("skip", "skipped")),
        *(("hide", "hid"), ("return", "returned"), ("thumbs_down", "disliked")),
    ],
)
def test_a_negative_event_has_its_own_verb(event_type: str, verb: str) -> None:
    assert verb_of(event_type, positive=False) == verb
