"""A request from a user's stored events equals the request from the whole log."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tastemaker.data import times
from tastemaker.data.seen import SeenPolicy
from tastemaker.project import load_project
from tastemaker.serving import RecommendationRequest, Service
from tastemaker.store import check_event
from tests.data.test_past import assert_same
from tests.serving.conftest import (
    PER_GENRE,
    PROJECT,
    START,
    ids,
    item,
    train,
    wait_until,
    without_network,
)

COMEDY = [item(1, place) for place in range(PER_GENRE)]
REPLACING = """
[events.rating]
positive_threshold = 4
negative_threshold = 2
[events.unclick]
role = "neutral"
replaces = ["click"]
[events.order]
strength = "log"
[retrievers.item_knn]
"""


@pytest.fixture(scope="module")
def rated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained project in which later events replace earlier ones."""
    folder = tmp_path_factory.mktemp("rated")
    shutil.copy(trained / "items.csv", folder)
    header, *events = (trained / "events.csv").read_text().splitlines()
    rows = [f"{header},value", *(f"{event},1" for event in events)]
    (folder / "events.csv").write_text("\n".join(rows) + "\n")
    project = PROJECT.replace("[retrievers.item_knn]", REPLACING.strip())
    (folder / "tastemaker.toml").write_text(project)
    train(folder)
    return folder


@pytest.fixture
def replacing(rated: Path, tmp_path: Path) -> Iterator[Service]:
    """A ready service of that project."""
    folder = Path(shutil.copytree(rated, tmp_path / "rated"))
    with Service(load_project(folder / "tastemaker.toml")) as opened:
        wait_until(lambda: opened.status()["status"] == "ready")
        yield opened


@pytest.fixture
def client(rated: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A client of the ready application of that project, without a network."""
    with without_network(Path(shutil.copytree(rated, tmp_path / "rated"))) as opened:
        yield opened


def tell(client: TestClient, user: str, kind: str, value: float | None = None) -> None:
    """Sends an event for the first comedy."""
    event: dict[str, Any] = {"user_id": user, "item_id": COMEDY[0], "event_type": kind}
    answer = client.post("/v1/events", json={"events": [event | {"value": value}]})
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": []}


def listed(client: TestClient, user: str) -> list[str]:
    return ids(client.post("/v1/recommendations", json={"user_id": user, "n": 40}))


@pytest.mark.parametrize("rules", [{}, {"click": "allow"}, {"click": "exclude for 1d"}])
def test_stored_events_give_the_same_request_as_the_log(
    service: Service, rules: dict[str, str]
) -> None:
    kinds, now = service.project.file.events, times.now()
    events = [
        {"user_id": f"user-{n % 50}", "item_id": item(n % 4, n % 12), "timestamp": START + n * 7,
         "event_type": ("click", "dislike")[n % 5 == 0]}
        for n in range(200)
    ]  # fmt: skip
    service.store.append([check_event(fields, kinds, None, now) for fields in events]).result()
    service.refresh()
    data, seen = service.store.dataset(service.project.schema), SeenPolicy.of(kinds, rules)
    snapshot = service.snapshot
    random = np.random.default_rng(0)
    for user, id_ in enumerate(data.users.ids(range(len(data.users)))):
        for moment in [now, *random.integers(START * 10**6, (START + 5_000) * 10**6, 5).tolist()]:
            past = snapshot.past(service.store.history(id_))
            request = past.request(moment, kinds, seen, user_id=id_)
            assert_same(request, data.requests(np.array([user]), np.array([moment]), seen=seen))


def test_a_recommendation_request_gives_the_same_request(service: Service) -> None:
    now = times.now()
    data = service.store.dataset(service.project.schema)
    user = data.users.index("user-3")
    request = RecommendationRequest("user-3").request(
        service.snapshot, service.store.history("user-3"), now
    )
    seen = service.snapshot.recommender.seen(None)
    logs = data.requests(np.array([user]), np.array([now]), seen=seen, placement="home")
    assert_same(request, logs)


@pytest.mark.parametrize("later", ["ignored", "moved"])
def test_stored_events_are_replaced_as_those_of_the_log(replacing: Service, later: str) -> None:
    service = replacing
    kinds, now = service.project.file.events, times.now()
    types, values = ("click", "unclick", "rating", "order"), (5, 1, 3, -1, 2)
    events = [
        {"user_id": f"user-{n % 7}", "item_id": item(n % 2, n % 3), "timestamp": START + n * 7,
         "event_type": types[n % 4], "value": values[n % 5]}
        for n in range(200)
    ]  # fmt: skip
    service.store.append([check_event(fields, kinds, None, now) for fields in events]).result()
    service.refresh()
    data, seen = service.store.dataset(service.project.schema), SeenPolicy.of(kinds)
    replaced_at = data.events.replaced_at
    assert replaced_at is not None
    moments = [now, *np.random.default_rng(0).integers(START, START + 1_400, 20) * 10**6]
    for id_ in (f"user-{n}" for n in range(7)):
        user, past = data.users.index(id_), service.snapshot.past(service.store.history(id_))
        for moment in moments:
            mine, log = past, data
            if later == "moved":
                mine, log = past.no_later_than(moment - 1), data.no_later_than(moment - 1)
            request = mine.request(moment, kinds, seen, user_id=id_)
            assert_same(request, log.requests(np.array([user]), np.array([moment]), seen=seen))


def test_a_second_rating_replaces_the_first_in_the_next_answer(client: TestClient) -> None:
    tell(client, "once", "rating", 1)
    tell(client, "twice", "rating", 5)
    assert set(listed(client, "twice")[:5]) <= set(COMEDY[1:])
    tell(client, "twice", "rating", 1)
    assert listed(client, "twice") == listed(client, "once")
    assert COMEDY[0] not in listed(client, "twice")


def test_an_item_comes_back_in_the_next_answer_after_an_unlike(client: TestClient) -> None:
    tell(client, "u", "click")
    assert COMEDY[0] not in listed(client, "u")
    tell(client, "u", "unclick")
    assert listed(client, "u") == listed(client, "stranger")


def test_the_statistics_of_a_server_count_actions(replacing: Service) -> None:
    service, kinds = replacing, replacing.project.file.events
    place = service.snapshot.recommender.inventory.catalogue.items.indices([COMEDY[0]])

    def likes() -> float:
        moment = np.array([times.now() + 10**6])
        return float(service.snapshot.recommender.inventory.statistics.at(place, moment)[0])

    before = likes()
    for value in (5, 1):
        event = {"user_id": "u", "item_id": COMEDY[0], "event_type": "rating", "value": value}
        service.store.append([check_event(event, kinds, None, times.now())]).result()
        service.refresh()
    assert likes() == before + 1


def test_the_page_lists_no_item_without_a_current_opinion(client: TestClient) -> None:
    tell(client, "u", "click")
    assert 'id="latest"' in client.get("/", params={"user": "u"}).text
    tell(client, "u", "unclick")
    assert 'id="latest"' not in client.get("/", params={"user": "u"}).text
