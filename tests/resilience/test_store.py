"""Failures of the store, as reported by the command line and over HTTP."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tastemaker.project import load_project
from tastemaker.serving import Service, create_app
from tastemaker.store import EventSource, Store
from tastemaker.store.tables import SCHEMA
from tests.resilience.stage import Ran
from tests.serving.conftest import wait_until
from tests.store.test_tables import _FIRST_SCHEMA

Run = Callable[..., Ran]


@pytest.fixture
def db(films: Path) -> Path:
    """A store that is created and closed."""
    source = EventSource(load_project(films))
    source.open().close()
    return source.path


@pytest.fixture
def client(films: Path, db: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The ready application, with a store that waits only briefly for locks."""
    monkeypatch.setattr("tastemaker.store.source.Store", partial(Store, patience=0.2))
    app = create_app(Service(load_project(films)))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as opened:
        wait_until(lambda: opened.get("/health/ready").status_code == 200)
        yield opened


def post(client: TestClient, event_id: str = "e") -> Any:
    event = {"event_id": event_id, "user_id": "user-0", "item_id": "horror-1"}
    return client.post("/v1/events", json=event)


# --- locked ---


def test_while_the_store_is_locked_only_events_are_refused(
    client: TestClient, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for number in range(3):
            refused = post(client, f"refused {number}")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            error = refused.json()["error"]
            assert error["code"] == "store"
            assert "(database is locked); another process has locked it" in error["message"]
            assert client.get("/v1/recommendations?user_id=user-0").status_code == 200
        other.execute("COMMIT")
    assert post(client).status_code == 200
    message = [line for line in caplog.messages if "store.db" in line]
    assert len(message) == 2, message
    assert "nothing was written (database is locked)" in message[0]
    assert "writes succeed again, after" in message[1]


@pytest.mark.parametrize("verb", ["train", "evaluate", "recommend --user user-0"])
def test_a_locked_store_is_one_error_line_of_a_command(
    run: Run, db: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tastemaker.store.source.Store", partial(Store, patience=0.2))
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        message = run(*verb.split()).refusal
    assert (
        f"{db}: cannot be used (database is locked); another process has locked it: stop" in message
    )


# --- damaged, foreign, or of another version ---


def cut(db: Path) -> None:
    db.write_bytes(db.read_bytes()[: db.stat().st_size // 2])


def scratch_head(db: Path) -> None:
    content = bytearray(db.read_bytes())
    content[0] ^= 0xFF
    db.write_bytes(content)


def scratch_middle(db: Path) -> None:
    """Overwrites all pages but the first two with noise."""
    content = bytearray(db.read_bytes())
    content[8192:] = bytes([0xA5]) * (len(content) - 8192)
    db.write_bytes(content)


def newer(db: Path) -> None:
    with closing(sqlite3.connect(db)) as store, store:
        store.execute("UPDATE about SET value = ? WHERE name = 'schema'", (str(SCHEMA + 1),))


def foreign(db: Path) -> None:
    db.unlink()
    with closing(sqlite3.connect(db)) as store, store:
        store.execute("CREATE TABLE notes (note TEXT)")


def folder(db: Path) -> None:
    db.unlink()
    db.mkdir()


def text(db: Path) -> None:
    db.write_text("a diary, no database\n" * 500)


@pytest.mark.parametrize(
    ("change", "reason", "fix"),
    [
        (cut, "malformed", "restore it from a copy"),
        (scratch_head, "file is not a database", "restore it from a copy"),
        (scratch_middle, "malformed", "restore it from a copy"),
        (newer, f"has schema {SCHEMA + 1}, this version reads schema", "use the version of"),
        (foreign, "contains another program's tables (notes)", "set another path in [store] url"),
        (folder, "unable to open database file", "set another path in [store] url"),
        (text, "file is not a database", "restore it from a copy"),
    ],
)
def test_an_unusable_store_is_one_error_line_and_stays_unchanged(
    films: Path, run: Run, db: Path, change: Callable[[Path], None], reason: str, fix: str
) -> None:
    change(db)
    before = db.read_bytes() if db.is_file() else None
    # without a file, the other commands read the project's data
    verbs = ["recommend --user user-0", "similar horror-1", "train", "evaluate"]
    others = [] if change is folder else verbs
    for verb in ("serve --port 0", *others):
        message = run(*verb.split()).refusal
        assert reason in message, verb
        assert fix in message, verb
    assert (db.read_bytes() if db.is_file() else None) == before


def test_a_store_of_the_first_schema_works_with_all_commands(run: Run, db: Path) -> None:
    with closing(sqlite3.connect(db)) as store:
        store.executescript(_FIRST_SCHEMA)
    for verb in ("train --no-promote", "recommend --user user-0", "doctor"):
        assert run(*verb.split()).code == 0, verb
    assert "240 events" in run("doctor").out


PAGE = 4096


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_damage_found_while_serving_is_reported_as_a_store_error(
    films: Path, db: Path, share: float
) -> None:
    with Store(db) as store:
        store.importer().sweep()
    app = create_app(Service(load_project(films)))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        pages = db.stat().st_size // PAGE
        with db.open("r+b") as stream:
            stream.seek(max(1, int(pages * share)) * PAGE)
            stream.write(bytes([0xA5]) * PAGE * max(1, pages // 5))
        asked = [
            *(client.get(f"/v1/recommendations?user_id=user-{n}") for n in range(40)),
            *(client.get(f"/v1/recommendations?history=horror-{n}") for n in range(3)),
            client.get("/v1/items/horror-1/similar"),
            client.get("/v1/trending"),
            client.get("/v1/recommendations/none"),
            *(post(client, f"damaged {n}") for n in range(5)),
            client.put("/v1/items/horror-1", json={"title": "put"}),
        ]
    statuses = [answer.status_code for answer in asked]
    assert set(statuses) <= {200, 201, 404, 503, 422}, [a.text for a in asked if a.is_error]
    assert 503 in statuses
    assert statuses[40:44] == [200] * 4  # requests that do not use the store are answered
    for answer in asked:
        if answer.status_code == 503:
            assert answer.json()["error"]["code"] == "store", answer.text
            assert answer.headers["retry-after"] == "1"
