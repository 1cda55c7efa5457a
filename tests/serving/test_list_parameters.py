"""Lists in a URL: separated by commas or repeated, never read as one unknown id."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serving.conftest import ids, item

COMEDY = [item(1, place) for place in range(6)]
PATH = "/v1/recommendations"


def posted(client: TestClient, **question: Any) -> list[str]:
    return ids(client.post(PATH, json={"n": 8, **question}))


def got(client: TestClient, query: str) -> list[str]:
    return ids(client.get(f"{PATH}?n=8&{query}"))


@pytest.mark.parametrize("separator", [",", "%2C", ", ", "&history=", ",%20"])
def test_a_history_in_a_url_equals_one_in_a_body(client: TestClient, separator: str) -> None:
    asked = f"history={separator.join(COMEDY[:3])}"
    assert got(client, asked) == posted(client, history=COMEDY[:3])


def test_commas_and_repetition_mix(client: TestClient) -> None:
    asked = f"history={COMEDY[0]},{COMEDY[1]}&history={COMEDY[2]}"
    assert got(client, asked) == posted(client, history=COMEDY[:3])


@pytest.mark.parametrize("separator", [",", "&exclude="])
def test_items_excluded_in_a_url_are_not_shown(client: TestClient, separator: str) -> None:
    shown = got(client, "user_id=user-1")
    left = got(client, f"user_id=user-1&exclude={separator.join(shown[:3])}")
    assert left
    assert not set(left) & set(shown[:3])


@pytest.mark.parametrize("query", ["history={}", "history={}&history=comedy-0"])
def test_an_id_with_a_comma_is_one_item(client: TestClient, query: str) -> None:
    attributes = {"title": "Horror night", "genres": ["Horror"]}
    assert client.put("/v1/items/crime,punishment", json=attributes).status_code == 201
    liked = [part.split("=")[1] for part in query.format("crime,punishment").split("&")]
    assert got(client, query.format("crime,punishment")) == posted(client, history=liked)
    assert any(id_.startswith("horror") for id_ in got(client, query.format("crime,punishment")))
    assert "crime,punishment" not in got(client, "user_id=user-0&exclude=crime,punishment")


@pytest.mark.parametrize("name", ["history", "exclude"])
@pytest.mark.parametrize("value", ["", ",", "comedy-0,", "comedy-0,,comedy-1", "1.5,2"])
def test_a_part_that_is_not_an_id_is_refused(client: TestClient, name: str, value: str) -> None:
    answer = client.get(f"{PATH}?{name}={value}")
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == name


def test_more_ids_than_count_are_refused(client: TestClient) -> None:
    answer = client.get(f"{PATH}?history={','.join(map(str, range(1_001)))}")
    assert answer.status_code == 422
    assert "1,001 ids, at most 1,000 are allowed" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("path", "name"), [(PATH, "user_id"), (PATH, "n"), ("/v1/trending", "n")])
def test_a_single_value_given_twice_is_refused(client: TestClient, path: str, name: str) -> None:
    answer = client.get(f"{path}?{name}=1&{name}=2")
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == name


def test_the_document_describes_the_list_format(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"][PATH]["get"]
    lists = [p for p in operation["parameters"] if p["name"] in ("history", "exclude")]
    assert len(lists) == 2
    assert all("Separate values with commas" in parameter["description"] for parameter in lists)
