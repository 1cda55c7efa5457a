"""Only requests with a valid API key are accepted, whatever happens to the key file."""

import base64
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.testclient import TestClient

from tastemaker.errors import UnknownIdError
from tastemaker.project import load_project
from tastemaker.serving import Service, create_app
from tastemaker.serving.keys import KeyFile
from tests.serving.conftest import item, wait_until, without_network
from tests.serving.test_keys import DAMAGED


@pytest.fixture
def file(folder: Path) -> KeyFile:
    return KeyFile(folder / ".tastemaker")


@pytest.fixture
def key(file: KeyFile) -> str:
    return file.add("shop")


@pytest.fixture
def guarded(folder: Path, key: str) -> Iterator[TestClient]:
    """A loopback server whose project has an API key."""
    with without_network(folder) as opened:
        yield opened


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def status_of(client: TestClient, *headers: tuple[bytes, bytes] | dict[str, str]) -> int:
    """The status of a request with exactly these headers."""
    pairs: list[Any] = []
    for header in headers:
        pairs += list(header.items()) if isinstance(header, dict) else [header]
    return client.get("/v1/trending", headers=pairs).status_code


def refused(answer: Any, sent: str = "") -> None:
    assert answer.status_code == 401, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["code"] == "no_key"
    assert not sent or sent not in answer.text
    challenges = answer.headers.get_list("www-authenticate")
    assert [result.split()[0] for result in challenges] == ["Bearer", "Basic"]


# --- API keys ---


def test_without_keys_no_key_is_required(client: TestClient) -> None:
    assert status_of(client) == 200
    assert status_of(client, bearer("anything")) == 200


ROUTES = [
    ("GET", "/"),
    ("GET", "/?user=visitor"),
    ("GET", "/console/assets/base.css"),
    ("GET", "/console/assets/none"),
    ("POST", "/console/events"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/v1/recommendations"),
    ("POST", "/v1/recommendations"),
    ("GET", "/v1/recommendations/none"),
    ("POST", "/v1/events"),
    ("PUT", "/v1/items/x"),
    ("GET", "/v1/items/x/similar"),
    ("GET", "/v1/trending"),
    ("DELETE", "/v1/trending"),
    ("GET", "/no/such/route"),
    ("GET", "/health"),
    ("GET", "/health/ready/"),
    ("GET", "//health/ready"),
    ("GET", "/health/ready/../../v1/trending"),
    ("GET", "/Health/Ready"),
    ("OPTIONS", "/v1/trending"),
    ("TRACE", "/v1/trending"),
    ("OPTIONS", "*"),
]


def test_every_route_requires_a_key(guarded: TestClient) -> None:
    for method, path in ROUTES:
        refused(guarded.request(method, path, content=b"{"))
    assert guarded.head("/v1/trending").status_code == 401


def test_health_checks_need_no_key(guarded: TestClient) -> None:
    for path in ("/health/live", "/health/ready"):
        assert guarded.get(path, headers={"Host": "10.0.0.7:8765"}).status_code == 200


def test_a_key_is_accepted_from_programs_and_browsers(guarded: TestClient, key: str) -> None:
    ways = [
        bearer(key),
        {"authorization": f"bearer {key}"},
        {"Authorization": f"BEARER   {key}  "},
        basic("", key),
        basic("anybody", key),
        {"Authorization": basic("x", key)["Authorization"].replace("Basic", "basic")},
    ]
    assert [status_of(guarded, way) for way in ways] == [200] * len(ways)
    page = guarded.get("/", params={"user": "visitor"}, headers=basic("me", key))
    assert page.status_code == 200
    assert guarded.get("/openapi.json", headers=bearer(key)).status_code == 200
    assert guarded.get("/no/such/route", headers=bearer(key)).status_code == 404


def test_each_of_several_keys_is_accepted(guarded: TestClient, file: KeyFile, key: str) -> None:
    keys = [key, *(file.add(f"more-{place}") for place in range(3))]
    assert [status_of(guarded, bearer(each)) for each in keys] == [200] * 4


def _wrong(key: str) -> dict[str, bytes]:
    encoded = base64.b64encode(f"x:{key}".encode())
    return {
        "nothing": b"",
        "no scheme": key.encode(),
        "scheme alone": b"Bearer",
        "empty": b"Bearer ",
        "cut": b"Bearer " + key[:-1].encode(),
        "longer": b"Bearer " + key.encode() + b"x",
        "other case": b"Bearer " + key.swapcase().encode(),
        "a space inside": b"Bearer " + key[:9].encode() + b" " + key[9:].encode(),
        "two": b"Bearer " + key.encode() + b"," + key.encode(),
        "two schemes": b"Bearer x, Bearer " + key.encode(),
        "a tab": b"Bearer\t" + key.encode(),
        "a quoted key": b'Bearer "' + key.encode() + b'"',
        "its digest": b"Bearer " + hashlib.sha256(key.encode()).hexdigest().encode(),
        "another scheme": b"Token " + key.encode(),
        "digest": b'Digest username="x", response="' + key.encode() + b'"',
        "not ASCII": b"Bearer " + key.encode() + "é".encode(),
        "no text at all": b"Bearer " + bytes(range(128, 256)),
        "ten kilobytes": b"Bearer " + b"x" * 10_000,
        "basic, no base64": b"Basic " + key.encode(),
        "basic, garbage": b"Basic ====",
        "basic, not ASCII": b"Basic " + "é".encode() + encoded,
        "basic, without padding": b"Basic " + base64.b64encode(f"xy:{key}".encode()).rstrip(b"="),
        "basic, without a colon": b"Basic " + base64.b64encode(key.encode()),
        "basic, as the user": b"Basic " + base64.b64encode(f"{key}:".encode()),
        "basic, ten kilobytes": b"Basic " + base64.b64encode(b"x:" + b"y" * 7_500),
    }


def test_an_invalid_key_is_rejected_without_being_repeated(guarded: TestClient, key: str) -> None:
    nothing_sent = guarded.get("/v1/trending").text
    for name, sent in _wrong(key).items():
        answer = guarded.get("/v1/trending", headers=[(b"authorization", sent)])
        refused(answer, key)
        assert answer.text == nothing_sent, name


def test_two_credentials_are_rejected(guarded: TestClient, key: str) -> None:
    good, bad = f"Bearer {key}".encode(), b"Bearer x"
    for pair in [(good, bad), (bad, good), (good, good)]:
        sent = [(b"authorization", each) for each in pair]
        refused(guarded.get("/v1/trending", headers=sent), key)


def test_a_key_outside_the_header_is_not_accepted(guarded: TestClient, key: str) -> None:
    for name in ("key", "api_key", "access_token", "authorization"):
        refused(guarded.get("/v1/trending", params={name: key}), key)
    refused(guarded.get(f"/v1/trending/{key}"), key)
    for name in ("X-API-Key", "Proxy-Authorization", "Cookie", "X-Authorization"):
        refused(guarded.get("/v1/trending", headers={name: f"Bearer {key}"}), key)


def test_a_request_without_a_key_is_rejected_before_the_body_is_read(guarded: TestClient) -> None:
    def body() -> Iterator[bytes]:
        yield b" " * 11_000_000

    refused(guarded.post("/v1/events", content=body()))
    refused(guarded.post("/v1/events", headers={"Content-Length": "99999999999"}))


# --- hosts and origins ---


def test_with_keys_any_host_name_is_accepted(guarded: TestClient, key: str) -> None:
    for host in ("shop.example", "10.1.2.3:8765", "[::1]:80", "[", ""):
        assert status_of(guarded, bearer(key), {"Host": host}) == 200


def test_a_foreign_page_cannot_write_even_with_a_key(guarded: TestClient, key: str) -> None:
    event = {"user_id": "visitor", "item_id": item(0, 0)}
    for host, origin in [
        ("shop.example", "https://evil.example"),
        ("shop.example", "null"),
        ("shop.example", "http://["),
        ("", "null"),
    ]:
        headers = {**basic("me", key), "Host": host, "Origin": origin}
        answer = guarded.post("/v1/events", json=event, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")
    own = {**basic("me", key), "Host": "shop.example", "Origin": "https://shop.example"}
    assert guarded.post("/v1/events", json=event, headers=own).status_code == 200


def test_without_keys_a_foreign_host_name_is_rejected(client: TestClient) -> None:
    for host in ("[", "[::1", "evil.example", "0.0.0.0", "", "127.0.0.1.x", "x@"):  # noqa: S104
        answer = client.get("/v1/trending", headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_host"), host


def test_an_invalid_origin_is_rejected(client: TestClient) -> None:
    for origin in ("http://[", "null", "", "127.0.0.1"):
        answer = client.get("/v1/trending", headers={"Origin": origin})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")


# --- changes while serving ---


def test_keys_added_and_removed_count_at_once(client: TestClient, file: KeyFile) -> None:
    assert status_of(client) == 200
    one = file.add("one")
    assert [status_of(client), status_of(client, bearer(one))] == [401, 200]
    other = file.add("other")
    file.remove("one")
    assert [status_of(client, bearer(one)), status_of(client, bearer(other))] == [401, 200]


def test_on_loopback_removing_the_last_key_makes_keys_optional(
    guarded: TestClient, file: KeyFile, key: str
) -> None:
    file.remove("shop")
    assert status_of(guarded) == 200
    assert status_of(guarded, {"Host": "shop.example"}) == 403


def test_outside_loopback_no_request_passes_after_the_last_key(
    folder: Path, file: KeyFile, key: str
) -> None:
    with without_network(folder, host="0.0.0.0") as open_to_others:  # noqa: S104
        assert status_of(open_to_others, bearer(key)) == 200
        file.remove("shop")
        assert [status_of(open_to_others), status_of(open_to_others, bearer(key))] == [401, 401]
        assert status_of(open_to_others, bearer(file.add("new"))) == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "shop.example"])  # noqa: S104
def test_outside_loopback_no_request_passes_without_keys(folder: Path, host: str) -> None:
    with without_network(folder, host=host) as open_to_others:
        refused(open_to_others.get("/v1/trending"))
        refused(open_to_others.get("/v1/trending", headers=bearer("")))


def _gone(path: Path) -> None:
    path.unlink()


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone.json")


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


BROKEN: dict[str, Callable[[Path], Any]] = {
    "gone": _gone,
    "a folder": _a_folder,
    "a link to nowhere": _a_link_to_nowhere,
    "a link to itself": _a_link_to_itself,
    "a pipe": _a_pipe,
    **{
        name: (lambda path, content=content: path.write_bytes(content))
        for name, content in DAMAGED.items()
    },
}


def test_a_broken_key_file_rejects_all_requests_and_is_logged(
    guarded: TestClient, file: KeyFile, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = file.path.read_bytes()
    for name, break_it in BROKEN.items():
        caplog.clear()
        break_it(file.path)
        for _ in range(3):
            assert [status_of(guarded), status_of(guarded, bearer(key))] == [401, 401], name
        assert guarded.get("/health/ready").status_code == 200
        said = [record.getMessage() for record in caplog.records]
        result = [message for message in said if "keys.json" in message]
        assert len(result) == 1, name
        assert "all requests are rejected" in result[0]
        if file.path.is_dir():
            file.path.rmdir()
        file.path.unlink(missing_ok=True)
        file.path.write_bytes(whole)
        assert status_of(guarded, bearer(key)) == 200, name


def test_a_key_file_lost_before_the_first_request_is_noticed(folder: Path, key: str) -> None:
    app = create_app(Service(load_project(folder / "tastemaker.toml")))
    (folder / ".tastemaker" / "keys.json").unlink()
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        refused(opened.get("/v1/trending"))


def test_a_start_without_the_lost_key_file_rejects_all_requests(folder: Path, key: str) -> None:
    """The same holds for a worker that replaces a dead one."""
    (folder / ".tastemaker" / "keys.json").unlink()
    with without_network(folder) as opened:
        for headers in ({}, bearer(key)):
            refused(opened.get("/v1/trending", headers=headers))
        other = KeyFile(folder / ".tastemaker").add("other")
        assert status_of(opened, bearer(other)) == 200


def test_listing_keys_that_never_existed_blocks_no_requests(folder: Path) -> None:
    with pytest.raises(UnknownIdError):
        KeyFile(folder / ".tastemaker").remove("nobody")
    with without_network(folder) as opened:
        assert opened.get("/v1/trending").status_code == 200


# --- logs and headers ---


@contextmanager
def at_work(folder: Path) -> Iterator[httpx2.Client]:
    """The application behind a real uvicorn with full logging."""
    app = create_app(Service(load_project(folder / "tastemaker.toml")))
    settings = uvicorn.Config(
        app, port=0, log_config=None, log_level="debug", access_log=False, lifespan="on"
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        no_keep_alive = httpx2.Limits(
            max_keepalive_connections=0
        )  # uvicorn closes the connection after a failure
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, limits=no_keep_alive, trust_env=False) as client:
            wait_until(lambda: client.get("/health/ready").status_code == 200)
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def _everything_is_logged() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("tastemaker", "uvicorn", "fastapi", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield
    for logger, level in zip(loggers, before):
        logger.setLevel(level)


@pytest.mark.usefixtures("_everything_is_logged")
def test_no_key_appears_in_a_log_a_response_or_the_store(
    folder: Path,
    key: str,
    file: KeyFile,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    unknown_key = "tm_" + "stranger" * 5
    answers: list[Any] = []

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken on purpose")

    with at_work(folder) as opened:
        monkeypatch.setattr(Service, "trending", broken)
        for one in (key, unknown_key, key[:-1]):
            credentials = [bearer(one), basic("u", one), {"Authorization": one}]
            credentials.append({"Authorization": f"Basic {one}"})
            for headers in credentials:
                answers += [
                    opened.get("/v1/trending", headers=headers),  # fails if the key is accepted
                    opened.get("/v1/recommendations?n=0", headers=headers),
                    opened.get("/none", headers=headers),
                    opened.post("/v1/recommendations", json={"n": 2}, headers=headers),
                    opened.post("/v1/events", content=b"{", headers=headers),
                ]
        assert {answer.status_code for answer in answers} == {200, 401, 404, 422, 500}
        file.path.write_text(
            f'{{"{key}": "{unknown_key}"}}'
        )  # reported as damaged, without its content
        answers.append(opened.get("/v1/trending", headers=bearer(key)))
    file.path.unlink()
    output = capfd.readouterr()
    said = "\n".join([caplog.text, output.out, output.err])
    assert "broken on purpose" in said
    assert "Exception in ASGI application" in said
    assert "keys.json is damaged" in said
    said += "\n".join(f"{answer.headers} {answer.text}" for answer in answers)
    said += "".join(
        path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".npy"
    )
    for secret in (key, unknown_key, key[:-1]):
        for form in (secret, base64.b64encode(f"u:{secret}".encode()).decode()):
            assert form not in said


SAFE = {
    "content-security-policy": (
        "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


def test_every_response_has_security_headers(
    guarded: TestClient, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(Service, "trending", broken)
    with_key = bearer(key)
    answers = [
        guarded.get("/v1/trending"),
        guarded.get("/v1/trending", headers=with_key),
        guarded.get("/none", headers=with_key),
        guarded.get("/health/live"),
        guarded.get("/openapi.json", headers=with_key),
        guarded.get("/", headers=with_key),
        guarded.get("/?user=visitor", headers=with_key),
        guarded.get("/v1/recommendations", headers=with_key),
        guarded.get("/v1/recommendations", headers={**with_key, "Origin": "http://evil"}),
    ]
    assert [a.status_code for a in answers] == [401, 500, 404, 200, 200, 303, 200, 200, 403]
    for answer in answers:
        assert {name: answer.headers.get_list(name) for name in SAFE} == {
            name: [value] for name, value in SAFE.items()
        }
    style = guarded.get("/console/assets/base.css", headers=with_key)
    assert style.headers.get_list("cache-control") == ["no-cache"]
    assert style.headers["x-content-type-options"] == "nosniff"
