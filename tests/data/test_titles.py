"""Display and search of titles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.catalogue import Catalogue, TextColumn
from tastemaker.data.titles import NO_MATCH, TitleSearch, display_title, search_text
from tastemaker.data.vocabulary import Vocabulary


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
def test_other_titles_are_not_changed(title: str) -> None:
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
        ("Jaws", "alien", NO_MATCH),
        ("", "alien", NO_MATCH),
        ("Jaws", "jaws" * 2_000, NO_MATCH),
    ],
)
def test_a_match_at_the_start_ranks_before_one_inside(title: str, query: str, rank: int) -> None:
    assert TitleSearch([title]).ranks(search_text(query)).tolist() == [rank]


def by_definition(title: str, query: str) -> int:
    """The rank of one title, computed from each of its texts."""
    texts = {search_text(title), search_text(display_title(title))}
    places = [(t, at) for t in texts for at in range(len(t)) if t.startswith(query, at)]
    return min(
        (0 if at == 0 else 2 if text[at - 1].isalnum() else 1 for text, at in places),
        default=NO_MATCH,
    )


words = st.text(st.sampled_from("ab\u00e9\U0001f600 ,-'") | st.characters(), max_size=8)
titles = st.lists(words | words.map(lambda text: f"{text}, The"), max_size=8)


@given(titles, st.text("ab ,e-t", max_size=3) | words)
def test_a_search_of_many_titles_ranks_each_by_itself(many: list[str], typed: str) -> None:
    if query := search_text(typed):
        expected = [by_definition(title, query) for title in many]
        assert TitleSearch(many).ranks(query).tolist() == expected


def test_a_catalogue_builds_its_search_index_once() -> None:
    column = TextColumn.of(["Alien", None])
    catalogue = Catalogue(Vocabulary.of(["a", "b"]), {"title": column})
    assert catalogue.title_search is catalogue.title_search
    later = catalogue.extended(["c"], {"title": ["My Alien"]})
    assert later.title_search.ranks("alien").tolist() == [0, NO_MATCH, 1]
    assert np.array_equal(catalogue.title_search.ranks("alien"), [0, NO_MATCH])
