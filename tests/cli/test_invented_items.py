"""Invented items and events from clients do not stop the next training."""

from typing import Any

import pytest

from tastemaker.data import times
from tastemaker.machine import held_bytes
from tastemaker.project import load_project
from tastemaker.store import EventRow, EventSource

INVENTED = 5_000
EASE = """
[retrievers.ease]
type = "ease"
[placements.home]
retrievers = { ease = 20 }
"""


@pytest.fixture
def invaded(shop: Any) -> Any:
    """A project with only EASE, after two bots clicked on thousands of invented items."""
    shop.change(shop.project.read_text()[shop.project.read_text().index("[retrievers") :], EASE)
    start, now = 1_700_000_000_000_000, times.now()
    rows = [
        EventRow(f"{bot}-{n}", bot, f"invented-{n}", "view", None, start + n * 100_000_000, now)
        for n in range(INVENTED)
        for bot in ("bot", "bot2")
    ]
    with EventSource(load_project(shop.project)).open() as store:
        store.append(rows).result()
    return shop


def limit(shop: Any, megabytes: int) -> None:
    """Sets the memory budget to slightly more than the current use."""
    text = shop.project.read_text().partition("[training]")[0]
    shop.project.write_text(f"{text}[training]\nmemory = {held_bytes() + megabytes * 1_000_000}\n")


def test_the_only_source_is_trained_without_them(invaded: Any, run: Any) -> None:
    limit(invaded, 50)  # 100 MB are needed
    trained = run("train")
    assert trained.code == 0, trained.err
    message = (
        f"{INVENTED:,} items without a row in the item table and with fewer than 4 users were left "
        "out"
    )
    assert message in trained.err
    assert message in run("versions").err
    assert message in run("doctor").out
    limit(invaded, 50)
    evaluated = run("evaluate", "--json")
    assert evaluated.code == 0, evaluated.err
    assert message in evaluated.err
    assert "ease" in evaluated.json["systems"]
    assert run("recommend", "--user", "bot", "--n", "1000", "--json").code == 0


def test_any_number_of_events_can_be_trained_on(
    shop: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = times.now()
    rows = [
        EventRow(f"b-{n}", f"bot{n % 9}", f"red{n % 10}", "view", None, now - n, now)
        for n in range(5_000)
    ]
    with EventSource(load_project(shop.project)).open() as store:
        store.append(rows).result()
    monkeypatch.setattr("tastemaker.store.source._EVENT_BYTES", 50_000)
    monkeypatch.setattr("tastemaker.store.source._FEWEST_EVENTS", 100)
    limit(shop, 100)  # 250 MB are needed
    trained = run("train")
    assert trained.code == 0, trained.err
    assert "older events were left out to fit the memory budget" in trained.err
    assert "[data.exclude]" in run("versions").err
    assert "older events were left out" in run("doctor").out
