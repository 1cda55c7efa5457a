"""Ranking of given items over HTTP, and project settings that apply without training."""

from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import without_network


def rank(client: Any, **body: Any) -> Any:
    answer = client.post("/v1/rank", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_given_items_are_ranked_over_http(folder: Path) -> None:
    with without_network(folder) as client:
        items = ["comedy-1", "horror-1", "drama-2"]
        result = rank(client, user_id="user-0", items=items)
        assert sorted(item["item_id"] for item in result["items"]) == sorted(items)
        assert result["items"][0]["item_id"] == "horror-1"
        assert set(result) == {"model_version", "degraded", "items"}
        result = rank(client, history=["comedy-3"], items=items, explain=True)
        assert result["items"][0]["item_id"] == "comedy-1"
        assert result["trace"]["items"][0]["item_id"] == "comedy-1"


def test_seen_items_are_ranked_over_http_unless_excluded(folder: Path) -> None:
    with without_network(folder) as client:
        items = ["comedy-1", "horror-0"]
        assert len(rank(client, user_id="user-0", items=items)["items"]) == 2
        result = rank(client, user_id="user-0", items=items, exclude_seen=True)
        assert [item["item_id"] for item in result["items"]] == ["comedy-1"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"items": ["nothing", "comedy-1"]}, 404, "no item has the id 'nothing'"),
        ({"items": []}, 422, "items"),
        ({"user_id": "user-0"}, 422, "items"),
        ({"items": ["comedy-1"], "placement": "hom"}, 422, "did you mean 'home'"),
        ({"items": ["comedy-1"], "item": 1}, 422, "unknown field 'item'"),
    ],
)
def test_an_invalid_ranking_states_the_reason(
    folder: Path, body: dict[str, Any], status: int, message: str
) -> None:
    with without_network(folder) as client:
        answer = client.post("/v1/rank", json=body)
        assert answer.status_code == status
        assert message in answer.json()["error"]["message"]


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "tastemaker.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_served_version_takes_over_edited_rules(folder: Path) -> None:
    rules = '[rerankers.rules]\ntype = "rules"\nblocked_labels = { genres = ["Horror"] }\n'
    edit(folder, "[placements.home]", f'{rules}[placements.home]\nrerankers = ["rules"]')
    with without_network(folder) as client:
        answer = client.post("/v1/recommendations", json={"user_id": "user-0"}).json()
        assert answer["items"]
        assert not [i for i in answer["items"] if i["item_id"].startswith("horror")]
        assert "note" not in client.get("/health/ready").json()


def test_health_names_what_needs_training(folder: Path) -> None:
    edit(folder, "popular = 5", "popular = 6")
    with without_network(folder) as client:
        note = client.get("/health/ready").json()["note"]
        assert "placements.home.retrievers.popular is 6, was 5" in note
        assert note.endswith("run `tastemaker train`")
