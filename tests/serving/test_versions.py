"""Versions change under traffic without errors or mixed responses; served events are learned."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tastemaker.artifact import read_manifest
from tastemaker.project import load_project
from tastemaker.registry import Registry
from tastemaker.serving import RecommendationRequest, Service, snapshot_manager
from tastemaker.store import EventSource
from tests.serving.conftest import item, train, wait_until

STRANGER = [item(0, 0), item(0, 1), item(1, 0)]


def asked_of(service: Service, **question: Any) -> tuple[str, list[str]]:
    answer = service.recommend(RecommendationRequest(**question))
    return answer["model_version"], [entry["item_id"] for entry in answer["items"]]


def changed_project(folder: Path) -> str:
    """Trains a second version with different results, by popularity only."""
    path = folder / "tastemaker.toml"
    settings = path.read_text()
    path.write_text(settings.replace("item_knn = 20, content = 20, popular = 5", "popular = 40"))
    version = train(folder, promote=False)
    path.write_text(settings)
    return version


def test_a_promotion_causes_no_failed_or_mixed_response(service: Service, folder: Path) -> None:
    registry = Registry(folder / ".tastemaker")
    first, second = registry.current(), changed_project(folder)
    answers: list[tuple[str, list[str]]] = []
    failures: list[Exception] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                answers.append(asked_of(service, history=STRANGER, n=8))
            except Exception as problem:
                failures.append(problem)
            time.sleep(0.005)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in (second, first, second):
        if version == first:
            registry.rollback()
        else:
            registry.promote(version)
        wait_until(lambda wanted=version: service.status()["model_version"] == wanted)
        time.sleep(0.1)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    lists = {
        version: {tuple(shown) for by, shown in answers if by == version}
        for version in (first, second)
    }
    assert [len(lists[version]) for version in (first, second)] == [1, 1]
    assert lists[first] != lists[second]
    assert {version for version, _ in answers} == {first, second}


def test_a_damaged_version_leaves_the_old_one_serving(service: Service, folder: Path) -> None:
    registry = Registry(folder / ".tastemaker")
    first, second = registry.current(), changed_project(folder)
    registry.promote(second)
    wait_until(
        lambda: service.status()["model_version"] == second
    )  # otherwise it could still arrive
    registry.rollback()
    wait_until(lambda: service.status()["model_version"] == first)
    damaged = next((folder / ".tastemaker" / "artifacts" / second).rglob("*.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    (folder / ".tastemaker" / "current").write_text(f"{second}\n{first}\n")
    wait_until(lambda: "problem" in service.status())
    assert service.status()["status"] == "ready"
    assert "damaged" in service.status()["problem"]
    assert asked_of(service, history=STRANGER)[0] == first
    registry.promote(first)
    wait_until(lambda: "problem" not in service.status())


def damage(folder: Path, version: str) -> None:
    """Flips a bit of a version's arrays."""
    array = max((folder / ".tastemaker" / "artifacts" / version).rglob("*.npy"), key=file_size)
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)


def file_size(path: Path) -> int:
    return path.stat().st_size


def test_at_startup_a_damaged_version_falls_back_to_the_previous_one(folder: Path) -> None:
    registry = Registry(folder / ".tastemaker")
    first, second = registry.current(), changed_project(folder)
    registry.promote(second)
    damage(folder, second)
    with Service(load_project(folder / "tastemaker.toml")) as opened:
        wait_until(lambda: opened.status()["status"] == "ready")
        assert opened.status()["model_version"] == first
        assert "damaged" in opened.status()["problem"]
        assert asked_of(opened, history=STRANGER)[0] == first


def test_with_only_damaged_versions_a_server_is_not_ready(folder: Path) -> None:
    registry = Registry(folder / ".tastemaker")
    first, second = registry.current(), changed_project(folder)
    registry.promote(second)
    damage(folder, first)
    damage(folder, second)
    with Service(load_project(folder / "tastemaker.toml")) as opened:
        wait_until(lambda: "problem" in opened.status())
        assert opened.status()["status"] == "loading"
        assert second in opened.status()["problem"]


def test_a_version_of_other_data_is_rejected_and_the_old_one_stays(
    service: Service, folder: Path
) -> None:
    first = service.status()["model_version"]
    other = foreign_version(folder)
    Registry(folder / ".tastemaker").promote(other)
    reason = "trained on other data: the store has 0 of its 48 items"
    wait_until(lambda: reason in service.status().get("problem", ""))
    assert asked_of(service, history=STRANGER)[0] == first


def foreign_version(folder: Path) -> str:
    """A version of the same project, trained elsewhere on items that are not in the store.

    The files and the store of the running service are not changed.
    """
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    for name in ("items.csv", "events.csv", "tastemaker.toml"):
        text = (folder / name).read_text()
        other = text.replace("-", "_of_elsewhere_") if name.endswith(".csv") else text
        (elsewhere / name).write_text(other)
    version = train(elsewhere, promote=False)
    artifact = Path(".tastemaker") / "artifacts" / version
    (elsewhere / artifact).rename(folder / artifact)
    return version


def test_served_events_are_in_the_next_training(service: Service, folder: Path) -> None:
    new_users = [f"viewer-{number}" for number in range(30)]
    loved = [item(2, 0), item(3, 0)]  # no user liked both yet
    events = [{"user_id": user, "item_id": id_} for user in new_users for id_ in loved]
    events += [{"user_id": user, "item_id": "unheard-of"} for user in new_users[:2]]
    posted = service.add_events([*events, {"user_id": new_users[0], "item_id": "invented"}])
    posted.written.result()
    service.put_item("put", {"title": "Put", "genres": ["Drama"]}).result()
    before = service.similar(loved[0], 1, "item_knn")
    shown = asked_of(service, history=[loved[0]], n=8)[1]
    second = train(folder)
    wait_until(lambda: service.status()["model_version"] == second)
    after = service.similar(loved[0], 1, "item_knn")
    assert asked_of(service, history=[loved[0]], n=8)[1] != shown
    assert [entry["item_id"] for entry in before["items"]] != [loved[1]]
    assert [entry["item_id"] for entry in after["items"]] == [loved[1]]
    data = EventSource(load_project(folder / "tastemaker.toml")).read()
    assert all(data.users.index(user) >= 0 for user in new_users)
    assert all(data.catalogue.items.index(id_) >= 0 for id_ in ("unheard-of", "put"))
    assert data.catalogue.items.index("invented") < 0  # of one user, and the item was not put
    manifest = read_manifest(folder / ".tastemaker" / "artifacts" / second, "recommender")
    assert manifest["about"]["sequence"] == data.sequence
    snapshot = service.snapshot
    assert snapshot.recommender.inventory.statistics.n_items == len(data.catalogue)


def test_served_events_count_once_whatever_was_trained_on(service: Service, folder: Path) -> None:
    popular = item(1, 5)
    service.add_events([{"user_id": "one", "item_id": popular}]).written.result()
    service.refresh()

    def likes() -> float:
        inventory = service.snapshot.recommender.inventory
        index = inventory.catalogue.items.indices([popular])
        return float(inventory.statistics.at(index, inventory.watermark + index.astype("int64"))[0])

    before = likes()
    second = train(folder)
    wait_until(lambda: service.status()["model_version"] == second)
    assert likes() == before


def test_an_event_counts_at_once_in_another_process_on_the_store(
    service: Service, folder: Path
) -> None:
    with Service(load_project(folder / "tastemaker.toml")) as other:
        wait_until(lambda: other.status()["status"] == "ready")
        events = [{"user_id": "both", "item_id": item(0, place)} for place in range(3)]
        service.add_events(events).written.result()
        genres = {id_.split("-")[0] for id_ in asked_of(other, user_id="both", n=3)[1]}
        assert genres == {"horror"}
        service.put_item("put", {"title": "Put", "genres": ["Horror"]}).result()
        wait_until(lambda: "put" in asked_of(other, user_id="both", n=40)[1], seconds=5)


def test_a_service_is_not_ready_before_anything_is_trained(folder: Path) -> None:
    (folder / ".tastemaker" / "current").unlink()
    with Service(load_project(folder / "tastemaker.toml")) as opened:
        wait_until(lambda: "problem" in opened.status())
        assert opened.status()["status"] == "loading"
        assert "tastemaker versions promote" in opened.status()["problem"]
        train(folder)
        wait_until(lambda: opened.status()["status"] == "ready")


def test_a_version_that_fails_to_load_is_retried(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_manager, "RETRY_SECONDS", 0.2)
    load, failed = Registry.load, [MemoryError("no room just now")]

    def once_bad(registry: Registry, version: str | None = None) -> Any:
        if failed:
            raise failed.pop()
        return load(registry, version)

    monkeypatch.setattr(Registry, "load", once_bad)
    with Service(load_project(folder / "tastemaker.toml")) as opened:
        wait_until(lambda: opened.status()["status"] == "ready", seconds=20)
        assert "problem" not in opened.status()


def test_a_problem_is_cleared_when_the_next_check_succeeds(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(service.store, "items_since", lambda _: 1 / 0)
        wait_until(lambda: "problem" in service.status())
    wait_until(lambda: "problem" not in service.status())


def test_a_slow_load_does_not_delay_the_next_check(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(folder / ".tastemaker")
    first, second = registry.current(), changed_project(folder)
    warm_up = snapshot_manager.warm_up

    def slow(*arguments: Any) -> None:
        time.sleep(1.0)
        warm_up(*arguments)

    monkeypatch.setattr(snapshot_manager, "warm_up", slow)
    registry.promote(second)
    wait_until(lambda: service.status()["model_version"] == second)
    registry.promote(first)
    wait_until(lambda: service.status()["model_version"] == first)


def test_events_stored_before_their_item_count_after_it_is_put(service: Service) -> None:
    events = [{"user_id": f"early-{n}", "item_id": "new"} for n in range(5)]
    service.add_events(events).written.result()
    service.refresh()
    service.put_item("new", {"title": "New", "genres": ["Horror"]}).result()
    service.refresh()
    inventory = service.snapshot.recommender.inventory
    index = inventory.catalogue.items.indices(["new"])
    moment = inventory.watermark + index.astype("int64")
    assert inventory.statistics.at(index, moment)[0] == 5.0


def test_a_new_store_starts_a_new_sequence(folder: Path) -> None:
    project = load_project(folder / "tastemaker.toml")
    EventSource(project).open().close()
    train(folder)
    for path in (folder / ".tastemaker").glob("store.db*"):
        path.unlink()
    with Service(project) as opened:
        wait_until(lambda: opened.status()["status"] == "ready")
        popular = item(1, 5)

        def likes() -> float:
            inventory = opened.snapshot.recommender.inventory
            index = inventory.catalogue.items.indices([popular])
            return float(
                inventory.statistics.at(index, inventory.watermark + index.astype("int64"))[0]
            )

        before = likes()
        opened.add_events([{"user_id": "one", "item_id": popular}]).written.result()
        opened.refresh()
        assert likes() == before + 1
