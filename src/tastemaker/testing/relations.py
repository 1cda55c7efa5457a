"""Conformance tests for items that no event connects, and for dislikes."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.component import Retriever, ScoresItems, SimilarItems
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.inventory import Inventory
from tastemaker.testing.small import OPTIONS, anonymous_request, small_inventory

BLOCK = 12
"""The number of items of a block: 0 to 11 and 12 to 23."""
ONE_USER, NO_USER = 2 * BLOCK, 2 * BLOCK + 1
"""The items that no user connects with another item."""
_USERS = 20
_START, _MINUTE = 1_600_000_000_000_000, 60_000_000
_LIKES = [3, 5, 8, 20, 14]


@cache
def blocks_dataset() -> Dataset:
    """Two blocks of items without a common user, an item of one user, and an item without events.

    Each category occurs in one block only.
    """
    random = np.random.default_rng(2)
    rows = []
    for user in range(2 * _USERS):
        own = user % 2 * BLOCK + random.permutation(BLOCK)[: BLOCK // 2]
        rows += [(f"user-{user:03}", int(item)) for item in own]
    rows.append(("user-alone", ONE_USER))
    groups = [f"{item // BLOCK}-{item % 2}" for item in range(2 * BLOCK)]
    names = [f"item-{item:03}" for item in range(2 * BLOCK + 2)]
    log = pl.DataFrame(
        {
            "user_id": [user for user, _ in rows],
            "item_id": [names[item] for _, item in rows],
            "timestamp": [_START + _MINUTE * place for place in range(len(rows))],
        }
    )
    items = pl.DataFrame({"item_id": names, "group": [*groups, "of one user", "of no user"]})
    roles = {"group": ColumnRole(role="category")}
    schema = Schema(kinds={"like": EventKind()}, time_unit="us", item_roles=roles)
    return Dataset.from_frames(log, items=items, schema=schema)


class RetrieverRelations:
    """The part of `RetrieverConformance` about unconnected items and dislikes."""

    def make(self) -> Retriever:
        """The retriever under test, not fitted."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def fitted_on_blocks(cls) -> Retriever:
        """The retriever fitted on `blocks_dataset` once for the whole class."""
        return cls().make().fit(blocks_dataset(), OPTIONS)

    def test_an_isolated_item_has_no_similar_items(self, fitted_on_blocks: Retriever) -> None:
        if not isinstance(fitted_on_blocks, SimilarItems):
            pytest.skip("does not support similar items")
        inventory = Inventory.of(blocks_dataset())
        found = fitted_on_blocks.similar(np.array([ONE_USER, NO_USER], np.int32), 100, inventory)
        assert found.item.tolist() == []

    def test_items_of_unconnected_blocks_are_not_similar(self, fitted_on_blocks: Retriever) -> None:
        if not isinstance(fitted_on_blocks, SimilarItems):
            pytest.skip("does not support similar items")
        items = np.arange(2 * BLOCK, dtype=np.int32)
        found = fitted_on_blocks.similar(items, 100, Inventory.of(blocks_dataset()))
        assert (found.item // BLOCK == items[found.rows] // BLOCK).all()
        assert len(found.item)

    def test_users_get_only_items_connected_to_their_history(
        self, fitted_on_blocks: Retriever
    ) -> None:
        if not fitted_on_blocks.capabilities.personal:
            pytest.skip("does not use the history")
        histories = [[0, 1, 2], [BLOCK + 3, BLOCK + 4], [ONE_USER], [NO_USER]]
        requests = Requests.of(histories, time=blocks_dataset().end)
        found = fitted_on_blocks.retrieve(requests, 100, Inventory.of(blocks_dataset()))
        assert set(found[0].tolist()) <= set(range(3, BLOCK))
        assert set(found[1].tolist()) <= set(range(BLOCK, 2 * BLOCK))
        assert found[2].tolist() == found[3].tolist() == []
        assert found.counts[:2].all()

    def test_a_loaded_retriever_treats_isolated_items_the_same(
        self, fitted_on_blocks: Retriever, tmp_path: Path
    ) -> None:
        with create_artifact(tmp_path / "saved", "retriever", {}) as writer:
            fitted_on_blocks.save(writer)
        loaded = self.make().load(open_artifact(tmp_path / "saved", "retriever")[0])
        requests = Requests.of([[0, 1], [ONE_USER], [NO_USER]], time=blocks_dataset().end)
        inventory = Inventory.of(blocks_dataset())
        before, after = (
            part.retrieve(requests, 100, inventory) for part in (fitted_on_blocks, loaded)
        )
        assert after.item.tolist() == before.item.tolist()
        assert after.score.tolist() == before.score.tolist()

    def test_dislikes_lower_the_scores_of_similar_items(self, fitted: Retriever) -> None:
        if not fitted.capabilities.personal:
            pytest.skip("does not use the history")
        disliked, before, after = _scores_with_dislikes(fitted)
        near = fitted.retrieve(anonymous_request(disliked), 10_000, small_inventory())[0]
        nearest = next(item for item in near if item in before)
        assert nearest not in after or after[nearest] < before[nearest]

    def test_dislikes_never_raise_a_score(self, fitted: Retriever) -> None:
        if not fitted.capabilities.personal:
            pytest.skip("does not use the history")
        _, before, after = _scores_with_dislikes(fitted)
        assert all(after[item] <= before.get(item, -np.inf) for item in after)

    def test_scores_with_dislikes_are_the_ones_used_for_ranking(self, fitted: Retriever) -> None:
        if not isinstance(fitted, ScoresItems) or not fitted.capabilities.personal:
            pytest.skip("does not score items by a history")
        disliked, _, after = _scores_with_dislikes(fitted)
        items = Ragged.of([list(after)])
        again = fitted.score(_disliking(_LIKES, disliked), items)
        assert again.tolist() == list(after.values())

    def test_a_history_of_dislikes_gets_an_empty_list(self, fitted: Retriever) -> None:
        if not fitted.capabilities.personal:
            pytest.skip("does not use the history")
        found = fitted.retrieve(_disliking([], [3, 5, 8]), 10_000, small_inventory())
        assert found.item.tolist() == []


def _scores_with_dislikes(
    fitted: Retriever,
) -> tuple[list[int], dict[int, float], dict[int, float]]:
    """Two items to dislike, and the scores by item without and with these dislikes."""
    disliked = fitted.retrieve(anonymous_request(_LIKES), 2, small_inventory())[0].tolist()
    plain = replace(anonymous_request(_LIKES), exclude=Ragged.of([[*_LIKES, *disliked]]))
    one = fitted.retrieve(plain, 10_000, small_inventory())
    other = fitted.retrieve(_disliking(_LIKES, disliked), 10_000, small_inventory())
    return disliked, _scores(one), _scores(other)


def _disliking(likes: list[int], dislikes: list[int]) -> Requests:
    """The request of a user who liked some items and then disliked others."""
    weights = [[1.0] * len(likes) + [-1.0] * len(dislikes)]
    return Requests.of([[*likes, *dislikes]], time=anonymous_request([]).time[0], weights=weights)


def _scores(found: Candidates) -> dict[int, float]:
    return dict(zip(found.item.tolist(), found.score.tolist()))
