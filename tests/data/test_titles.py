"""Titles are shown as people write them, and found by what people type."""

import pytest

from tastemaker.data.titles import display_title, match_rank, search_text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Shawshank Redemption, The", "The Shawshank Redemption"),
        ("Matrix, The (1999)", "The Matrix (1999)"),
        ("Beautiful Mind, A", "A Beautiful Mind"),
        ("American Werewolf in London, An", "An American Werewolf in London"),
        ("Postino, Il (Postman, The)", "Il Postino (The Postman)"),
        ("Avventura, L' (a.k.a. Adventure, The)", "L'Avventura (a.k.a. The Adventure)"),
        ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
        ("Blechtrommel, Die", "Die Blechtrommel"),
    ],
)
def test_an_article_at_the_end_is_shown_in_front(raw: str, shown: str) -> None:
    assert display_title(raw) == shown


@pytest.mark.parametrize(
    "title",
    ["Alien", "", ", The", "Me, Myself & Irene", "Theodore, There", "Room, the", "A, B, C (D, E)"],
)
def test_any_other_title_stays_as_it_is(title: str) -> None:
    assert display_title(title) == title


@pytest.mark.parametrize(
    ("title", "query", "rank"),
    [
        ("Aliens", "ALIEN", 0),
        ("Shawshank Redemption, The", "the shaw", 0),
        ("Shawshank Redemption, The", "shaw", 0),
        ("AVP: Alien vs. Predator", "alien", 1),
        ("Spider-Man", "man", 1),
        ("On Probation (Tiempo de Valientes)", "alien", 2),
        ("Am\u00e9lie", "amelie", 0),
        ("Jaws", "alien", None),
        ("", "alien", None),
    ],
)
def test_a_beginning_matches_before_the_inside(title: str, query: str, rank: int | None) -> None:
    assert match_rank(title, search_text(query)) == rank
