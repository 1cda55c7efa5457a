"""Tests of the items that the events connect."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.component import Retriever, SimilarItems
from tastemaker.data.requests import Requests
from tastemaker.errors import ArtifactError
from tastemaker.inventory import Inventory
from tastemaker.pipeline.merge import merge
from tastemaker.project.registry import component_class, our_names
from tastemaker.retrieval import ALS, BSPM, GraphFilter, Propagation
from tastemaker.retrieval.connected import ConnectedItems
from tastemaker.testing.relations import BLOCK, NO_USER, ONE_USER, blocks_dataset
from tastemaker.testing.small import OPTIONS

LIKED = csr_array(
    np.array([[1, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 1], [0, 0, 0, 1, 0, 0], [0] * 6], np.float32)
)


def test_items_of_a_chain_of_users_are_connected() -> None:
    connected = ConnectedItems.by_users(LIKED)
    assert connected.of_item.tolist() == [0, -1, 0, 1, -1, 0]
    assert not connected.is_whole


def test_items_of_a_chain_of_edges_are_connected() -> None:
    edges = np.zeros((5, 5), np.float32)
    for one, other in ((0, 3), (3, 4)):
        edges[one, other] = edges[other, one] = 1
    assert ConnectedItems.by_edges(csr_array(edges)).of_item.tolist() == [0, -1, -1, 0, 0]


def test_one_component_of_all_items_is_whole() -> None:
    connected = ConnectedItems.by_users(csr_array(np.ones((2, 3), np.float32)))
    assert connected.is_whole
    assert ConnectedItems.whole(3).is_whole


def test_no_events_connect_nothing() -> None:
    connected = ConnectedItems.by_users(csr_array((0, 3), dtype=np.float32))
    assert connected.of_item.tolist() == [-1, -1, -1]


def test_an_unknown_item_is_unrelated() -> None:
    connected = ConnectedItems.by_users(LIKED)
    left, right = np.array([0, 0, 3, 1, -1, 6]), np.array([5, 3, 3, 1, 0, 0])
    related = connected.related(left.astype(np.int32), right.astype(np.int32))
    assert related.tolist() == [True, False, True, False, False, False]


def test_scores_are_kept_in_the_components_of_a_history() -> None:
    scores = np.ones((3, 6), np.float32)
    histories = Requests.of([[0], [3, 5], [1]]).history.interactions(6)
    ConnectedItems.by_users(LIKED).mask_unconnected(histories, scores, 0.0)
    assert scores.tolist() == [[1, 0, 1, 0, 0, 1], [1, 0, 1, 1, 0, 1], [0] * 6]


def test_a_component_beyond_the_items_is_refused(tmp_path: Path) -> None:
    with create_artifact(tmp_path / "connected", "test", {}) as writer:
        ConnectedItems(np.array([0, 7], np.int32)).save(writer)
    reader = open_artifact(tmp_path / "connected", "test")[0]
    with pytest.raises(ArtifactError, match="train again"):
        ConnectedItems.load(reader, 2)


@pytest.mark.parametrize("model", [ALS(factors=3), Propagation(factors=3)])
def test_items_of_two_blocks_have_similarity_zero(model: ALS | Propagation) -> None:
    fitted = model.fit(blocks_dataset(), OPTIONS)
    left, right = np.divmod(np.arange((2 * BLOCK + 2) ** 2, dtype=np.int32), 2 * BLOCK + 2)
    similarity = fitted.similarity(left, right)
    unconnected = left // BLOCK != right // BLOCK
    assert not similarity[unconnected].any()
    assert similarity[~unconnected].any()


@pytest.mark.parametrize(
    "model", [ALS(factors=3), Propagation(factors=3), GraphFilter(factors=3), BSPM(factors=3)]
)
def test_few_factors_find_no_unconnected_items(model: Retriever) -> None:
    fitted = model.fit(blocks_dataset(), OPTIONS)
    requests = Requests.of([[0, 1], [ONE_USER], [NO_USER], [0, BLOCK]])
    found = fitted.retrieve(requests, 100, Inventory.of(blocks_dataset()))
    assert (found[0] < BLOCK).all()
    assert found.counts[0]
    assert found.counts[1:3].tolist() == [0, 0]
    assert len(set((found[3] // BLOCK).tolist())) == 2


@pytest.mark.parametrize("name", our_names(Retriever))
def test_every_retriever_leaves_unconnected_items_out(name: str) -> None:
    fitted = component_class(name, Retriever)().fit(blocks_dataset(), OPTIONS)
    inventory = Inventory.of(blocks_dataset())
    if isinstance(fitted, SimilarItems):
        isolated = np.array([ONE_USER, NO_USER], np.int32)
        assert not fitted.similar(isolated, 100, inventory).item.tolist()
    if fitted.capabilities.personal:
        requests = Requests.of([[0, 1, 2], [ONE_USER]], time=blocks_dataset().end)
        found = fitted.retrieve(requests, 100, inventory)
        assert (found[0] < BLOCK).all()
        assert not found[1].tolist()


@pytest.mark.parametrize("name", our_names(Retriever))
def test_every_personal_retriever_weighs_dislikes(name: str) -> None:
    model = component_class(name, Retriever)()
    assert hasattr(model.config, "dislike_weight") == model.capabilities.personal


def test_a_fusion_has_no_unconnected_items() -> None:
    models = {"als": ALS(factors=3), "graph_filter": GraphFilter(factors=3)}
    requests, inventory = Requests.of([[0, 1]]), Inventory.of(blocks_dataset())
    found = {
        name: model.fit(blocks_dataset(), OPTIONS).retrieve(requests, 100, inventory)
        for name, model in models.items()
    }
    fused = merge(found, {"als": 100, "graph_filter": 100})
    assert len(fused.item)
    assert (fused.item < BLOCK).all()
