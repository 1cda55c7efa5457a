"""Vectors over HTTP: an item put with a list of numbers is recommended by it."""

from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import train, without_network

PROJECT = """
[data]
events = "events.csv"
items = "items.csv"
[data.defaults]
event_type = "click"
[items.roles]
title = { role = "text" }
embedding = { role = "vector" }
[events.click]
[retrievers.content]
type = "content"
text_weight = 0
[placements.home]
retrievers = { content = 20 }
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    items = ["item_id,title,embedding"]
    items += [f'a{i},left {i},"[1.0, 0.{i}, 0]"' for i in range(10)]
    items += [f'b{i},right {i},"[0, 0.{i}, 1.0]"' for i in range(10)]
    events = ["user_id,item_id,timestamp"]
    events += [f"u{u},{'ab'[u % 2]}{(u + s) % 10},{1_760_000_000 + 60 * s}"
               for u in range(20) for s in range(5)]  # fmt: skip
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    (folder / "events.csv").write_text("\n".join(events) + "\n")
    (folder / "tastemaker.toml").write_text(PROJECT)
    train(folder)
    return folder


def test_an_item_put_with_a_vector_is_recommended_by_it(shop: Path) -> None:
    with without_network(shop) as client:
        put = client.put("/v1/items/new", json={"embedding": [0, 0.5, 1.0], "title": "New"})
        assert (put.status_code, put.json()["created"]) == (201, True)

        def shown(liked: str) -> list[str]:
            result: Any = client.post("/v1/recommendations", json={"history": [liked], "n": 8})
            return [item["item_id"] for item in result.json()["items"]]

        assert "new" in shown("b4")
        assert "new" not in shown("a0")[:3]
        changed = client.put("/v1/items/new", json={"embedding": [1.0, 0.1, 0.0]})
        assert changed.json()["created"] is False
        assert "new" in shown("a1")
    train(shop)  # reads the item as it was put
    with without_network(shop) as client:
        assert client.get("/v1/items/new/similar").json()["items"][0]["item_id"] == "a1"


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([1.0, 2.0], "'embedding' must be a list of 3 numbers, got 2"),
        ("1 2 3", "'embedding' must be a list of finite numbers, got '1 2 3'"),
        ([1.0, None, 2.0], "'embedding' must be a list of finite numbers"),
        ([True, 1, 2], "'embedding' must be a list of finite numbers"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(shop: Path, vector: Any, message: str) -> None:
    with without_network(shop) as client:
        answer = client.put("/v1/items/odd", json={"embedding": vector})
        assert answer.status_code == 422
        assert message in answer.json()["error"]["message"]
