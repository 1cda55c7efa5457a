"""Invalid requests get an error response in one format, and have no effect."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tastemaker.data.times import now
from tests.serving.conftest import train, without_network
from tests.serving.test_http import refused

ASK = "/v1/recommendations"
EVENTS = "/v1/events"
ITEM = "/v1/items/new"
BODIES = [("POST", ASK), ("POST", EVENTS), ("PUT", ITEM)]
COUNTED = [ASK, "/v1/trending", "/v1/items/i1/similar"]
EVENT = {"user_id": "u", "item_id": "i1"}
JSON = {"Content-Type": "application/json"}
PROJECT = """
[data]
events = "events.csv"
items = "items.csv"
[data.defaults]
event_type = "click"
[items.roles]
title = { role = "text" }
genres = { role = "tags", separator = "|" }
studio = { role = "category" }
year = { role = "number" }
released = { role = "time" }
[events.click]
[retrievers.item_knn]
type = "item_knn"
[retrievers.popular]
type = "popular"
[placements.home]
retrievers = { item_knn = 10, popular = 10 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a column of each role."""
    made = tmp_path_factory.mktemp("bad") / "shop"
    made.mkdir()
    items = [f"i{i},Film {i},Horror|Drama,Studio {i % 2},{1990 + i},2020-01-01" for i in range(8)]
    events = [f"u{n % 6},i{n * n % 8},{1_760_000_000 + n}" for n in range(60)]
    head = "item_id,title,genres,studio,year,released"
    (made / "items.csv").write_text("\n".join([head, *items]) + "\n")
    (made / "events.csv").write_text("\n".join(["user_id,item_id,timestamp", *events]) + "\n")
    (made / "tastemaker.toml").write_text(PROJECT)
    train(made)
    return made


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    """One server for all tests: rejected requests have no effect."""
    with without_network(folder) as opened:
        yield opened


def post(client: TestClient, body: bytes, path: str = ASK, method: str = "POST") -> Any:
    return client.request(method, path, content=body, headers=JSON)


def written(folder: Path, user: str) -> int:
    """The number of a user's events on disk."""
    with sqlite3.connect(folder / ".tastemaker" / "store.db") as store:
        query = "SELECT count(*) FROM events JOIN users USING (user) WHERE user_id = ?"
        found: int = store.execute(query, (user,)).fetchone()[0]
    store.close()
    return found


# --- n ---


@pytest.mark.parametrize("n", [10**9, 10**900, True, None, [], {}, 1.0])
def test_n_is_an_integer_from_1_to_1000_in_a_body(client: TestClient, n: Any) -> None:
    assert refused(client.post(ASK, json={"n": n}), 422)["field"] == "n"


@pytest.mark.parametrize("path", COUNTED)
@pytest.mark.parametrize(
    "n",
    ["0", "-1", "1001", "1000000000", "9" * 999, "ten", "1.5", "true", "null", "", "٥", "1 0"],
)
def test_n_is_an_integer_from_1_to_1000_in_a_url(client: TestClient, path: str, n: str) -> None:
    assert refused(client.get(path, params={"n": n}), 422)["field"] == "n"


# --- unknown fields ---


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("GET", path) for path in (*COUNTED, "/health/live", "/health/ready", f"{ASK}/abc")],
        *BODIES,
    ],
)
def test_an_unknown_parameter_is_refused_on_every_route(
    client: TestClient, method: str, path: str
) -> None:
    body = None if method == "GET" else EVENT
    error = refused(client.request(method, path, params={"m": 3}, json=body), 422)
    assert (error["code"], error["field"]) == ("unknown_field", "m")


def test_an_unknown_field_in_a_history_event_names_its_place(
    client: TestClient,
) -> None:
    history = ["i1", {"item_id": "i1", "event_tpye": "click"}]
    error = refused(client.post(ASK, json={"history": history}), 422)
    assert error["field"] == "history.1.event_tpye"
    assert "did you mean 'event_type'?" in error["message"]


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_refusal_is_short_however_long_the_name(
    client: TestClient, method: str, path: str
) -> None:
    answer = client.request(method, path, json={"x" * 500_000: 1})
    refused(answer, 422)
    assert len(answer.content) < 1_000


def test_a_batch_error_is_short_however_long_the_name(client: TestClient) -> None:
    answer = client.post(EVENTS, json={"events": [{"x" * 500_000: 1}]})
    assert len(answer.json()["rejected"]) == 1
    assert len(answer.content) < 1_000


# --- wrong types ---

TEXT = [1.5, True, [], {}]
NUMBER = ["4", True, [], {}]
LIST = ["abc", 5, True, {}, None]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("user_id", value) for value in TEXT],
        *[("placement", value) for value in [*TEXT, 5]],
        *[("timeout_ms", value) for value in [*NUMBER, -1, 60_001]],
        *[("explain", value) for value in ["yes", 1, None, [], {}]],
        *[("exclude", value) for value in LIST],
        *[("history", value) for value in LIST[:-1]],
        *[(name, [value]) for name in ("history", "exclude") for value in (None, 1.5, True, [])],
        *[("exclude", [{"item_id": "i1"}]), ("history", [{}])],
    ],
)
def test_a_field_of_a_wrong_type_is_named(client: TestClient, field: str, value: Any) -> None:
    assert refused(client.post(ASK, json={field: value}), 422)["field"].split(".")[0] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("item_id", value) for value in [*TEXT, None]],
        *[("event_type", value) for value in [*TEXT, 5]],
        *[("value", value) for value in NUMBER],
    ],
)
def test_an_invalid_field_of_a_history_event_is_named_with_its_place(
    client: TestClient, field: str, value: Any
) -> None:
    history = ["i1", {"item_id": "i2", field: value}]
    error = refused(client.post(ASK, json={"history": history}), 422)
    assert error["field"] == f"history.1.{field}"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *[("title", value) for value in (5, True, ["a"], {})],
        *[("genres", value) for value in (5, True, "Horror", [1.5], [None], [["a"]], {"a": 1})],
        *[("studio", value) for value in (1.5, ["a", "b"], [None], {"a": 1})],
        *[("year", value) for value in ("1999", True, [], {}, 10**400)],
        *[("released", value) for value in ("soon", True, [], {}, 10**400, 1e300)],
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_its_column_is_refused(
    client: TestClient, column: str, value: Any
) -> None:
    assert f"'{column}'" in refused(client.put(ITEM, json={column: value}), 422)["message"]


# --- ids ---

UNUSABLE = {
    "long": "x" * 10_000,
    "long in bytes": "é" * 501,
    "empty": "",
    "blank": "  ",
    "missing": "NaN",
    "float": "1.5",
    "NUL": "a\0b",
    "tab": "a\tb",
}
USABLE = ["a/b", "../../etc", "..", ".", "a'b\"c", "😀", " a", "a ", "a\u202eb", "'; DROP"]


@pytest.mark.parametrize("id_", UNUSABLE.values(), ids=UNUSABLE)
def test_an_invalid_id_is_rejected_in_every_field(client: TestClient, id_: str) -> None:
    for question in (
        {"user_id": id_},
        {"history": [id_]},
        {"history": [{"item_id": id_}]},
        {"exclude": [id_]},
    ):
        (field,) = question
        assert refused(client.post(ASK, json=question), 422)["field"].split(".")[0] == field
    for field in ("user_id", "history", "exclude"):
        refused(client.get(ASK, params={field: id_}), 422)
    for field in ("user_id", "item_id"):
        refused(client.post(EVENTS, json={**EVENT, field: id_}), 422)
    refused(client.put(f"/v1/items/{quote(id_, safe='')}", json={}), 422)
    similar = client.get(f"/v1/items/{quote(id_, safe='')}/similar")
    refused(similar, 404 if 0 < len(id_) <= 1_000 else 422)


@pytest.mark.parametrize("id_", USABLE)
def test_an_id_that_merely_looks_odd_means_itself_everywhere(client: TestClient, id_: str) -> None:
    path = f"/v1/items/{quote(id_, safe='').replace('.', '%2E')}"
    assert client.put(path, json={"title": "Odd"}).json()["item_id"] == id_
    assert client.get(f"{path}/similar").json()["item_id"] == id_
    assert client.post(EVENTS, json={"user_id": id_, "item_id": id_}).json()["accepted"] == 1
    asked = {"user_id": id_, "history": [id_], "exclude": [id_]}
    for answer in (client.post(ASK, json=asked), client.get(ASK, params=asked)):
        result = client.get(f"{ASK}/{answer.json()['recommendation_id']}").json()
        assert result["user_id"] == id_
        assert id_ not in [item["item_id"] for item in result["items"]]


@pytest.mark.parametrize("text", ["%ff", "%c0%af", "%ed%a0%80"])
def test_a_url_that_is_not_utf_8_is_refused_and_never_another_id(
    client: TestClient, text: str
) -> None:
    refused(client.put(f"/v1/items/{text}", json={}), 422)
    refused(client.get(f"/v1/items/{text}/similar"), 422)
    refused(client.get(f"{ASK}?user_id={text}"), 422)


@pytest.mark.parametrize("id_", [*UNUSABLE.values(), "../x", "a%2Fb", "😀"])
def test_an_invalid_decision_id_is_not_found(client: TestClient, id_: str) -> None:
    answer = client.get(f"{ASK}/{quote(id_, safe='')}")
    assert refused(answer, 422 if len(id_) > 100 else 404)


@pytest.mark.parametrize("id_", [id_ for id_ in UNUSABLE.values() if id_])
def test_the_page_rejects_an_invalid_id_too(client: TestClient, id_: str) -> None:
    form = {"user": "v", "item_id": "i1", "event_type": "click"}
    for answer in (
        client.get("/", params={"user": id_}),
        client.post("/console/events", data={**form, "user": id_}),
        client.post("/console/events", data={**form, "item_id": id_}),
    ):
        assert answer.status_code == 422
        assert "Invalid request" in answer.text


@pytest.mark.parametrize("id_", USABLE)
def test_the_page_carries_an_odd_id_through(client: TestClient, id_: str) -> None:
    form = {"user": id_, "item_id": "i1", "event_type": "click", "label": id_, "q": id_}
    acted = client.post("/console/events", data=form)
    assert acted.status_code == 303
    page = client.get(acted.headers["location"])
    assert page.status_code == 200
    assert "Film 1" in page.text  # the clicked item is listed under the latest


# --- bodies ---

NO_JSON = {
    "empty": b"",
    "blank": b"  ",
    "deep list": b'{"history":' + b"[" * 40_000 + b"]" * 40_000 + b"}",
    "deep object": b'{"title":' + b'{"a":' * 40_000 + b"1" + b"}" * 40_001,
    "digits": b'{"n":' + b"9" * 10_000 + b"}",
    "NaN": b'{"timeout_ms": NaN}',
    "Infinity": b'{"year": Infinity}',
    "-Infinity": b'{"value": -Infinity}',
    "half a character": b'{"title": "\\ud800"}',
    "broken UTF-8": b'{"user_id": "\xff"}',
    "UTF-16": '{"n": 1}'.encode("utf-16"),
    "BOM": b'\xef\xbb\xbf{"n": 1}',
    "trailing": b'{"n": 1} x',
    "comment": b'{"n": 1 /* one */}',
    "raw line break": b'{"user_id": "a\nb"}',
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_body_that_is_not_json_in_utf_8_is_rejected(
    client: TestClient, method: str, path: str, body: bytes
) -> None:
    assert refused(post(client, body, path, method), 422)["code"] == "malformed_json"


@pytest.mark.parametrize("body", [b"[]", b"null", b'"n"', b"1", b"true"])
@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_body_is_an_object(client: TestClient, method: str, path: str, body: bytes) -> None:
    refused(post(client, body, path, method), 422)


def test_of_two_fields_of_one_name_the_later_counts(client: TestClient) -> None:
    assert len(post(client, b'{"n": 5000, "n": 2}').json()["items"]) == 2
    refused(post(client, b'{"n": 2, "n": 5000}'), 422)


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/form-data", "garbage"]
)
def test_a_body_of_another_kind_is_refused(
    client: TestClient, method: str, path: str, kind: str
) -> None:
    answer = client.request(method, path, content=b"{}", headers={"Content-Type": kind})
    assert "curl: -H 'Content-Type: application/json'" in refused(answer, 415)["message"]


@pytest.mark.parametrize("kind", [None, "application/json; charset=utf-8", "Application/JSON"])
def test_a_body_without_a_content_type_is_read_as_json(
    client: TestClient, kind: str | None
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    for method, path in BODIES[::2]:
        assert client.request(method, path, content=b"{}", headers=headers).is_success


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_compressed_body_is_refused(client: TestClient, method: str, path: str) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    answer = client.request(method, path, content=b"\x1f\x8b", headers=headers)
    assert "send the body uncompressed" in refused(answer, 415)["message"]


MANY = 3_000_000
NONSENSE = {
    "empty lists": b'{"history": [' + b"[]," * MANY + b"[]]}",
    "nested lists": b'{"history": [' + b"[[[[[[]]]]]]," * (MANY // 4) + b"[]]}",
    "fields": b"{" + b",".join(b'"k%d":1' % n for n in range(MANY // 4)) + b"}",
    "ids": b'{"history": [' + b"1," * MANY + b"1]}",
    "name": b'{"' + b"x" * 9_000_000 + b'": 1}',
    "placement": b'{"placement": "' + b"x" * 9_000_000 + b'"}',
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_huge_invalid_body_gets_a_short_error(
    client: TestClient, method: str, path: str, body: bytes
) -> None:
    answer = post(client, body, path, method)
    assert answer.status_code in (413, 422)
    assert refused(answer, answer.status_code)
    assert len(answer.content) < 1_000


def test_thousands_of_unknown_fields_are_one_refusal(client: TestClient) -> None:
    assert refused(post(client, NONSENSE["fields"]), 413)["code"] == "too_large"
    fields = b"{" + b",".join(b'"k%d":1' % n for n in range(30_000)) + b"}"
    error = refused(post(client, fields), 422)
    assert (error["code"], error["field"]) == ("unknown_field", "k0")


def test_an_item_has_at_most_a_megabyte(client: TestClient) -> None:
    error = refused(client.put(ITEM, json={"title": "x" * 1_000_000}), 413)
    assert error["code"] == "too_large"
    labels = [f"{n}{'x' * 900}" for n in range(990)]
    assert client.put("/v1/items/long", json={"genres": labels}).status_code == 201


@pytest.mark.parametrize("columns", [{"title": "x" * 1_001}, {"genres": ["y", "x" * 1_001]}])
def test_a_title_and_a_label_have_at_most_1000_characters(
    client: TestClient, columns: dict[str, object]
) -> None:
    error = refused(client.put(ITEM, json=columns), 422)
    assert "may have 1,000 characters, got 1,001" in error["message"]


# --- routes and methods ---


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (ASK, "GET, POST"),
        (f"{ASK}/abc", "GET"),
        (EVENTS, "POST"),
        ("/v1/items/a", "PUT"),
        ("/v1/trending", "GET"),
        ("/health/ready", "GET"),
    ],
)
@pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_an_unknown_method_gets_the_allowed_ones(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)
    assert refused(answer, 405)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == allowed


def test_head_is_not_allowed_and_has_no_body(client: TestClient) -> None:
    answer = client.head(ASK)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert answer.content == b""


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/items",
        f"{ASK}/",
        "/v1/trending/",
        "/V1/trending",
        "//v1",
        "/docs",
    ],
)
def test_only_exact_paths_are_found(client: TestClient, path: str) -> None:
    assert path in refused(client.get(f"http://127.0.0.1{path}"), 404)["message"]


# --- events ---


def test_invalid_events_in_a_large_batch_are_rejected_individually(
    client: TestClient, folder: Path
) -> None:
    bad = [{"item_id": 1.5}, {"item_id": ""}, {"event_type": "clik"}, {"value": "4"}, {"usr": 1}]
    events = [
        {"user_id": "many", "item_id": "i1", **(bad[n // 10 % 5] if n % 10 == 9 else {})}
        for n in range(10_000)
    ]
    result = client.post(EVENTS, json={"events": events}).json()
    assert result["accepted"] == written(folder, "many") == 9_000
    assert [entry["index"] for entry in result["rejected"]] == list(range(9, 10_000, 10))
    refused(client.post(EVENTS, json={"events": [*events, EVENT]}), 422)
    assert written(folder, "many") == 9_000


def test_the_same_event_twice_in_one_post_is_written_once(client: TestClient, folder: Path) -> None:
    events = [{"event_id": "twin", "user_id": "twin", "item_id": "i1"}] * 2
    result = client.post(EVENTS, json={"events": events}).json()
    assert result == {"accepted": 1, "duplicates": 1, "rejected": []}
    assert written(folder, "twin") == 1


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("next year", "in the future"),
        ("9999-12-31T23:59:59Z", "in the future"),
        ("1969-12-31T23:59:59Z", "before 1970"),
        ("10000-01-01", "unreadable"),
        *[(value, "unreadable") for value in (1e300, True, [], {})],
    ],
)
def test_an_impossible_time_is_rejected(client: TestClient, moment: Any, said: str) -> None:
    if moment == "next year":
        moment = now() // 10**6 + 366 * 86_400
    event = {**EVENT, "timestamp": moment}
    assert said in refused(client.post(EVENTS, json=event), 422)["message"]
    entry = {"item_id": "i1", "timestamp": moment}
    assert said in refused(client.post(ASK, json={"history": [entry]}), 422)["message"]


@pytest.mark.parametrize(("name", "most"), [("history", 1_000), ("exclude", 10_000)])
def test_a_history_has_a_largest_length(client: TestClient, name: str, most: int) -> None:
    assert client.post(ASK, json={name: ["i1"] * most, "n": 1}).status_code == 200
    assert refused(client.post(ASK, json={name: ["i1"] * (most + 1)}), 422)["field"] == name
    assert refused(client.post(ASK, json={name: ["i1"] * 50_000}), 422)["field"] == name
