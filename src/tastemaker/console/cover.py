"""Generates covers for items without a picture: color, shape and initials from the title."""

from dataclasses import dataclass
from zlib import crc32

from tastemaker.console.view import Card

HUES = 12
MOTIFS = 10
_SMALL_WORDS = frozenset(
    {"the", "a", "an", "of", "and", "in", "on", "to", "le", "la", "der", "die"}
)


@dataclass(frozen=True, slots=True)
class Cover:
    """The design of a cover.

    Attributes:
        hue: 0 to `HUES` - 1; the style sheet has a class for each.
        motif: 0 to `MOTIFS` - 1; the shape on the cover.
        flipped: whether the shape is mirrored.
        initials: at most two letters.
    """

    hue: int
    motif: int
    flipped: bool
    initials: str


def cover_of(card: Card) -> Cover:
    """Returns the cover of an item, which depends only on its title and detail.

    >>> cover_of(Card("541", "Blade Runner")).initials
    'BR'
    """
    code = crc32(card.name.encode())
    return Cover(
        code % HUES, code // HUES % MOTIFS, bool(code // (HUES * MOTIFS) % 2), _initials(card.title)
    )


def _initials(title: str) -> str:
    """The first letters of the first two words, without articles and prepositions."""
    words = [word for word in title.replace("-", " ").split() if any(map(str.isalnum, word))]
    significant = [
        word for word in words if word.casefold().strip(",.:") not in _SMALL_WORDS
    ] or words
    letters = (next(filter(str.isalnum, word)) for word in significant[:2])
    return "".join(letters).upper()
