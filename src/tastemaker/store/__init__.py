"""Durable storage for events, items, users and decisions, shared by all processes."""

from tastemaker.store.adding import Added
from tastemaker.store.decision import Decision
from tastemaker.store.history import StoredEvents, StoredPairs
from tastemaker.store.incoming import EventRow, check_event
from tastemaker.store.source import EventSource
from tastemaker.store.store import Store
from tastemaker.store.stored import StoredItem
from tastemaker.store.tables import SERVED

__all__ = [
    "SERVED",
    "Added",
    "Decision",
    "EventRow",
    "EventSource",
    "Store",
    "StoredEvents",
    "StoredItem",
    "StoredPairs",
    "check_event",
]
