"""What happened, kept: events, items, users and decisions, durable and shared by all processes."""

from tastemaker.store.decision import Decision
from tastemaker.store.incoming import EventRow, check_event
from tastemaker.store.source import EventSource
from tastemaker.store.store import Store
from tastemaker.store.stored import StoredEvents, StoredItem
from tastemaker.store.tables import SERVED

__all__ = [
    "SERVED",
    "Decision",
    "EventRow",
    "EventSource",
    "Store",
    "StoredEvents",
    "StoredItem",
    "check_event",
]
