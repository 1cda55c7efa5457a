"""Event types are shown as verbs: bought, played, read, watched, liked."""

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
        *(("booked", "booked"), ("book", "booked"), ("book_read", "read"), ("Tried", "tried")),
        *(("preorder", "preordered"), ("rented", "rented"), ("reservations", "booked")),
        *(("purchase_view", "viewed"), ("cartClicked", "clicked"), ("like_impression", "saw")),
        *(("VIEW", "viewed"), ("CART_VIEWS", "viewed"), ("view_cart", "wanted to buy")),
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
