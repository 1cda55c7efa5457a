"""A cover for an item without a picture: a colour, a shape and initials, from its title."""

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
    """How a cover looks.

    Attributes:
        hue: below `HUES`; the style sheet has a class for each.
        motif: below `MOTIFS`; the shape drawn on it.
        flipped: whether the shape is seen in a mirror.
        initials: at most two letters.
    """

    hue: int
    motif: int
    flipped: bool
    initials: str


def cover_of(card: Card) -> Cover:
    """The same cover for the same title, always.

    >>> cover_of(Card("541", "Blade Runner")).initials
    'BR'
    """
    code = crc32(card.name.encode())
    return Cover(
        code % HUES, code // HUES % MOTIFS, bool(code // (HUES * MOTIFS) % 2), _initials(card.title)
    )


def _initials(title: str) -> str:
    """The first letters of the first two words that say something."""
    words = [word for word in title.replace("-", " ").split() if any(map(str.isalnum, word))]
    telling = [word for word in words if word.casefold().strip(",.:") not in _SMALL_WORDS] or words
    letters = (next(filter(str.isalnum, word)) for word in telling[:2])
    return "".join(letters).upper()
