"""The table `pairs`: the events aggregated by user and item.

It gives the items a user has seen without reading the whole log. Each row aggregates one user,
item, event type, sign of the value and source. Code that adds events calls `add_to_pairs` in the
same transaction; code that removes events calls `count_pairs_again` or `count_items_again`.
"""

import json
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select, text

from tastemaker.store.tables import events

_COLUMNS = '"user", item, kind, negative, source, time, sequence, amount'
_VALUES = '"user", item, kind, coalesce(value < 0, 0), source, time, sequence, coalesce(value, 1.0)'
# in log order, so that of two events with the same time the later row is used
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
_DELETE_ITEMS = text(f"DELETE FROM pairs WHERE {_OF_ITEMS}")  # noqa: S608
_DELETE_USER = text('DELETE FROM pairs WHERE "user" = :user')
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
_DELETE_ALL = text("DELETE FROM pairs")
# a user who was removed and returns has a new key, or a key with more recounts
_STATE = text(
    "SELECT (SELECT max(source) FROM sources WHERE name = 'events' AND complete = 1), "
    '"user", (SELECT times FROM recounts WHERE recounts."user" = users."user") '
    "FROM (SELECT 1) LEFT JOIN users ON user_id = :user_id"
)


def last_sequence(connection: Connection) -> int:
    """The last sequence of the log, inside the transaction that adds to it; 0 for an empty log."""
    return connection.execute(select(func.max(events.c.sequence))).scalar() or 0


def add_to_pairs(connection: Connection, last: int) -> None:
    """Adds the events after a sequence to the pairs, inside the transaction that added them.

    Args:
        connection: a connection inside the transaction.
        last: the last sequence of the log before the transaction.
    """
    connection.execute(_ADD_LATER, {"last": last})


def count_pairs_again(connection: Connection, users: Iterable[int]) -> None:
    """Recomputes the pairs of users, inside the transaction that removed some of their events.

    Args:
        connection: a connection inside the transaction.
        users: the keys of the users with removed events.

    Cost: proportional to all events of these users.
    """
    rows = [{"user": user} for user in users]
    if rows:
        connection.execute(_DELETE_USER, rows)
        connection.execute(_ADD_USER, rows)
        connection.execute(_RECOUNTED, rows)


def count_items_again(connection: Connection, items_of: Mapping[int, Iterable[int]]) -> None:
    """Recomputes the pairs of users and some of their items; see `count_pairs_again`.

    Args:
        connection: a connection inside the transaction that removed the events.
        items_of: user key → the keys of the items.

    Cost: one pass over all events of these users; those with these items are summed.
    """
    rows = [{"user": user, "items": json.dumps(sorted(found))} for user, found in items_of.items()]
    if rows:
        connection.execute(_DELETE_ITEMS, rows)
        connection.execute(_ADD_ITEMS, rows)
        connection.execute(_RECOUNTED, rows)


def pairs_state(connection: Connection, user_id: str) -> str:
    """A text that changes when events of a user were removed or a file was imported again."""
    return str(tuple(connection.execute(_STATE, {"user_id": user_id}).one()))


def sums_differ(connection: Connection) -> bool:
    """Whether the pairs do not match the events, because events were added without them.

    Reads both tables.
    """
    summed, _ = connection.execute(_SUM_OF_PAIRS).one()
    events_sum, size = connection.execute(_SUM_OF_EVENTS).one()
    return bool(abs(summed - events_sum) > _ROUNDING * size)


def recompute_pairs(connection: Connection) -> None:
    """Recomputes the pairs of all events inside a transaction."""
    connection.execute(_DELETE_ALL)
    connection.execute(_ADD_LATER, {"last": 0})
    connection.execute(_RECOUNTED_ALL)
