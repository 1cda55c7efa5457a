"""What a retriever may relate: nothing that no event connects, and nothing like a dislike."""

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
from tastemaker.testing.small import OPTIONS, small_inventory, stranger

BLOCK = 12
"""Items of a block: 0 to 11 and 12 to 23."""
ONE_USER, NO_USER = 2 * BLOCK, 2 * BLOCK + 1
"""The items that no event connects with another."""
_USERS = 20
_START, _MINUTE = 1_600_000_000_000_000, 60_000_000
_LIKES = [3, 5, 8, 20, 14]


@cache
def blocks_dataset() -> Dataset:
    """Two blocks of items without a common user, an item of one user, and one without events.

    Each item has a category that only items of its block have.
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
    def of_blocks(cls) -> Retriever:
        """The retriever fitted on two blocks once for the whole class."""
        return cls().make().fit(blocks_dataset(), OPTIONS)

    def test_an_isolated_item_has_no_similar_items(self, of_blocks: Retriever) -> None:
        if not isinstance(of_blocks, SimilarItems):
            pytest.skip("does not answer similar")
        inventory = Inventory.of(blocks_dataset())
        found = of_blocks.similar(np.array([ONE_USER, NO_USER], np.int32), 100, inventory)
        assert found.item.tolist() == []

    def test_items_of_two_blocks_are_not_similar(self, of_blocks: Retriever) -> None:
        if not isinstance(of_blocks, SimilarItems):
            pytest.skip("does not answer similar")
        items = np.arange(2 * BLOCK, dtype=np.int32)
        found = of_blocks.similar(items, 100, Inventory.of(blocks_dataset()))
        assert (found.item // BLOCK == items[found.rows] // BLOCK).all()
        assert len(found.item)

    def test_a_user_gets_nothing_unconnected(self, of_blocks: Retriever) -> None:
        if not of_blocks.capabilities.personal:
            pytest.skip("does not use the history")
        histories = [[0, 1, 2], [BLOCK + 3, BLOCK + 4], [ONE_USER], [NO_USER]]
        requests = Requests.of(histories, time=blocks_dataset().end)
        found = of_blocks.retrieve(requests, 100, Inventory.of(blocks_dataset()))
        assert set(found[0].tolist()) <= set(range(3, BLOCK))
        assert set(found[1].tolist()) <= set(range(BLOCK, 2 * BLOCK))
        assert found[2].tolist() == found[3].tolist() == []
        assert found.counts[:2].all()

    def test_saved_it_knows_isolated_items_still(
        self, of_blocks: Retriever, tmp_path: Path
    ) -> None:
        with create_artifact(tmp_path / "saved", "retriever", {}) as writer:
            of_blocks.save(writer)
        loaded = self.make().load(open_artifact(tmp_path / "saved", "retriever")[0])
        requests = Requests.of([[0, 1], [ONE_USER], [NO_USER]], time=blocks_dataset().end)
        inventory = Inventory.of(blocks_dataset())
        before, after = (part.retrieve(requests, 100, inventory) for part in (of_blocks, loaded))
        assert after.item.tolist() == before.item.tolist()
        assert after.score.tolist() == before.score.tolist()

    def test_dislikes_lower_what_is_like_them(self, fitted: Retriever) -> None:
        if not fitted.capabilities.personal:
            pytest.skip("does not use the history")
        disliked, before, after = _answers(fitted)
        near = fitted.retrieve(stranger(disliked), 10_000, small_inventory())[0]
        nearest = next(item for item in near if item in before)
        assert nearest not in after or after[nearest] < before[nearest]

    def test_dislikes_raise_nothing(self, fitted: Retriever) -> None:
        if not fitted.capabilities.personal:
            pytest.skip("does not use the history")
        _, before, after = _answers(fitted)
        assert all(after[item] <= before.get(item, -np.inf) for item in after)

    def test_a_lowered_score_is_the_one_ranked_by(self, fitted: Retriever) -> None:
        if not isinstance(fitted, ScoresItems) or not fitted.capabilities.personal:
            pytest.skip("scores no given items by a history")
        disliked, _, after = _answers(fitted)
        items = Ragged.of([list(after)])
        again = fitted.score(_disliking(_LIKES, disliked), items)
        assert again.tolist() == list(after.values())

    def test_only_dislikes_get_no_list(self, fitted: Retriever) -> None:
        if not fitted.capabilities.personal:
            pytest.skip("does not use the history")
        found = fitted.retrieve(_disliking([], [3, 5, 8]), 10_000, small_inventory())
        assert found.item.tolist() == []


def _answers(fitted: Retriever) -> tuple[list[int], dict[int, float], dict[int, float]]:
    """Two items to dislike, and item → score for some likes, without and with these dislikes."""
    disliked = fitted.retrieve(stranger(_LIKES), 2, small_inventory())[0].tolist()
    plain = replace(stranger(_LIKES), exclude=Ragged.of([[*_LIKES, *disliked]]))
    one = fitted.retrieve(plain, 10_000, small_inventory())
    other = fitted.retrieve(_disliking(_LIKES, disliked), 10_000, small_inventory())
    return disliked, _scores(one), _scores(other)


def _disliking(likes: list[int], dislikes: list[int]) -> Requests:
    """A request of somebody who liked some items, and then disliked others."""
    weights = [[1.0] * len(likes) + [-1.0] * len(dislikes)]
    return Requests.of([[*likes, *dislikes]], time=stranger([]).time[0], weights=weights)


def _scores(found: Candidates) -> dict[int, float]:
    return dict(zip(found.item.tolist(), found.score.tolist()))
