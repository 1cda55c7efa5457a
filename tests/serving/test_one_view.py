"""The command line and the server use the same users, items and events."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from tests.resilience.stage import Ran, verb
from tests.serving.conftest import START, without_network

NEW = "night, of the new"
"""An item put over HTTP, with a comma in its id."""


@pytest.fixture
def both(client: TestClient, folder: Path) -> Any:
    """A server and the command line, after an item and events were sent over HTTP."""
    columns = {"title": "Horror night new", "genres": ["Horror"], "year": 1999}
    assert client.put(f"/v1/items/{NEW}", json=columns).status_code == 201
    events = [{"user_id": "late", "item_id": id_} for id_ in (NEW, "horror-1")]
    assert client.post("/v1/events", json={"events": events}).json()["accepted"] == 2
    # a server takes up events within a second; a put item waits until all is taken up
    assert client.put(f"/v1/items/{NEW}", json=columns).status_code == 200

    def run(*arguments: str) -> Ran:
        return verb(folder / "tastemaker.toml", *arguments)

    return client, run


def items_of(answer: Any) -> list[tuple[str, str | None]]:
    return [(item["item_id"], item.get("title")) for item in answer["items"]]


HISTORY = f"horror-1, {NEW}"
QUESTIONS = {
    "user": (("recommend", "--user", "late"), {"user_id": "late"}),
    "item": (("recommend", "--history", NEW), {"history": [NEW]}),
    "items": (
        ("recommend", "--history", "horror-1, western-2"),
        {"history": ["horror-1", "western-2"]},
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_list_is_the_same_on_the_command_line(both: Any, name: str) -> None:
    client, run = both
    arguments, body = QUESTIONS[name]
    done = run(*arguments, "--n", "8", "--json")
    assert done.code == 0
    assert "not in the catalogue" not in done.err
    assert "not in the data" not in done.err
    served = client.post("/v1/recommendations", json={**body, "n": 8}).json()
    assert items_of(json.loads(done.out)) == items_of(served)
    assert [i["reasons"] for i in json.loads(done.out)["items"]] == [
        i["reasons"] for i in served["items"]
    ]


def test_long_histories_are_cut_alike_in_a_batch(folder: Path) -> None:
    with (folder / "tastemaker.toml").open("a") as file:
        file.write("[server]\nhistory_events = 5\n")
    later = [
        {"user_id": "late", "item_id": f"{genre}-{place}", "timestamp": START + 9_000 + place}
        for genre, places in (("horror", range(4)), ("western", range(4, 9)))
        for place in places
    ]
    with without_network(folder) as client:
        assert client.post("/v1/events", json={"events": later}).json()["accepted"] == 9
        # a server takes up events within a second; a put item waits until all is taken up
        assert client.put(f"/v1/items/{NEW}", json={"title": "new"}).status_code == 201
        output = folder / "all.parquet"
        done = verb(
            folder / "tastemaker.toml", "recommend", "--all", "--output", str(output), "--n", "8"
        )
        assert done.code == 0, done.err
        listed = pl.read_parquet(output).group_by("user_id", maintain_order=True).agg("item_id")
        found = dict(listed.iter_rows())
        for user in ("late", "user-3"):
            served = client.post("/v1/recommendations", json={"user_id": user, "n": 8}).json()
            assert found[user] == [item["item_id"] for item in served["items"]]
            assert not {"horror-0", "western-8"} & set(found["late"])


def test_ranked_and_similar_items_are_the_same(both: Any) -> None:
    client, run = both
    named = ["western-1", NEW, "horror-2"]
    served = client.post("/v1/rank", json={"user_id": "late", "items": named}).json()
    assert items_of(json.loads(run("rank", "late", *named, "--json").out)) == items_of(served)
    similar = client.get(f"/v1/items/{NEW}/similar?n=5").json()
    assert items_of(json.loads(run("similar", NEW, "--n", "5", "--json").out)) == items_of(similar)


@pytest.mark.parametrize(
    ("arguments", "method", "path", "body"),
    [
        (("similar", "no-item"), "GET", "/v1/items/no-item/similar", None),
        (("similar", "1.5"), "GET", "/v1/items/1.5/similar", None),
        (
            ("rank", "late", "no-item"),
            "POST",
            "/v1/rank",
            {"user_id": "late", "items": ["no-item"]},
        ),
        (
            ("recommend", "--user", "u\x9b"),
            "GET",
            "/v1/recommendations?user_id=u%C2%9B",
            None,
        ),
        (
            ("recommend", "--history", "1.5"),
            "GET",
            "/v1/recommendations?history=1.5",
            None,
        ),
    ],
)
def test_invalid_input_is_rejected_the_same_way(
    both: Any, arguments: tuple[str, ...], method: str, path: str, body: Any
) -> None:
    client, run = both
    done = run(*arguments)
    answer = client.request(method, path, json=body)
    assert done.code == 2
    assert answer.status_code in (404, 422)
    error = done.err.splitlines()[-1].removeprefix("error: ")
    # the server names the field as in the request
    reason = error.replace(" in user_id ", " in id ").replace("float history", "float id")
    assert reason in answer.json()["error"]["message"].replace("float history", "float id")
    assert "function" not in answer.json()["error"]["message"]


def test_responses_escape_terminal_control_characters(both: Any) -> None:
    client, _ = both
    title = "up\x1b[2J\x9b31m\u202egnp\x7f é"
    client.put("/v1/items/evil", json={"title": title, "genres": ["Horror"]})
    answer = client.get("/v1/items/evil/similar?n=50")
    answers = [answer, client.post("/v1/rank", json={"user_id": "late", "items": ["evil"]})]
    answers.append(client.get("/v1/items/no-item%C2%9B%E2%80%AE/similar"))
    assert answers[1].json()["items"][0]["title"] == title
    for answer in answers:
        assert answer.text.isprintable(), ascii(answer.text)


@pytest.mark.parametrize("id_", ["a\x1b[31m", "a\x9b31m", "a\x80", "a\u2028b", "a\x7f", "a\rb"])
def test_an_id_with_a_control_is_rejected_everywhere(both: Any, id_: str) -> None:
    client, _ = both
    events = [{"user_id": "late", "item_id": "horror-1"}, {"user_id": id_, "item_id": "horror-1"}]
    events.append({"user_id": "late", "item_id": id_})
    result = client.post("/v1/events", json={"events": events}).json()
    assert result["accepted"] == 1
    assert [rejected["index"] for rejected in result["rejected"]] == [1, 2]
    assert all("line break or control character" in r["error"] for r in result["rejected"])
    for path in ("/v1/recommendations", "/v1/rank"):
        answer = client.post(path, json={"user_id": id_, "items": ["horror-1"]})
        assert answer.status_code == 422
    quoted = "".join(f"%{byte:02X}" for byte in id_.encode())
    assert client.put(f"/v1/items/{quoted}", json={}).status_code == 422
