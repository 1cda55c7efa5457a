"""The table `pairs`: what each user did with each item, summed up, so that the items a user has
seen are known without reading the whole log.

A row is of one user, item, event type, sign of the value and source. Everything that adds events
calls `add_to_pairs` in the same transaction; everything that removes events calls
`count_pairs_again` or `count_items_again`.
"""

import json
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select, text

from tastemaker.store.tables import events

_COLUMNS = '"user", item, kind, negative, source, time, sequence, amount'
_VALUES = '"user", item, kind, coalesce(value < 0, 0), source, time, sequence, coalesce(value, 1.0)'
# in the log's order, so that of two events of the same time the later row counts
_ADD = (
    f"INSERT INTO pairs ({_COLUMNS}) SELECT {_VALUES} FROM events WHERE {{which}} "  # noqa: S608
    'ORDER BY sequence ON CONFLICT ("user", item, kind, negative, source) DO UPDATE SET '
    "amount = amount + excluded.amount, time = max(time, excluded.time), "
    "sequence = CASE WHEN excluded.time >= time THEN excluded.sequence ELSE sequence END"
)
_ADD_LATER = text(_ADD.format(which="sequence > :last"))
_ADD_USER = text(_ADD.format(which='"user" = :user'))
_OF_ITEMS = '"user" = :user AND item IN (SELECT value FROM json_each(:items))'
_ADD_ITEMS = text(_ADD.format(which=_OF_ITEMS))
_FORGET_ITEMS = text(f"DELETE FROM pairs WHERE {_OF_ITEMS}")  # noqa: S608
_FORGET_USER = text('DELETE FROM pairs WHERE "user" = :user')
_RECOUNTED = text(
    'INSERT INTO recounts ("user", times) VALUES (:user, 1) '
    'ON CONFLICT ("user") DO UPDATE SET times = times + 1'
)
_RECOUNTED_ALL = text(
    'INSERT INTO recounts ("user", times) SELECT "user", 1 FROM users WHERE true '
    'ON CONFLICT ("user") DO UPDATE SET times = times + 1'
)
_ROUNDING = 1e-10
_SUMS = (
    "SELECT total({amount}), total(abs({amount})) FROM {table} "
    "WHERE source NOT IN (SELECT source FROM sources WHERE complete = 0)"
)
_SUM_OF_PAIRS = text(_SUMS.format(amount="amount", table="pairs"))
_SUM_OF_EVENTS = text(_SUMS.format(amount="coalesce(value, 1.0)", table="events"))
_FORGET_ALL = text("DELETE FROM pairs")
# a user who is removed and comes again has another key, or one whose recounts have grown
_STATE = text(
    "SELECT (SELECT max(source) FROM sources WHERE name = 'events' AND complete = 1), "
    '"user", (SELECT times FROM recounts WHERE recounts."user" = users."user") '
    "FROM (SELECT 1) LEFT JOIN users ON user_id = :user_id"
)


def last_place(connection: Connection) -> int:
    """The last place in the log, inside the transaction that will add to it; 0 of an empty log."""
    return connection.execute(select(func.max(events.c.sequence))).scalar() or 0


def add_to_pairs(connection: Connection, last: int) -> None:
    """Adds the events after a place in the log, inside the transaction that added them.

    Args:
        connection: of the transaction.
        last: the last place in the log before it.
    """
    connection.execute(_ADD_LATER, {"last": last})


def count_pairs_again(connection: Connection, users: Iterable[int]) -> None:
    """Sums the events of users up again, inside the transaction that removed some of them.

    Args:
        connection: of the transaction.
        users: the keys of the users who had events that were removed.

    Cost: proportional to all events of these users.
    """
    concerned = [{"user": user} for user in users]
    if concerned:
        connection.execute(_FORGET_USER, concerned)
        connection.execute(_ADD_USER, concerned)
        connection.execute(_RECOUNTED, concerned)


def count_items_again(connection: Connection, items_of: Mapping[int, Iterable[int]]) -> None:
    """Sums the events of users with some items up again, as `count_pairs_again` does with all.

    Args:
        connection: of the transaction that removed some of these events.
        items_of: user key → the keys of the items.

    Cost: all events of these users are looked at; those with these items are summed up.
    """
    concerned = [
        {"user": user, "items": json.dumps(sorted(found))} for user, found in items_of.items()
    ]
    if concerned:
        connection.execute(_FORGET_ITEMS, concerned)
        connection.execute(_ADD_ITEMS, concerned)
        connection.execute(_RECOUNTED, concerned)


def pairs_state(connection: Connection, user_id: str) -> str:
    """Changes whenever events of a user were removed, or others are shown of the files."""
    return str(tuple(connection.execute(_STATE, {"user_id": user_id}).one()))


def sums_differ(connection: Connection) -> bool:
    """Whether the sums are not those of the events: somebody added events without them.

    Reads both tables.
    """
    summed, _ = connection.execute(_SUM_OF_PAIRS).one()
    events_sum, size = connection.execute(_SUM_OF_EVENTS).one()
    return bool(abs(summed - events_sum) > _ROUNDING * size)


def sum_up_again(connection: Connection) -> None:
    """Sums all events up again, inside a transaction."""
    connection.execute(_FORGET_ALL)
    connection.execute(_ADD_LATER, {"last": 0})
    connection.execute(_RECOUNTED_ALL)
