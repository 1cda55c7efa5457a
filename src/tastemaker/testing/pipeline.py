"""What every pipeline promises, whatever it is made of, as tests to inherit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tastemaker.component import FitOptions
from tastemaker.data.ragged import Ragged
from tastemaker.pipeline import Recommender
from tastemaker.testing.retriever import (
    assert_same,
    small_dataset,
    small_requests,
    small_world,
    stranger,
)

_OPTIONS = FitOptions(seed=7, threads=2)


class PipelineConformance:
    """Inherit and implement `make`: a recommender whose first placement is tested."""

    def make(self) -> Recommender:
        """The recommender under test, not fitted."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Recommender:
        """The recommender fitted once for the whole class."""
        return cls().make().fit(small_dataset(), _OPTIONS)

    def test_lists_are_distinct_and_best_first(self, fitted: Recommender) -> None:
        found = fitted.pipeline().recommend(small_requests(), 10, world=small_world()).candidates
        unseen = len(small_world().catalogue) - small_requests().exclude.counts
        assert (found.counts[unseen >= 20] == 10).all()
        for row in range(len(found)):
            scores = found.score[found.offsets[row] : found.offsets[row + 1]]
            assert len(set(found[row].tolist())) == len(found[row])
            assert (np.diff(scores) <= 0).all()

    def test_one_request_is_a_batch_of_one(self, fitted: Recommender) -> None:
        requests = small_requests()
        batch = fitted.pipeline().recommend(requests, 10, world=small_world()).candidates
        for row in range(len(requests)):
            alone = requests.take(np.array([row]))
            single = fitted.pipeline().recommend(alone, 10, world=small_world()).candidates
            assert_same(single, batch.take(np.array([row])))

    def test_the_order_of_requests_does_not_matter(self, fitted: Recommender) -> None:
        requests = small_requests()
        shuffled = np.random.default_rng(5).permutation(len(requests))
        batch = fitted.pipeline().recommend(requests, 10, world=small_world())
        other = fitted.pipeline().recommend(requests.take(shuffled), 10, world=small_world())
        assert_same(other.candidates, batch.candidates.take(shuffled))

    def test_nothing_excluded_comes_back(self, fitted: Recommender) -> None:
        first = fitted.pipeline().recommend(small_requests(), 5, world=small_world()).candidates
        asked = replace(small_requests(), exclude=Ragged(first.offsets, first.item))
        second = fitted.pipeline().recommend(asked, 100, world=small_world()).candidates
        for row in range(len(first)):
            assert not set(first[row].tolist()) & set(second[row].tolist())

    @pytest.mark.parametrize("n", [0, 1, 10_000])
    def test_any_n_is_answered(self, fitted: Recommender, n: int) -> None:
        found = fitted.pipeline().recommend(small_requests(), n, world=small_world()).candidates
        assert (found.counts <= n).all()
        assert (found.counts == 1).all() or n != 1

    def test_more_items_than_the_quotas_are_found(self, fitted: Recommender) -> None:
        wanted = sum(fitted.pipeline().quotas.values()) + 10
        most = len(small_world().catalogue)
        answer = fitted.pipeline().recommend(stranger([]), wanted, world=small_world())
        whole = fitted.pipeline().recommend(stranger([]), most, world=small_world())
        assert answer.candidates.counts[0] == min(wanted, whole.candidates.counts[0])
        assert whole.candidates.counts[0] > 10

    def test_a_stranger_without_history_is_answered(self, fitted: Recommender) -> None:
        answer = fitted.pipeline().recommend(stranger([]), 5, world=small_world())
        assert answer.candidates.counts[0] == 5

    def test_an_unknown_user_is_answered_like_a_stranger(self, fitted: Recommender) -> None:
        unknown = fitted.recommend("nobody-we-know", n=5)
        assert unknown.item_ids() == fitted.recommend(n=5).item_ids()

    def test_every_item_says_where_it_came_from(self, fitted: Recommender) -> None:
        found = fitted.pipeline().recommend(small_requests(), 10, world=small_world()).candidates
        assert found.sources == tuple(fitted.pipeline().quotas)
        assert (found.source_rank >= 0).any(axis=1).all()
        assert np.array_equal(found.source_rank < 0, np.isnan(found.source_score))

    def test_the_trace_adds_up(self, fitted: Recommender) -> None:
        answer = fitted.pipeline().recommend(small_requests(), 10, world=small_world())
        for row in range(len(answer)):
            stages = {stage["name"]: stage for stage in answer.trace.to_list(row)}
            found = [s["out"] for name, s in stages.items() if name.startswith("retrieve:")]
            assert stages["merge"]["in"] == sum(found)
            assert stages["filter"]["in"] == stages["merge"]["out"]
            assert stages["select"]["out"] == answer.candidates.counts[row]
            assert all(stage["ms"] >= 0 for stage in stages.values())

    def test_every_item_has_a_reason(self, fitted: Recommender) -> None:
        told = fitted.recommend(small_dataset().users.id(0), n=10).to_dict(trace=True)
        assert len(told["items"]) == len(told["trace"]["items"]) == 10
        for item in told["items"]:
            assert item["reasons"]
            assert all(reason["kind"] and reason["text"] for reason in item["reasons"])

    def test_save_and_load_answer_the_same(self, fitted: Recommender, tmp_path: Path) -> None:
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
