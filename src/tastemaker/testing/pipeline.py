"""Conformance tests for pipelines of any components."""

import hashlib
import json
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tastemaker.component import FitOptions
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Masks
from tastemaker.pipeline import Recommender
from tastemaker.pipeline.ranking import PREDICTED
from tastemaker.pipeline.sources import POPULARITY_FALLBACK
from tastemaker.testing.small import (
    anonymous_request,
    assert_identical,
    small_dataset,
    small_inventory,
    small_requests,
)

_OPTIONS = FitOptions(seed=7, threads=2)


class PipelineConformance:
    """Inherit this class and implement `make`; the suite tests the first placement."""

    def make(self) -> Recommender:
        """The recommender under test, not fitted."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Recommender:
        """The recommender fitted once for the whole class."""
        return cls().make().fit(small_dataset(), _OPTIONS)

    def test_lists_have_distinct_items_best_first(self, fitted: Recommender) -> None:
        found = (
            fitted.pipeline()
            .recommend(small_requests(), 10, inventory=small_inventory())
            .candidates
        )
        unseen = len(small_inventory().catalogue) - small_requests().exclude.counts
        assert (found.counts[unseen >= 20] == 10).all()
        for row in range(len(found)):
            scores = found.score[found.offsets[row] : found.offsets[row + 1]]
            assert len(set(found[row].tolist())) == len(found[row])
            assert (np.diff(scores) <= 0).all() or fitted.pipeline().rerankers

    def test_no_part_of_the_pipeline_is_degraded(self, fitted: Recommender) -> None:
        answer = fitted.pipeline().recommend(small_requests(), 10, inventory=small_inventory())
        assert answer.trace.degraded == []

    def test_a_single_request_equals_its_row_of_a_batch(self, fitted: Recommender) -> None:
        requests = small_requests()
        batch = fitted.pipeline().recommend(requests, 10, inventory=small_inventory()).candidates
        for row in range(len(requests)):
            alone = requests.take(np.array([row]))
            single = fitted.pipeline().recommend(alone, 10, inventory=small_inventory()).candidates
            assert_same_answer(single, batch.take(np.array([row])))

    @pytest.mark.parametrize("size", [2, 7, 100])
    def test_the_batch_size_does_not_matter(self, fitted: Recommender, size: int) -> None:
        rows = np.arange(size) % len(small_requests())
        batch = fitted.pipeline().recommend(small_requests(), 10, inventory=small_inventory())
        larger = fitted.pipeline().recommend(
            small_requests().take(rows), 10, inventory=small_inventory()
        )
        assert_same_answer(larger.candidates, batch.candidates.take(rows))

    def test_an_empty_batch_gives_an_empty_result(self, fitted: Recommender) -> None:
        none = small_requests().take(np.empty(0, np.int64))
        answer = fitted.pipeline().recommend(none, 10, inventory=small_inventory(), trace=True)
        assert len(answer) == 0
        assert answer.trace.degraded == []

    def test_recommend_does_not_change_its_inputs(self, fitted: Recommender) -> None:
        requests, inventory = small_requests(), small_inventory()
        before = digest(requests, requests.history, requests.exclude, requests.eligible)
        catalogue = inventory.catalogue.items.digest
        one = fitted.pipeline().recommend(requests, 10, inventory=inventory)
        fitted.pipeline().recommend(requests, 3, inventory=inventory, trace=True).to_dict(
            0, trace=True
        )
        assert digest(requests, requests.history, requests.exclude, requests.eligible) == before
        assert inventory.catalogue.items.digest == catalogue
        assert_same_answer(
            fitted.pipeline().recommend(requests, 10, inventory=inventory).candidates,
            one.candidates,
        )

    def test_the_order_of_requests_does_not_matter(self, fitted: Recommender) -> None:
        requests = small_requests()
        shuffled = np.random.default_rng(5).permutation(len(requests))
        batch = fitted.pipeline().recommend(requests, 10, inventory=small_inventory())
        other = fitted.pipeline().recommend(
            requests.take(shuffled), 10, inventory=small_inventory()
        )
        assert_same_answer(other.candidates, batch.candidates.take(shuffled))

    def test_excluded_items_are_never_returned(self, fitted: Recommender) -> None:
        first = (
            fitted.pipeline().recommend(small_requests(), 5, inventory=small_inventory()).candidates
        )
        filtered = replace(small_requests(), exclude=Ragged(first.offsets, first.item))
        second = fitted.pipeline().recommend(filtered, 100, inventory=small_inventory()).candidates
        for row in range(len(first)):
            assert not set(first[row].tolist()) & set(second[row].tolist())

    def test_only_eligible_items_are_returned(self, fitted: Recommender) -> None:
        even = np.arange(len(small_inventory().catalogue)) % 2 == 0
        row = np.zeros(len(small_requests()), np.int32)
        filtered = replace(small_requests(), eligible=Masks(even[None, :], row))
        found = fitted.pipeline().recommend(filtered, 100, inventory=small_inventory()).candidates
        assert (found.item % 2 == 0).all()
        assert len(found.item)

    @pytest.mark.parametrize("n", [0, 1, 10_000])
    def test_every_n_is_accepted(self, fitted: Recommender, n: int) -> None:
        found = (
            fitted.pipeline().recommend(small_requests(), n, inventory=small_inventory()).candidates
        )
        assert (found.counts <= n).all()
        assert (found.counts == 1).all() or n != 1

    def test_a_list_can_be_longer_than_the_sum_of_quotas(self, fitted: Recommender) -> None:
        requested = sum(fitted.pipeline().quotas.values()) + 10
        most = len(small_inventory().catalogue)
        answer = fitted.pipeline().recommend(
            anonymous_request([]), requested, inventory=small_inventory()
        )
        whole = fitted.pipeline().recommend(
            anonymous_request([]), most, inventory=small_inventory()
        )
        assert answer.candidates.counts[0] == min(requested, whole.candidates.counts[0])
        assert whole.candidates.counts[0] > 10

    def test_an_anonymous_user_without_history_gets_a_list(self, fitted: Recommender) -> None:
        answer = fitted.pipeline().recommend(anonymous_request([]), 5, inventory=small_inventory())
        assert answer.candidates.counts[0] == 5

    def test_an_unknown_user_gets_the_anonymous_list(self, fitted: Recommender) -> None:
        unknown = fitted.recommend("unknown-user", n=5)
        assert unknown.item_ids() == fitted.recommend(n=5).item_ids()

    def test_every_item_names_its_sources(self, fitted: Recommender) -> None:
        found = (
            fitted.pipeline()
            .recommend(small_requests(), 10, inventory=small_inventory())
            .candidates
        )
        assert found.sources == (*fitted.pipeline().quotas, POPULARITY_FALLBACK)
        assert (found.source_rank >= 0).any(axis=1).all()
        assert np.array_equal(found.source_rank < 0, np.isnan(found.source_score))

    def test_the_counts_of_the_trace_add_up(self, fitted: Recommender) -> None:
        answer = fitted.pipeline().recommend(small_requests(), 10, inventory=small_inventory())
        for row in range(len(answer)):
            stages = {stage["name"]: stage for stage in answer.trace.to_list(row)}
            found = [s["out"] for name, s in stages.items() if name.startswith("retrieve:")]
            assert stages["merge"]["in"] == sum(found)
            assert stages["filter"]["in"] == stages["merge"]["out"]
            assert stages["select"]["out"] == answer.candidates.counts[row]
            after_merge = [s for name, s in stages.items() if not name.startswith("retrieve:")]
            assert all(after["in"] == before["out"] for before, after in pairwise(after_merge))
            assert all(stage["ms"] >= 0 for stage in stages.values())

    def test_every_item_has_a_reason(self, fitted: Recommender) -> None:
        payload = fitted.recommend(small_dataset().users.id(0), n=10).to_dict(trace=True)
        json.dumps(payload, allow_nan=False)
        assert len(payload["items"]) == len(payload["trace"]["items"]) == 10
        for item in payload["items"]:
            assert item["reasons"]
            assert all(reason["kind"] and reason["text"] for reason in item["reasons"])

    def test_a_loaded_recommender_gives_the_same_results(
        self, fitted: Recommender, tmp_path: Path
    ) -> None:
        fitted.save(tmp_path / "v1")
        loaded = Recommender.load(tmp_path / "v1").attach(small_dataset())
        for user in small_dataset().users.ids(range(5)):
            one, two = fitted.recommend(user, n=10), loaded.recommend(user, n=10)
            assert np.array_equal(one.candidates.item, two.candidates.item)
            assert np.array_equal(one.candidates.score, two.candidates.score)

    def test_training_twice_gives_the_same_artifact(
        self, fitted: Recommender, tmp_path: Path
    ) -> None:
        fitted.save(tmp_path / "one")
        self.make().fit(small_dataset(), _OPTIONS).save(tmp_path / "two")
        one, two = ((tmp_path / name / "manifest.json").read_bytes() for name in ("one", "two"))
        assert one == two


def assert_same_answer(one: Candidates, other: Candidates) -> None:
    """Asserts equal lists, bit for bit, with equal source columns and predictions."""
    assert_identical(one, other)
    assert np.array_equal(one.source_rank, other.source_rank)
    assert np.array_equal(one.source_score, other.source_score, equal_nan=True)
    predicted = [name for name in one.columns if name.startswith(PREDICTED)]
    assert one.columns.keys() == other.columns.keys()
    for name in predicted:
        assert np.array_equal(one.columns[name], other.columns[name])


def digest(*parts: object) -> str:
    """The SHA-256 digest of every array of some dataclasses."""
    result = hashlib.sha256()
    for part in parts:
        for field in fields(part):  # type: ignore[arg-type]
            value = getattr(part, field.name)
            if isinstance(value, np.ndarray):
                result.update(np.ascontiguousarray(value).tobytes())
    return result.hexdigest()
