"""What the event types of a log probably mean, from their names and values."""

import re
from collections.abc import Sequence
from math import ceil

import polars as pl

from tastemaker.data.cells import numbers_of_texts
from tastemaker.data.recognize import plain
from tastemaker.data.schema import EventKind
from tastemaker.errors import DataError

MAX_KINDS = 50
_UNDO = re.compile(r"^(?:un|remove|cancel|delete|undo)[ _-]?(?=[a-z])|_?removed?$")
_RETURN = re.compile(r"return|refund|cancel|chargeback")
_NEGATIVE = re.compile(
    r"dislike|hate|skip|thumbs?[ _-]?down|^down|block|not[ _-]interested|hide|report"
)
_EXPOSURE = re.compile(r"impression|exposure|shown?$|displayed|recommended")
_PURCHASE = re.compile(r"purchase|buy|bought|order|transaction|checkout|subscribe|^sale")
_CART = re.compile(r"cart|basket|wish_?list|save|bookmark")
_LIKE = re.compile(
    r"like|love|favou?rite|follow|share|forward|comment|complete|thumbs?[ _-]?up|^up"
)
_WEIGHTS = ((_PURCHASE, 6.0), (_CART, 3.0), (_LIKE, 2.0))
_STEMS = re.compile(r"like|love|favou?rite|follow|save|bookmark|cart|basket|wish_?list|subscribe")
_THUMBS = re.compile(r"dislike|hate|thumbs?[ _-]?down|^down(?:vote)?$")
_THUMBS_UP = re.compile(r"^(?:like|love|thumbs?[ _-]?up|up(?:vote)?)$")

_RATINGS = {"rating", "ratings", "score", "stars", "overall", "ratingvalue", "starrating"} | {
    "userrating",
    "bookrating",
}
_LABELS = {"liked", "like", "isliked", "islike", "thumbs", "thumb", "recommended", "recommend"} | {
    "isrecommended",
    "favorite",
    "favourite",
}
_AMOUNTS = (
    (re.compile(r"quantity|^qty|purchase"), "purchase"),
    (re.compile(r"play|listen"), "play"),
    (re.compile(r"hour|minute|watch|duration|dwell"), "play"),
    (re.compile(r"view"), "view"),
    (re.compile(r"click"), "click"),
)
_SCALES = ((0.0, 1.0), (1.0, 5.0), (1.0, 10.0), (0.0, 100.0))
_FEW_LEVELS = 10
_CODE_TIMES = 3
_CODES_ABOVE = (99.0, 999.0, 9999.0)
_LARGEST_RATING = 10
_LOWEST_STEP = 0.5


def propose_kinds(
    kinds: pl.Series | None, values: pl.Series | None, usual: str = "interaction"
) -> tuple[dict[str, EventKind], str | None]:
    """The event types of a log, and the one of rows that have none.

    Args:
        kinds: the event type of each row, as text; None where no column says it.
        values: the value of each row, named as in the source; None where there is none.
        usual: what to call the events of a log without types.

    Raises:
        DataError: more distinct event types than a log has.
    """
    if kinds is None:
        kind = None if values is None else propose_value(values)
        if kind is None or values is None:
            return {usual: _of_name(usual) if usual != "interaction" else EventKind()}, usual
        name = _name_of_value(values.name, kind) if usual == "interaction" else usual
        weight = _of_name(name).weight if kind.strength is not None else 1.0
        return {name: kind.model_copy(update={"weight": weight})}, name
    names = kinds.cast(pl.String).drop_nulls().unique().sort().to_list()
    if len(names) > MAX_KINDS:
        raise DataError(
            f"the column '{kinds.name}' has more than {MAX_KINDS} kinds of event; name another "
            "column for 'event_type' under [data.columns.events]"
        )
    found = {name: _of_name(name) for name in names}
    if values is not None:
        for name in names:
            kind = propose_value(values.filter(kinds.cast(pl.String) == name))
            if kind is not None and found[name].role == "positive":
                found[name] = kind.model_copy(update={"weight": found[name].weight})
    return _with_replacements(found), None


def propose_value(values: pl.Series) -> EventKind | None:
    """What the values of one event type say: a rating, a label, an amount; None for nothing."""
    name, numbers = plain(values.name), _numbers(values)
    if not numbers.len():
        return None
    levels = numbers.unique().sort()
    if name in _RATINGS:
        return _rating(numbers, levels) if levels.len() > 1 or levels[0] > 1 else None
    if name in _LABELS:
        return _label(levels)
    if name == "value" or name.startswith("column"):
        return _rating(numbers, levels) if 1 < levels.len() <= 21 and levels[-1] <= 10 else None
    if levels.len() == 1 and levels[0] in (0.0, 1.0):
        return None  # a constant says nothing
    return EventKind(strength="log")


def unrated_codes(numbers: pl.Series) -> tuple[float, ...]:
    """The values that probably mean "not rated".

    −1 below a scale from 0; 0 below one to 5, 10 or 100 that has another lowest step; 99 and the
    like far above all others. A rating of 0 that is taken for a code is neutral, which loses less
    than a code that is taken for a dislike.
    """
    levels = numbers.unique().sort()
    codes = []
    if levels.len() > 2 and levels[-1] in _CODES_ABOVE and levels[-2] <= _LARGEST_RATING:
        codes.append(float(levels[-1]))
        levels = levels.head(levels.len() - 1)
    if levels.len() > 2 and levels[0] == -1 and levels[1] >= 0:
        codes.append(-1.0)
        levels = levels.slice(1)
    if levels.len() > 2 and levels[0] == 0 and levels[1] >= _LOWEST_STEP:
        common = numbers.filter(numbers == 0).len() >= _CODE_TIMES * (
            numbers.filter(numbers == levels[1]).len()
        )
        if common or (levels[-1] in (5, 10) and not codes):
            codes.append(0.0)
    return tuple(sorted(codes))


def _rating(numbers: pl.Series, levels: pl.Series) -> EventKind:
    """Liked from 70 % of the scale's way up, disliked to 35 %, at values that occur."""
    codes = unrated_codes(numbers)
    levels = levels.filter(~levels.is_in(list(codes)))
    low, high = _scale(levels)
    liked = levels.filter(levels >= low + 0.7 * (high - low))
    disliked = levels.filter(levels <= low + 0.35 * (high - low))
    if levels.len() > 101:  # continuous: a threshold between the values, easy to read
        like: float = round(low + 0.7 * (high - low), 2)
        dislike: float | None = round(low + 0.35 * (high - low), 2)
    else:
        like = float(liked[0]) if liked.len() else float(ceil(low + 0.7 * (high - low)))
        dislike = float(disliked[-1]) if disliked.len() else None
    if dislike is not None and dislike >= like:  # the values are too close to each other
        dislike = None
    return EventKind(like=like, dislike=dislike, unrated=codes)


def _scale(levels: pl.Series) -> tuple[float, float]:
    """The lowest and the highest value that could have been given.

    What occurs, but for the upper part of a usual scale alone: 4 and 5 are of a scale from 1. One
    value alone is of the shortest usual scale that has it.
    """
    low, high = float(levels[0]), float(levels[-1])
    if low == high:
        return next((scale for scale in _SCALES[1:] if high <= scale[1]), (0.0, high))
    for lowest, highest in _SCALES:
        if high == highest and low >= (lowest + highest) / 2 and levels.len() <= _FEW_LEVELS:
            return lowest, highest
    return low, high


def _label(levels: pl.Series) -> EventKind | None:
    """A truth, or thumbs as 1 and −1 or 1 and 0; the higher one is a like."""
    if levels.len() == 1:
        return EventKind(like=1.0, dislike=0.0) if levels[0] in (0.0, 1.0) else None
    if levels.len() == 2:
        return EventKind(like=float(levels[1]), dislike=float(levels[0]))
    if levels.to_list() == [-1.0, 0.0, 1.0]:
        return EventKind(like=1.0, dislike=-1.0)
    return _rating(levels, levels)


def _numbers(values: pl.Series) -> pl.Series:
    """The finite numbers among the values; a decimal comma and truths count."""
    if values.dtype == pl.String:
        values = numbers_of_texts(values)
    numbers = values.cast(pl.Float64, strict=False)
    return numbers.filter(numbers.is_finite())


def _name_of_value(column: str, kind: EventKind) -> str:
    """What to call the events that a column of values is all there is of."""
    name = plain(column)
    if kind.like is not None:
        return "rating" if name in _RATINGS or name not in _LABELS else "like"
    return next((called for pattern, called in _AMOUNTS if pattern.search(name)), "interaction")


def _of_name(name: str) -> EventKind:
    lowered = name.lower()
    if _UNDO.search(lowered) and not _RETURN.search(lowered):
        return EventKind(role="neutral")
    if _NEGATIVE.search(lowered) or _RETURN.search(lowered):
        return EventKind(role="negative")
    if _EXPOSURE.search(lowered):
        return EventKind(role="exposure")
    weight = next((weight for pattern, weight in _WEIGHTS if pattern.search(lowered)), 1.0)
    return EventKind(weight=weight)


def _with_replacements(kinds: dict[str, EventKind]) -> dict[str, EventKind]:
    """The event types, those that take back others named as doing so."""
    names: Sequence[str] = list(kinds)

    def replaced_by(name: str) -> list[str]:
        lowered, kind = name.lower(), kinds[name]
        if kind.role == "neutral":
            stems = set(_STEMS.findall(lowered))
            return [o for o in names if o != name and stems & set(_STEMS.findall(o.lower()))]
        if _RETURN.search(lowered):
            return [o for o in names if o != name and _PURCHASE.search(o.lower())]
        if _PURCHASE.search(lowered):  # bought again after a return
            return [o for o in names if o != name and _RETURN.search(o.lower())]
        if _THUMBS.search(lowered):
            return [o for o in names if _THUMBS_UP.search(o.lower())]
        if _THUMBS_UP.search(lowered):
            return [o for o in names if _THUMBS.search(o.lower())]
        return []

    return {
        name: kind.model_copy(update={"replaces": tuple(replaced_by(name))})
        for name, kind in kinds.items()
    }
