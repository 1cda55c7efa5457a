"""The content of the page: titles, verbs of event types, search and quotas."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.console.test_csp import Forbidden
from tests.serving.conftest import train, without_network

PROJECT = """
[data]
events = "events.csv"
items = "items.csv"
[items.roles]
title = { role = "text" }
[events.view]
weight = 1.0
[events.purchase]
weight = 6.0
[events.return]
role = "negative"
replaces = ["purchase"]
[retrievers.item_knn]
type = "item_knn"
[retrievers.popular]
type = "popular"
[placements.home]
retrievers = { item_knn = 6, popular = 2 }
"""
TITLES = (
    *("Valientes", "My Alien", "Alien", "Aliens", "Lantern, The", "Kettle", "Spoon, A", "Fork"),
    *("Plate", "Bowl", "Cup", "Pan"),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A shop with views and purchases. The first titles are the most popular."""
    folder = tmp_path_factory.mktemp("browsing") / "shop"
    folder.mkdir()
    items = [f'p{place},"{title}"' for place, title in enumerate(TITLES)]
    (folder / "items.csv").write_text("\n".join(["item_id,title", *items]) + "\n")
    events = ["user_id,item_id,event_type,timestamp"]
    for user in range(24):
        for place in range(len(TITLES)):
            if (user + place) % 3 == 0 or user > 2 * place:
                kind = "purchase" if place % 2 == 0 else "view"
                events.append(f"u{user},p{place},{kind},{1_760_000_000 + 100 * user + place}")
    (folder / "events.csv").write_text("\n".join(events) + "\n")
    (folder / "tastemaker.toml").write_text(PROJECT)
    train(folder)
    with without_network(folder) as opened:
        yield opened


def page(client: TestClient, user: str, **asked: str) -> str:
    answer = client.get("/", params={"user": user, **asked})
    assert answer.status_code == 200
    return unescape(answer.text)


def shelf(text: str) -> list[str]:
    return re.findall(r'class="card-title[^"]*"><bdi>([^<]+)<', text)


def do(client: TestClient, user: str, item: str, kind: str) -> None:
    event = {"user_id": user, "item_id": item, "event_type": kind}
    assert client.post("/v1/events", json=event).json()["accepted"] == 1


def test_a_title_that_begins_with_the_query_comes_first(shop: TestClient) -> None:
    assert shelf(page(shop, "v", q="alien")) == ["Alien", "Aliens", "My Alien", "Valientes"]
    assert shelf(page(shop, "v", q="the lant")) == ["The Lantern"]
    assert shelf(page(shop, "v", q="   ")) == shelf(page(shop, "v"))


def test_titles_are_natural_on_the_page_and_raw_elsewhere(shop: TestClient) -> None:
    assert "The Lantern" in shelf(page(shop, "v"))
    assert "Lantern, The" not in page(shop, "v")
    answer = shop.post("/v1/recommendations", json={"user_id": "v", "n": 12}).json()
    assert "Lantern, The" in [item["title"] for item in answer["items"]]


def test_a_bought_item_is_never_called_liked(shop: TestClient) -> None:
    do(shop, "buyer", "p4", "purchase")
    do(shop, "buyer", "p5", "view")
    text = page(shop, "buyer")
    assert "because you bought The Lantern" in text
    assert '<span class="unseen">bought </span><bdi>The Lantern' in text
    assert '<span class="unseen">viewed </span><bdi>Kettle' in text
    assert "you liked" not in text.casefold()
    assert "What do you like" not in text


def test_a_bought_and_viewed_item_counts_as_bought(shop: TestClient) -> None:
    for kind in ("view", "purchase", "view"):
        do(shop, "both", "p4", kind)
    reasons = shop.post("/v1/recommendations", json={"user_id": "both", "n": 5}).json()["items"]
    texts = [reason["text"] for item in reasons for reason in item["reasons"]]
    assert "because you bought The Lantern" in texts


def test_a_returned_item_is_shown_as_returned(shop: TestClient) -> None:
    do(shop, "sorry", "p4", "purchase")
    do(shop, "sorry", "p4", "return")
    assert '<span class="unseen">returned </span><bdi>The Lantern' in page(shop, "sorry")


def test_the_funnel_shows_quota_given_and_kept(shop: TestClient) -> None:
    question = {"user_id": "u0", "n": 3, "explain": True}
    trace: Any = shop.post("/v1/recommendations", json=question).json()["trace"]
    popular = next(s for s in trace["stages"] if s["name"] == "retrieve:popular")
    merged = next(s for s in trace["stages"] if s["name"] == "merge")
    assert popular["quota"] == 2
    assert 2 <= popular["kept"] <= min(popular["out"], merged["out"])
    words = r"quota 2, returned \d+, kept \d+"
    assert re.search(words, page(shop, "u0"))


def test_served_pages_follow_the_content_security_policy(shop: TestClient) -> None:
    answers = [
        *(shop.get("/", params={"user": "v", **asked}) for asked in ({}, {"q": "alien"})),
        shop.get("/", params={"user": "v", "q": "nothing like this"}),
        shop.get("/", params={"user": "x" * 5_000}),
        shop.post("/console/events", data={"user": "v", "item_id": "p1", "event_type": "none"}),
    ]
    for answer in answers:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert Forbidden(answer.text).found == []


def test_known_users_are_shown(shop: TestClient) -> None:
    assert re.search(r">user <bdi>u\d+</bdi>, \d+ items</a>", page(shop, "v"))
