"""With an old event log, the server gives the same results as the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tastemaker.cli import answers
from tastemaker.cli.serve import old_log_warning
from tastemaker.data import times
from tastemaker.data.times import MICROSECONDS, format_moment
from tastemaker.project import load_project
from tastemaker.serving import Service
from tests.serving.conftest import PROJECT, item, train, wait_until, without_network

DAY = MICROSECONDS["d"]
AGES = {"yesterday": 1, "400 days": 400, "20 years": 7_305}
TRENDING = PROJECT.replace(
    "[placements.home]",
    """[retrievers.trending]
type = "trending"
[retrievers.sessions]
type = "session_knn"
method = "stan"
[retrievers.new_items]
type = "new_items"
[placements.home]""",
).replace("popular = 5 }", "trending = 20, sessions = 10, new_items = 10, popular = 5 }")

Told = Callable[..., dict[str, Any]]


def shift(folder: Path, days: int) -> None:
    """Shifts the log of about three weeks so that it ended the given number of days ago."""
    lines = (folder / "events.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    end, last = times.now() // 1_000_000 - days * 86_400, max(int(row[2]) for row in rows)
    lines[1:] = [f"{user},{id_},{end - 450 * (last - int(time))}" for user, id_, time in rows]
    (folder / "events.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module", params=AGES.values(), ids=AGES)
def ended(request: Any, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained project with an old log that was not served yet."""
    folder = tmp_path_factory.mktemp("ended") / "films"
    folder.mkdir()
    for name in ("events.csv", "items.csv"):
        shutil.copy(trained / name, folder)
    (folder / "tastemaker.toml").write_text(TRENDING)
    shift(folder, request.param)
    train(folder)
    return folder


@pytest.fixture
def old(ended: Path, tmp_path: Path) -> Path:
    """A copy of the project to serve and change."""
    return Path(shutil.copytree(ended, tmp_path / "films"))


@pytest.fixture
def cli(old: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """`tastemaker recommend --json`."""

    def result(user: str | None = None, history: list[str] | None = None) -> dict[str, Any]:
        capsys.readouterr()
        listed = None if history is None else ",".join(history)
        asked = answers.RecommendOptions(user, listed, 12, None)
        answers.recommend(old / "tastemaker.toml", asked, trace=False, as_json=True)
        return dict(json.loads(capsys.readouterr().out))

    return result


def shown(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [(entry["item_id"], entry["score"]) for entry in answer["items"]]


def asked(client: TestClient, **question: Any) -> dict[str, Any]:
    answer = client.get("/v1/recommendations", params={"n": 12, **question})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_server_answers_as_the_command_line_does(old: Path, cli: Told) -> None:
    questions: list[dict[str, Any]] = [
        {"user": "user-3"},
        {"history": [item(0, 0), item(2, 1)]},
        {"user": "nobody"},
    ]
    before = [cli(**question) for question in questions]  # from the files: there is no store yet
    with without_network(old) as client:
        for question, first in zip(questions, before):
            url = {"user_id" if k == "user" else k: v for k, v in question.items()}
            served = asked(client, **url)
            assert served["degraded"] == []
            assert shown(served) == shown(first) == shown(cli(**question))
            assert len(shown(served)) == 12


def test_trending_of_an_old_log_is_found(old: Path) -> None:
    with without_network(old) as client:
        found = client.get("/v1/trending?n=5").json()
    assert found["source"] == "trending"
    scores = [entry["score"] for entry in found["items"]]
    assert len(scores) == 5
    assert min(scores) > 0.5


def set_now(path: Path, now: str) -> None:
    path.write_text(path.read_text() + f'[server]\nnow = "{now}"\n')


@pytest.mark.parametrize("now", ["auto", "log"])
def test_every_list_and_similar_items_match_too(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], now: str
) -> None:
    path, output = old / "tastemaker.toml", tmp_path / "all.csv"
    set_now(path, now)
    present = [("click", "user-2", item(2, 1)), ("dislike", "user-2", item(2, 4))] * (now == "log")
    with without_network(old) as client:
        attributes = {"title": "Western night", "genres": ["Western"]}
        assert client.put("/v1/items/added", json=attributes).status_code == 201
        event = {"user_id": "user-2", "item_id": "added", "timestamp": 1_100_000_000}
        assert client.post("/v1/events", json=event).status_code == 200
        for kind, user, id_ in present:
            event = {"user_id": user, "item_id": id_, "event_type": kind}
            assert client.post("/v1/events", json=event).status_code == 200
        client.put("/v1/items/added", json=attributes)  # after this the event counts
        served = asked(client, user_id="user-2")
        alike = client.get("/v1/items/added/similar?n=5").json()
        answers.recommend_all(
            path, answers.RecommendOptions(None, None, 12, None), output, as_json=False
        )
        capsys.readouterr()
        answers.similar(path, "added", 5, None, as_json=True)
        result = json.loads(capsys.readouterr().out)
    rows = [line.split(",") for line in output.read_text().splitlines()[1:]]
    found = [(row[2], np.float32(row[3])) for row in rows if row[0] == "user-2"]
    assert found == [(id_, np.float32(score)) for id_, score in shown(served)]
    assert not {"added", *(id_ for _, _, id_ in present)} & {id_ for id_, _ in found}
    assert (result["source"], result["items"]) == (alike["source"], alike["items"])
    assert result["source"] == "content"
    assert alike["items"][0]["item_id"].startswith("western")


def test_a_file_that_grew_answers_as_the_server_does(old: Path, cli: Told) -> None:
    set_now(old / "tastemaker.toml", "log")
    liked = next(id_ for id_, _ in shown(cli("user-3")))
    with (old / "events.csv").open("a") as log:
        log.write(f"user-3,{liked},{times.now() // 1_000_000}\n")
    first = shown(cli("user-3"))  # there is no store yet
    assert liked not in [id_ for id_, _ in first]
    with without_network(old) as client:
        assert shown(asked(client, user_id="user-3")) == first == shown(cli("user-3"))


def moment_of(folder: Path, *, served: int | None = None, now: str = "auto") -> int:
    """The time of a request, given how many microseconds ago an event was served."""
    path = folder / "tastemaker.toml"
    if now != "auto":
        set_now(path, now)
    with Service(load_project(path)) as service:
        wait_until(lambda: service.status()["status"] == "ready")
        if served is not None:
            moment = format_moment(times.now() - served)
            event = {"user_id": "live", "item_id": item(0, 0), "timestamp": moment}
            service.add_events([event]).written.result()
            service.refresh()
        return service.moment(service.snapshot)


def test_time_goes_on_once_an_event_is_served(old: Path) -> None:
    end = moment_of(old)
    assert times.now() - end > DAY // 2
    present = moment_of(shutil.copytree(old, old.parent / "again"), served=0)
    assert times.now() - present < DAY // 24


@pytest.fixture
def ancient(trained: Path, tmp_path: Path) -> Path:
    """A log that ended in 2025, not shifted."""
    return Path(shutil.copytree(trained, tmp_path / "films"))


WATERMARK = (1_760_000_000 + 39 * 100 + 5) * 1_000_000 + 1


@pytest.mark.parametrize(
    ("served", "now", "expected"),
    [
        (None, "auto", WATERMARK),
        (None, "log", WATERMARK),
        (0, "log", WATERMARK),
        (None, "clock", WATERMARK + 1_000 * DAY),
        (0, "auto", WATERMARK + 1_000 * DAY),
        (DAY // 2, "auto", WATERMARK + 1_000 * DAY),
        (5 * DAY, "auto", WATERMARK + 996 * DAY),
        (2_000 * DAY, "auto", WATERMARK),
    ],
)
def test_the_moment_of_a_request_follows_the_setting(
    ancient: Path,
    monkeypatch: pytest.MonkeyPatch,
    served: int | None,
    now: str,
    expected: int,
) -> None:
    monkeypatch.setattr(times, "now", lambda: WATERMARK + 1_000 * DAY)
    assert abs(moment_of(ancient, served=served, now=now) - expected) < MICROSECONDS["s"]


def test_the_end_of_an_old_log_is_reported(ancient: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "now", lambda: WATERMARK + 400 * DAY)
    with without_network(ancient) as client:
        ended = client.get("/health/ready").json()["log_ended"]
        line = old_log_warning(ended, "auto")
        assert line.startswith("warning: the newest event is 400 days old (2025-10-09): ")
        event = {"user_id": "live", "item_id": item(0, 0)}
        assert client.post("/v1/events", json=event).status_code == 200
        wait_until(lambda: "log_ended" not in client.get("/health/ready").json())


def test_a_decision_is_dated_by_the_clock(ancient: Path) -> None:
    with without_network(ancient) as client:
        id_ = asked(client, user_id="user-1")["recommendation_id"]
        decision = client.get(f"/v1/recommendations/{id_}").json()
    assert decision["time"][:10] == format_moment(times.now())[:10]
    assert decision["context"]["now"][:10] == "2025-10-09"
