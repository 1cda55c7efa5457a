"""Proposals for the event types of a log, from their names and values."""

import re
from math import ceil

import polars as pl

from tastemaker.data.cells import numbers_of_texts
from tastemaker.data.event_words import kind_of_name, replaced_by, value_is_amount
from tastemaker.data.recognize import plain
from tastemaker.data.schema import EventKind
from tastemaker.errors import DataError

MAX_KINDS = 50
_RATINGS = {"rating", "ratings", "score", "stars", "overall", "ratingvalue", "starrating"} | {
    "userrating",
    "bookrating",
}
_LABELS = {"liked", "like", "isliked", "islike", "thumbs", "thumb", "recommended", "recommend"} | {
    "isrecommended",
    "favorite",
    "favourite",
}
_COUNTS = {"count", "weight", "strength", "event", "minutes", "duration"}
_AMOUNTS = (
    (re.compile(r"quantity|^qty|purchase"), "purchase"),
    (re.compile(r"play|listen"), "play"),
    (re.compile(r"hour|minute|watch|duration|dwell"), "play"),
    (re.compile(r"view"), "view"),
    (re.compile(r"click"), "click"),
)
_SCALES = ((1.0, 5.0), (1.0, 10.0), (0.0, 100.0))
_FEW_LEVELS = 21
_INVERTED = re.compile(
    r"dislik|skip|cancel|return|refund|hide|hidden|reject|block|hate|dismiss|ignor"
)
_CODE_TIMES = 3
_CODES_ABOVE = (99.0, 999.0, 9999.0)
_LARGEST_RATING = 10
_LOWEST_STEP = 0.5


def propose_kinds(
    kinds: pl.Series | None, values: pl.Series | None, usual: str = "interaction"
) -> tuple[dict[str, EventKind], str | None]:
    """The event types of a log, and the type of rows that have none.

    Args:
        kinds: the event type of each row, as text; None if there is no such column.
        values: the value of each row, named as in the source; None if there is no such column.
        usual: the event type of a log without event types.

    Raises:
        DataError: the column has too many distinct values for event types.
    """
    if kinds is None:
        kind = None if values is None else propose_value(values)
        if kind is None or values is None:
            return {usual: kind_of_name(usual)}, usual
        name = _name_of_value(values.name, kind) if usual == "interaction" else usual
        weight = kind_of_name(name).weight if kind.strength is not None else 1.0
        return {name: kind.model_copy(update={"weight": weight})}, name
    names = kinds.cast(pl.String).drop_nulls().unique().sort().to_list()
    if len(names) > MAX_KINDS:
        raise DataError(
            f"the column '{kinds.name}' has more than {MAX_KINDS} kinds of event; map "
            "another column to 'event_type' under [data.columns.events]"
        )
    found = {name: kind_of_name(name) for name in names}
    if values is not None:
        for name in names:
            if found[name].role == "positive":
                kind = propose_value(values.filter(kinds.cast(pl.String) == name), name)
                weight = found[name].weight
                found[name] = kind.model_copy(update={"weight": weight}) if kind else found[name]
    return {
        name: kind.model_copy(update={"replaces": replaced_by(name, names)})
        for name, kind in found.items()
    }, None


def propose_value(values: pl.Series, event_type: str = "") -> EventKind | None:
    """The likely meaning of an event type's values (rating, label, amount); None if none.

    Args:
        values: the values, named as in the source.
        event_type: the name of the event type, if there are several.
    """
    name, numbers = plain(values.name), _numbers(values)
    if not numbers.len():
        return None
    levels = numbers.unique().sort()
    if levels.to_list() == [-1.0, 0.0, 1.0] or levels.to_list() == [-1.0, 1.0]:
        return EventKind(positive_threshold=1.0, negative_threshold=-1.0)
    if name in _RATINGS:
        return _rating(numbers, levels) if levels.len() > 1 or levels[0] > 1 else None
    if name in _LABELS:
        return _label(levels)
    if _INVERTED.search(name):  # 1 is a dislike, 0 is neutral
        return EventKind(role="negative", strength="linear")
    if any(pattern.search(name) for pattern, _ in _AMOUNTS) or name in _COUNTS:
        return _amount(levels)
    if event_type and value_is_amount(event_type):
        return _amount(levels)
    if set(levels.to_list()) <= {0.0, 1.0}:
        return _label(levels) if levels.len() == 2 else None
    if _looks_like_ratings(levels):
        return _rating(numbers, levels)
    return None if name == "value" or name.startswith("column") else _amount(levels)


def _amount(levels: pl.Series) -> EventKind | None:
    """An amount; None for a constant 0 or 1, which has no information."""
    return None if levels.len() == 1 and levels[0] in (0.0, 1.0) else EventKind(strength="log")


def _looks_like_ratings(levels: pl.Series) -> bool:
    """Whether the values are a few levels between −10 and 10, in steps of a half."""
    halves = 2 * levels
    in_range = levels[0] >= -_LARGEST_RATING and levels[-1] <= _LARGEST_RATING
    return 1 < levels.len() <= _FEW_LEVELS and in_range and bool((halves == halves.round()).all())


def unrated_codes(numbers: pl.Series) -> tuple[float, ...]:
    """The values that probably mean "not rated".

    These are −1 below a scale that starts at 0; 0 below a scale up to 5, 10 or 100 that has another
    lowest step; and 99 and similar values far above all others. Mistaking a rating of 0 for a code
    makes it neutral, which is less harmful than mistaking a code for a dislike.
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
    """A rating: liked from 70 % of the scale, disliked up to 35 %, at values that occur."""
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
    if dislike is not None and dislike >= like:  # the values are too close together
        dislike = None
    return EventKind(positive_threshold=like, negative_threshold=dislike, unrated=codes)


def _scale(levels: pl.Series) -> tuple[float, float]:
    """The lowest and the highest possible value.

    These are the extremes that occur, unless a common scale has the same maximum: 4 and 5 are taken
    as values of a scale from 1. A single value belongs to the shortest common scale that contains
    it.
    """
    low, high = float(levels[0]), float(levels[-1])
    if low == high:
        return next((scale for scale in _SCALES if high <= scale[1]), (0.0, high))
    for lowest, highest in _SCALES:
        if high == highest and low >= lowest:
            return lowest, highest
    return low, high


def _label(levels: pl.Series) -> EventKind | None:
    """A boolean, or thumbs as 1 and −1 or 1 and 0; the higher value is a like."""
    if levels.len() == 1:
        return (
            EventKind(positive_threshold=1.0, negative_threshold=0.0)
            if levels[0] in (0.0, 1.0)
            else None
        )
    if levels.len() == 2:
        return EventKind(positive_threshold=float(levels[1]), negative_threshold=float(levels[0]))
    return _rating(levels, levels)


def _numbers(values: pl.Series) -> pl.Series:
    """The finite numbers among the values; includes decimal commas and booleans."""
    if values.dtype == pl.String:
        values = numbers_of_texts(values)
    numbers = values.cast(pl.Float64, strict=False)
    return numbers.filter(numbers.is_finite())


def _name_of_value(column: str, kind: EventKind) -> str:
    """The event type of a log that has only a column of values."""
    name = plain(column)
    if kind.positive_threshold is not None:
        return "rating" if name in _RATINGS or name not in _LABELS else "like"
    return next((called for pattern, called in _AMOUNTS if pattern.search(name)), "interaction")
