"""Conformance tests for rerankers: a new reranker inherits them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import ClassVar

import numpy as np
import pytest

from tastemaker.component import PROPENSITY, Reranked, Reranker, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Masks, Requests
from tastemaker.errors import SettingError
from tastemaker.inventory import Inventory
from tastemaker.testing.small import small_inventory, small_requests

_N = 8
_SCALES = (0.0, 1.0, 10.0)


class RerankerConformance:
    """Inherit this class and implement `make`; the suite provides requests and candidates.

    Attributes:
        adds: ids of items of `small_inventory` that the tested settings may add to a list.
        removes: ids of items that the tested settings never show.
    """

    adds: ClassVar[tuple[str, ...]] = ()
    removes: ClassVar[tuple[str, ...]] = ()

    def make(self) -> Reranker:
        """The reranker under test."""
        raise NotImplementedError

    def sources(self) -> Mapping[str, Retriever]:
        """The placement's retrievers, if the reranker uses any."""
        return {}

    def test_the_constructor_only_stores_settings(self) -> None:
        reranker = self.make()
        assert reranker.name
        assert set(vars(reranker)) == {"config"}
        assert repr(reranker.clone()) == repr(reranker)
        with pytest.raises(SettingError, match="no_such_setting"):
            type(reranker)(no_such_setting=1)

    @pytest.mark.parametrize("n", [0, 1, _N, 10_000])
    def test_items_are_distinct_and_come_from_the_candidates(self, n: int) -> None:
        before, after = small_candidates(), self._answer(n=n).candidates
        assert len(after) == len(before)
        for row in range(len(before)):
            listed = after[row].tolist()
            assert len(set(listed)) == len(listed)
            assert set(listed) <= {*before[row].tolist(), *_indices(self.adds)}

    @pytest.mark.parametrize("n", [0, 1, _N, 10_000])
    def test_only_removed_items_are_missing(self, n: int) -> None:
        before, after = small_candidates(), self._answer(n=n).candidates
        for row in range(len(before)):
            listed, removed = set(after[row].tolist()), _indices(self.removes)
            assert not listed & removed
            assert listed >= set(before[row].tolist()) - removed

    @pytest.mark.parametrize("n", [0, 1, _N])
    def test_items_beyond_the_list_keep_their_order(self, n: int) -> None:
        before, after = small_candidates(), self._answer(n=n).candidates
        for row in range(len(before)):
            place = {item: place for place, item in enumerate(before[row].tolist())}
            rest = [place[item] for item in after[row][n:].tolist()]
            assert rest == sorted(rest)

    def test_a_single_request_equals_its_row_of_a_batch(self) -> None:
        batch = self._answer()
        for row in range(len(small_requests())):
            one = np.array([row])
            alone = self._answer(small_requests().take(one), small_candidates().take(one))
            _assert_identical(alone, _take(batch, one))

    def test_the_order_of_requests_does_not_matter(self) -> None:
        shuffled = np.random.default_rng(4).permutation(len(small_requests()))
        batch = self._answer()
        other = self._answer(small_requests().take(shuffled), small_candidates().take(shuffled))
        _assert_identical(other, _take(batch, shuffled))

    def test_reranking_twice_gives_the_same_result(self) -> None:
        reranker = self.make()
        inputs = (small_requests(), small_candidates(), _N, small_inventory())
        one = reranker.rerank(*inputs, self.sources())
        two = reranker.rerank(*inputs, self.sources())
        _assert_identical(one, two)

    def test_an_empty_batch_gives_an_empty_result(self) -> None:
        no_rows = np.empty(0, np.int64)
        answer = self._answer(small_requests().take(no_rows), small_candidates().take(no_rows))
        assert len(answer.candidates) == len(answer.cost) == len(answer.notes) == 0

    def test_empty_candidate_lists_are_accepted(self) -> None:
        none = Candidates.none(len(small_requests()))
        after = self._answer(candidates=none).candidates
        assert len(after) == len(none)
        assert set(after.item.tolist()) <= _indices(self.adds)

    def test_excluded_items_are_never_returned(self) -> None:
        requests, forbidden = small_requests(), [1, 2, *_indices(self.adds)]
        filtered = replace(requests, exclude=Ragged.of([forbidden] * len(requests)))
        allowed = small_candidates().where(~np.isin(small_candidates().item, forbidden))
        after = self._answer(filtered, allowed).candidates
        assert not set(after.item.tolist()) & set(forbidden)

    def test_only_eligible_items_are_returned(self) -> None:
        requests, forbidden = small_requests(), [1, 2, *_indices(self.adds)]
        bitmap = np.ones((1, len(small_inventory().catalogue)), np.bool_)
        bitmap[0, forbidden] = False
        filtered = replace(requests, eligible=Masks(bitmap, np.zeros(len(requests), np.int32)))
        allowed = small_candidates().where(~np.isin(small_candidates().item, forbidden))
        after = self._answer(filtered, allowed).candidates
        assert not set(after.item.tolist()) & set(forbidden)

    def test_items_that_are_not_allowed_are_never_shown(self) -> None:
        allowed = self.make().allowed_items(small_inventory())
        if allowed is not None:
            assert allowed.shape == (len(small_inventory().catalogue),)
            assert allowed.dtype == np.bool_
            assert allowed[self._answer().candidates.item].all()
            assert not allowed[[item for item in _indices(self.removes) if item >= 0]].any()

    @pytest.mark.parametrize("n", [0, 1, _N, 10_000])
    def test_short_is_between_zero_and_the_list_length(self, n: int) -> None:
        answer = self._answer(n=n)
        if answer.short is not None:
            shown = np.minimum(answer.candidates.counts, n)
            assert ((answer.short >= 0) & (answer.short <= shown)).all()

    def test_rerank_does_not_change_its_inputs(self) -> None:
        requests, before = small_requests(), small_candidates()
        copies = [array.copy() for array in _arrays(requests, before)]
        self._answer(requests, before)
        for array, copy in zip(_arrays(requests, before), copies):
            np.testing.assert_array_equal(array, copy)

    @pytest.mark.parametrize("n", [0, 1, _N, 10_000])
    def test_the_cost_is_the_best_scores_minus_the_listed_ones(self, n: int) -> None:
        before, answer = small_candidates(), self._answer(n=n)
        assert answer.cost.dtype == np.float32
        assert (answer.cost >= 0).all()
        for row in range(len(before)):
            best, shown = _scores(before, row)[:n], _scores(answer.candidates, row)[:n]
            if len(shown) <= len(best):
                expected = best[: len(shown)].sum() - shown.sum()
                assert answer.cost[row] == pytest.approx(expected, abs=1e-5)
            if np.array_equal(best, shown):
                assert answer.cost[row] == 0

    def test_candidate_columns_stay_with_their_item(self) -> None:
        before, after = small_candidates(), self._answer().candidates
        assert after.sources == before.sources
        assert set(after.columns) - {PROPENSITY} == set(before.columns)
        entry = after.columns["entry"]
        found, added = entry >= 0, entry < 0
        assert set(after.item[added].tolist()) <= _indices(self.adds)
        assert (after.source_rank[added] == -1).all()
        assert np.isnan(after.source_score[added]).all()
        assert np.isnan(after.columns["price"][added]).all()
        assert np.isfinite(after.score).all()
        for mine, theirs in zip(_columns(after), _columns(before)):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine[found], theirs[entry[found]])

    def test_candidates_without_source_columns_are_accepted(self) -> None:
        plain = Candidates(
            small_candidates().offsets, small_candidates().item, small_candidates().score
        )
        after = self._answer(candidates=plain).candidates
        merged = self._answer().candidates
        assert all(set(after[row]) == set(merged[row]) for row in range(len(merged)))

    def test_a_propensity_is_a_probability(self) -> None:
        after = self._answer().candidates
        propensity = after.columns.get(PROPENSITY, np.ones(len(after.item), np.float32))
        assert propensity.dtype == np.float32
        assert ((propensity >= 0) & (propensity <= 1)).all()

    def test_items_added_to_the_catalogue_later_are_kept(self) -> None:
        inventory = small_inventory().with_items(["added"])
        added = len(inventory.catalogue) - 1
        found = Candidates.of([([3, added, 5], [0.9, 0.8, 0.7])])
        after = self._answer(Requests.of([[]]), found, inventory=inventory).candidates
        assert added in after[0]

    def test_scores_of_any_scale_are_accepted(self) -> None:
        for scale in _SCALES:
            scaled = replace(small_candidates(), score=small_candidates().score * np.float32(scale))
            answer = self._answer(candidates=scaled)
            assert np.isfinite(answer.cost).all()
            assert set(answer.candidates.item) == set(self._answer().candidates.item)

    def test_every_request_has_text_notes(self) -> None:
        notes = self._answer().notes
        assert len(notes) == len(small_requests())
        assert all(isinstance(note, str) and note for row in notes for note in row)

    def _answer(
        self,
        requests: Requests | None = None,
        candidates: Candidates | None = None,
        n: int = _N,
        inventory: Inventory | None = None,
    ) -> Reranked:
        """The result of a new reranker on the suite's data, or on the arguments."""
        return self.make().rerank(
            small_requests() if requests is None else requests,
            small_candidates() if candidates is None else candidates,
            n,
            small_inventory() if inventory is None else inventory,
            self.sources(),
        )


@cache
def small_candidates() -> Candidates:
    """Lists for `small_requests` with zero, one and 40 items, with ties and extra columns."""
    random, requests = np.random.default_rng(17), small_requests()
    rows = []
    for row in range(len(requests)):
        allowed = np.setdiff1d(np.arange(len(small_inventory().catalogue)), requests.exclude[row])
        items = random.permutation(allowed)[: row if row < 2 else 40]
        rows.append((items, -np.sort(-random.random(len(items)).round(1))))
    found = Candidates.of(rows)
    total = len(found.item)
    rank = random.integers(-1, 40, (total, 2)).astype(np.int16)
    return replace(
        found,
        sources=("one", "other"),
        source_rank=rank,
        source_score=np.where(rank < 0, np.nan, random.random((total, 2))).astype(np.float32),
        columns={"entry": np.arange(total), "price": random.random(total)},
    )


def _indices(ids: tuple[str, ...]) -> set[int]:
    return set(small_inventory().catalogue.items.indices(ids).tolist())


def _scores(candidates: Candidates, row: int) -> np.ndarray:
    """The scores of one list, float64."""
    span = slice(candidates.offsets[row], candidates.offsets[row + 1])
    return candidates.score[span].astype(np.float64)


def _columns(candidates: Candidates) -> list[np.ndarray]:
    return [
        candidates.item,
        candidates.score,
        candidates.source_rank,
        candidates.source_score,
        *candidates.columns.values(),
    ]


def _arrays(requests: Requests, candidates: Candidates) -> list[np.ndarray]:
    exclude = requests.exclude
    return [candidates.offsets, *_columns(candidates), exclude.offsets, exclude.values]


def _take(answer: Reranked, rows: np.ndarray) -> Reranked:
    """The lists of some requests, in the order of `rows`."""
    notes = tuple(answer.notes[row] for row in rows)
    return Reranked(answer.candidates.take(rows), answer.cost[rows], notes)


def _assert_identical(one: Reranked, other: Reranked) -> None:
    """Asserts that two results are equal bit for bit."""
    assert one.notes == other.notes
    np.testing.assert_array_equal(one.cost, other.cost)
    np.testing.assert_array_equal(one.candidates.offsets, other.candidates.offsets)
    for mine, theirs in zip(_columns(one.candidates), _columns(other.candidates)):
        np.testing.assert_array_equal(mine, theirs)
