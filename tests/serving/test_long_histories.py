"""Users with more events than a request reads get correct lists at a bounded cost."""

import gc
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tastemaker.data import times
from tastemaker.data.seen import SeenPolicy
from tastemaker.project import load_project
from tastemaker.serving import RecommendationRequest, Service
from tastemaker.serving import seen_items as seen_items_module
from tastemaker.serving.seen_items import ManySeenItems, SeenItems, excluded_until
from tastemaker.serving.user_requests import UserRequests
from tastemaker.store import Store, StoredPairs, check_event
from tastemaker.store.removing import EventFilter
from tests.serving.conftest import START, item, train, wait_until, without_network
from tests.serving.test_past import rated  # noqa: F401 - a fixture

NOW = (START + 10_000) * 1_000_000


@pytest.fixture
def replacing(rated: Path, tmp_path: Path) -> Iterator[Service]:  # noqa: F811
    """A ready service of a project in which later events replace earlier ones."""
    folder = Path(shutil.copytree(rated, tmp_path / "rated"))
    with Service(load_project(folder / "tastemaker.toml")) as opened:
        wait_until(lambda: opened.status()["status"] == "ready")
        yield opened


def post(service: Service, events: list[dict[str, Any]]) -> None:
    kinds = service.project.file.events
    service.store.append([check_event(one, kinds, None, times.now()) for one in events]).result()
    service.refresh()


def random_events(seed: int, n: int) -> list[dict[str, Any]]:
    """Clicks, unclicks, ratings, orders and returns, not ordered by time."""
    random = np.random.default_rng(seed)
    events: list[dict[str, Any]] = []
    for _ in range(n):
        kind = str(random.choice(["click", "unclick", "rating", "order", "dislike"]))
        what = item(int(random.integers(4)), int(random.integers(12)))
        one = {
            "user_id": "long",
            "item_id": what,
            "timestamp": START + int(random.integers(5_000)),
            "event_type": kind,
        }
        if kind in ("rating", "order"):
            one["value"] = int(random.integers(1, 6))
        events.append(one)
        if kind == "order" and random.random() < 0.5:  # all of it is returned at once
            events.append({**one, "value": -one["value"]})
    return events


def assert_excluded_as_by_all_events(service: Service, requests: UserRequests) -> None:
    for moment in (NOW, NOW + 86_400_000_000 * 40):
        snapshot, request = service.snapshot, RecommendationRequest("long")
        found = requests.request(request, snapshot, moment)
        every = service.store.history("long")
        assert (
            found.exclude[0].tolist()
            == request.request(snapshot, every, moment).exclude[0].tolist()
        )


@pytest.mark.parametrize("seed", range(5))
def test_excluded_items_do_not_depend_on_the_read_size(replacing: Service, seed: int) -> None:
    requests = UserRequests(replacing.store, most=5)
    for part in range(3):  # later parts use the cached items
        post(replacing, random_events(seed * 10 + part, 40))
        assert_excluded_as_by_all_events(replacing, requests)


@pytest.mark.parametrize("removed", ["events", "items", "users"])
def test_removed_events_no_longer_exclude(replacing: Service, removed: str) -> None:
    requests = UserRequests(replacing.store, most=5)
    post(replacing, random_events(1, 120))
    assert_excluded_as_by_all_events(replacing, requests)
    what, remover = item(0, 1), replacing.store.remover()
    if removed == "events":
        remover.remove_events(EventFilter(users=("long",), items=(what,)))
    elif removed == "items":
        remover.remove_items([what])
    else:
        remover.remove_users(["long"])
    replacing.refresh()
    assert_excluded_as_by_all_events(replacing, requests)
    found = requests.request(RecommendationRequest("long"), replacing.snapshot, NOW)
    index = replacing.snapshot.recommender.inventory.catalogue.items.index(what)
    assert index not in found.exclude[0]


def test_a_history_is_the_newest_events_however_many_there_are(service: Service) -> None:
    events = [
        {"user_id": "long", "item_id": item(n % 4, n % 12), "timestamp": START + n,
         "event_type": "click"}
        for n in range(50)
    ]  # fmt: skip
    post(service, events[::-1])
    request = UserRequests(service.store, most=7).request(
        RecommendationRequest("long"), service.snapshot, NOW
    )
    every = service.store.history("long")
    whole = RecommendationRequest("long").request(service.snapshot, every, NOW)
    assert request.history.item.tolist() == whole.history.item[-7:].tolist()


def test_an_item_excluded_for_a_time_returns(service: Service) -> None:
    click = {"user_id": "long", "item_id": item(0, 1), "event_type": "click"}
    post(service, [{**click, "timestamp": START + n} for n in range(9)])
    policy = SeenPolicy.of(service.snapshot.recommender.kinds, {"click": "exclude for 1d"})
    _, until = excluded_until(service.store.pairs("long"), service.snapshot, policy)
    assert until.tolist() == [(START + 8 + 86_400) * 1_000_000]


def test_more_items_than_are_read_at_once_are_all_excluded(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_items_module, "ROWS_AT_ONCE", 4)
    events = [{"user_id": "long", "item_id": item(n % 4, n % 12), "event_type": "click"}
            for n in range(48)]  # fmt: skip
    post(service, events)
    seen, about = SeenItems(service.store), ("long", None, service.snapshot, times.now())
    with pytest.raises(ManySeenItems):
        seen.of(*about, allow_slow=False)
    catalogue = service.snapshot.recommender.inventory.catalogue
    expected = np.unique(catalogue.items.indices([one["item_id"] for one in events])).tolist()
    assert seen.of(*about).tolist() == expected
    assert seen.of(*about, allow_slow=False).tolist() == expected  # it is cached


def test_an_item_that_is_put_later_is_excluded_by_its_events(service: Service) -> None:
    events = [{"user_id": "long", "item_id": name, "event_type": "click"}
            for name in ("new", *(item(0, n) for n in range(9)))]  # fmt: skip
    post(service, events)
    requests = UserRequests(service.store, most=3)
    before = requests.request(RecommendationRequest("long"), service.snapshot, times.now()).exclude[
        0
    ]
    service.put_item("new", {"title": "New"}).result()
    service.refresh()
    after = requests.request(RecommendationRequest("long"), service.snapshot, times.now()).exclude[
        0
    ]
    new = service.snapshot.recommender.inventory.catalogue.items.index("new")
    assert new not in before.tolist()
    assert after.tolist() == sorted([*before.tolist(), new])


def test_cached_seen_items_are_bounded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_items_module, "MOST_KEPT", 20)
    users = [f"user-{n}" for n in range(8)]
    seen = SeenItems(service.store)
    for user in users:
        seen.of(user, None, service.snapshot, NOW)
    assert sum(len(kept.key) for kept in seen._cache.values()) <= 20
    assert (users[-1], None) in seen._cache


def test_an_old_version_is_freed_after_a_promotion(folder: Path) -> None:
    settings = folder / "tastemaker.toml"
    settings.write_text(f"{settings.read_text()}[server]\nhistory_events = 3\n")
    with Service(load_project(settings)) as service:
        wait_until(lambda: service.status()["status"] == "ready")
        old, version = weakref.ref(service.snapshot.recommender.inventory), service.snapshot.version
        service.recommend(RecommendationRequest("user-1"))
        assert service.requests.seen._cache
        train(folder)
        wait_until(lambda: service.snapshot.version != version)
        gc.collect()
        assert old() is None
        assert len(service.recommend(RecommendationRequest("user-1"))["items"]) > 0


@pytest.fixture
def reads(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The users whose sums are read, one entry per read."""
    users, pairs = list[str](), service.store.pairs

    def counted(user_id: str, *arguments: Any, **named: Any) -> StoredPairs:
        users.append(user_id)
        return pairs(user_id, *arguments, **named)

    monkeypatch.setattr(service.store, "pairs", counted)
    return users


def test_the_most_recent_user_stays_cached_longest(
    service: Service, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_items_module, "MOST_KEPT", 20)
    seen = SeenItems(service.store)
    for n in range(8):
        seen.of("user-0", None, service.snapshot, NOW)
        seen.of(f"user-{n}", None, service.snapshot, NOW)
    assert reads.count("user-0") == 1
    assert len(seen._cache) < 8


def test_new_events_are_looked_up_once(service: Service, reads: list[str]) -> None:
    events = [{"user_id": "long", "item_id": item(n % 4, n % 12), "event_type": "click"}
            for n in range(20)]  # fmt: skip
    post(service, events)
    seen, about = SeenItems(service.store), ("long", None, service.snapshot, times.now())
    seen.of(*about)
    post(service, [{**events[0], "item_id": item(3, 11)}, {**events[0], "item_id": item(2, 11)}])
    before = len(reads)
    later = seen.of("long", None, service.snapshot, times.now())
    assert len(reads) == before + 1
    for _ in range(3):
        assert seen.of("long", None, service.snapshot, times.now()).tolist() == later.tolist()
    assert len(reads) == before + 1


def test_an_older_snapshot_gets_only_its_own_items(service: Service) -> None:
    events = [{"user_id": "long", "item_id": name, "event_type": "click"}
            for name in ("late", item(0, 1), item(1, 1))]  # fmt: skip
    post(service, events)
    older = service.snapshot
    service.put_item("late", {"title": "Late"}).result()
    service.refresh()
    seen = SeenItems(service.store)
    assert len(seen.of("long", None, service.snapshot, times.now())) == 3
    post(service, [{**events[0], "item_id": item(2, 1)}])
    known = seen.of("long", None, older, times.now())
    assert len(known) == 3
    assert known.max() < len(older.recommender.inventory.catalogue)
    assert len(seen.of("long", None, service.snapshot, times.now())) == 4


ROUTES: dict[str, Callable[[TestClient], Any]] = {
    "recommendations": lambda c: c.post("/v1/recommendations", json={"user_id": "long"}),
    "rank": lambda c: c.post("/v1/rank", json={"user_id": "long", "items": [item(0, 1)]}),
    "the page": lambda c: c.get("/", params={"user": "long"}),
}


@pytest.mark.parametrize("route", ROUTES)
def test_many_sums_are_never_read_on_the_scoring_thread(
    folder: Path, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    settings = folder / "tastemaker.toml"
    settings.write_text(f"{settings.read_text()}[server]\nhistory_events = 3\n")
    monkeypatch.setattr(seen_items_module, "ROWS_AT_ONCE", 4)
    monkeypatch.setattr(SeenItems, "_keep", lambda *_: None)  # nothing is cached
    threads, pairs = list[str](), Store.pairs

    def counted(*arguments: Any, **named: Any) -> StoredPairs:
        threads.append(threading.current_thread().name.split("_")[0])
        return pairs(*arguments, **named)

    with without_network(folder) as client:
        events = [{"user_id": "long", "item_id": item(n % 4, n % 12), "event_type": "click"}
                  for n in range(40)]  # fmt: skip
        client.post("/v1/events", json={"events": events})
        monkeypatch.setattr(Store, "pairs", counted)
        assert ROUTES[route](client).status_code == 200
    assert threads.count("scoring") <= 1
    assert threads.count("storing") > 1


def test_sums_needed_by_several_threads_are_read_once(service: Service, reads: list[str]) -> None:
    seen = SeenItems(service.store)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(seen.of, "user-1", None, service.snapshot, NOW) for _ in range(8)]
    assert len({tuple(each.result().tolist()) for each in calls}) == 1
    assert reads == ["user-1"]
