"""Conformance tests for retrievers: a new model inherits them in three lines."""

import hashlib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tastemaker.component import Retriever, SupportsNewItems
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Masks, Requests
from tastemaker.data.schema import Clock, EventKind, Schema
from tastemaker.errors import ClockError, NotFittedError, SettingError
from tastemaker.inventory import Inventory
from tastemaker.testing.abilities import RetrieverAbilities
from tastemaker.testing.relations import RetrieverRelations
from tastemaker.testing.small import (
    OPTIONS,
    anonymous_request,
    assert_identical,
    assert_same,
    degenerate_dataset,
    inventory_with_twin,
    known_answer,
    small_dataset,
    small_inventory,
    small_requests,
)


class RetrieverConformance(RetrieverAbilities, RetrieverRelations):
    """Inherit this class and implement `make`; the suite provides fixtures and data."""

    def test_the_constructor_only_stores_settings(self) -> None:
        retriever = self.make()
        assert retriever.name
        assert set(vars(retriever)) == {"config"}
        assert repr(retriever.clone()) == repr(retriever)
        with pytest.raises(SettingError, match="no_such_setting"):
            type(retriever)(no_such_setting=1)

    def test_retrieve_before_fit_raises_a_clear_error(self) -> None:
        with pytest.raises(NotFittedError, match="call fit"):
            self.make().retrieve(small_requests(), 5, small_inventory())

    def test_fit_returns_self_and_keeps_the_settings(self) -> None:
        retriever = self.make()
        before = retriever.config
        assert retriever.fit(small_dataset(), OPTIONS) is retriever
        assert retriever.config is before
        assert retriever.n_fitted == len(small_dataset().catalogue)

    def test_fit_and_retrieve_do_not_change_their_inputs(self, fitted: Retriever) -> None:
        dataset, requests = small_dataset(), small_requests()
        before = _digest(dataset.events, requests.history, requests.exclude)
        self.make().fit(dataset, OPTIONS)
        fitted.retrieve(requests, 5, small_inventory())
        assert _digest(dataset.events, requests.history, requests.exclude) == before

    def test_fitting_twice_gives_the_same_results(self, fitted: Retriever) -> None:
        if not fitted.capabilities.deterministic:
            pytest.skip("declared not deterministic")
        again = self.make().fit(small_dataset(), OPTIONS)
        one = fitted.retrieve(small_requests(), 10, small_inventory())
        two = again.retrieve(small_requests(), 10, small_inventory())
        assert np.array_equal(one.item, two.item)
        assert np.array_equal(one.score, two.score)

    def test_a_loaded_retriever_gives_the_same_results(
        self, fitted: Retriever, tmp_path: Path
    ) -> None:
        loaded = self._save_and_load(fitted, tmp_path / "artifact")
        one = fitted.retrieve(small_requests(), 10, small_inventory())
        two = loaded.retrieve(small_requests(), 10, small_inventory())
        assert np.array_equal(one.item, two.item)
        assert np.array_equal(one.score, two.score)

    def test_lists_have_distinct_items_best_first(self, fitted: Retriever) -> None:
        found = fitted.retrieve(small_requests(), 10, small_inventory())
        assert len(found) == len(small_requests())
        assert len(found.item), "no request got any item"
        for row in range(len(found)):
            scores = found.score[found.offsets[row] : found.offsets[row + 1]]
            assert len(set(found[row].tolist())) == len(found[row]) <= 10
            assert np.isfinite(scores).all()
            assert (np.diff(scores) <= 0).all()

    def test_equal_scores_are_ordered_by_item_index(self, fitted: Retriever) -> None:
        found = fitted.retrieve(small_requests(), 30, small_inventory())
        same_row = np.diff(found.rows) == 0
        tied = same_row & (np.diff(found.score) == 0)
        assert (np.diff(found.item)[tied] > 0).all()

    def test_a_single_request_equals_its_row_of_a_batch(self, fitted: Retriever) -> None:
        requests = small_requests()
        batch = fitted.retrieve(requests, 10, small_inventory())
        for row in range(len(requests)):
            single = fitted.retrieve(requests.take(np.array([row])), 10, small_inventory())
            assert_identical(single, batch.take(np.array([row])))

    def test_the_order_of_requests_does_not_matter(self, fitted: Retriever) -> None:
        requests = small_requests()
        shuffled = np.random.default_rng(3).permutation(len(requests))
        batch = fitted.retrieve(requests, 10, small_inventory())
        other = fitted.retrieve(requests.take(shuffled), 10, small_inventory())
        assert_identical(other, batch.take(shuffled))

    @pytest.mark.parametrize("size", [2, 3, 7, 100])
    def test_the_batch_size_does_not_matter(self, fitted: Retriever, size: int) -> None:
        rows = np.arange(size) % len(small_requests())
        batch = fitted.retrieve(small_requests(), 10, small_inventory())
        larger = fitted.retrieve(small_requests().take(rows), 10, small_inventory())
        assert_identical(larger, batch.take(rows))

    def test_an_empty_batch_gives_an_empty_result(self, fitted: Retriever) -> None:
        none = small_requests().take(np.empty(0, np.int64))
        assert len(fitted.retrieve(none, 10, small_inventory())) == 0

    @pytest.mark.parametrize("n", [0, 1, 10_000])
    def test_every_n_is_accepted(self, fitted: Retriever, n: int) -> None:
        found = fitted.retrieve(small_requests(), n, small_inventory())
        assert (found.counts <= min(n, len(small_inventory().catalogue))).all()
        if n == 10_000:
            few = fitted.retrieve(small_requests(), 3, small_inventory())
            assert_same(found.head(3), few)

    def test_excluded_items_are_never_returned(self, fitted: Retriever) -> None:
        requests = small_requests()
        free = replace(requests, exclude=Ragged.of([[]] * len(requests)))
        liked = fitted.retrieve(free, 4, small_inventory())
        without = replace(requests, exclude=Ragged(liked.offsets, liked.item))
        found = fitted.retrieve(without, 10_000, small_inventory())
        for row in range(len(requests)):
            assert not set(found[row].tolist()) & set(liked[row].tolist())

    def test_only_eligible_items_are_returned(self, fitted: Retriever) -> None:
        requests = small_requests()
        n_items = len(small_inventory().catalogue)
        even = np.arange(n_items) % 2 == 0
        row = np.where(np.arange(len(requests)) % 3 == 0, -1, 0).astype(np.int32)
        filtered = replace(requests, eligible=Masks(even[None, :], row))
        found = fitted.retrieve(filtered, 10_000, small_inventory())
        free = fitted.retrieve(requests, 10_000, small_inventory())
        for place, bitmap in enumerate(row):
            allowed = free[place] if bitmap < 0 else free[place][even[free[place]]]
            assert np.array_equal(found[place], allowed)

    @pytest.mark.parametrize("n", [1, 5])
    def test_filtered_items_are_removed_before_the_list_is_cut(
        self, fitted: Retriever, n: int
    ) -> None:
        requests = small_requests()
        free = fitted.retrieve(requests, 10_000, small_inventory())
        best = [free[row][:7] for row in range(len(requests))]
        excluded = [np.union1d(best[row], requests.exclude[row]) for row in range(len(requests))]
        excluding = replace(requests, exclude=Ragged.of(excluded))
        bitmaps = np.ones((len(requests), len(small_inventory().catalogue)), np.bool_)
        for bitmap, items in zip(bitmaps, best):
            bitmap[items] = False
        masks = Masks(bitmaps, np.arange(len(requests), dtype=np.int32))
        for filtered in (excluding, replace(requests, eligible=masks)):
            found = fitted.retrieve(filtered, n, small_inventory())
            for row in range(len(requests)):
                assert np.array_equal(found[row], free[row][7 : 7 + n])

    def test_an_empty_history_is_handled_as_declared(self, fitted: Retriever) -> None:
        found = fitted.retrieve(anonymous_request([]), 5, small_inventory())
        assert found.counts[0] == (5 if fitted.capabilities.empty_history else 0)

    def test_unknown_items_in_a_history_are_ignored(self, fitted: Retriever) -> None:
        plain = fitted.retrieve(anonymous_request([3, 5, 8]), 10, small_inventory())
        mixed = replace(anonymous_request([3, -1, 5, 8, -1]), exclude=Ragged.of([[3, 5, 8]]))
        assert_same(fitted.retrieve(mixed, 10, small_inventory()), plain)

    def test_items_added_after_fit_are_ignored_in_a_history(self, fitted: Retriever) -> None:
        inventory = small_inventory().with_items(["added"])
        added = len(inventory.catalogue) - 1
        mixed = replace(anonymous_request([3, 5, added]), exclude=Ragged.of([[3, 5]]))
        plain = replace(anonymous_request([3, 5]), exclude=Ragged.of([[3, 5]]))
        assert_same(fitted.retrieve(mixed, 10, inventory), fitted.retrieve(plain, 10, inventory))

    def test_new_items_are_retrieved_as_declared(self, fitted: Retriever) -> None:
        inventory = inventory_with_twin(3)
        added = len(inventory.catalogue) - 1
        likes = np.full(500, added, np.int32)
        moments = inventory.watermark - 3_600_000_000 * np.arange(1, 501)
        kind, weight = np.zeros(500, np.int8), np.ones(500, np.float32)
        statistics = inventory.statistics.append(likes, moments, kind, weight)
        liked = Inventory(inventory.catalogue, statistics, inventory.watermark, inventory.clock)
        extended = (
            fitted.with_items(inventory.catalogue)
            if isinstance(fitted, SupportsNewItems)
            else fitted
        )
        found = extended.retrieve(anonymous_request([3, 5, 8]), 10_000, liked)
        assert (added in found[0]) == fitted.capabilities.new_items

    def test_results_depend_on_the_history_as_declared(self, fitted: Retriever) -> None:
        one, other = anonymous_request([0, 1, 2, 3, 4]), anonymous_request([20, 21, 22, 23, 24])
        both = Ragged.of([list(range(5)) + list(range(20, 25))])
        first = fitted.retrieve(replace(one, exclude=both), 10, small_inventory())
        second = fitted.retrieve(replace(other, exclude=both), 10, small_inventory())
        same = np.array_equal(first.item, second.item)
        assert same != fitted.capabilities.personal

    def test_disliked_tastes_are_not_recommended(self, fitted: Retriever) -> None:
        if not fitted.capabilities.personal:
            pytest.skip("does not use the history")
        answer = known_answer("planted tastes")
        again = self.make().fit(answer.dataset, OPTIONS)
        liked, disliked = answer.requests.history.item[:5], answer.requests.history.item[5:10]
        both = Requests.of(
            [[*liked.tolist(), *disliked.tolist()]],
            time=answer.dataset.end,
            weights=[[1.0] * 5 + [-1.0] * 5],
        )
        first = again.retrieve(both, 4, answer.inventory)[0]
        assert set(first.tolist()) <= answer.right[0], "a disliked taste was recommended"

    def test_user_ids_are_saved_only_if_declared(self, fitted: Retriever, tmp_path: Path) -> None:
        self._save_and_load(fitted, tmp_path / "artifact")
        content = b"".join(p.read_bytes() for p in (tmp_path / "artifact").rglob("*.*"))
        kept = any(id_.encode() in content for id_ in small_dataset().users.ids(range(20)))
        assert fitted.capabilities.holds_users or not kept, "the saved files contain a user id"

    def test_the_user_id_does_not_change_the_result(self, fitted: Retriever) -> None:
        names = small_dataset().users.ids(range(len(small_requests())))
        named = replace(small_requests(), user_id=tuple(names))
        one = fitted.retrieve(small_requests(), 10, small_inventory())
        assert_same(fitted.retrieve(named, 10, small_inventory()), one)

    def test_events_at_or_after_the_request_time_are_not_used(self, fitted: Retriever) -> None:
        inventory, request = small_inventory(), anonymous_request([3, 5, 8])
        later = np.full(500, request.time[0], np.int64) + np.arange(500)
        likes = np.arange(500, dtype=np.int32) % len(inventory.catalogue)
        kind, weight = np.zeros(500, np.int8), np.ones(500, np.float32)
        statistics = inventory.statistics.append(likes**2 % 7, later, kind, weight)
        ahead = Inventory(
            inventory.catalogue, statistics, inventory.watermark + 500, inventory.clock
        )
        before = fitted.retrieve(request, 10_000, inventory)
        assert_same(fitted.retrieve(request, 10_000, ahead), before)

    def test_a_second_fit_replaces_the_first(self, fitted: Retriever) -> None:
        if not fitted.capabilities.deterministic:
            pytest.skip("declared not deterministic")
        twice = self.make().fit(small_dataset(), OPTIONS).fit(small_dataset(), OPTIONS)
        one = fitted.retrieve(small_requests(), 10, small_inventory())
        two = twice.retrieve(small_requests(), 10, small_inventory())
        assert np.array_equal(one.item, two.item)
        assert np.array_equal(one.score, two.score)

    def test_retrieve_does_not_change_the_fitted_state(self, fitted: Retriever) -> None:
        one = fitted.retrieve(small_requests(), 10, small_inventory())
        two = fitted.retrieve(small_requests(), 10, small_inventory())
        assert np.array_equal(one.item, two.item)
        assert np.array_equal(one.score, two.score)

    @pytest.mark.parametrize(
        ("clock", "enough"), [("none", ("none",)), ("ordinal", ("none", "ordinal"))]
    )
    def test_the_clock_is_required_as_declared(
        self, clock: Clock, enough: tuple[Clock, ...]
    ) -> None:
        dataset = Dataset.from_frames(
            pl.DataFrame({"user_id": list("aabbc"), "item_id": list("xyyzx")}),
            schema=Schema(kinds={"like": EventKind()}, clock=clock),
        )
        if self.make().requires_timestamps in enough:
            self.make().fit(dataset).retrieve(Requests.of([[0]]), 2, Inventory.of(dataset))
        else:
            with pytest.raises(ClockError, match="clock"):
                self.make().fit(dataset)

    @pytest.mark.parametrize("log", ["one user", "one item", "nothing liked"])
    def test_a_degenerate_log_is_handled(self, log: str) -> None:
        dataset = degenerate_dataset(log)
        fitted = self.make().fit(dataset, OPTIONS)
        found = fitted.retrieve(Requests.of([[0], []], time=dataset.end), 3, Inventory.of(dataset))
        assert len(found) == 2

    @pytest.mark.parametrize("known", ["checkerboard", "planted tastes", "blockbuster"])
    def test_an_anonymous_user_gets_the_right_item_first(self, known: str) -> None:
        answer = known_answer(known)
        fitted = self.make().fit(answer.dataset, OPTIONS)
        if not fitted.capabilities.personal:
            pytest.skip("does not use the history")
        found = fitted.retrieve(answer.requests, 1, answer.inventory)
        assert (found.counts == 1).all()
        for row, right in enumerate(answer.right):
            first = int(found[row][0])
            assert first in right, (
                f"{known}: request {row} got item {first}, expected one of {right}"
            )


def _digest(*columns: object) -> str:
    """The SHA-256 digest of every array of some dataclasses."""
    digest = hashlib.sha256()
    for part in columns:
        for field in fields(part):  # type: ignore[arg-type]
            digest.update(np.ascontiguousarray(getattr(part, field.name)).tobytes())
    return digest.hexdigest()
