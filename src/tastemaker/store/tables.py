"""The store's tables, and where they lie: SQLite today, any SQL server by another URL.

Ids are text at the door and small integers inside: a user's key, an item's key, a kind's key. An
event's `sequence` is its place in the log; it only ever grows. Every row tells its source, and only
the events of whole sources count.
"""

from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    select,
    text,
)

from tastemaker.errors import SettingError

SCHEMA = 5
SERVED = 0
"""The source of what came over the network; tables imported from files have later numbers."""

ROW_BYTES = 300
"""What a decision takes up beside its content: ids, key, index."""

metadata = MetaData()

about = Table(
    "about",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
sources = Table(
    "sources",
    metadata,
    Column("source", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    # 0 while rows come, and for events also while they go; at most one source of a name has 1
    Column("complete", Integer, nullable=False),
)
users = Table(
    "users",
    metadata,
    Column("user", Integer, primary_key=True),
    Column("user_id", Text, nullable=False, unique=True),
    Column("attributes", Text),
    Column("source", Integer, nullable=False, default=SERVED),
)
items = Table(
    "items",
    metadata,
    Column("item", Integer, primary_key=True),
    Column("item_id", Text, nullable=False, unique=True),
    Column("attributes", Text),
    Column("source", Integer, nullable=False, default=SERVED),
    Column("changed", Integer, nullable=False, default=0),
    Index("items_by_change", "changed"),
)
kinds = Table(
    "kinds",
    metadata,
    Column("kind", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)
events = Table(
    "events",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("event_id", Text),
    Column("user", Integer, ForeignKey("users.user"), nullable=False),
    Column("item", Integer, ForeignKey("items.item"), nullable=False),
    Column("kind", Integer, ForeignKey("kinds.kind"), nullable=False),
    Column("value", Float),
    Column("time", Integer, nullable=False),
    Column("received", Integer, nullable=False),
    Column("source", Integer, nullable=False),
    Column("session", Text),
    Column("recommendation_id", Text),
    Column("position", Integer),
    Column("context", Text),
    # while a file is imported again, an event of it stands there twice, once to be seen
    Index("events_by_id", "event_id", "source", unique=True),
    # the events of one user that came after a place in the log
    Index("events_by_user", "user", "sequence"),
    # the newest events of a user and event type, with everything that a history needs
    Index(
        *("events_by_time", "user", "kind", "time", "sequence"),
        *("item", "value", "source"),
    ),
    # what was served is found without going through what was imported after it
    Index("events_served", "sequence", sqlite_where=text("source = 0")),
    # what was served of an item that is put later
    Index("events_served_of", "item", "sequence", sqlite_where=text("source = 0")),
    sqlite_autoincrement=True,
)
pairs = Table(
    "pairs",
    metadata,
    Column("user", Integer, primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("kind", Integer, primary_key=True),
    # 1 for events with a value below 0: returns, where values are amounts
    Column("negative", Integer, primary_key=True),
    Column("source", Integer, primary_key=True),
    # of the latest of these events
    Column("time", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    # the sum of their values, a missing value counted as 1
    Column("amount", Float, nullable=False),
    sqlite_with_rowid=False,
)
"""The events by user and item, summed up; kept by `pairs.py` in the transactions of the events."""
recounts = Table(
    "recounts",
    metadata,
    # a user of whom events were removed, and in how many transactions
    Column("user", Integer, primary_key=True),
    Column("times", Integer, nullable=False),
)
decisions = Table(
    "decisions",
    metadata,
    Column("recommendation_id", Text, primary_key=True),
    Column("time", Integer, nullable=False),
    Column("user_id", Text),
    Column("placement", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("decisions_by_time", "time"),
    # those of a user, to be removed with the user
    Index("decisions_by_user", "user_id"),
    sqlite_with_rowid=False,
)
feature_names = Table(
    "feature_names",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("names", Text, nullable=False),
)

removals = Table(
    "removals",
    metadata,
    Column("removal", Integer, primary_key=True),
    Column("time", Integer, nullable=False),
    # events, users or items
    Column("what", Text, nullable=False),
    # what was chosen, as JSON; a table that is imported again leaves it out again
    Column("filter", Text, nullable=False),
    Column("events", Integer, nullable=False),
    # 0 while it goes on, or where it was cut short
    Column("complete", Integer, nullable=False),
    sqlite_autoincrement=True,
)
removed_items = Table(
    "removed_items",
    metadata,
    # not shown and not learned from until the item is put again
    Column("item", Integer, ForeignKey("items.item"), primary_key=True),
)
totals = Table(
    "totals",
    metadata,
    # decisions; events that were served; items that are described: see counters.py
    Column("name", Text, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
)

VISIBLE = events.c.source.not_in(select(sources.c.source).where(sources.c.complete == 0))
"""Which events count: what was served, and what was imported whole."""

NOT_REMOVED = events.c.item.not_in(select(removed_items.c.item))
"""Which events are of items that were not removed, or were put again."""


def sqlite_path(url: str, folder: Path) -> Path:
    """Where the database of `[store] url` lies.

    Args:
        url: `sqlite`, or `sqlite:///file`, relative to the project file.
        folder: the state folder, for the default.

    Raises:
        SettingError: it is no SQLite URL.
    """
    if url == "sqlite":
        return folder / "store.db"
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return folder.parent / url.removeprefix("sqlite:///")
    raise SettingError(f"[store] url must be 'sqlite' or 'sqlite:///FILE', got {url!r}")


def about_store(connection: Connection, name: str) -> str:
    """What the store says of itself under a name; `None` where it says nothing."""
    return str(connection.execute(select(about.c.value).where(about.c.name == name)).scalar())


def store_id(connection: Connection) -> str:
    """What no other store is called, 32 hexadecimal digits; given when its tables are made."""
    return about_store(connection, "id")


def next_change(connection: Connection) -> int:
    """The number of the next change of an item, inside the transaction that makes it."""
    return (connection.execute(select(func.max(items.c.changed))).scalar() or 0) + 1
