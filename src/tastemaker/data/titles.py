"""Titles as people write them: `Shawshank Redemption, The` is shown as The Shawshank Redemption."""

import re
import unicodedata

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
    """A title with its article in front; for display only, data and ids stay as they are.

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
    """A text to compare in a search: small letters without accents, single spaces.

    >>> search_text("Amélie  POULAIN")
    'amelie poulain'
    """
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text)
        text = "".join(part for part in parts if not unicodedata.combining(part))
    return " ".join(text.casefold().split())


def match_rank(title: str, query: str) -> int | None:
    """How well a title matches a query: 0 is best, None means that it does not match.

    0: the title begins with the query, with or without its article. 1: a word of it does. 2: the
    query is inside a word.

    Args:
        title: as in the data.
        query: what `search_text` made of the words searched for, not empty.

    >>> [match_rank(title, "alien") for title in ("Aliens", "My Alien", "Valientes", "Jaws")]
    [0, 1, 2, None]
    """
    raw = search_text(title)
    shown = search_text(display_title(title)) if ", " in title else raw
    if raw.startswith(query) or shown.startswith(query):
        return 0
    if _begins_a_word(raw, query) or _begins_a_word(shown, query):
        return 1
    return 2 if query in raw or query in shown else None


def _begins_a_word(text: str, query: str) -> bool:
    at = text.find(query)
    while at >= 0:
        if at == 0 or not text[at - 1].isalnum():
            return True
        at = text.find(query, at + 1)
    return False


def _joined(article: str, rest: str) -> str:
    return f"{article}{rest}" if article.endswith("'") else f"{article} {rest}"
