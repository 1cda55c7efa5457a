"""The HTTP interface: responses that reflect events, and errors that state the reason."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serving.conftest import GENRES, PER_GENRE, ids, item

HORROR = [item(0, place) for place in range(PER_GENRE)]
COMEDY = [item(1, place) for place in range(PER_GENRE)]


def recommend(client: TestClient, **question: Any) -> Any:
    return client.post("/v1/recommendations", json=question)


def click(client: TestClient, user: str, *items: str, kind: str = "click") -> None:
    events = [{"user_id": user, "item_id": id_, "event_type": kind} for id_ in items]
    answer = client.post("/v1/events", json={"events": events})
    assert answer.json() == {"accepted": len(items), "duplicates": 0, "rejected": []}


def refused(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert {"code", "message"} <= set(error) <= {"code", "message", "field"}
    return error


def test_a_burst_of_new_items_is_stored_completely(client: TestClient) -> None:
    """Events on disk are never reported as rejected."""
    with ThreadPoolExecutor(16) as pool:
        result = list(pool.map(lambda n: client.put(f"/v1/items/new-{n}", json={}), range(48)))
    assert {answer.status_code for answer in result} == {201}


# --- recommendations ---


def test_an_answer_has_the_agreed_shape(client: TestClient) -> None:
    answer = recommend(client, user_id="user-0", n=5).json()
    assert set(answer) == {"recommendation_id", "model_version", "variant", "degraded", "items"}
    assert answer["model_version"] == client.get("/health/ready").json()["model_version"]
    assert len(answer["items"]) == 5
    first = answer["items"][0]
    assert set(first) == {"item_id", "title", "score", "reasons"}
    assert first["reasons"][0]["text"]


def test_a_known_user_gets_items_of_their_taste(client: TestClient) -> None:
    assert set(ids(recommend(client, user_id="user-0", n=3))) <= set(HORROR)


def test_a_history_without_a_user_is_answered(client: TestClient) -> None:
    result = ids(recommend(client, history=COMEDY[:3], n=5))
    assert set(result) <= set(COMEDY[3:])


def test_a_history_of_events_knows_dislikes(client: TestClient) -> None:
    history = [
        {"item_id": COMEDY[0], "event_type": "click"},
        {"item_id": COMEDY[1], "event_type": "dislike"},
    ]
    result = ids(recommend(client, history=history, n=40))
    assert COMEDY[1] not in result
    assert result[0] in COMEDY


def test_an_anonymous_user_gets_popular_items(client: TestClient) -> None:
    assert len(ids(recommend(client, n=5))) == 5


def test_an_unknown_user_is_answered_and_remembered(client: TestClient) -> None:
    before = ids(recommend(client, user_id="stranger", n=5))
    click(client, "stranger", *HORROR[:3])
    after = ids(recommend(client, user_id="stranger", n=5))
    assert before != after
    assert set(after) <= set(HORROR[3:])


def test_a_click_changes_the_very_next_answer(client: TestClient) -> None:
    click(client, "visitor", HORROR[0])
    assert set(ids(recommend(client, user_id="visitor", n=3))) <= set(HORROR)
    click(client, "visitor", *COMEDY[:4])
    assert set(ids(recommend(client, user_id="visitor", n=8))) & set(COMEDY)


def test_a_disliked_item_never_returns(client: TestClient) -> None:
    click(client, "visitor", HORROR[0])
    gone = ids(recommend(client, user_id="visitor", n=3))[0]
    click(client, "visitor", gone, kind="dislike")
    for question in ({}, {"placement": "again"}, {"history": HORROR[4:6]}):
        assert gone not in ids(recommend(client, user_id="visitor", n=40, **question))


def test_clicked_items_are_excluded_if_the_placement_says_so(client: TestClient) -> None:
    click(client, "visitor", HORROR[0])
    assert HORROR[0] not in ids(recommend(client, user_id="visitor", n=45))
    assert HORROR[0] in ids(recommend(client, user_id="visitor", n=45, placement="again"))


def test_items_excluded_by_the_request_are_not_shown(client: TestClient) -> None:
    first = ids(recommend(client, user_id="user-0", n=5))
    other = ids(recommend(client, user_id="user-0", n=5, exclude=[*first, "nobody-knows"]))
    assert other
    assert not set(first) & set(other)


def test_a_url_gives_the_same_result(client: TestClient) -> None:
    asked = {"history": COMEDY[:3], "n": 5, "exclude": [COMEDY[5]]}
    assert ids(client.get("/v1/recommendations", params=asked)) == ids(recommend(client, **asked))


def test_a_response_has_a_trace_if_requested(client: TestClient) -> None:
    trace = recommend(client, user_id="user-0", n=2, explain=True).json()["trace"]
    names = [stage["name"] for stage in trace["stages"]]
    assert names[-3:] == ["merge", "filter", "select"]
    assert all({"name", "in", "out", "ms"} <= set(stage) for stage in trace["stages"])
    assert trace["items"][0]["sources"]


@pytest.mark.parametrize(
    ("question", "field", "said"),
    [
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": -1}, "n", "greater than or equal to 1"),
        ({"n": 1_001}, "n", "less than or equal to 1000"),
        ({"n": "ten"}, "n", "valid integer"),
        ({"n": "10"}, "n", "valid integer"),
        ({"n": 2.5}, "n", "valid integer"),
        ({"user_id": 1.5}, "user_id", ""),
        ({"user_id": ["a"]}, "user_id", ""),
        ({"history": "abc"}, "history", "valid list"),
        ({"histroy": ["abc"]}, "histroy", "did you mean 'history'?"),
        ({"timeout_ms": 0}, "timeout_ms", "greater than 0"),
    ],
)
def test_an_invalid_request_names_the_field(
    client: TestClient, question: dict[str, Any], field: str, said: str
) -> None:
    error = refused(recommend(client, **question), 422)
    assert error["field"].split(".")[0] == field
    assert said in error["message"]


def test_an_unknown_placement_suggests_a_similar_name(client: TestClient) -> None:
    error = refused(recommend(client, placement="hom"), 422)
    assert "did you mean 'home'?" in error["message"]


def test_an_undeclared_type_in_a_history_is_rejected_with_its_place(client: TestClient) -> None:
    history = [COMEDY[0], {"item_id": COMEDY[1], "event_type": "clik"}]
    error = refused(recommend(client, history=history), 422)
    assert "history[1]" in error["message"]
    assert "did you mean 'click'?" in error["message"]


def test_an_unknown_parameter_of_a_url_is_refused(client: TestClient) -> None:
    error = refused(client.get("/v1/recommendations", params={"user": "user-0"}), 422)
    assert "did you mean 'user_id'?" in error["message"]


@pytest.mark.parametrize("name", ["user_id", "history", "exclude"])
def test_an_empty_parameter_of_a_url_is_refused_by_name(client: TestClient, name: str) -> None:
    error = refused(client.get("/v1/recommendations", params={name: ""}), 422)
    assert error["field"].split(".")[0] == name


@pytest.mark.parametrize("path", ["/v1/trending", f"/v1/items/{HORROR[0]}/similar"])
def test_an_unknown_parameter_is_refused_everywhere(client: TestClient, path: str) -> None:
    assert refused(client.get(path, params={"m": 3}), 422)["field"] == "m"


@pytest.mark.parametrize("value", [True, 1.5, 10**1_000])
def test_an_id_is_text_or_an_integer(client: TestClient, value: Any) -> None:
    refused(recommend(client, user_id=value), 422)
    refused(recommend(client, exclude=[value]), 422)


def test_text_that_cannot_be_encoded_is_rejected(client: TestClient) -> None:
    body = b'{"placement": "\\ud800"}'
    headers = {"Content-Type": "application/json"}
    refused(client.post("/v1/recommendations", content=body, headers=headers), 422)


def test_a_history_event_without_a_type_is_a_like(client: TestClient) -> None:
    result = [{"item_id": id_} for id_ in COMEDY[:3]]
    assert ids(recommend(client, history=result, n=5)) == ids(
        recommend(client, history=COMEDY[:3], n=5)
    )


def test_two_responses_never_share_an_id(client: TestClient) -> None:
    asked = [recommend(client, n=1).json()["recommendation_id"] for _ in range(5)]
    assert len(set(asked)) == 5


# --- decisions ---


def test_every_answer_can_be_looked_up(client: TestClient) -> None:
    for question in ({"user_id": "user-0", "n": 4}, {"history": COMEDY[:2]}, {"n": 1}):
        answer = recommend(client, **question).json()
        result = client.get(f"/v1/recommendations/{answer['recommendation_id']}").json()
        assert result["model_version"] == answer["model_version"]
        assert result["user_id"] == question.get("user_id")
        assert [e["item_id"] for e in result["items"]] == [e["item_id"] for e in answer["items"]]
        assert [e["score"] for e in result["items"]] == [e["score"] for e in answer["items"]]
        assert [e["position"] for e in result["items"]] == list(range(1, len(answer["items"]) + 1))
        assert all(entry["propensity"] == 1.0 for entry in result["items"])
        assert [e["reasons"] for e in result["items"]] == [e["reasons"] for e in answer["items"]]
        assert {stage["name"] for stage in result["trace"]["stages"]} >= {"merge", "filter"}


def test_an_unknown_decision_is_not_found(client: TestClient) -> None:
    assert refused(client.get("/v1/recommendations/none"), 404)["code"] == "not_found"


# --- lists for all users ---


def test_similar_items_are_of_the_same_genre(client: TestClient) -> None:
    answer = client.get(f"/v1/items/{HORROR[0]}/similar", params={"n": 4})
    assert set(ids(answer)) <= set(HORROR[1:])
    assert answer.json()["source"] == "item_knn"


def test_a_source_for_similar_items_can_be_chosen(client: TestClient) -> None:
    answer = client.get(f"/v1/items/{HORROR[0]}/similar", params={"n": 4, "source": "content"})
    assert answer.json()["source"] == "content"
    error = refused(client.get(f"/v1/items/{HORROR[0]}/similar", params={"source": "als"}), 422)
    assert "als" in error["message"]


def test_similar_items_of_an_unknown_item_are_not_found(client: TestClient) -> None:
    assert "no-such" in refused(client.get("/v1/items/no-such/similar"), 404)["message"]


def test_what_is_trending_is_listed(client: TestClient) -> None:
    assert len(ids(client.get("/v1/trending", params={"n": 3}))) == 3
    refused(client.get("/v1/trending", params={"n": 0}), 422)


# --- events ---


def test_an_invalid_event_in_a_batch_is_rejected_individually(client: TestClient) -> None:
    events = [
        {"user_id": "a", "item_id": HORROR[0]},
        {"user_id": "a", "item_id": HORROR[1], "event_type": "clik"},
        "not an event",
        {"user_id": "a"},
        {"user_id": "a", "item_id": HORROR[2], "timestamp": "2026-01-01T00:00:00Z"},
    ]
    result = client.post("/v1/events", json={"events": events}).json()
    assert result["accepted"] == 2
    assert [entry["index"] for entry in result["rejected"]] == [1, 2, 3]
    assert "did you mean 'click'?" in result["rejected"][0]["error"]


def test_a_single_bad_event_is_refused(client: TestClient) -> None:
    error = refused(client.post("/v1/events", json={"user_id": "a", "item_id": 1.5}), 422)
    assert "item_id" in error["message"]


def test_an_event_sent_twice_counts_once(client: TestClient) -> None:
    event = {"event_id": "e1", "user_id": "visitor", "item_id": HORROR[0]}
    first = client.post("/v1/events", json=event).json()
    assert first == {"accepted": 1, "duplicates": 0, "rejected": []}
    for _ in range(2):
        again = client.post("/v1/events", json=event).json()
        assert again == {"accepted": 0, "duplicates": 1, "rejected": []}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
        (b"[]", "invalid"),
        (b'"text"', "invalid"),
        (b'{"events": 3}', "invalid"),
        (b'{"events": [], "more": 1}', "unknown_field"),
        (b'{"user_id": "a", "item_id": NaN}', "malformed_json"),
    ],
)
def test_a_body_without_events_is_rejected(client: TestClient, body: bytes, code: str) -> None:
    assert refused(client.post("/v1/events", content=body), 422)["code"] == code


def test_a_body_over_ten_megabytes_is_refused(client: TestClient) -> None:
    error = refused(client.post("/v1/events", content=b" " * 10_000_001), 413)
    assert error["code"] == "too_large"

    def streamed() -> Any:
        yield from [b" " * 1_000_000] * 11

    assert client.post("/v1/events", content=streamed()).status_code == 413


def test_an_event_for_an_unknown_item_is_stored_without_effect(client: TestClient) -> None:
    click(client, "visitor", "never-described", HORROR[0])
    assert set(ids(recommend(client, user_id="visitor", n=3))) <= set(HORROR)


# --- items ---


def test_a_new_item_can_be_recommended_at_once(client: TestClient) -> None:
    put = client.put("/v1/items/new", json={"title": "Horror dawn", "genres": ["Horror"]})
    assert (put.status_code, put.json()) == (201, {"item_id": "new", "created": True})
    click(client, "visitor", *HORROR)
    assert ids(recommend(client, user_id="visitor", placement="alike", n=1)) == ["new"]
    assert "new" in ids(recommend(client, user_id="visitor"))
    assert ids(client.get("/v1/items/new/similar", params={"source": "content", "n": 1}))


def test_an_item_put_again_has_its_new_columns(client: TestClient) -> None:
    client.put("/v1/items/new", json={"title": "Dawn", "genres": ["Horror"]})
    put = client.put("/v1/items/new", json={"title": "Dusk", "genres": ["Comedy"]})
    assert (put.status_code, put.json()["created"]) == (200, False)
    click(client, "visitor", *COMEDY)
    answer = recommend(client, user_id="visitor", placement="alike", n=1).json()
    assert answer["items"][0]["title"] == "Dusk"


def test_a_fitted_item_put_again_shows_its_new_title(client: TestClient) -> None:
    put = client.put(f"/v1/items/{HORROR[3]}", json={"title": "Renamed", "genres": ["Horror"]})
    assert put.json() == {"item_id": HORROR[3], "created": False}
    answer = recommend(client, history=HORROR[:3], n=20).json()
    assert "Renamed" in [entry["title"] for entry in answer["items"]]


def test_labels_may_be_booleans_and_whole_numbers(client: TestClient) -> None:
    assert client.put("/v1/items/new", json={"genres": ["Horror", 7, True, 2.0]}).is_success
    refused(client.put("/v1/items/odd", json={"genres": [2.5]}), 422)


def test_an_id_may_hold_slashes_quotes_and_emoji(client: TestClient) -> None:
    id_ = "a/b'c\"d?e#🎬"
    put = client.put(
        "/v1/items/a%2Fb'c%22d%3Fe%23%F0%9F%8E%AC", json={"title": "Odd", "genres": ["Horror"]}
    )
    assert put.json()["item_id"] == id_
    click(client, id_, *HORROR)
    assert ids(recommend(client, user_id=id_, placement="alike", n=1)) == [id_]


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"titel": "x"}, "did you mean 'title'?"),
        ({"title": 3}, "'title' must be text"),
        ({"genres": "Horror"}, "'genres' must be a list of labels"),
        ({"year": "1999"}, "'year' must be a finite number"),
        ({"year": 10**400}, "'year' must be a finite number"),
    ],
)
def test_an_invalid_item_is_rejected_and_not_stored(
    client: TestClient, attributes: dict[str, Any], said: str
) -> None:
    assert said in refused(client.put("/v1/items/new", json=attributes), 422)["message"]
    refused(client.get("/v1/items/new/similar"), 404)


# --- other routes ---


def test_not_found_has_the_same_error_format(client: TestClient) -> None:
    assert refused(client.get("/v2/anything"), 404)["code"] == "not_found"
    assert refused(client.delete("/v1/trending"), 405)["code"] == "method_not_allowed"


def test_the_interface_describes_itself_with_examples(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    paths = document["paths"]
    assert set(paths) == {
        "/v1/recommendations",
        "/v1/recommendations/{recommendation_id}",
        "/v1/items/{item_id}/similar",
        "/v1/trending",
        "/v1/rank",
        "/v1/events",
        "/v1/items/{item_id}",
        "/health/live",
        "/health/ready",
    }
    posted = paths["/v1/events"]["post"]["requestBody"]["content"]["application/json"]
    assert {"one", "many"} <= set(posted["examples"])
    assert document["components"]["schemas"]["RecommendationBody"]["examples"]


def test_health_checks_report_live_and_ready(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json()["status"] == "ready"


# --- pages of other sites ---


def test_a_foreign_page_can_neither_write_nor_read(client: TestClient) -> None:
    event = {"user_id": "visitor", "item_id": HORROR[0]}
    form = {"user": "visitor", "item_id": HORROR[0], "event_type": "dislike"}
    evil = {"Origin": "https://evil.example"}
    assert refused(client.post("/v1/events", json=event, headers=evil), 403)
    assert refused(client.post("/console/events", data=form, headers=evil), 403)
    assert refused(client.get("/v1/trending", headers={"Host": "evil.example"}), 403)
    assert HORROR[0] in ids(recommend(client, user_id="visitor", n=45))


def test_its_own_page_can_write(client: TestClient) -> None:
    form = {"user": "visitor", "item_id": HORROR[0], "event_type": "click"}
    for host in ("127.0.0.1:8765", "localhost:8765", "[::1]:8765"):
        own = {"Host": host, "Origin": f"http://{host}"}
        assert client.post("/console/events", data=form, headers=own).status_code == 303


# --- the page ---


def test_each_visitor_gets_a_new_user_id(client: TestClient) -> None:
    one, other = (client.get("/", params={"label": "Horror", "q": "n"}) for _ in range(2))
    assert one.status_code == other.status_code == 303
    assert one.headers["location"] != other.headers["location"]
    assert "label=Horror&q=n" in one.headers["location"]


def test_a_button_of_the_page_stores_an_event(client: TestClient) -> None:
    form = {"user": "visitor", "event_type": "click", "label": "Horror", "q": ""}
    for id_ in HORROR[:3]:
        acted = client.post("/console/events", data={**form, "item_id": id_})
        assert acted.status_code == 303
        assert acted.headers["location"] == "/?user=visitor&label=Horror"
    assert set(ids(recommend(client, user_id="visitor", n=3))) <= set(HORROR[3:])
    page = client.get("/", params={"user": "visitor"}).text
    assert "because you clicked" in page


@pytest.mark.parametrize("position", ["²", "9" * 5_000, "-1", "x"])
def test_an_invalid_position_is_rejected(client: TestClient, position: str) -> None:
    form = {"user": "v", "item_id": HORROR[0], "event_type": "click", "position": position}
    assert client.post("/console/events", data=form).status_code == 422


def test_the_page_shows_whether_a_user_was_in_the_training(client: TestClient) -> None:
    assert "new here" not in client.get("/", params={"user": "user-0"}).text
    click(client, "visitor", HORROR[0])
    assert "new here" in client.get("/", params={"user": "visitor"}).text


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/", params={"user": "visitor"})
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http://" not in page.text.replace("http://www.w3.org/", "")
    assert "https://" not in page.text
    assert client.get("/console/assets/htmx.min.js").status_code == 200
    assert client.get("/console/assets/..%2Fpage.py").status_code == 404


def test_a_shelf_can_be_filtered_and_searched(client: TestClient) -> None:
    narrowed = client.get("/", params={"user": "v", "label": GENRES[2]}).text
    assert "Western night 3" in narrowed
    found = client.get("/", params={"user": "v", "q": "comedy NIGHT 7"}).text
    assert "Comedy night 7" in found
    assert client.get("/", params={"user": "v", "q": "<script>"}).text.count("<script>") == 0
    assert client.get("/", params={"user": "v", "label": "no such"}).status_code == 200
