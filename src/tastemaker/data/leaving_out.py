"""Events that are left out before anything is learned: excluded users, undescribed rare items."""

from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from tastemaker.data.schema import Exclude
from tastemaker.data.times import MICROSECONDS

MIN_USERS = 2
"""So many users an undescribed item needs where the item table describes most events."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many events were left out, and why.

    Attributes:
        excluded_users: users named by `[data.exclude] users` who had events.
        excluded_user_events: their events.
        excluded_items: items named by `[data.exclude] items` that had events.
        excluded_item_events: their events.
        busy_users: users with more than `max_events_per_day` events on a day.
        busy_user_events: their events.
        max_events_per_day: that setting; 0 where there is none.
        undescribed_items: items that no table describes and that too few users touched.
        undescribed_events: their events.
        min_item_users: how many users would have been enough; 0 where it was not required.
        too_many_for: the source that would not fit into the memory budget with them; empty where
            only the rule left them out.
        older_events: events of a store that would not fit into the memory budget.
        used_from: where the events that are used begin; empty where all are.
    """

    excluded_users: int = 0
    excluded_user_events: int = 0
    excluded_items: int = 0
    excluded_item_events: int = 0
    busy_users: int = 0
    busy_user_events: int = 0
    max_events_per_day: int = 0
    undescribed_items: int = 0
    undescribed_events: int = 0
    min_item_users: int = 0
    too_many_for: str = ""
    older_events: int = 0
    used_from: str = ""

    @property
    def events(self) -> int:
        """How many events were left out."""
        by_rule = self.excluded_user_events + self.excluded_item_events + self.busy_user_events
        return by_rule + self.undescribed_events + self.older_events

    def lines(self) -> list[str]:
        """One sentence for each reason that applied."""
        found = []
        if self.excluded_users:
            found.append(
                f"{self.excluded_user_events:,} events of {self.excluded_users:,} users were left "
                "out: [data.exclude] users names them"
            )
        if self.excluded_items:
            found.append(
                f"{self.excluded_item_events:,} events with {self.excluded_items:,} items were "
                "left out: [data.exclude] items names them"
            )
        if self.busy_users:
            found.append(
                f"{self.busy_user_events:,} events of {self.busy_users:,} users were left out, who "
                f"had more than {self.max_events_per_day:,} events on a day: [data.exclude] "
                "max_events_per_day"
            )
        if self.undescribed_items:
            why = fix = ""
            if self.too_many_for:
                why = f", as the source '{self.too_many_for}' does not fit into the memory budget"
                fix = "raise [training] memory, describe them, or take another source"
            found.append(
                f"{self.undescribed_items:,} items that nobody described and fewer than "
                f"{self.min_item_users:,} users touched were left out{why}: "
                f"{self.undescribed_events:,} events; "
                f"{fix or '[data] min_item_users = 1 keeps them'}"
            )
        if self.older_events:
            found.append(
                f"{self.older_events:,} older events were left out to fit the memory budget: those "
                f"from {self.used_from} on are used; raise [training] memory, remove events with "
                "`tastemaker store events remove`, or name bots under [data.exclude]"
            )
        return found


NOTHING_LEFT_OUT = LeftOut()


def leave_out(
    log: pl.DataFrame,
    items: pl.DataFrame | None,
    exclude: Exclude,
    min_item_users: int | None,
    has_moments: bool,
    earlier: LeftOut = NOTHING_LEFT_OUT,
) -> tuple[pl.DataFrame, LeftOut]:
    """The events that are learned from, and what was left out.

    An item is undescribed if `items` has no row for it. Where `min_item_users` is None, undescribed
    items need two users if the item table describes most of what is in the project's files: the
    user–item pairs of described items are at least as many as those of undescribed items that two
    users touched. Events that came over HTTP are not compared, so that nobody can switch the rule
    off by posting events.

    Args:
        log: user_id, item_id and time, and other columns, which are kept; `served`, if there is
            such a column, says which events came over HTTP.
        items: the item table; None where there is none.
        exclude: whose events to leave out.
        min_item_users: distinct users that an undescribed item needs; None, see above.
        has_moments: whether times are moments, so that there are days.
        earlier: what is not in `log` any more.

    Cost: one pass for each rule in use; the distinct pairs of the files' events where
    `min_item_users` is None; those of undescribed items where they need more than two users.
    """
    counts: dict[str, Any] = {}
    for column, ids, what in (
        ("user_id", exclude.users, "excluded_user"),
        ("item_id", exclude.items, "excluded_item"),
    ):
        if ids:
            named = _named(log[column], ids)
            log, away, n_ids = _without(log, column, named)
            counts |= {f"{what}s": n_ids, f"{what}_events": away}
    if exclude.max_events_per_day is not None and has_moments:
        busy = _busy(log, exclude.max_events_per_day)
        log, away, n_ids = _without(log, "user_id", busy)
        counts |= {"busy_users": n_ids, "busy_user_events": away}
        counts["max_events_per_day"] = exclude.max_events_per_day
    if (items is not None and items.height) or (min_item_users or 1) > 1:
        rare, needed = _rare(log, items, min_item_users)
        log, away, n_ids = _without(log, "item_id", rare)
        counts |= {"undescribed_items": n_ids, "undescribed_events": away}
        counts["min_item_users"] = needed
    return log, replace(earlier, **counts)


def _named(column: pl.Series, ids: tuple[str, ...]) -> pl.Series:
    """The distinct values of a column that are, as text, among `ids`."""
    distinct = column.unique()
    return distinct.filter(distinct.cast(pl.String).is_in(list(ids)))


def _without(log: pl.DataFrame, column: str, ids: pl.Series) -> tuple[pl.DataFrame, int, int]:
    """The log without the rows of some ids, how many rows that was, and of how many ids."""
    if not len(ids):
        return log, 0, 0
    kept = log.filter(~pl.col(column).is_in(ids.implode()))
    return kept, log.height - kept.height, len(ids)


def _busy(log: pl.DataFrame, most: int) -> pl.Series:
    """The users with more than `most` events on some day."""
    day = (pl.col("time") // MICROSECONDS["d"]).alias("day")
    per_day = log.lazy().group_by("user_id", day).len().filter(pl.col("len") > most)
    return per_day.select("user_id").unique().collect()["user_id"]


def _rare(
    log: pl.DataFrame, items: pl.DataFrame | None, needed: int | None
) -> tuple[pl.Series, int]:
    """The undescribed items with too few users, and how many users an item needs; 0 for none."""
    distinct = log["item_id"].unique()
    if items is None or not items.height:
        undescribed = distinct
    else:
        described = items["item_id"].cast(pl.String)
        undescribed = distinct.filter(~distinct.cast(pl.String).is_in(described.implode()))
    nothing = distinct.head(0)
    if not len(undescribed) or needed == 1:
        return nothing, 0
    enough = MIN_USERS if needed is None else needed
    theirs = _events_and_users(log, undescribed, enough)
    rare = theirs.filter(pl.col("users") < enough)["item_id"]
    if needed is None and not _describes_most(log, undescribed, rare):
        return nothing, 0
    return rare, enough


def _events_and_users(log: pl.DataFrame, items: pl.Series, enough: int) -> pl.DataFrame:
    """item_id, and its users as far as they decide whether there are enough."""
    rows = log.lazy().select("user_id", "item_id")
    rows = rows.filter(pl.col("item_id").is_in(items.implode()))
    if enough > 2:
        return rows.unique().group_by("item_id").agg(users=pl.len()).collect()
    # whether there are two users needs no set of pairs, which takes much memory
    user = pl.col("user_id")
    has_two = 1 + (user != user.first()).any().cast(pl.UInt32)
    return rows.group_by("item_id").agg(users=has_two).collect()


def _describes_most(log: pl.DataFrame, undescribed: pl.Series, rare: pl.Series) -> bool:
    """Whether described items have as many pairs in the files as undescribed ones of two users."""
    rows = log.lazy().filter(~pl.col("served")) if "served" in log.columns else log.lazy()
    rows = rows.select("user_id", "item_id").filter(~pl.col("item_id").is_in(rare.implode()))
    is_described = ~pl.col("item_id").is_in(undescribed.implode())
    pairs = rows.unique().group_by(is_described.alias("described")).len().collect()
    counts = dict(pairs.iter_rows())
    return bool(counts.get(True, 0) >= counts.get(False, 0))
