"""Filtering of events before training: excluded users and items, undescribed rare items."""

from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from tastemaker.data.schema import Exclude
from tastemaker.data.times import MICROSECONDS

_COMPARED, _FEWEST_COMPARED = 500_000, 1_000
"""The sample size for long logs, and the minimum number of pairs in the sample."""
MIN_USERS = 2
"""Users that an undescribed item needs if the item table describes most events."""


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
        max_events_per_day: the setting; 0 if it is not set.
        undescribed_items: items without a row in the item table and with too few users.
        undescribed_events: their events.
        min_item_users: the number of users an item needed; 0 if there was no such limit.
        too_many_for: the source that would exceed the memory budget with them; empty if only the
            rule left them out.
        older_events: events of a store that would exceed the memory budget.
        used_from: the start of the events that are used; empty if all are used.
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
        """The number of events that were left out."""
        by_rule = self.excluded_user_events + self.excluded_item_events + self.busy_user_events
        return by_rule + self.undescribed_events + self.older_events

    def lines(self) -> list[str]:
        """One sentence for each reason that applied."""
        found = []
        if self.excluded_users:
            found.append(
                f"{self.excluded_user_events:,} events of {self.excluded_users:,} users were left "
                "out: they are listed in [data.exclude] users"
            )
        if self.excluded_items:
            found.append(
                f"{self.excluded_item_events:,} events with {self.excluded_items:,} items were "
                "left out: they are listed in [data.exclude] items"
            )
        if self.busy_users:
            found.append(
                f"{self.busy_user_events:,} events of {self.busy_users:,} users with more than "
                f"{self.max_events_per_day:,} events on a day were left out: [data.exclude] "
                "max_events_per_day"
            )
        if self.undescribed_items:
            why = fix = ""
            if self.too_many_for:
                why = f" because the source '{self.too_many_for}' exceeds the memory budget"
                fix = "raise [training] memory, describe the items, or use another source"
            found.append(
                f"{self.undescribed_items:,} items without a row in the item table and with fewer "
                f"than {self.min_item_users:,} users were left out{why}: "
                f"{self.undescribed_events:,} events; "
                f"{fix or 'set [data] min_item_users = 1 to keep them'}"
            )
        if self.older_events:
            found.append(
                f"{self.older_events:,} older events were left out to fit the memory budget: only "
                f"events from {self.used_from} on are used; raise [training] memory, remove events "
                "with `tastemaker store events remove`, or list bots under [data.exclude]"
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
    """The events to train on, and a report of what was left out.

    An item is undescribed if `items` has no row for it. If `min_item_users` is None, undescribed
    items need two users if the item table describes most of the events in the project's files, that
    is, if the user–item pairs of described items are at least as many as those of undescribed items
    with two users. Events received over HTTP are not compared, so that clients cannot disable the
    rule by posting events.

    Args:
        log: user_id, item_id and time, and other columns, which are kept; the optional column
            `served` marks events that were received over HTTP.
        items: the item table; None if there is none.
        exclude: the users and items to leave out.
        min_item_users: distinct users that an undescribed item needs; None: see above.
        has_moments: whether times are moments, so that days are defined.
        earlier: the events that are no longer in `log`.

    Cost: one pass for each active rule; a sample of the distinct pairs if `min_item_users` is None;
    the pairs of undescribed items if they need more than two users.
    """
    counts: dict[str, Any] = {}
    for column, ids, what in (
        ("user_id", exclude.users, "excluded_user"),
        ("item_id", exclude.items, "excluded_item"),
    ):
        if ids:
            named = _named(log[column], ids)
            log, removed, n_ids = _without(log, column, named)
            counts |= {f"{what}s": n_ids, f"{what}_events": removed}
    if exclude.max_events_per_day is not None and has_moments:
        busy = _busy(log, exclude.max_events_per_day)
        log, removed, n_ids = _without(log, "user_id", busy)
        counts |= {"busy_users": n_ids, "busy_user_events": removed}
        counts["max_events_per_day"] = exclude.max_events_per_day
    if (items is not None and items.height) or (min_item_users or 1) > 1:
        rare, needed = _rare(log, items, min_item_users)
        log, removed, n_ids = _without(log, "item_id", rare)
        counts |= {"undescribed_items": n_ids, "undescribed_events": removed}
        counts["min_item_users"] = needed
    return log, replace(earlier, **counts)


def _named(column: pl.Series, ids: tuple[str, ...]) -> pl.Series:
    """The distinct values of a column that are, as text, among `ids`."""
    distinct = column.unique()
    return distinct.filter(distinct.cast(pl.String).is_in(list(ids)))


def _without(log: pl.DataFrame, column: str, ids: pl.Series) -> tuple[pl.DataFrame, int, int]:
    """The log without the rows of some ids, the number of removed rows, and of ids."""
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
    """The undescribed items with too few users, and the number of users needed; 0 if no limit."""
    distinct = log["item_id"].unique()
    if items is None or not items.height:
        undescribed = distinct
    else:
        described = items["item_id"].cast(pl.String)
        undescribed = distinct.filter(~distinct.cast(pl.String).is_in(described.implode()))
    empty = distinct.head(0)
    if not len(undescribed) or needed == 1:
        return empty, 0
    enough = MIN_USERS if needed is None else needed
    counts = _events_and_users(log, undescribed, enough)
    rare = counts.filter(pl.col("users") < enough)["item_id"]
    if needed is None and not _describes_most(log, undescribed, rare):
        return empty, 0
    return rare, enough


def _events_and_users(log: pl.DataFrame, items: pl.Series, enough: int) -> pl.DataFrame:
    """item_id and its number of users, counted at most to 2 if two are enough."""
    rows = log.lazy().select("user_id", "item_id")
    rows = rows.filter(pl.col("item_id").is_in(items.implode()))
    if enough > 2:
        return rows.unique().group_by("item_id").agg(users=pl.len()).collect()
    # to test for two users, no set of pairs is needed, which would take much memory
    user = pl.col("user_id")
    has_two = 1 + (user != user.first()).any().cast(pl.UInt32)
    return rows.group_by("item_id").agg(users=has_two).collect()


def _describes_most(log: pl.DataFrame, undescribed: pl.Series, rare: pl.Series) -> bool:
    """Whether described items have at least as many pairs in the files as undescribed ones."""
    rows = log.lazy().filter(~pl.col("served")) if "served" in log.columns else log.lazy()
    rows = rows.select("user_id", "item_id").filter(~pl.col("item_id").is_in(rare.implode()))
    is_described = ~pl.col("item_id").is_in(undescribed.implode())

    def pairs_by_described(rows: pl.LazyFrame) -> dict[bool, int]:
        pairs = rows.unique().group_by(is_described.alias("described")).len().collect()
        return dict(pairs.iter_rows())

    # the distinct pairs of a long log take much memory: a sample of them is sufficient
    share = 1 + log.height // _COMPARED
    pair = pl.col("user_id").hash(0) ^ pl.col("item_id").hash(1)
    counts = pairs_by_described(rows.filter(pair % share == 0))
    if share > 1 and sum(counts.values()) < _FEWEST_COMPARED:
        counts = pairs_by_described(rows)
    return counts.get(True, 0) >= counts.get(False, 0)
