"""A full store and an almost full disk are reported with clear errors."""

from pathlib import Path
from typing import Any

import pytest

from tastemaker.store import Added, Store, batches
from tastemaker.store import capacity as capacities
from tastemaker.store.writer import Writer
from tests.serving.conftest import item, wait_until, without_network

FILMS = {"user_id": "user-1", "n": 3}


def limit(folder: Path, setting: str) -> None:
    path = folder / "tastemaker.toml"
    path.write_text(f"{path.read_text()}\n[store]\n{setting}\n")


def test_events_beyond_the_limit_are_answered_with_507(folder: Path) -> None:
    limit(folder, "max_events = 2")
    with without_network(folder) as client:
        event = {"user_id": "u", "item_id": item(0, 0)}
        assert client.post("/v1/events", json=event).status_code == 200
        refused = client.post("/v1/events", json={"events": [event, event]})
        assert refused.status_code == 507
        assert refused.json()["error"]["code"] == "store_full"
        assert "max_events = 2" in refused.json()["error"]["message"]
        assert client.post("/v1/events", json=event).status_code == 200


def test_events_of_a_batch_without_room_are_rejected_by_index(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", 3)
    limit(folder, "max_events = 7")
    sent = [{"user_id": "u", "item_id": item(0, 0), "event_id": f"e{n}"} for n in range(10)]
    sent[1] = {"user_id": "u"}  # rejected individually, so that the positions of the others shift
    with without_network(folder) as client:
        first = client.post("/v1/events", json={"events": sent})
        assert first.status_code == 200
        assert (first.json()["accepted"], first.json()["duplicates"]) == (6, 0)
        rejected = first.json()["rejected"]
        assert [entry["index"] for entry in rejected] == [1, 7, 8, 9]
        assert [entry["code"] for entry in rejected] == ["invalid", *["store_full"] * 3]
        assert rejected[1]["error"].startswith("not stored: the store holds 6 ")
        again = client.post("/v1/events", json={"events": sent})
        assert (again.json()["accepted"], again.json()["duplicates"]) == (0, 6)
        assert [entry["index"] for entry in again.json()["rejected"]] == [1, 7, 8, 9]


def test_an_internal_error_in_a_batch_is_not_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", 1)
    add = batches.add_events

    def broken(connection: Any, rows: Any, **options: Any) -> Added:
        if rows[0].event_id == "second":
            raise KeyError("a secret of ours")
        return add(connection, rows, **options)

    monkeypatch.setattr(batches, "add_events", broken)
    sent = [{"user_id": "u", "item_id": item(0, 0), "event_id": id_} for id_ in ("first", "second")]
    with without_network(folder) as client:
        answer = client.post("/v1/events", json={"events": sent})
    error = "not stored: an internal error, which was logged"
    assert answer.json()["accepted"] == 1
    assert answer.json()["rejected"] == [{"index": 1, "code": "internal", "error": error}]


def test_items_beyond_the_limit_are_answered_with_507(folder: Path) -> None:
    limit(folder, "max_items = 1")
    with without_network(folder) as client:
        assert client.put("/v1/items/new", json={"title": "New"}).status_code == 507


def test_a_full_catalogue_takes_new_attributes_of_its_items(folder: Path) -> None:
    limit(folder, "max_items = 50")
    with without_network(folder) as client:
        statuses = [client.put(f"/v1/items/new-{n}", json={}).status_code for n in range(40)]
        assert statuses == [201] * 2 + [507] * 38
        again = client.put(f"/v1/items/{item(0, 0)}", json={"title": "Again"})
        assert (again.status_code, again.json()["created"]) == (200, False)
        result = client.put("/v1/items/one-more", json={}).json()["error"]
        assert result["code"] == "store_full"
        assert "50 described items" in result["message"]
        assert "`tastemaker store items remove`" in result["message"]


def test_a_retry_is_recognized_by_a_full_store(folder: Path) -> None:
    limit(folder, "max_events = 1")
    with without_network(folder) as client:
        event = {"user_id": "u", "item_id": item(0, 0), "event_id": "one"}
        for counts in ({"accepted": 1, "duplicates": 0}, {"accepted": 0, "duplicates": 1}):
            answer = client.post("/v1/events", json=event)
            assert (answer.status_code, answer.json()) == (200, {**counts, "rejected": []})


def test_writes_wait_in_the_queue_of_their_client(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers: list[str | None] = []
    submit = Writer.submit_all

    def submitted(writer: Writer, works: Any, **options: Any) -> Any:
        callers.append(options.get("caller"))
        return submit(writer, works, **options)

    monkeypatch.setattr(Writer, "submit_all", submitted)
    with without_network(folder) as client:
        event = {"user_id": "u", "item_id": item(0, 0)}
        client.post("/v1/events", json=event)
        client.put("/v1/items/new", json={})
        client.post("/console/events", data={"user": "u", "event_type": "click", **event})
    sent = [caller for caller in callers if caller is not None]
    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert sent[0]


def test_below_the_reserve_requests_are_answered_and_health_warns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacities, "free_bytes", lambda *_: (10, 20))
    with without_network(folder) as client:
        answer = client.post("/v1/recommendations", json=FILMS)
        assert answer.status_code == 200
        id_ = answer.json()["recommendation_id"]
        assert client.get(f"/v1/recommendations/{id_}").status_code == 404
        assert "decisions are not logged" in client.get("/health/ready").json()["warning"]
        event = {"user_id": "u", "item_id": item(0, 0)}
        assert client.post("/v1/events", json=event).status_code == 200


def test_a_server_removes_old_decisions_by_itself(folder: Path) -> None:
    limit(folder, 'keep_decisions = "1s"')
    with without_network(folder) as client, Store(folder / ".tastemaker" / "store.db") as store:
        assert client.post("/v1/recommendations", json=FILMS).status_code == 200
        wait_until(lambda: store.decision_log.totals().rows == 1)
        wait_until(lambda: store.decision_log.totals().rows == 0)


def test_an_item_removed_while_serving_is_no_longer_shown(folder: Path) -> None:
    with without_network(folder) as client, Store(folder / ".tastemaker" / "store.db") as store:
        shown = [
            i["item_id"] for i in client.post("/v1/recommendations", json=FILMS).json()["items"]
        ]
        store.remover().remove_items([shown[0]])
        wait_until(
            lambda: (
                shown[0]
                not in [
                    i["item_id"]
                    for i in client.post("/v1/recommendations", json=FILMS).json()["items"]
                ]
            )
        )
        assert client.get(f"/v1/items/{shown[0]}/similar").status_code == 404
        put = {"title": "Back", "genres": ["Horror"]}
        assert client.put(f"/v1/items/{shown[0]}", json=put).status_code in (200, 201)
        assert client.get(f"/v1/items/{shown[0]}/similar").status_code == 200
