"""Fixtures: a new store for each test, events, and a project with files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from tastemaker.artifact import create_artifact, read_manifest
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Events
from tastemaker.project import Project, load_project
from tastemaker.store import EventRow, EventSource, Store

NOW = 1_750_000_000_000_000
_NUMBERS = count()


def row(**fields: Any) -> EventRow:
    """An event with default fields and a unique id."""
    defaults = {
        "event_id": f"e{next(_NUMBERS)}", "user_id": "u", "item_id": "i", "kind": "view",
        "value": None, "time": NOW, "received": NOW,
    }  # fmt: skip
    return EventRow(**{**defaults, **fields})


def rows(ids: Sequence[str], **fields: Any) -> list[EventRow]:
    """Events with these ids."""
    return [row(event_id=id_, **fields) for id_ in ids]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the store."""
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """An open, empty store."""
    with Store(path) as opened:
        yield opened


PROJECT = """
[data]
events = "events.csv"
items = "items.csv"
users = "users.csv"
clock = "absolute"
min_item_users = 1
[data.columns.events]
user_id = "who"
item_id = "what"
[data.columns.items]
item_id = "sku"
[items.roles]
title = { role = "text" }
genres = { role = "tags", separator = "|" }
brand = { role = "category" }
price = { role = "number" }
made = { role = "time" }
[users.roles]
city = { role = "category" }
born = { role = "time" }
[events.view]
[events.buy]
weight = 6.0
[events.rating]
positive_threshold = 4.0
negative_threshold = 2.0
[events.hide]
role = "negative"
hide_item = true
[retrievers.popular]
type = "popular"
[placements.home]
retrievers = { popular = 10 }
"""
HEADER = "who,what,event_type,value,timestamp,event_id"
ITEMS = [
    "sku,title,genres,brand,price,made",
    'b,"Über, ""x""",red| blue ,Ä,1.25,2024-01-01',
    "a,,,,,",
    "10, One ,red,B,0.1,1700000000",
    "9,Two,,A,nan,soon",
    "only-in-table,😀,green|green,B,1e300,1969-01-01T00:00:00.5",
]
USERS = ["user_id,city,born", "u2,Rome,1990-05-05", "u1,,", "quiet,Oslo,2000-01-01T10:00:00+02:00"]


def lines(count: int, first: int = 0) -> list[str]:
    """Rows of an event log with shared times, ratings, and missing ids and values."""
    kinds, made = ("view", "buy", "rating", "hide", "view"), []
    for n in range(first, first + count):
        kind = kinds[n % 5]
        value = f"{n % 11 / 2}" if kind == "rating" else ("", "nan", "7")[n % 3]
        event_id = ("", f"f{n}", "null")[n % 3]
        user, item = f"u{n * 7 % 13}", ("b", "a", "10", "9", "x:y/z", "1")[n * 5 % 6]
        time = 1_700_000_000 + n * 31 % 997 // 3
        made.append(f"{user},{item},{kind},{value},{time},{event_id}")
    return made


@dataclass(frozen=True)
class Shop:
    """A project with all kinds of columns."""

    folder: Path

    @property
    def project(self) -> Project:
        return load_project(self.folder / "tastemaker.toml")

    @property
    def source(self) -> EventSource:
        return EventSource(self.project)

    def write(self, events: list[str], header: str = HEADER) -> None:
        self.table("events", [header, *events])

    def table(self, name: str, rows: list[str]) -> None:
        (self.folder / f"{name}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")

    def change(self, old: str, new: str) -> None:
        path = self.folder / "tastemaker.toml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A project without a store."""
    made = Shop(tmp_path / "shop")
    made.folder.mkdir()
    (made.folder / "tastemaker.toml").write_text(PROJECT, encoding="utf-8")
    made.write(lines(400))
    made.table("items", ITEMS)
    made.table("users", USERS)
    return made


def contents(data: Dataset, folder: Path) -> dict[str, str]:
    """A checksum of every array of a dataset, by name."""
    target = folder / uuid4().hex
    with create_artifact(target, "dataset", {}) as writer:
        for name in Events.__dataclass_fields__:
            if isinstance(values := getattr(data.events, name), np.ndarray):
                writer.array(name, values)
        for name, ids in (("items", data.catalogue.items), ("users", data.users)):
            ids.save(writer.child(name))
        for name, columns in (("columns", data.catalogue.columns), ("profiles", data.profiles)):
            for column, values in columns.items():
                values.save(writer.child(name).child(column))
        writer.json("kinds", {name: kind.model_dump() for name, kind in data.kinds.items()})
        writer.json("clock", data.clock)
    files: dict[str, Any] = read_manifest(target, "dataset")["files"]
    return {name: json.dumps(about) for name, about in files.items()}
