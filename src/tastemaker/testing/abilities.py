"""Conformance tests for optional abilities: similar items, reasons, scores, new items, updates.

The tests of an ability are skipped for retrievers that do not have it.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.component import (
    Explains,
    Incremental,
    ItemSimilarity,
    Retriever,
    ScoresItems,
    SimilarItems,
    SupportsNewItems,
)
from tastemaker.data.ragged import Ragged
from tastemaker.errors import DataError
from tastemaker.inventory import Inventory
from tastemaker.testing.small import (
    OPTIONS,
    anonymous_request,
    assert_identical,
    degenerate_dataset,
    inventory_with_twin,
    small_dataset,
    small_inventory,
    small_requests,
)


class RetrieverAbilities:
    """The part of `RetrieverConformance` about abilities."""

    def make(self) -> Retriever:
        """The retriever under test, not fitted."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Retriever:
        """The retriever fitted once for the whole class."""
        return cls().make().fit(small_dataset(), OPTIONS)

    def test_similar_items_are_returned_as_declared(self, fitted: Retriever) -> None:
        assert isinstance(fitted, SimilarItems) == fitted.capabilities.similar_items
        if not isinstance(fitted, SimilarItems):
            return
        items = np.array([3, 20, 7], np.int32)
        found = fitted.similar(items, 5, small_inventory())
        assert (found.counts > 0).all()
        for row, item in enumerate(items):
            assert item not in found[row]
            assert len(found[row]) <= 5
        added = np.array([fitted.n_fitted], np.int32)
        assert len(fitted.similar(added, 5, small_inventory().with_items(["added"])).item) == 0

    def test_explanations_name_items_of_the_history(self, fitted: Retriever) -> None:
        if not isinstance(fitted, Explains):
            pytest.skip("does not explain")
        requests = anonymous_request([3, 5, 8])
        found = fitted.retrieve(requests, 5, small_inventory())
        reason, share = fitted.explain(requests, found)
        assert len(reason) == len(share) == len(found.item)
        assert set(reason.tolist()) <= {3, 5, 8, -1}
        assert (reason >= 0).any()
        assert ((share > 0) & (share <= 1) == (reason >= 0)).all()

    def test_a_similarity_does_not_depend_on_the_other_pairs(self, fitted: Retriever) -> None:
        comparing, left, right = item_pairs(fitted)
        together = comparing.similarity(left, right)
        assert together.dtype == np.float32
        assert together.any(), "all similarities are 0"
        for pair in range(0, len(left), 7):
            alone = comparing.similarity(left[pair : pair + 1], right[pair : pair + 1])
            assert np.array_equal(alone, together[pair : pair + 1])
        shuffled = np.random.default_rng(5).permutation(len(left))
        assert np.array_equal(
            comparing.similarity(left[shuffled], right[shuffled]), together[shuffled]
        )
        assert len(comparing.similarity(left[:0], right[:0])) == 0

    def test_similarities_are_at_most_one(self, fitted: Retriever) -> None:
        comparing, left, right = item_pairs(fitted)
        similarity = comparing.similarity(left, right)
        assert np.isfinite(similarity).all()
        assert (similarity <= 1).all()

    def test_an_unknown_item_has_similarity_zero(self, fitted: Retriever) -> None:
        comparing, _, _ = item_pairs(fitted)
        unknown = np.array([-1, fitted.n_fitted, 3, 3, -1], np.int32)
        other = np.array([3, 3, -1, fitted.n_fitted, fitted.n_fitted], np.int32)
        assert not comparing.similarity(unknown, other).any()

    def test_extending_does_not_change_the_original(self, fitted: Retriever) -> None:
        inventory = inventory_with_twin(3)
        before = fitted.retrieve(small_requests(), 10, small_inventory())
        extended = extended_by(fitted, inventory)
        assert extended is not fitted
        assert_identical(fitted.retrieve(small_requests(), 10, small_inventory()), before)
        found = fitted.retrieve(anonymous_request([3, 5, 8]), 10_000, inventory)
        assert len(inventory.catalogue) - 1 not in found[0]

    def test_an_extended_retriever_retrieves_the_new_items(self, fitted: Retriever) -> None:
        inventory = inventory_with_twin(3)
        added = len(inventory.catalogue) - 1
        extended = extended_by(fitted, inventory)
        assert extended.n_fitted == fitted.n_fitted
        request = replace(anonymous_request([3, 3, 3]), exclude=Ragged.of([[3]]))
        first = extended.retrieve(request, 5, inventory)[0]
        assert added in first, "an item with the attributes of a liked item was not retrieved"
        if isinstance(extended, ItemSimilarity):
            twins = extended.similarity(np.array([3], np.int32), np.array([added], np.int32))
            assert twins[0] > 0
        liked = extended.retrieve(anonymous_request([added]), 5, inventory)
        assert liked.counts[0] > 0, "a history with only an added item gets an empty list"

    def test_changed_attributes_of_a_new_item_replace_the_old_ones(self, fitted: Retriever) -> None:
        first, second = inventory_with_twin(20), inventory_with_twin(3)
        known = extended_by(fitted, first)
        assert isinstance(known, SupportsNewItems)
        changed = np.array([len(second.catalogue) - 1])
        again: Retriever = known.with_items(second.catalogue, changed)
        request = anonymous_request([3, 5, int(changed[0])])
        found = again.retrieve(request, 10_000, second)
        assert_identical(found, extended_by(fitted, second).retrieve(request, 10_000, second))
        before = known.retrieve(request, 10_000, first)
        assert_identical(before, extended_by(fitted, first).retrieve(request, 10_000, first))

    def test_an_artifact_contains_only_fitted_items(
        self, fitted: Retriever, tmp_path: Path
    ) -> None:
        extended = extended_by(fitted, inventory_with_twin(3))
        loaded = self._save_and_load(extended, tmp_path / "artifact")
        assert loaded.n_fitted == fitted.n_fitted
        before = fitted.retrieve(small_requests(), 10, small_inventory())
        assert_identical(loaded.retrieve(small_requests(), 10, small_inventory()), before)

    def test_item_scores_are_the_ones_used_for_ranking(self, fitted: Retriever) -> None:
        if not isinstance(fitted, ScoresItems):
            pytest.skip("does not score items")
        requests = small_requests()
        found = fitted.retrieve(requests, 10, small_inventory())
        again = fitted.score(requests, Ragged(found.offsets, found.item))
        assert np.array_equal(again, found.score)
        backwards = Ragged.of([found[row][::-1] for row in range(len(found))])
        assert np.array_equal(np.sort(fitted.score(requests, backwards)), np.sort(found.score))

    def test_an_unknown_item_has_no_score(self, fitted: Retriever) -> None:
        if not isinstance(fitted, ScoresItems):
            pytest.skip("does not score items")
        scores = fitted.score(anonymous_request([3, 5, 8]), Ragged.of([[-1, 4, fitted.n_fitted]]))
        assert np.isnan(scores).tolist() == [True, False, True]

    @pytest.mark.parametrize("saved", [False, True])
    def test_an_update_equals_a_new_fit(
        self, fitted: Retriever, saved: bool, tmp_path: Path
    ) -> None:
        if not isinstance(fitted, Incremental):
            pytest.skip("does not support updates")
        whole = small_dataset()
        early = whole.before(int(np.quantile(whole.events.time, 0.97)))
        first = self.make().fit(early, OPTIONS)
        updatable = self._save_and_load(first, tmp_path / "artifact") if saved else first
        assert isinstance(updatable, Incremental)
        before = first.retrieve(small_requests(), 10_000, small_inventory())
        updated = updatable.update(whole, OPTIONS).retrieve(
            small_requests(), 10_000, small_inventory()
        )
        assert_identical(updated, fitted.retrieve(small_requests(), 10_000, small_inventory()))
        assert_identical(first.retrieve(small_requests(), 10_000, small_inventory()), before)
        assert not np.array_equal(updated.score, before.score), "the update has nothing to learn"

    def test_an_update_with_other_items_is_rejected(self, fitted: Retriever) -> None:
        if not isinstance(fitted, Incremental):
            pytest.skip("does not support updates")
        with pytest.raises(DataError, match="call fit"):
            fitted.update(degenerate_dataset("one user"), OPTIONS)

    def _save_and_load(self, fitted: Retriever, folder: Path) -> Retriever:
        with create_artifact(folder, "retriever", {}) as writer:
            fitted.save(writer)
        return self.make().load(open_artifact(folder, "retriever")[0])


def item_pairs(
    fitted: Retriever,
) -> tuple[ItemSimilarity, NDArray[np.int32], NDArray[np.int32]]:
    """The retriever and all pairs of items; skips retrievers that do not compare items."""
    if not isinstance(fitted, ItemSimilarity):
        pytest.skip("does not compare items")
    n_items = len(small_inventory().catalogue)
    left, right = np.divmod(np.arange(n_items**2), n_items)
    return fitted, left.astype(np.int32), right.astype(np.int32)


def extended_by(fitted: Retriever, inventory: Inventory) -> Retriever:
    """The retriever extended by new items; skips retrievers that do not support them."""
    if not isinstance(fitted, SupportsNewItems):
        pytest.skip("does not support new items")
    extended: Retriever = fitted.with_items(inventory.catalogue)
    return extended
