"""Items put while a server runs count at once, at a cost proportional to the items."""

from typing import Any, NoReturn

import numpy as np
import pytest
from starlette.testclient import TestClient

from tastemaker.data import times
from tastemaker.data.catalogue import Catalogue
from tastemaker.retrieval.content_vectors import ContentEncoder, SparseRows
from tastemaker.serving import Service, model_snapshot
from tastemaker.serving.model_snapshot import ModelSnapshot
from tests.serving.conftest import item
from tests.serving.test_long_histories import post


def put(service: Service, name: str, attributes: dict[str, Any]) -> None:
    service.put_item(name, attributes).result()
    service.refresh()


def assert_as_built_anew(service: Service, about: str) -> None:
    """Items and the results based on them are the same as after a restart."""
    found = []
    for snapshot in (service.snapshot, ModelSnapshot.of(service.snapshot.fitted, service.store)):
        recommender = snapshot.recommender
        catalogue = recommender.inventory.catalogue
        _, alike = recommender.similar(about, n=60, retriever="content")
        ids = catalogue.items.ids(range(len(catalogue)))
        titles = {id_: catalogue.title(place) for place, id_ in enumerate(ids)}
        scores = dict(zip(catalogue.items.ids(alike.item), alike.score.tolist()))
        found.append((titles, scores, sorted(catalogue.items.ids(recommender.withdrawn))))
    assert found[0] == found[1]


def test_an_item_put_after_its_events_changes_nothing_else(service: Service) -> None:
    events = [{"user_id": f"u{n}", "item_id": "late", "event_type": "click"} for n in range(5)]
    post(service, [*events, {"user_id": "u", "item_id": item(0, 1), "event_type": "click"}])
    service.put_item("late", {"title": "Late", "genres": ["Horror"]}).result()
    service.refresh()
    grown, rebuilt = service.snapshot, ModelSnapshot.of(service.snapshot.fitted, service.store)
    assert grown.sequence == rebuilt.sequence
    one, other = grown.recommender.inventory, rebuilt.recommender.inventory
    ids = one.catalogue.items.ids(range(len(one.catalogue)))
    assert ids == other.catalogue.items.ids(range(len(other.catalogue)))
    items, moments = np.arange(len(ids), dtype=np.int32), np.full(len(ids), times.now() + 1)
    counts = one.statistics.at(items, moments)
    assert counts.tolist() == other.statistics.at(items, moments).tolist()
    assert counts[one.catalogue.items.index("late")] == 5


def test_items_added_one_by_one_are_those_added_at_once(service: Service) -> None:
    items = {f"new-{n}": {"title": f"night {n}", "genres": ["Horror"] * (n % 2)} for n in range(6)}
    for name, attributes in items.items():
        service.put_item(name, attributes).result()
        service.refresh()
    rebuilt = ModelSnapshot.of(service.snapshot.fitted, service.store)
    for snapshot in (service.snapshot, rebuilt):
        assert snapshot.recommender.inventory.catalogue.items.index("new-5") >= 0
    lists = [
        snapshot.recommender.similar("new-1", n=30, retriever="content")[1]
        for snapshot in (service.snapshot, rebuilt)
    ]
    assert lists[0].item.tolist() == lists[1].item.tolist()
    assert lists[0].score.tolist() == lists[1].score.tolist()


def test_an_item_put_again_is_known_as_it_was_put_last(service: Service) -> None:
    for n in range(6):
        put(service, f"new-{n}", {"title": f"night {n}", "genres": ["Horror"]})
    for name in ("new-4", item(0, 3), "new-1"):
        put(service, name, {"title": "Comedy again", "genres": ["Comedy"], "year": 2001})
    put(service, "new-1", {"title": "Comedy again", "genres": ["Comedy"], "year": 2002})
    assert_as_built_anew(service, "new-1")


def test_only_the_item_that_is_put_is_encoded(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        service.put_item(f"new-{n}", {"title": f"night {n}", "genres": ["Horror"]}).result()
    service.refresh()
    encoded: list[int] = []
    encode = ContentEncoder.encode

    def counted(self: ContentEncoder, of: Catalogue, start: int, stop: int) -> SparseRows:
        encoded.append(stop - start)
        return encode(self, of, start, stop)

    monkeypatch.setattr(ContentEncoder, "encode", counted)
    for name in ("new-3", "new-19", "new-20", item(1, 1)):
        put(service, name, {"title": "night again", "genres": ["Comedy"]})
    assert encoded == [1, 1, 1]  # models keep the trained columns of a fitted item


def test_a_removed_item_put_again_is_shown_without_a_rebuild(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(service, "new", {"title": "New", "genres": ["Horror"]})
    service.store.remover().remove_items([item(0, 1), item(0, 2), "new"])
    service.refresh()

    def rebuilt(*_: object) -> NoReturn:
        raise AssertionError("everything is built again")

    with monkeypatch.context() as patched:
        patched.setattr(ModelSnapshot, "of", rebuilt)
        put(service, item(0, 1), {"title": "Back", "genres": ["Horror"]})
        put(service, "new", {"title": "New again", "genres": ["Horror"]})
    assert_as_built_anew(service, item(0, 1))
    index = service.snapshot.recommender.inventory.catalogue.items.index
    assert service.snapshot.recommender.withdrawn.tolist() == [index(item(0, 2))]


def test_a_put_leaves_other_items_removed(service: Service) -> None:
    service.store.remover().remove_items([item(0, 1)])
    service.refresh()
    for _ in range(2):  # the second put updates an item that was added after training
        put(service, "new", {"title": "New", "genres": ["Horror"]})
        assert_as_built_anew(service, "new")


def test_an_item_has_at_most_1000_labels(client: TestClient) -> None:
    labels = [f"l{n}" for n in range(90_000)]
    answer = client.put("/v1/items/many", json={"genres": labels})
    assert answer.status_code == 422
    assert "'genres': an item may have 1,000 labels over all columns, got 90,000" in answer.text
    assert client.put("/v1/items/many", json={"genres": labels[:1_000]}).status_code == 201


def test_new_labels_end_at_a_bound_known_ones_do_not(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_snapshot, "MOST_NEW_LABELS", 3)
    assert client.put("/v1/items/a", json={"genres": ["one", "two"]}).status_code == 201
    answer = client.put("/v1/items/b", json={"genres": ["three", "four"]})
    assert answer.status_code == 422
    assert "labels may be added between two trainings" in answer.text
    assert client.put("/v1/items/b", json={"genres": ["two", "three", "Horror"]}).status_code == 201
    assert client.put("/v1/items/c", json={"genres": ["one", "Comedy"]}).status_code == 201
    assert client.put("/v1/items/c", json={"genres": ["five"]}).status_code == 422
