"""Which events of a store are read: those not excluded, and of these the newest that fit."""

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

_STRETCHES = 1_024
_NEARLY = 0.9
"""The share of the events that fit which is used at least, so that few passes find them."""
Conditions = list[ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Selection:
    """The events to read.

    Attributes:
        conditions: what holds for them.
        left_out: what is not read by rule, or for want of memory.
        unknown: events of types that are not declared, which are not read either.
    """

    conditions: Conditions
    left_out: LeftOut
    unknown: int


def select_events(connection: Connection, schema: Schema, most: int | None) -> Selection:
    """The events to read, inside a transaction.

    Args:
        connection: to read with.
        schema: the event types, and whose events are excluded.
        most: about so many events at most, the newest; None, all.

    Cost: one pass over the events for each rule in use; three or so where there are more than
    `most`.
    """
    declared = events.c.kind.in_(
        select(tables.kinds.c.kind).where(tables.kinds.c.name.in_(list(schema.kinds)))
    )
    visible: Conditions = [VISIBLE, NOT_REMOVED]
    unknown = _count(connection, [*visible, ~declared])
    chosen, counts = [*visible, declared], dict[str, Any]()
    for column, named, what in (
        (events.c.user, (users.c.user, users.c.user_id, schema.exclude.users), "excluded_user"),
        (events.c.item, (items.c.item, items.c.item_id, schema.exclude.items), "excluded_item"),
    ):
        key, id_, ids = named
        if ids:
            theirs = column.in_(select(key).where(id_.in_(_listed(ids))))
            counts |= _ids_and_events(connection, column, [*chosen, theirs], what)
            chosen.append(~theirs)
    busiest = schema.exclude.max_events_per_day
    if busiest is not None and schema.clock == "absolute":
        theirs = events.c.user.in_(_listed(_busy(connection, chosen, busiest)))
        counts |= _ids_and_events(connection, events.c.user, [*chosen, theirs], "busy_user")
        counts["max_events_per_day"] = busiest
        chosen.append(~theirs)
    left_out = replace(NOTHING_LEFT_OUT, **counts)
    if most is not None and (total := _count(connection, chosen)) > most:
        newest, used_from = _newest(connection, chosen, schema.clock == "absolute", most)
        chosen += newest
        older = total - _count(connection, chosen)
        left_out = replace(left_out, older_events=older, used_from=used_from)
    return Selection(chosen, left_out, unknown)


def _listed(values: Sequence[Any]) -> Any:
    """Any number of values to compare a column with."""
    return select(func.json_each(json.dumps([*values])).table_valued("value").c.value)


def _count(connection: Connection, conditions: Conditions) -> int:
    asked = select(func.count()).select_from(events).where(*conditions)
    return connection.execute(asked).scalar_one()


def _ids_and_events(
    connection: Connection, column: Column[int], conditions: Conditions, what: str
) -> dict[str, int]:
    """How many events there are, and of how many users or items."""
    asked = select(func.count(column.distinct()), func.count()).where(*conditions)
    ids, count = connection.execute(asked).one()
    return {f"{what}s": ids, f"{what}_events": count}


def _busy(connection: Connection, conditions: Conditions, most: int) -> list[int]:
    """The keys of the users with more than `most` events on some day."""
    length, time = MICROSECONDS["d"], events.c.time
    day = time - (time % length + length) % length
    asked = select(events.c.user).where(*conditions).group_by(events.c.user, day)
    return list({*connection.execute(asked.having(func.count() > most)).scalars()})


def _newest(
    connection: Connection, conditions: Conditions, has_moments: bool, most: int
) -> tuple[Conditions, str]:
    """What holds for the newest events, and where they begin."""
    if has_moments:
        start, used = _start(connection, conditions, events.c.time, most)
        if used:
            return [events.c.time >= start], format_moment(start)
        # more events of the latest moment alone: the last of them by their place in the log
        conditions = [*conditions, events.c.time >= start - 1]
    start, _ = _start(connection, conditions, events.c.sequence, most)
    newest: Conditions = [events.c.sequence >= start]
    if has_moments:
        newest += conditions[-1:]
    return newest, f"place {start:,} of the log"


def _start(
    connection: Connection, conditions: Conditions, column: Column[int], most: int
) -> tuple[int, int]:
    """The value of a column from which on at most `most` events are, and how many these are."""
    asked = select(func.min(column), func.max(column)).where(*conditions)
    low, high = connection.execute(asked).one()
    used = 0
    while True:
        width = -(-(high - low + 1) // _STRETCHES)
        stretch = (column - low) // width
        inside = (*conditions, column >= low, column <= high)
        counted = select(stretch, func.count()).where(*inside).group_by(stretch)
        counts = {int(place): count for place, count in connection.execute(counted)}
        place = _STRETCHES - 1
        while used + counts.get(place, 0) <= most:
            used += counts.get(place, 0)
            place -= 1
        start = low + (place + 1) * width
        if width == 1 or used > _NEARLY * most:
            return start, used
        low, high = start - width, min(high, start - 1)
