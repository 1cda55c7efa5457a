"""Each `event_id` is one event: the same content is a duplicate, other content is rejected."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tastemaker.store import Store, StoredEvents
from tests.serving.conftest import item, without_network
from tests.serving.test_http import refused


def history(folder: Path, user: str) -> StoredEvents:
    """The stored events of a user."""
    with Store(folder / ".tastemaker" / "store.db") as store:
        return store.history(user)


ANOTHER = {
    "user_id": "someone-else",
    "item_id": item(1, 0),
    "event_type": "dislike",
    "value": 2.0,
    "timestamp": "2026-01-01T00:00:01Z",
}


@pytest.mark.parametrize(("name", "value"), ANOTHER.items(), ids=ANOTHER)
def test_an_event_id_of_another_event_is_rejected(
    client: TestClient, folder: Path, name: str, value: Any
) -> None:
    moment = "2026-01-01T00:00:00Z"
    event = {"event_id": "e1", "user_id": "u", "item_id": item(0, 0), "timestamp": moment}
    assert client.post("/v1/events", json=event).json()["accepted"] == 1
    error = refused(client.post("/v1/events", json={**event, name: value}), 422)
    assert error["field"] == "event_id"
    assert f"'e1' belongs to another event with a different {name}" in error["message"]
    batch = [{"user_id": "u"}, event, {**event, name: value}, {**event, "event_id": "e2"}]
    result = client.post("/v1/events", json={"events": batch}).json()
    assert (result["accepted"], result["duplicates"]) == (1, 1)
    assert [entry["index"] for entry in result["rejected"]] == [0, 2]
    assert len(history(folder, "u")) == 2
    assert len(history(folder, "someone-else")) == 0


def test_within_a_batch_the_first_event_of_an_id_counts(client: TestClient) -> None:
    event = {"event_id": "e1", "user_id": "u", "item_id": item(0, 0)}
    batch = [event, event, {**event, "item_id": item(0, 1)}]
    result = client.post("/v1/events", json={"events": batch}).json()
    assert (result["accepted"], result["duplicates"]) == (1, 1)
    assert [entry["index"] for entry in result["rejected"]] == [2]


@pytest.mark.parametrize("id_", ["null", "None", "NaN", "-", "NA", r"\N", " null ", 7, 7.0])
def test_a_word_such_as_null_is_a_valid_event_id(client: TestClient, id_: Any) -> None:
    event = {"event_id": id_, "user_id": "u", "item_id": item(0, 0)}
    result = [client.post("/v1/events", json=event).json() for _ in range(3)]
    assert [(one["accepted"], one["duplicates"]) for one in result] == [(1, 0), (0, 1), (0, 1)]


def test_events_without_an_id_are_separate_events(client: TestClient, folder: Path) -> None:
    for event in ({"event_id": None}, {}):
        for _ in range(2):
            posted = {**event, "user_id": "u", "item_id": item(0, 0)}
            assert client.post("/v1/events", json=posted).json()["accepted"] == 1
    assert len(history(folder, "u")) == 4


@pytest.mark.parametrize("id_", ["", "  ", 1.5, True, []])
def test_an_invalid_event_id_is_rejected(client: TestClient, folder: Path, id_: Any) -> None:
    event = {"event_id": id_, "user_id": "u", "item_id": item(0, 0)}
    assert "event_id" in refused(client.post("/v1/events", json=event), 422)["message"]
    assert len(history(folder, "u")) == 0


@pytest.mark.parametrize("seconds", [None, 3_600])
def test_a_retry_without_a_usable_time_is_a_duplicate(
    client: TestClient, seconds: int | None
) -> None:
    """A missing or future time is replaced by the time of receipt, which differs."""
    ahead = {} if seconds is None else {"timestamp": time.time() + seconds}
    event = {"event_id": "e1", "user_id": "u", "item_id": item(0, 0), **ahead}
    result = [client.post("/v1/events", json=event).json() for _ in range(2)]
    assert [(one["accepted"], one["duplicates"]) for one in result] == [(1, 0), (0, 1)]


def test_a_rejected_event_has_no_effect(client: TestClient, folder: Path) -> None:
    event = {"event_id": "e1", "user_id": "u", "item_id": item(0, 0)}
    client.post("/v1/events", json=event)
    refused(client.post("/v1/events", json={**event, "user_id": "x", "item_id": "invented"}), 422)
    with Store(folder / ".tastemaker" / "store.db") as store:
        assert "invented" not in store.item_keys()[0]
        assert "x" not in store.users(1_000)


def test_an_imported_event_posted_again_is_a_duplicate(folder: Path) -> None:
    log = folder / "events.csv"
    rows = log.read_text().splitlines()
    numbered = [f"{rows[0]},event_id", *(f"{row},f{n}" for n, row in enumerate(rows[1:]))]
    log.write_text("\n".join(numbered) + "\n")
    user, id_, moment = rows[1].split(",")
    event = {"event_id": "f0", "user_id": user, "item_id": id_, "timestamp": moment}
    with without_network(folder) as client:
        result = client.post("/v1/events", json=event).json()
        assert result == {"accepted": 0, "duplicates": 1, "rejected": []}
        error = refused(client.post("/v1/events", json={**event, "user_id": "x"}), 422)
        assert "a different user_id" in error["message"]


def test_posts_of_one_event_at_once_count_once(client: TestClient, folder: Path) -> None:
    event = {"event_id": "e1", "user_id": "u", "item_id": item(0, 0)}
    posts = [event, {**event, "item_id": item(0, 1)}] * 20
    with ThreadPoolExecutor(8) as pool:
        result = list(pool.map(lambda one: client.post("/v1/events", json=one), posts))
    taken = [one.json() for one in result if one.status_code == 200]
    assert sum(one["accepted"] for one in taken) == len(history(folder, "u")) == 1
    assert sum(one["duplicates"] for one in taken) == 19
    assert [one.status_code for one in result].count(422) == 20
