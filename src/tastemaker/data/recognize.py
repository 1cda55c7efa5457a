"""Recognition of column roles by name, or else by values, which is marked as a guess."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from tastemaker.data.cells import numbers_of_texts
from tastemaker.data.id_forms import MISSING
from tastemaker.data.moments import times_of_numbers
from tastemaker.data.time_forms import ISO, is_ambiguous, time_form
from tastemaker.errors import DataError, did_you_mean

NAMES = {
    "user_id": """userid user uid customerid customer customerno clientid client visitorid visitor
        memberid member accountid account reviewerid profileid personid buyerid shopperid userno
        username playerid listenerid readerid""",
    "item_id": """itemid item movieid videoid productid sku articleid bookid songid trackid
        artistid asin contentid postid listingid iid gameid isbn appid stockcode productcode
        itemcode parentasin businessid animeid recipeid showid newsid courseid hotelid placeid
        locationid""",
    "event_type": """eventtype event kind action behavior behaviour interaction interactiontype
        actiontype activity type""",
    "value": """rating ratings score stars overall ratingvalue starrating userrating bookrating
        liked like isliked islike thumbs thumb recommended isrecommended recommend favorite
        favourite plays playcount listens listencount views viewcount clicks count quantity qty
        purchases purchase hours hoursplayed playtime minutes watchtime duration dwelltime weight
        strength value event""",
    "timestamp": """timestamp time datetime date createdat eventtime ts timems unixtime
        unixreviewtime servertime occurredat timestampms eventtimestamp eventdate ratedat created
        reviewtime purchasedate orderdate""",
    "event_id": "eventid",
}
"""Role → common names in plain letters, the most specific first."""
TITLES = ("title", "name", "headline")
_SOCIAL = re.compile(r"friend|trust|follow")
_VISITS = re.compile(r"invoice|order|transaction|basket|session|visit|event|row|index")
_IDS = re.compile(r"(?:id|code|sku|isbn|no|number|key|slug)$")
_EPOCH_YEARS = (946_684_800, 4_102_444_800)
"""2000 to 2100, seconds: the range in which a column of numbers is recognized as moments."""
_LARGEST_RATING = 10
_SAMPLE = 20_000
UNNAMED = "column_"
"""The prefix of generated names for columns without a name."""
_EPOCH_NAMES = {"timestamp", "timestampms", "eventtimestamp", "ts", "timems", "unixtime"}
_OTHER_TIMES = re.compile(
    r"birth|born|dob|expir|deliver|updat|modif|due|valid|releas|publish|regist|signup|joined"
)
"""Names of times that are not the time of the event."""
_MODERN = 315_532_800 * 10**6
"""1980."""
_EMPTY = 0.05
_UNREAD = 0.2


@dataclass(slots=True)
class Recognized:
    """The recognized roles of an event log's columns.

    Attributes:
        columns: Tastemaker's column → the source's column.
        guessed: the roles supported by values only, and times with an ambiguous format.
        forms: the source's column → the `strptime` pattern of a time column, if one is needed.
    """

    columns: dict[str, str] = field(default_factory=dict)
    guessed: set[str] = field(default_factory=set)
    forms: dict[str, str] = field(default_factory=dict)


def plain(name: str) -> str:
    """A name reduced to lower-case letters and digits: `Book-Title` is `booktitle`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def recognize_events(frame: pl.DataFrame, hints: Mapping[str, str] | None = None) -> Recognized:
    """The recognized columns of an event log.

    Args:
        frame: the log, or its beginning; columns with the types inferred by the reader.
        hints: Tastemaker's column → the source's column, if known to the caller.

    Raises:
        DataError: a hint names a column that does not exist.
    """
    found = Recognized()
    for ours, theirs in (hints or {}).items():
        if theirs not in frame.columns:
            raise DataError(f"no column '{theirs}' for {ours}{did_you_mean(theirs, frame.columns)}")
        found.columns[ours] = theirs
    sample = frame.head(_SAMPLE)
    _by_name(sample, found)
    _guess_time(sample, found)
    _guess_ids(sample, found)
    unnamed = all(column.startswith(UNNAMED) for column in frame.columns)
    if unnamed and "event_type" not in found.columns:
        _guess_rating(sample, found)
    time = found.columns.get("timestamp")
    if time is not None and (form := time_form(sample[time])) not in (None, ISO):
        found.forms[time] = str(form)
        if is_ambiguous(sample[time], str(form)):
            found.guessed.add("timestamp")
    return found


def recognize_id(
    frame: pl.DataFrame, ours: str, known: pl.Series | None = None, name: str | None = None
) -> tuple[str, bool]:
    """The id column of an item or user table, and whether it is a guess.

    Args:
        frame: the table, or its beginning.
        ours: `item_id` or `user_id`.
        known: ids of the event log; a column that contains many of them is a candidate.
        name: the name of the column in the event log.

    Raises:
        DataError: no column looks like an id column.
    """
    named = {plain(column): column for column in reversed(frame.columns)}
    given = "" if name is None or name.startswith(UNNAMED) else plain(name)
    for usual in (given, *NAMES[ours].split(), "id"):
        if usual in named:
            return named[usual], False
    ids = pl.Series([]) if known is None else known.drop_nulls().cast(pl.String).unique()
    if ids.len():
        shares = {
            column: float(ids.is_in(frame[column].cast(pl.String, strict=False).implode()).mean())  # type: ignore[arg-type]
            for column in frame.columns
            if frame[column].dtype.is_integer() or frame[column].dtype == pl.String
        }
        best = max(shares, key=lambda column: shares[column], default=None)
        if best is not None and shares[best] >= 0.5:
            return best, True
    raise DataError(f"no column looks like '{ours}' among {', '.join(frame.columns)}")


def title_column(columns: Sequence[str]) -> str | None:
    """The title column, by its name: `title`, `Book-Title`, `Game Name`; None if there is none."""
    for word in TITLES:
        for fits in (str.__eq__, str.endswith):
            for column in columns:
                if fits(plain(column), word):
                    return column
    return None


def _by_name(frame: pl.DataFrame, found: Recognized) -> None:
    for ours, names in NAMES.items():
        taken = set(found.columns.values())
        if ours in found.columns:
            continue
        fitting = (
            column
            for name in names.split()
            for column in frame.columns
            if plain(column) == name and column not in taken and _fits(frame[column], ours)
        )
        theirs = next(fitting, None)
        if theirs is not None:
            found.columns[ours] = theirs


def _fits(column: pl.Series, ours: str) -> bool:
    """Whether the values are plausible for the role."""
    kind = column.dtype
    if ours == "event_type":  # a number is probably a count, a boolean a label
        named = plain(column.name) == "eventtype"
        return named or (not kind.is_numeric() and kind != pl.Boolean)
    if ours == "value":
        return kind.is_numeric() or kind == pl.Boolean or _is_number_text(column)
    if ours == "timestamp":
        if kind.is_numeric():
            return plain(column.name) in _EPOCH_NAMES or _are_modern(column)
        return kind.is_temporal() or _has_moments(column)
    if ours in ("user_id", "item_id"):
        return not (kind.is_nested() or kind == pl.Boolean)
    return True


def _are_modern(column: pl.Series) -> bool:
    """Whether numbers read as times are mostly after 1980, unlike counts and serial days."""
    middle = times_of_numbers(column, "auto").median()
    return isinstance(middle, int | float) and middle >= _MODERN


def _has_moments(column: pl.Series) -> bool:
    """Whether at least half of the cells of a text column are moments or numbers."""
    if column.dtype != pl.String:
        return False
    cells = column.drop_nulls()
    numbers = cells.filter(cells.str.contains(r"^\s*\d+(\.\d*)?\s*$")).len()
    return time_form(column, 0.5) is not None or 2 * numbers >= max(cells.len(), 1)


def _is_number_text(column: pl.Series) -> bool:
    """Whether nearly all texts are numbers or booleans."""
    if column.dtype != pl.String:
        return False
    texts = column.drop_nulls()
    texts = texts.filter(~texts.str.contains(MISSING))
    unread = numbers_of_texts(texts).null_count()
    return bool(texts.len()) and unread <= _UNREAD * texts.len()


def _free(frame: pl.DataFrame, found: Recognized) -> list[str]:
    return [column for column in frame.columns if column not in found.columns.values()]


def _guess_time(frame: pl.DataFrame, found: Recognized) -> None:
    """Finds a column of moments by values; a guess unless only one has a time-like name."""
    time = found.columns.get("timestamp")
    if time is not None:
        if frame[time].dtype.is_numeric() and not _are_modern(frame[time]):
            found.guessed.add("timestamp")
        return
    fitting = [
        column
        for column in _free(frame, found)
        if frame[column].null_count() <= _EMPTY * frame.height
        and not _OTHER_TIMES.search(column.lower())
        and _holds_moments(frame[column])
    ]
    named = [column for column in fitting if re.search(r"date|time|stamp|when", column.lower())]
    if fitting:
        found.columns["timestamp"] = (named or fitting)[0]
        if len(named) != 1:
            found.guessed.add("timestamp")


def _holds_moments(column: pl.Series) -> bool:
    if column.dtype.is_temporal():
        return column.dtype != pl.Duration and column.dtype != pl.Time
    if column.dtype == pl.String:
        return time_form(column) is not None
    values = column.drop_nulls()
    if not column.dtype.is_integer() or not values.len() or values.n_unique() < 2:
        return False
    low, high = _EPOCH_YEARS
    values = values.cast(pl.Float64)  # nanoseconds do not fit into small integers
    return any(
        bool(values.is_between(low * unit, high * unit).all()) for unit in (1, 10**3, 10**6, 10**9)
    )


def _guess_ids(frame: pl.DataFrame, found: Recognized) -> None:
    """Guesses user and item columns without common names, by name endings, then by order."""
    if _SOCIAL.search(" ".join(frame.columns).lower()) and "item_id" not in found.columns:
        return
    for ours in ("user_id", "item_id"):
        if ours in found.columns:
            continue
        fitting = [column for column in _free(frame, found) if _may_be_id(frame[column])]
        ranked = sorted(fitting, key=lambda column: -_id_score(column, ours))
        if ranked:
            found.columns[ours] = ranked[0]
            found.guessed.add(ours)


def _may_be_id(column: pl.Series) -> bool:
    """Whether the values can be ids: whole numbers or short texts, not prose."""
    values = column.drop_nulls()
    if not values.len():
        return False
    if column.dtype.is_float():
        return bool((values == values.round()).all())
    if column.dtype.is_integer():
        return True
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return False
    texts = values.cast(pl.String)
    return bool((texts.str.len_chars() <= 64).all()) and bool(
        float((texts.str.count_matches(" ") <= 2).mean()) > 0.9  # type: ignore[arg-type]
    )


def _id_score(column: str, ours: str) -> int:
    name = plain(column)
    words = ("user", "cust", "member", "client", "person", "reader", "author", "visitor")
    is_user = any(word in name for word in words)
    score = 2 * bool(_IDS.search(name)) + 3 * ((ours == "user_id") == is_user)
    return score - 4 * bool(_VISITS.search(name))


def _guess_rating(frame: pl.DataFrame, found: Recognized) -> None:
    """Guesses the rating in a file without column names: a column of a few small numbers."""
    if "value" in found.columns:
        return
    for column in _free(frame, found):
        values = frame[column].drop_nulls()
        if frame[column].dtype.is_numeric() and values.len():
            small = bool(values.is_between(-_LARGEST_RATING, _LARGEST_RATING).all())
            if small and 1 < values.n_unique() <= 21:
                found.columns["value"] = column
                found.guessed.add("value")
                return
