"""Lists events, users and items of a store, for example to find bots."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, select

from tastemaker.data.times import format_moment
from tastemaker.store import tables
from tastemaker.store.removing import EventFilter
from tastemaker.store.tables import SERVED, VISIBLE, events, items, removed_items, users


def count_events(connection: Connection, event_filter: EventFilter) -> int:
    """The number of selected events."""
    query = select(func.count()).select_from(events).where(VISIBLE, *event_filter.conditions())
    return connection.execute(query).scalar_one()


def list_events(
    connection: Connection, event_filter: EventFilter, most: int
) -> list[dict[str, Any]]:
    """The latest selected events, newest first."""
    query = (
        select(
            events.c.event_id,
            users.c.user_id,
            items.c.item_id,
            tables.kinds.c.name,
            events.c.value,
            events.c.time,
            events.c.source,
        )
        .join(users, users.c.user == events.c.user)
        .join(items, items.c.item == events.c.item)
        .join(tables.kinds, tables.kinds.c.kind == events.c.kind)
        .where(VISIBLE, *event_filter.conditions())
        .order_by(events.c.sequence.desc())
        .limit(most)
    )
    return [
        {
            "event_id": row.event_id,
            "user_id": row.user_id,
            "item_id": row.item_id,
            "event_type": row.name,
            "value": row.value,
            "time": format_moment(row.time),
            "from": "http" if row.source == SERVED else "file",
        }
        for row in connection.execute(query)
    ]


def list_users(connection: Connection, ids: tuple[str, ...], most: int) -> list[dict[str, Any]]:
    """Users with their number of events, those with the most events first.

    Args:
        connection: a connection for reading.
        ids: only these users; empty for all.
        most: the maximum number of users.
    """
    grouped = _count_by(events.c.user, EventFilter(users=ids))
    counts = grouped.order_by(func.count().desc(), events.c.user).limit(most).subquery()
    query = select(users.c.user_id, counts).join(counts, counts.c.user == users.c.user)
    rows = connection.execute(query.order_by(counts.c.events.desc(), users.c.user)).mappings()
    return [{"user_id": row["user_id"], **_figures(row)} for row in rows]


def list_items(
    connection: Connection,
    ids: tuple[str, ...],
    most: int | None,
    *,
    undescribed: bool = False,
    max_users: int | None = None,
) -> list[dict[str, Any]]:
    """Items with their number of events and distinct users, those with the most events first.

    Args:
        connection: a connection for reading.
        ids: only these items; empty for all.
        most: the maximum number of items; None for all.
        undescribed: only items without a description from an item table or a PUT request.
        max_users: only items with events of at most this many users.
    """
    grouped = _count_by(events.c.item, EventFilter())
    counts = grouped.add_columns(func.count(events.c.user.distinct()).label("users")).subquery()
    is_removed = exists().where(removed_items.c.item == items.c.item)
    conditions = [~is_removed]
    if ids:
        conditions.append(items.c.item_id.in_(ids))
    if undescribed:
        conditions.append(items.c.attributes.is_(None))
    if max_users is not None:
        conditions.append(func.coalesce(counts.c.users, 0) <= max_users)
    described = items.c.attributes.is_not(None).label("described")
    query = (
        select(items.c.item_id, described, counts)
        .join(counts, counts.c.item == items.c.item, isouter=True)
        .where(and_(*conditions))
        .order_by(func.coalesce(counts.c.events, 0).desc(), items.c.item)
        .limit(most)
    )
    return [
        {
            "item_id": row["item_id"],
            "described": bool(row["described"]),
            "users": row["users"] or 0,
            **_figures(row),
        }
        for row in connection.execute(query).mappings()
    ]


def _count_by(key: Any, event_filter: EventFilter) -> Select[Any]:
    """The query for key → number of events, first and last time."""
    return (
        select(
            key,
            func.count().label("events"),
            func.min(events.c.time).label("first"),
            func.max(events.c.time).label("last"),
        )
        .where(VISIBLE, *event_filter.conditions())
        .group_by(key)
    )


def _figures(row: Mapping[Any, Any]) -> dict[str, Any]:
    first, last = row["first"], row["last"]
    return {
        "events": row["events"] or 0,
        "first": None if first is None else format_moment(first),
        "last": None if last is None else format_moment(last),
    }
