"""A real server under overload. The benchmark LOAD does the same for longer."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from benchmarks.load import storm
from benchmarks.server import Caller, serving
from tastemaker.project import load_project
from tastemaker.serving import Service, create_app, work_queue

pytestmark = pytest.mark.slow
ASKED = {"user_id": "user-0", "n": 10}


def test_an_overloaded_server_returns_503_and_recovers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASTEMAKER_SERVER__MAX_QUEUE_WAIT_MS", "10")
    with serving(folder / "tastemaker.toml") as server:
        result = storm(server.port, rate=2_000, seconds=3, bodies=[ASKED])
        refused = [each for each in result if each.status != 200]
        assert len(refused) < len(result), "no request was answered"
        assert {(each.status, each.retry_after) for each in refused} == {(503, "1")}
        caller = Caller(server)
        assert caller.call("POST", "/v1/recommendations", ASKED)[0] == 200
        caller.close()


def test_a_slowly_loaded_worker_accepts_events_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_queue, "LONGEST_STORING_SECONDS", 0.3)
    ready = Service.wait_until_ready

    def slowly(service: Service) -> None:
        time.sleep(2.0)
        ready(service)

    monkeypatch.setattr(Service, "wait_until_ready", slowly)
    app = create_app(Service(load_project(folder / "tastemaker.toml")), allow_slow=True)
    event = {"user_id": "one", "item_id": "horror-1"}
    with (
        TestClient(app, base_url="http://127.0.0.1") as client,
        ThreadPoolExecutor(12) as pool,
    ):
        result = list(pool.map(lambda _: client.post("/v1/events", json=event), range(12)))
    assert {answer.status_code for answer in result} == {200}
