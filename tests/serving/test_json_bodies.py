"""Bodies are parsed in parts, off the event loop, within limits, and as one parser would."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json
from starlette.testclient import TestClient

from tastemaker.serving import json_bodies
from tastemaker.serving.errors import ApiError
from tastemaker.serving.json_bodies import read_batch, read_json
from tests.serving.test_http import refused

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\[]{},:é\n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
EVENT = {
    "user_id": "u",
    "item_id": "horror-1",
    "event_type": "click",
    "value": 1.5,
    "timestamp": "2026-11-22T12:00:00Z",
    "session": "s",
    "recommendation_id": "0f5e6d",
    "position": 3,
    "context": {f"field-{n}": "value " * 10 for n in range(10)},
}


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The thread and the bytes of each call of the parser."""
    calls: list[tuple[str, int]] = []

    def parse(text: bytes, **options: Any) -> Any:
        calls.append((threading.current_thread().name, len(text)))
        return from_json(text, **options)

    monkeypatch.setattr(json_bodies, "from_json", parse)
    return calls


@pytest.fixture(scope="module")
def _small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_bodies, "PART", 8)
        yield


@pytest.mark.usefixtures("_small_parts")
@settings(max_examples=50)
@given(st.lists(VALUES, max_size=12), st.sampled_from([None, 1]), st.data())
def test_a_batch_in_parts_is_what_one_parser_reads(
    events: list[Any], indent: int | None, data: st.DataObject
) -> None:
    body = json.dumps({"events": events}, indent=indent).encode()
    assert read_batch(body) == from_json(body)
    place = data.draw(st.integers(0, len(body) - 1))
    other = data.draw(st.sampled_from([b"", b",", b"]", b"[", b'"', b"\\", b"}", b"]}", b"1"]))
    broken = body[:place] + other + body[place + 1 :]
    try:
        expected = from_json(broken, allow_inf_nan=False)
    except ValueError:
        with pytest.raises(ApiError):
            read_batch(broken)
    else:
        assert read_batch(broken) == expected


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("end", [b",]}", b"]", b"]]}", b'],"n":1', b"", b"}"])
def test_a_batch_with_a_wrong_end_is_not_json(end: bytes) -> None:
    with pytest.raises(ApiError, match="is not JSON"):
        read_batch(b'{"events":[' + b",".join([b'"some text"'] * 20) + end)


def test_ten_thousand_events_with_contexts_are_read_in_parts(
    client: TestClient, parsed: list[tuple[str, int]]
) -> None:
    events = [{"event_id": f"event-{n}", **EVENT} for n in range(10_000)]
    body = json.dumps({"events": events}).encode()
    assert 9_000_000 < len(body) < 10_000_000
    answer = client.post("/v1/events", content=body)
    assert answer.json() == {"accepted": 10_000, "duplicates": 0, "rejected": []}
    assert max(size for _, size in parsed) < 70_000
    assert all(name.startswith("storing") for name, _ in parsed)


HEAVY = {
    "fields": b"{" + b",".join(b'"k%d":1' % n for n in range(700_000)) + b"}",
    "events": b'{"events":[' + b",".join(b'{"k%d":1}' % n for n in range(600_000)) + b"]}",
    "one event": b'{"events":[{"context":{' + b'"a":1,' * 60_000 + b'"b":1}}]}',
    "lists": b'{"history":[' + b"[]," * 400_000 + b"[]]}",
}


@pytest.mark.parametrize("body", HEAVY.values(), ids=HEAVY)
@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/rank", "/v1/events"])
def test_a_body_of_too_many_elements_is_not_parsed(
    client: TestClient, parsed: list[tuple[str, int]], path: str, body: bytes
) -> None:
    error = refused(client.post(path, content=body), 413)
    assert error["code"] == "too_large"
    assert "values and fields" in error["message"]
    assert not parsed


def test_an_item_over_a_megabyte_is_not_parsed(
    client: TestClient, parsed: list[tuple[str, int]]
) -> None:
    body = b'{"title": "' + b"x" * 1_000_000 + b'"}'
    assert refused(client.put("/v1/items/a", content=body), 413)["code"] == "too_large"
    assert not parsed


def test_large_requests_are_validated_off_the_event_loop(
    client: TestClient, parsed: list[tuple[str, int]]
) -> None:
    exclude = [f"horror-{n}" for n in range(2_000)]
    for path, more in (("recommendations", {"n": 3}), ("rank", {"items": ["horror-1"]})):
        field = "exclude" if path == "recommendations" else "history"
        body = {"user_id": "user-1", field: exclude[: 2_000 if field == "exclude" else 900], **more}
        assert client.post(f"/v1/{path}", json=body).status_code == 200
    assert [name.startswith("storing") for name, _ in parsed] == [True, True]
    bad = {"exclude": [*exclude, 1.5]}
    assert refused(client.post("/v1/recommendations", json=bad), 422)["field"] == "exclude.2000"


def test_a_number_has_at_most_a_thousand_digits() -> None:
    assert read_json(b'{"n": ' + b"9" * 1_000 + b"}") == {"n": 10**1_000 - 1}
    assert read_json(b'{"title": "' + b"9" * 2_000 + b'"}')
    with pytest.raises(ApiError, match="a number has 1,001 digits"):
        read_json(b"[" + b"9" * 1_001 + b"]")
