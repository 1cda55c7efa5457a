"""Selects the events to read: those that are not excluded, and of these the newest that fit."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, func, select

from tastemaker.data.leaving_out import NOTHING_LEFT_OUT, LeftOut
from tastemaker.data.schema import Schema
from tastemaker.data.times import MICROSECONDS, format_moment
from tastemaker.store import tables
from tastemaker.store.tables import NOT_REMOVED, VISIBLE, events, items, users

_BUCKETS = 1_024
_NEARLY = 0.9
"""The minimum share of the maximum number of events to select, so that few passes are needed."""
Conditions = list[ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Selection:
    """The events to read.

    Attributes:
        conditions: their SQL conditions.
        left_out: the events that are skipped by rule or for lack of memory.
        unknown: the number of events of undeclared types, which are skipped too.
    """

    conditions: Conditions
    left_out: LeftOut
    unknown: int


def select_events(connection: Connection, schema: Schema, most: int | None) -> Selection:
    """Selects the events to read, inside a transaction.

    Args:
        connection: a connection for reading.
        schema: the event types and the exclusion rules.
        most: the approximate maximum number of events, the newest; None for all.

    Cost: one pass over the events for each rule in use; about three passes if there are more than
    `most` events.
    """
    declared = events.c.kind.in_(
        select(tables.kinds.c.kind).where(tables.kinds.c.name.in_(list(schema.kinds)))
    )
    visible: Conditions = [VISIBLE, NOT_REMOVED]
    unknown = _count(connection, [*visible, ~declared])
    conditions, counts = [*visible, declared], dict[str, Any]()
    for column, named, what in (
        (events.c.user, (users.c.user, users.c.user_id, schema.exclude.users), "excluded_user"),
        (events.c.item, (items.c.item, items.c.item_id, schema.exclude.items), "excluded_item"),
    ):
        key, id_, ids = named
        if ids:
            excluded = column.in_(select(key).where(id_.in_(_listed(ids))))
            counts |= _ids_and_events(connection, column, [*conditions, excluded], what)
            conditions.append(~excluded)
    busiest = schema.exclude.max_events_per_day
    if busiest is not None and schema.clock == "absolute":
        excluded = events.c.user.in_(_listed(_busy(connection, conditions, busiest)))
        counts |= _ids_and_events(connection, events.c.user, [*conditions, excluded], "busy_user")
        counts["max_events_per_day"] = busiest
        conditions.append(~excluded)
    left_out = replace(NOTHING_LEFT_OUT, **counts)
    if most is not None and (total := _count(connection, conditions)) > most:
        newest, used_from = _newest(connection, conditions, schema.clock == "absolute", most)
        conditions += newest
        older = total - _count(connection, conditions)
        left_out = replace(left_out, older_events=older, used_from=used_from)
    return Selection(conditions, left_out, unknown)


def _listed(values: Sequence[Any]) -> Any:
    """A subquery of any number of values, as one parameter."""
    return select(func.json_each(json.dumps([*values])).table_valued("value").c.value)


def _count(connection: Connection, conditions: Conditions) -> int:
    query = select(func.count()).select_from(events).where(*conditions)
    return connection.execute(query).scalar_one()


def _ids_and_events(
    connection: Connection, column: Column[int], conditions: Conditions, what: str
) -> dict[str, int]:
    """The number of events, and of their users or items."""
    query = select(func.count(column.distinct()), func.count()).where(*conditions)
    ids, count = connection.execute(query).one()
    return {f"{what}s": ids, f"{what}_events": count}


def _busy(connection: Connection, conditions: Conditions, most: int) -> list[int]:
    """The keys of the users with more than `most` events on some day."""
    length, time = MICROSECONDS["d"], events.c.time
    day = time - (time % length + length) % length
    query = select(events.c.user).where(*conditions).group_by(events.c.user, day)
    return list({*connection.execute(query.having(func.count() > most)).scalars()})


def _newest(
    connection: Connection, conditions: Conditions, has_moments: bool, most: int
) -> tuple[Conditions, str]:
    """The conditions for the newest events, and a description of their start."""
    if has_moments:
        start, used = _start(connection, conditions, events.c.time, most)
        if used:
            return [events.c.time >= start], format_moment(start)
        # the latest moment alone has too many events: select the last of them by log sequence
        conditions = [*conditions, events.c.time >= start - 1]
    start, _ = _start(connection, conditions, events.c.sequence, most)
    newest: Conditions = [events.c.sequence >= start]
    if has_moments:
        newest += conditions[-1:]
    return newest, f"sequence {start:,} of the log"


def _start(
    connection: Connection, conditions: Conditions, column: Column[int], most: int
) -> tuple[int, int]:
    """The lowest value of a column with at most `most` events from there on, and their number."""
    query = select(func.min(column), func.max(column)).where(*conditions)
    low, high = connection.execute(query).one()
    used = 0
    while True:
        width = -(-(high - low + 1) // _BUCKETS)
        bucket = (column - low) // width
        inside = (*conditions, column >= low, column <= high)
        grouped = select(bucket, func.count()).where(*inside).group_by(bucket)
        counts = {int(index): count for index, count in connection.execute(grouped)}
        index = _BUCKETS - 1
        while used + counts.get(index, 0) <= most:
            used += counts.get(index, 0)
            index -= 1
        start = low + (index + 1) * width
        if width == 1 or used > _NEARLY * most:
            return start, used
        low, high = start - width, min(high, start - 1)
