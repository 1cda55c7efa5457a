"""Covers are generated from titles, and are legible for any title."""

import pytest

from tastemaker.console import Card
from tastemaker.console.cover import HUES, MOTIFS, cover_of


def test_one_title_has_one_cover() -> None:
    assert cover_of(Card("1", "Alien", state="liked")) == cover_of(Card("2", "Alien"))


def test_titles_are_spread_over_all_hues_and_shapes() -> None:
    covers = [cover_of(Card(str(n), f"Film {n}")) for n in range(500)]
    assert {cover.hue for cover in covers} == set(range(HUES))
    assert {cover.motif for cover in covers} == set(range(MOTIFS))


@pytest.mark.parametrize(
    ("title", "initials"),
    [
        ("Blade Runner", "BR"),
        ("Lord of the Rings, The", "LR"),
        ("The The", "TT"),
        ("It", "I"),
        ("2001: A Space Odyssey", "2S"),
        ("…and justice for all", "AJ"),
        ("", ""),
        ("🦊", ""),
        ("千と千尋", "千"),
    ],
)
def test_initials_skip_articles_and_prepositions(title: str, initials: str) -> None:
    assert cover_of(Card("1", title)).initials == initials
