"""Formats numbers and features for the page."""

from math import exp, expm1

_MINUS = "\N{MINUS SIGN}"
_LOG = ", log"
_VAGUE = frozenset({"chose", "clicked", "viewed", "visited", "hid"})


def count(value: int) -> str:
    """Returns a count as text.

    >>> count(2976)
    '2,976'
    """
    return f"{value:,}"


def number(value: float | None) -> str:
    """Returns a quantity with three digits.

    >>> number(-1.04064), number(12345.6), number(None)
    ('−1.04', '12,346', 'unknown')
    """
    if value is None:
        return "unknown"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", _MINUS)


def signed(value: float) -> str:
    """Returns a weight with its sign.

    >>> signed(0.2152), signed(-0.05)
    ('+0.215', '−0.050')
    """
    return f"{value:+.3f}".replace("-", _MINUS)


def milliseconds(value: float) -> str:
    """Returns a duration as text.

    >>> milliseconds(0.456), milliseconds(41.2), milliseconds(0.0)
    ('0.46 ms', '41 ms', '0.00 ms')
    """
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2f} ms"


def percent(value: float | None) -> str:
    """Returns a probability as a percentage.

    >>> percent(0.0312), percent(0.4), percent(None)
    ('3.1 %', '40 %', 'unknown')
    """
    return "unknown" if value is None else f"{100 * value:.2g} %"


def shelf_question(verb: str) -> str:
    """Returns the heading above the items to choose from.

    Args:
        verb: the verb of the like button, in the past tense.

    >>> shelf_question("liked"), shelf_question("bought"), shelf_question("viewed")
    ('What do you like?', 'What have you bought?', 'What interests you?')
    """
    if verb == "liked":
        return "What do you like?"
    return "What interests you?" if verb in _VAGUE else f"What have you {verb}?"


def feature_words(meaning: str, value: float | None) -> tuple[str, str]:
    """Returns the name and value of a feature, with logarithms as counts and ranks from 1.

    >>> feature_words("likes ever, log", 1.791759), feature_words("rank by als, log", 0.0)
    (('likes ever', '5'), ('rank by als', '1'))
    >>> feature_words("share of all likes ever, log", -6.9)
    ('share of all likes ever', '0.1 %')
    """
    plain = meaning.removesuffix(_LOG)
    if value is None or plain == meaning:
        return plain, number(value)
    if plain.startswith("share of "):
        return plain, percent(exp(value))
    if " over " in plain:  # a ratio
        return plain, number(exp(value))
    counted = expm1(value) + (1.0 if plain.startswith("rank ") else 0.0)
    return plain, number(round(counted, 4))
