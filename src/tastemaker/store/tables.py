"""The tables of the store and the path of its database.

External ids are text; inside the store, integer keys identify users, items and event types. The
`sequence` of an event is its position in the log and only grows. Each row has a source, and only
events of complete sources are visible.
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
"""The source of data received over the network; tables imported from files have later numbers."""

ROW_BYTES = 300
"""The size of a decision without its content: ids, key, index."""

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
    # 0 during the import, and for events also during their removal; at most one source of a name
    # has 1
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
    # while a file is imported again, each of its events exists twice, once visible
    Index("events_by_id", "event_id", "source", unique=True),
    # the events of one user after a sequence in the log
    Index("events_by_user", "user", "sequence"),
    # the newest events of a user and event type, with all columns that a history needs
    Index(
        *("events_by_time", "user", "kind", "time", "sequence"),
        *("item", "value", "source"),
    ),
    # finds served events without a scan of later imports
    Index("events_served", "sequence", sqlite_where=text("source = 0")),
    # the served events of an item that is put later
    Index("events_served_of", "item", "sequence", sqlite_where=text("source = 0")),
    sqlite_autoincrement=True,
)
pairs = Table(
    "pairs",
    metadata,
    Column("user", Integer, primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("kind", Integer, primary_key=True),
    # 1 for events with a value below 0, such as returns where values are amounts
    Column("negative", Integer, primary_key=True),
    Column("source", Integer, primary_key=True),
    # time and sequence of the latest of these events
    Column("time", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    # the sum of their values, a missing value counted as 1
    Column("amount", Float, nullable=False),
    sqlite_with_rowid=False,
)
"""The events aggregated by user and item; `pairs.py` updates it in the transactions of the events.
"""
recounts = Table(
    "recounts",
    metadata,
    # a user with removed events, and the number of transactions that removed them
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
    # the decisions for a user, which are removed with the user
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
    # the filter as JSON; applied again when a table is imported again
    Column("filter", Text, nullable=False),
    Column("events", Integer, nullable=False),
    # 0 while the removal is running or if it was interrupted
    Column("complete", Integer, nullable=False),
    sqlite_autoincrement=True,
)
removed_items = Table(
    "removed_items",
    metadata,
    # not recommended and not used for training until the item is put again
    Column("item", Integer, ForeignKey("items.item"), primary_key=True),
)
totals = Table(
    "totals",
    metadata,
    # decisions, served events or described items: see counters.py
    Column("name", Text, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
)

VISIBLE = events.c.source.not_in(select(sources.c.source).where(sources.c.complete == 0))
"""Selects visible events: served events and those of complete imports."""

NOT_REMOVED = events.c.item.not_in(select(removed_items.c.item))
"""Selects events of items that were not removed or were put again."""


def sqlite_path(url: str, folder: Path) -> Path:
    """The path of the database for `[store] url`.

    Args:
        url: `sqlite`, or `sqlite:///file`, relative to the project file.
        folder: the state folder, which contains the default database.

    Raises:
        SettingError: `url` is not a SQLite URL.
    """
    if url == "sqlite":
        return folder / "store.db"
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return folder.parent / url.removeprefix("sqlite:///")
    raise SettingError(f"[store] url must be 'sqlite' or 'sqlite:///FILE', got {url!r}")


def about_store(connection: Connection, name: str) -> str:
    """A value of the table `about`; the text `None` if it is missing."""
    return str(connection.execute(select(about.c.value).where(about.c.name == name)).scalar())


def store_id(connection: Connection) -> str:
    """The unique id of the store, 32 hexadecimal digits, set when its tables are created."""
    return about_store(connection, "id")


def next_change(connection: Connection) -> int:
    """The number of the next item change, inside the transaction that makes the change."""
    return (connection.execute(select(func.max(items.c.changed))).scalar() or 0) + 1
