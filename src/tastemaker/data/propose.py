"""Looks at tables and proposes what their columns and kinds mean: for `init` and `from_frames`."""

import re

import polars as pl

from tastemaker.data.column_types import require_type
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.errors import DataError

MAX_KINDS = 50
_NAMES = {
    "user_id": "userid user uid customerid customer visitorid visitor memberid accountid "
    "reviewerid",
    "item_id": "itemid item movieid videoid productid sku articleid bookid songid trackid artistid "
    "asin contentid postid listingid iid",
    "event_type": "eventtype event kind action behavior behaviour interaction interactiontype type",
    "value": "value rating score stars overall weight count",
    "timestamp": "timestamp time datetime date createdat eventtime ts timems unixtime "
    "unixreviewtime servertime occurredat",
    "event_id": "eventid",
}
_RATING_NAMES = {"rating", "score", "stars", "overall"}
_TITLE_NAMES = {"title", "name", "headline", "productname", "itemname", "movietitle"}
_NEGATIVE = re.compile(r"dislike|hate|skip|return|refund|unlike|thumbs?_?down|block|not_interested")
_EXPOSURE = re.compile(r"impression|exposure|shown?|displayed|recommended")
_WEIGHTS = (
    (re.compile(r"purchase|buy|order|transaction|checkout|subscribe"), 6.0),
    (re.compile(r"cart|basket|wishlist|save|bookmark"), 3.0),
    (re.compile(r"like|love|favou?rite|follow|share|forward|comment|complete"), 2.0),
)


def propose_schema(
    events: pl.DataFrame, items: pl.DataFrame | None = None, users: pl.DataFrame | None = None
) -> Schema:
    """The likely meaning of the columns.

    Args:
        events: the event log, or its beginning; all columns as inferred by a reader.
        items: the item table.
        users: the user table.

    Raises:
        DataError: no column looks like a user or an item.
    """
    columns = _match_columns(
        events, ("user_id", "item_id", "event_type", "value", "timestamp", "event_id")
    )
    for needed in ("user_id", "item_id"):
        if needed not in columns:
            raise DataError(
                f"no column looks like '{needed}' among {', '.join(events.columns)}; name it "
                "under [data.columns.events]"
            )
    kinds, default = _propose_kinds(events, columns)
    if not any(kind.like is not None for kind in kinds.values()):
        columns.pop("value", None)
    return Schema(
        event_columns={ours: theirs for ours, theirs in columns.items() if ours != theirs},
        kinds=kinds,
        default_kind=default,
        clock="absolute" if "timestamp" in columns else "none",
        item_columns=_id_column(items, "item_id"),
        item_roles={} if items is None else _propose_roles(items, "item_id"),
        user_columns=_id_column(users, "user_id"),
        user_roles={} if users is None else _propose_roles(users, "user_id"),
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _match_columns(frame: pl.DataFrame, wanted: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for ours in wanted:
        for candidate in _NAMES[ours].split():
            theirs = next((c for c in frame.columns if _plain(c) == candidate), None)
            if theirs is not None and theirs not in found.values():
                found[ours] = theirs
                break
    return found


def _id_column(frame: pl.DataFrame | None, ours: str) -> dict[str, str]:
    if frame is None:
        return {}
    theirs = _match_columns(frame, (ours,)).get(ours)
    if theirs is None and "id" in frame.columns:
        theirs = "id"
    if theirs is None:
        raise DataError(f"no column looks like '{ours}' among {', '.join(frame.columns)}")
    return {} if theirs == ours else {ours: theirs}


def _propose_kinds(
    events: pl.DataFrame, columns: dict[str, str]
) -> tuple[dict[str, EventKind], str | None]:
    for ours in ("event_type", "value"):
        if ours in columns:
            require_type("events", columns[ours], events.schema[columns[ours]], ours)
    if "event_type" in columns:
        names = events[columns["event_type"]].cast(pl.String).drop_nulls().unique().sort().to_list()
        if len(names) > MAX_KINDS:
            raise DataError(
                f"the column '{columns['event_type']}' has more than {MAX_KINDS} kinds of event; "
                "name another column for 'event_type' under [data.columns.events]"
            )
        return {name: _propose_kind(name) for name in names}, None
    if "value" in columns:
        texts = events[columns["value"]].cast(pl.String)
        values = texts.cast(pl.Float64, strict=False).drop_nulls().drop_nans()
        name = _plain(columns["value"])
        if name in _RATING_NAMES and values.n_unique() > 1 and values.n_unique() <= 101:
            return {"rating": _propose_rating(values)}, "rating"
    return {"interaction": EventKind()}, "interaction"


def _propose_kind(name: str) -> EventKind:
    lowered = name.lower()
    if _NEGATIVE.search(lowered):
        return EventKind(role="negative")
    if _EXPOSURE.search(lowered):
        return EventKind(role="exposure")
    weight = next((weight for pattern, weight in _WEIGHTS if pattern.search(lowered)), 1.0)
    return EventKind(weight=weight)


def _propose_rating(values: pl.Series) -> EventKind:
    """Liked from 70 % of the scale's way up, disliked to 35 %, at values that occur."""
    steps = values.unique().sort()
    low, high = float(steps[0]), float(steps[-1])
    liked = steps.filter(steps >= low + 0.7 * (high - low))
    disliked = steps.filter(steps <= low + 0.35 * (high - low))
    return EventKind(like=float(liked[0]), dislike=float(disliked[-1]))


def _propose_roles(frame: pl.DataFrame, id_ours: str) -> dict[str, ColumnRole]:
    ids = set(_id_column(frame, id_ours).values()) or {id_ours}
    roles = {}
    for name in frame.columns:
        role = None if name in ids else _propose_role(frame[name])
        if role is not None:
            roles[name] = role
    return roles


def _propose_role(column: pl.Series) -> ColumnRole | None:
    kind, name = column.dtype, _plain(column.name)
    if isinstance(kind, pl.Datetime) or kind == pl.Date:
        return ColumnRole(role="time")
    if isinstance(kind, pl.List):
        return ColumnRole(role="tags", separator="|")
    if kind in (pl.Categorical, pl.Enum):
        return ColumnRole(role="category")
    if kind.is_numeric():
        return ColumnRole(role="time" if name in _NAMES["timestamp"].split() else "number")
    texts = column.drop_nulls()
    if kind != pl.String or not len(texts):
        return None
    if name in _TITLE_NAMES:
        return ColumnRole(role="text")
    for separator in ("|", ";"):
        if texts.str.contains(separator, literal=True).mean() > 0.2:  # type: ignore[operator]
            return ColumnRole(role="tags", separator=separator)
    few = texts.n_unique() <= max(20, len(texts) // 20)
    return ColumnRole(role="category" if few else "text")
