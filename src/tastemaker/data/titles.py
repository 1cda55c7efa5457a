"""Display and search of titles: `Shawshank Redemption, The` becomes The Shawshank Redemption."""

import re
import unicodedata
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

NO_MATCH = 3
"""The rank of a title that does not match a query."""
_ARTICLES = (
    *("The", "A", "An"),
    *("Le", "La", "Les", "L'", "Un", "Une"),
    *("Der", "Die", "Das", "Ein", "Eine"),
    *("El", "Los", "Las", "Il", "Lo", "Gli"),
    *("De", "Den", "Det", "Het"),
)
_ARTICLE = "|".join(_ARTICLES)
_IN_FRONT = re.compile(rf"^([^()]+), ({_ARTICLE})(?= \(|$)")
_IN_BRACKETS = re.compile(rf"\((a\.k\.a\. )?([^()]+), ({_ARTICLE})\)")


def display_title(title: str) -> str:
    """A title with its article in front; for display only, data and ids are not changed.

    >>> display_title("Matrix, The (1999)"), display_title("Avventura, L' (Adventure, The)")
    ('The Matrix (1999)', "L'Avventura (The Adventure)")
    >>> display_title("Good, the Bad and the Ugly, The"), display_title("Crouching Tiger, Hidden")
    ('The Good, the Bad and the Ugly', 'Crouching Tiger, Hidden')
    """
    if ", " not in title:
        return title
    moved = _IN_FRONT.sub(lambda found: _joined(found[2], found[1]), title)
    return _IN_BRACKETS.sub(lambda found: f"({found[1] or ''}{_joined(found[3], found[2])})", moved)


def search_text(text: str) -> str:
    """A text normalized for search: lower case, without accents, single spaces.

    >>> search_text("Amélie  POULAIN")
    'amelie poulain'
    """
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text)
        text = "".join(part for part in parts if not unicodedata.combining(part))
    return " ".join(text.casefold().split())


class TitleSearch:
    """A search index of titles.

    All texts are stored in one array of code points, each after a line break, so that a search is a
    few array comparisons.

    Cost: to build, one pass over the titles and about 5 bytes per character; to search, one
    comparison per character.

    Example:
        >>> TitleSearch(["Aliens", "My Alien", "Valientes", "Jaws"]).ranks("alien").tolist()
        [0, 1, 2, 3]
    """

    def __init__(self, titles: Iterable[str]) -> None:
        texts, items = list[str](), list[int]()
        self._n_titles = 0
        for item, title in enumerate(titles):
            raw = search_text(title)
            shown = search_text(display_title(title)) if ", " in title else raw
            texts += [raw] if shown == raw else [raw, shown]
            items += [item] if shown == raw else [item, item]
            self._n_titles = item + 1
        self._points = _code_points("\n" + "\n".join(texts))
        self._item = np.array(items, np.int32)
        self._breaks = np.flatnonzero(self._points == ord("\n"))
        in_words = np.zeros(int(self._points.max()) + 1, np.bool_)
        in_words[self._points] = True
        points = np.flatnonzero(in_words)
        in_words[points] = [chr(point).isalnum() for point in points.tolist()]
        self._in_word = in_words[self._points]

    def ranks(self, query: str) -> NDArray[np.int8]:
        """How well each title matches a query, int8[titles]; 0 is best.

        0: the title starts with the query, with or without its article. 1: one of its words does.
        2: the query is inside a word. `NO_MATCH`: the title does not match.

        Args:
            query: the query normalized by `search_text`, not empty.
        """
        ranks = np.full(self._n_titles, NO_MATCH, np.int8)
        if not self._n_titles:
            return ranks
        points = _code_points(query)
        last = max(0, len(self._points) - len(points) + 1)
        at = np.flatnonzero(self._points[:last] == points[0])
        for place in range(1, len(points)):
            at = at[self._points[at + place] == points[place]]
        item = self._item[np.searchsorted(self._breaks, at) - 1]
        ranks[item] = 2
        ranks[item[~self._in_word[at - 1]]] = 1
        ranks[item[self._points[at - 1] == ord("\n")]] = 0
        return ranks


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _joined(article: str, rest: str) -> str:
    return f"{article}{rest}" if article.endswith("'") else f"{article} {rest}"
