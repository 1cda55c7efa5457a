"""Fixtures: a small trained project. Each test gets a copy that it can serve and change."""

import asyncio
import shutil
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from starlette.testclient import TestClient

from tastemaker.component import FitOptions
from tastemaker.pipeline import Recommender
from tastemaker.project import load_project
from tastemaker.registry import Registry
from tastemaker.serving import Service, create_app
from tastemaker.store import EventSource

T = TypeVar("T")

PROJECT = """
[data]
events = "events.csv"
items = "items.csv"
[data.defaults]
event_type = "click"
[items.roles]
title = { role = "text" }
genres = { role = "tags", separator = "|" }
year = { role = "number" }
[events.click]
weight = 1.0
[events.dislike]
role = "negative"
hide_item = true
[retrievers.item_knn]
type = "item_knn"
[retrievers.content]
type = "content"
[retrievers.popular]
type = "popular"
[placements.home]
retrievers = { item_knn = 20, content = 20, popular = 5 }
[placements.again]
retrievers = { popular = 40 }
seen = { click = "allow" }
[placements.alike]
retrievers = { content = 20 }
"""
GENRES = ("Horror", "Comedy", "Western", "Drama")
PER_GENRE = 12
START = 1_760_000_000


def item(genre: int, place: int) -> str:
    """The id of a film."""
    return f"{GENRES[genre].lower()}-{place}"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project, trained once. Each user likes films of one genre."""
    folder = tmp_path_factory.mktemp("serving") / "films"
    folder.mkdir()
    items = ["item_id,title,genres,year"]
    for genre, name in enumerate(GENRES):
        items += [
            f"{item(genre, place)},{name} night {place},{name},{1980 + place}"
            for place in range(PER_GENRE)
        ]
    events = ["user_id,item_id,timestamp"]
    for user in range(40):
        genre = user % len(GENRES)
        for step in range(6):
            place = (user + step * (1 + user % 3)) % PER_GENRE
            events.append(f"user-{user},{item(genre, place)},{START + user * 100 + step}")
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    (folder / "events.csv").write_text("\n".join(events) + "\n")
    (folder / "tastemaker.toml").write_text(PROJECT)
    train(folder)
    return folder


def train(folder: Path, promote: bool = True) -> str:
    """Trains on the project's events and returns the version."""
    project = load_project(folder / "tastemaker.toml")
    recommender = Recommender.from_project(project.path)
    recommender.fit(EventSource(project).read(), FitOptions(threads=1))
    registry = Registry(project.state)
    version = registry.add(recommender)
    if promote:
        registry.promote(version)
    return version


@pytest.fixture(autouse=True)
def refused_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disables the delay of errors, except in the tests of `error_throttle`."""
    if request.module.__name__ != "tests.serving.test_error_throttle":
        monkeypatch.setattr("tastemaker.serving.error_throttle.STEP_SECONDS", 0.0)


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained project."""
    return Path(shutil.copytree(trained, tmp_path / "films"))


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    """A ready service."""
    with Service(load_project(folder / "tastemaker.toml")) as opened:
        wait_until(lambda: opened.status()["status"] == "ready")
        yield opened


@contextmanager
def without_network(folder: Path, host: str | None = None) -> Iterator[TestClient]:
    """The ready application of a project."""
    app = create_app(Service(load_project(folder / "tastemaker.toml")), host=host)
    with TestClient(
        app,
        base_url="http://127.0.0.1",
        raise_server_exceptions=False,
        follow_redirects=False,
    ) as opened:
        wait_until(lambda: opened.get("/health/ready").status_code == 200)
        yield opened


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    """A client of the ready application, without a network."""
    with without_network(folder) as opened:
        yield opened


def finished(work: Coroutine[Any, Any, T]) -> T:
    """A coroutine's result, run in a new thread: browser tests leave an event loop here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def wait_until(holds: Any, seconds: float = 300.0) -> None:
    """Waits for a condition. Fails if it does not become true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def ids(answer: Any) -> list[str]:
    """The item ids of a response."""
    assert answer.status_code == 200, answer.text
    return [entry["item_id"] for entry in answer.json()["items"]]
