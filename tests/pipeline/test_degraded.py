"""A pipeline answers in time even if stages fail, and reports the skipped stages and why."""

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, Never, Self

import numpy as np
import pytest

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import (
    RELEVANT,
    Capabilities,
    Features,
    FitOptions,
    Ranker,
    Reranked,
    Reranker,
    Retriever,
    Scores,
    Task,
    TrainingSet,
)
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.errors import NotFittedError, SettingError, TastemakerError
from tastemaker.evaluation import evaluate
from tastemaker.features import FeatureSet
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Pipeline, Recommendations, Recommender
from tastemaker.pipeline.latency import Deadline
from tastemaker.pipeline.ranking import Ranking
from tastemaker.project import Budget, Placement
from tastemaker.ranking import GBM
from tastemaker.retrieval import ItemKNN, Popular
from tastemaker.split import by_time
from tastemaker.testing.small import (
    anonymous_request,
    small_dataset,
    small_inventory,
    small_requests,
)

ITEMS = tuple(range(40))
NO_BUDGET = Budget()


class Nothing(Settings):
    """No settings."""


class Stub(Retriever):
    """Calls `act`, then returns the same items for every request."""

    name = "stub"
    capabilities: ClassVar = Capabilities(history="none", empty_history=True)
    config: Nothing

    def __init__(self, act: Callable[[], object] = lambda: None, items: tuple[int, ...] = ITEMS):
        super().__init__()
        self.act, self.items, self.n_fitted = act, items, len(small_inventory().catalogue)

    def clone(self) -> Self:
        return type(self)(self.act, self.items)

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        return self

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        self.act()
        scores = [1.0 / (rank + 1) for rank in range(len(self.items))]
        return Candidates.of([(self.items, scores)] * len(requests)).head(n)

    def save(self, writer: ArtifactWriter) -> None:
        raise NotImplementedError

    def load(self, reader: ArtifactReader) -> Self:
        raise NotImplementedError


class Remote(Stub):
    """The same, but remote."""

    capabilities: ClassVar = Capabilities(history="none", empty_history=True, remote=True)


class Backwards(Ranker):
    """Ranks by item index, highest first; accepts the feature names it is given."""

    name = "backwards"
    config: Nothing

    def __init__(self, names: tuple[str, ...] | None = None, act: Callable[[], object] = list):
        super().__init__()
        self.act = act
        if names is not None:
            self.feature_names = names

    def fit(
        self,
        training: TrainingSet,
        options: FitOptions = FitOptions(),
        *,
        validation: TrainingSet | None = None,
    ) -> Self:
        raise NotImplementedError

    def score(self, requests: Requests, candidates: Candidates, features: Features) -> Scores:
        self.require_features(features)
        self.act()
        values = candidates.item[:, None].astype(np.float32)
        return Scores((RELEVANT,), ("order",), values)

    def save(self, writer: ArtifactWriter) -> None:
        raise NotImplementedError

    def load(self, reader: ArtifactReader) -> Self:
        raise NotImplementedError


class Reversing(Reranker):
    """Calls `act`, then reverses every list."""

    name = "reversing"
    config: Nothing

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.act = act

    def rerank(
        self,
        requests: Requests,
        candidates: Candidates,
        n: int,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
    ) -> Reranked:
        self.act()
        order = np.lexsort((-candidates.ranks, candidates.rows))
        turned = candidates.entries(order, candidates.offsets)
        none = tuple(() for _ in range(len(candidates)))
        return Reranked(turned, np.zeros(len(candidates), np.float32), none)


def fail() -> Never:
    raise ConnectionError("the cable\n  is cut")


@cache
def fitted() -> dict[str, Retriever]:
    data = small_dataset()
    return {"knn": ItemKNN().fit(data), "popular": Popular().fit(data)}


def pipeline_with(
    extra: Mapping[str, Retriever] | None = None,
    ranker: Ranker | None = None,
    rerankers: Mapping[str, Reranker] | None = None,
    budget: Budget = NO_BUDGET,
) -> Pipeline:
    """A pipeline of neighbours, popularity and `extra` sources."""
    sources = {**fitted(), **(extra or {})}
    ranking = None if ranker is None else Ranking(ranker, FeatureSet.of(small_inventory(), sources))
    quotas = dict.fromkeys(sources, 20)
    return Pipeline(sources, quotas, ranking, dict(rerankers or {}), budget)


def index_ranker(sources: Mapping[str, Retriever] | None = None) -> Backwards:
    """A ranker that was fitted on the features of a pipeline."""
    return Backwards(FeatureSet.of(small_inventory(), {**fitted(), **(sources or {})}).names)


def ask(pipeline: Pipeline, n: int = 8, deadline: Deadline | None = None) -> Recommendations:
    """Recommends, and checks the answer."""
    answer = pipeline.recommend(small_requests(), n, inventory=small_inventory(), deadline=deadline)
    check(answer)
    return answer


def check(answer: Recommendations) -> None:
    """Checks that an answer can be displayed and contains no excluded item."""
    assert str(answer)
    for row in range(len(answer)):
        payload = answer.to_dict(row, trace=True)
        json.dumps(payload, allow_nan=False)
        assert len(answer.reasons(row)) == len(payload["items"]) == len(payload["trace"]["items"])
        assert all(
            set(skipped) == {"stage", "reason"} and all(skipped.values())
            for skipped in payload["degraded"]
        )
        shown, away = answer.candidates[row].tolist(), answer.requests.exclude[row].tolist()
        assert len(set(shown)) == len(shown)
        assert not set(shown) & set(away)


def skipped(answer: Recommendations) -> dict[str, str]:
    """Stage → reason."""
    return {one.stage: one.reason for one in answer.trace.degraded}


def lists(answer: Recommendations) -> list[list[int]]:
    return [answer.candidates[row].tolist() for row in range(len(answer))]


class TimedEvent(threading.Event):
    """An event whose `wait` ends after 20 s, so that a test that waits too long fails."""

    def wait(self, timeout: float | None = 20) -> bool:
        return super().wait(timeout)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Blocks sources until the test ends."""
    event = TimedEvent()
    yield event
    event.set()


class Clock:
    """A clock that only `spend` moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def spend(self, milliseconds: float) -> None:
        self.now += milliseconds / 1e3


def frozen_deadline(milliseconds: float) -> Deadline:
    """A deadline on a frozen clock: only estimates decide."""
    return Deadline(milliseconds, Clock())


# --- sources ---


def test_a_hanging_remote_source_does_not_delay_an_answer(
    release: threading.Event,
) -> None:
    whole = ask(pipeline_with())
    pipeline = pipeline_with({"far": Remote(release.wait)})
    started = time.monotonic()
    answer = pipeline.recommend(
        small_requests(), 8, inventory=small_inventory(), deadline=Deadline(300)
    )
    assert 0.3 <= time.monotonic() - started < 10, "the source hangs for 20 s"
    check(answer)
    assert skipped(answer) == {"retrieve:far": "did not answer in time"}
    assert lists(answer) == lists(whole)


def test_a_source_that_hangs_leaves_the_ranker_the_time_it_needs(release: threading.Event) -> None:
    far = {"far": Remote(release.wait)}
    pipeline = estimated(pipeline_with(far, ranker=index_ranker(far)), "rank", 0.2)
    answer = pipeline.recommend(
        small_requests(), 8, inventory=small_inventory(), deadline=Deadline(600)
    )
    assert skipped(answer) == {"retrieve:far": "did not answer in time"}


def test_remote_sources_are_called_in_parallel() -> None:
    ask(pipeline_with({"far": Remote()}))
    all_there = threading.Barrier(5)
    remotes = {f"far_{i}": Remote(lambda: all_there.wait(20)) for i in range(5)}
    pipeline = pipeline_with(remotes)
    answer = pipeline.recommend(
        small_requests(), 8, inventory=small_inventory(), deadline=Deadline(30_000)
    )
    assert skipped(answer) == {}
    found = {s["name"]: s["out"] for s in answer.trace.to_list(0)}
    assert all(found[f"retrieve:{name}"] > 0 for name in remotes)


def test_a_source_that_hangs_repeatedly_is_no_longer_called(release: threading.Event) -> None:
    calls = []

    def hang() -> None:
        calls.append(1)
        release.wait()

    pipeline = pipeline_with({"far": Remote(hang)})
    reasons = [skipped(ask(pipeline, deadline=Deadline(1)))["retrieve:far"] for _ in range(12)]
    assert reasons[0] == "did not answer in time"
    assert "earlier calls have not returned" in reasons[-1]
    assert len(calls) < 12


HANGS = """
    import sys, threading
    sys.path.insert(0, {tests!r})
    from test_degraded import Remote, skipped, pipeline_with
    from tastemaker.pipeline.latency import Deadline
    from tastemaker.testing.small import small_requests, small_inventory

    pipeline = pipeline_with({{"far": Remote(threading.Event().wait)}})
    requests, inventory = small_requests(), small_inventory()
    answer = pipeline.recommend(requests, 3, inventory=inventory, deadline=Deadline(50))
    print(skipped(answer)["retrieve:far"])
"""


def test_a_source_that_never_returns_does_not_block_exit() -> None:
    program = textwrap.dedent(HANGS).format(tests=__file__.rpartition("/")[0])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "did not answer in time"), done.stderr


@pytest.mark.parametrize("kind", [Stub, Remote])
def test_a_source_that_raises_is_skipped_with_its_message(kind: type[Stub]) -> None:
    answer = ask(pipeline_with({"broken": kind(fail)}))
    assert skipped(answer) == {"retrieve:broken": "ConnectionError: the cable is cut"}
    assert lists(answer) == lists(ask(pipeline_with()))


def test_a_timeout_of_a_remote_source_is_reported_as_an_error() -> None:
    def give_up() -> Never:
        raise TimeoutError("no answer from the other machine")

    answer = ask(pipeline_with({"far": Remote(give_up)}))
    assert skipped(answer) == {"retrieve:far": "TimeoutError: no answer from the other machine"}


@pytest.mark.parametrize("kind", [Stub, Remote])
def test_a_source_that_is_not_fitted_raises(kind: type[Stub]) -> None:
    unfitted = kind()
    unfitted.act = unfitted.require_fitted
    del unfitted.n_fitted
    with pytest.raises(NotFittedError, match=f"{kind.__name__} is not fitted"):
        ask(pipeline_with({"new": unfitted}))


def test_a_source_estimated_as_too_slow_is_not_called() -> None:
    calls: list[int] = []
    pipeline = pipeline_with({"slow": Stub(lambda: calls.append(1))})
    pipeline.latency.record("retrieve:slow", 1, 900)
    answer = ask(pipeline, deadline=frozen_deadline(500))
    assert not calls
    assert skipped(answer).keys() == {"retrieve:slow"}
    assert "estimated" in skipped(answer)["retrieve:slow"]
    assert "500.0 ms left" in skipped(answer)["retrieve:slow"]
    assert lists(answer) == lists(ask(pipeline_with()))


def test_a_source_skipped_for_its_estimate_is_retried() -> None:
    calls: list[int] = []
    pipeline = pipeline_with({"slow": Stub(lambda: calls.append(1))})
    pipeline.latency.record("retrieve:slow", 1, 900)
    for _ in range(100):
        pipeline.recommend(
            anonymous_request([]), 3, inventory=small_inventory(), deadline=frozen_deadline(500)
        )
    assert calls


def broken(kind: type[Stub] = Stub) -> Pipeline:
    """A pipeline all of whose sources raise."""
    return Pipeline({"one": kind(fail), "two": kind(fail)}, {"one": 5, "two": 5})


@pytest.mark.parametrize("kind", [Stub, Remote])
def test_if_every_source_raises_the_most_liked_items_are_shown(kind: type[Stub]) -> None:
    answer = ask(broken(kind), n=6)
    inventory, requests = small_inventory(), small_requests()
    items = np.arange(len(inventory.catalogue), dtype=np.int32)
    for row in range(len(requests)):
        liked = inventory.statistics.at(items, np.full(len(items), requests.time[row]))
        liked[requests.exclude[row]] = -1
        expected = np.lexsort((items, -liked))[: np.minimum(6, (liked >= 0).sum())]
        assert answer.candidates[row].tolist() == expected.tolist()
    assert skipped(answer).keys() == {"retrieve:one", "retrieve:two", "retrieve"}
    assert "most liked" in skipped(answer)["retrieve"]


def test_the_fallback_shows_only_eligible_items() -> None:
    pipeline, everything = broken(), list(range(len(small_inventory().catalogue)))
    requests = replace(anonymous_request([3, 5]), exclude=Ragged.of([everything[:-2]]))
    answer = pipeline.recommend(requests, 10, inventory=small_inventory())
    assert sorted(answer.candidates[0].tolist()) == everything[-2:]


def test_the_fallback_includes_items_added_later() -> None:
    inventory = small_inventory().with_items(["added"])
    requests = replace(
        anonymous_request([]), exclude=Ragged.of([list(range(len(inventory.catalogue) - 1))])
    )
    answer = broken().recommend(requests, 3, inventory=inventory)
    assert answer.item_ids() == ["added"]


def history_only() -> Pipeline:
    """A pipeline whose only source finds nothing without a history."""
    return Pipeline({"knn": fitted()["knn"]}, {"knn": 10})


def test_sources_that_find_nothing_do_not_degrade_the_answer() -> None:
    answer = history_only().recommend(
        anonymous_request([]), 5, inventory=small_inventory(), deadline=Deadline(60_000)
    )
    check(answer)
    assert len(answer.item_ids()) == 5
    assert answer.trace.degraded == []


def test_the_fallback_serves_only_requests_without_candidates() -> None:
    pipeline = Pipeline({"knn": fitted()["knn"], "b": Stub(fail)}, {"knn": 10, "b": 10})
    requests = Requests.of([[3, 5, 8], [], [2, 7]], time=small_dataset().end)
    answer = pipeline.recommend(requests, 5, inventory=small_inventory())
    check(answer)
    assert answer.candidates.counts.tolist() == [5, 5, 5]
    healthy = history_only().recommend(requests, 5, inventory=small_inventory())
    for row in (0, 2):
        assert answer.candidates[row].tolist() == healthy.candidates[row].tolist()
        assert (
            answer.candidates[row].tolist()
            == pipeline.recommend(requests.take(np.array([row])), 5, inventory=small_inventory())
            .candidates[0]
            .tolist()
        )
    assert "popularity_fallback" in str(answer.reasons(1))


def test_the_counts_of_a_trace_add_up_with_the_fallback() -> None:
    for row, stages in enumerate(ask(broken()).trace.to_list(row) for row in range(3)):
        by_name = {stage["name"]: stage for stage in stages}
        found = [s["out"] for name, s in by_name.items() if name.startswith("retrieve:")]
        assert by_name["merge"]["in"] == sum(found) == by_name["fill"]["in"] == 0, row
        assert by_name["fill"]["out"] == by_name["select"]["in"] == by_name["select"]["out"] == 8, (
            row
        )


# --- the ranker ---


def test_a_working_ranker_decides_the_order() -> None:
    answer = ask(pipeline_with(ranker=index_ranker()))
    assert answer.trace.degraded == []
    assert all(row == sorted(row, reverse=True) for row in lists(answer))


def failing_ranker(case: str) -> tuple[Ranker, str]:
    """A ranker that fails, and the reported reason."""
    if case == "not fitted":
        return GBM(), "NotFittedError: GBM is not fitted: call fit(dataset) first"
    if case == "raises":
        return Backwards(index_ranker().feature_names, fail), "ConnectionError: the cable is cut"
    return Backwards(("age", *index_ranker().feature_names)), "'age' is missing; train again"


@pytest.mark.parametrize("case", ["not fitted", "raises", "other features"])
def test_if_the_ranker_fails_the_fusion_decides_the_order(case: str) -> None:
    ranker, reason = failing_ranker(case)
    answer = ask(pipeline_with(ranker=ranker))
    assert skipped(answer).keys() == {"rank"}
    assert reason in skipped(answer)["rank"]
    assert lists(answer) == lists(ask(pipeline_with()))


def estimated(pipeline: Pipeline, stage: str, per_unit: float) -> Pipeline:
    """The pipeline, with a recorded cost per candidate for one stage."""
    pipeline.latency.record(stage, 1, per_unit)
    return pipeline


def one(pipeline: Pipeline, n: int, milliseconds: float) -> Recommendations:
    """The answer for an anonymous user, with a frozen deadline."""
    answer = pipeline.recommend(
        anonymous_request([3, 5, 8]),
        n,
        inventory=small_inventory(),
        deadline=frozen_deadline(milliseconds),
    )
    check(answer)
    return answer


def test_with_little_time_only_the_first_candidates_are_ranked() -> None:
    pipeline = estimated(pipeline_with(ranker=index_ranker()), "rank", 1.0)
    answer = one(pipeline, n=4, milliseconds=10)
    merged = (
        pipeline_with()
        .recommend(anonymous_request([3, 5, 8]), 10, inventory=small_inventory())
        .candidates[0]
    )
    assert answer.candidates[0].tolist() == sorted(merged.tolist(), reverse=True)[:4]
    stages = {stage["name"]: stage for stage in answer.trace.to_list(0)}
    assert stages["rank"]["in"] == 10 < stages["filter"]["out"]
    assert "the first 10 of each list are ranked" in skipped(answer)["rank"]
    assert "10.0 ms left" in skipped(answer)["rank"]


def test_with_too_little_time_no_candidate_is_ranked() -> None:
    pipeline = estimated(pipeline_with(ranker=index_ranker()), "rank", 1.0)
    answer = one(pipeline, n=4, milliseconds=5)
    plain = pipeline_with().recommend(anonymous_request([3, 5, 8]), 4, inventory=small_inventory())
    assert lists(answer) == lists(plain)
    assert skipped(answer)["rank"].endswith(": skipped")
    assert answer.features is None


@pytest.mark.parametrize("n", [0, 1, 8])
@pytest.mark.parametrize("has_answered", [False, True])
def test_an_expired_deadline_still_returns_an_answer(has_answered: bool, n: int) -> None:
    def made() -> Pipeline:
        return pipeline_with(ranker=index_ranker(), rerankers={"turn": Reversing()})

    pipeline = made()
    whole = ask(pipeline, n)
    answer = ask(pipeline if has_answered else made(), n, deadline=Deadline(-5))
    assert answer.candidates.counts.tolist() == whole.candidates.counts.tolist()
    assert {"rank", "rerank:turn", "retrieve", "retrieve:knn"} <= skipped(answer).keys()


def test_a_shortened_ranking_is_extended_again() -> None:
    pipeline = estimated(pipeline_with(ranker=index_ranker()), "rank", 100.0)
    ranked = []
    for _ in range(200):
        answer = pipeline.recommend(
            anonymous_request([3, 5, 8]),
            2,
            inventory=small_inventory(),
            deadline=frozen_deadline(1_000),
        )
        ranked.append("rank" not in skipped(answer))
    assert not ranked[0]
    assert ranked[-1]


def test_the_cost_of_ranking_is_measured_per_candidate() -> None:
    ask(pipeline_with(ranker=index_ranker()))
    pipeline = pipeline_with(
        ranker=Backwards(index_ranker().feature_names, lambda: time.sleep(0.05))
    )
    answered = ask(pipeline).trace.stages
    (ranked,) = [int(stage.n_in.sum()) for stage in answered if stage.name == "rank"]
    assert 50 <= pipeline.latency.estimate("rank", ranked) < 1_000
    pipeline.latency.record("rank", 1, 1.0)
    batch = len(small_requests())
    deadline = frozen_deadline(10 * batch * pipeline.latency.estimate("rank", 1))
    answer = pipeline.recommend(small_requests(), 4, inventory=small_inventory(), deadline=deadline)
    stages = [{s["name"]: s for s in answer.trace.to_list(row)} for row in range(batch)]
    assert max(stage["rank"]["in"] for stage in stages) in (9, 10)


# --- the rerankers ---


def test_a_reranker_that_raises_is_skipped_and_the_next_one_runs() -> None:
    answer = ask(pipeline_with(rerankers={"broken": Reversing(fail), "turn": Reversing()}))
    assert skipped(answer) == {"rerank:broken": "ConnectionError: the cable is cut"}
    assert lists(answer) == lists(ask(pipeline_with(rerankers={"turn": Reversing()})))


def test_a_slow_reranker_is_skipped_and_a_faster_one_runs() -> None:
    pipeline = pipeline_with(rerankers={"slow": Reversing(fail), "turn": Reversing()})
    estimated(pipeline, "rerank:slow", 50.0)
    answer = one(pipeline, n=4, milliseconds=100)
    assert skipped(answer).keys() == {"rerank:slow"}
    assert "estimated" in skipped(answer)["rerank:slow"]
    turned = pipeline_with(rerankers={"turn": Reversing()})
    assert lists(answer) == lists(one(turned, n=4, milliseconds=100))


# --- budgets ---


def slow_pipeline(budget: Budget) -> Pipeline:
    """A pipeline whose stages have a recorded cost of one second per candidate."""
    pipeline = pipeline_with(
        {"slow": Stub()}, index_ranker({"slow": Stub()}), {"turn": Reversing()}, budget
    )
    for stage in ("retrieve:slow", "rank", "rerank:turn"):
        pipeline.latency.record(stage, 1, 1_000)
    return pipeline


@pytest.mark.parametrize("deadline", [None, Deadline()])
def test_without_a_deadline_no_stage_is_skipped_for_time(deadline: Deadline | None) -> None:
    tight = Budget(total=1e-6, retrieve=1e-6, rank=1e-6, rerank=1e-6)
    answer = slow_pipeline(tight).recommend(
        small_requests(), 8, inventory=small_inventory(), deadline=deadline
    )
    assert answer.trace.degraded == []


@pytest.mark.parametrize(
    ("budget", "stage"),
    [
        (Budget(retrieve=500), "retrieve:slow"),
        (Budget(rank=500), "rank"),
        (Budget(rerank=500), "rerank:turn"),
    ],
)
def test_the_budget_of_a_stage_limits_a_later_deadline(budget: Budget, stage: str) -> None:
    assert skipped(ask(slow_pipeline(Budget()), deadline=frozen_deadline(10**9))) == {}
    answer = ask(slow_pipeline(budget), deadline=frozen_deadline(10**9))
    assert skipped(answer).keys() == {stage}
    assert "500.0 ms left" in skipped(answer)[stage] or stage == "rank"


def test_a_remote_source_is_awaited_only_for_its_budget(
    release: threading.Event,
) -> None:
    ask(pipeline_with())
    pipeline = pipeline_with({"far": Remote(release.wait)}, budget=Budget(retrieve=100))
    started = time.monotonic()
    answer = pipeline.recommend(
        small_requests(), 8, inventory=small_inventory(), deadline=Deadline(30_000)
    )
    assert time.monotonic() - started < 10, "the source hangs for 20 s"
    assert skipped(answer) == {"retrieve:far": "did not answer in time"}


# --- recommender and evaluation ---


def recommender(
    source: Retriever, budget: Budget = NO_BUDGET, reranker: Reranker | None = None
) -> Recommender:
    placement = Placement(
        retrievers={"popular": 20, "odd": 20},
        rerankers=("last",) if reranker else (),
        budget=budget,
    )
    rerankers = {"last": reranker} if reranker else {}
    sources = {"popular": Popular(), "odd": source}
    return Recommender(sources, {"home": placement}, rerankers=rerankers).fit(small_dataset())


def test_a_recommender_answers_within_the_timeout(release: threading.Event) -> None:
    fitted = recommender(Remote(release.wait))
    answer = fitted.recommend(timeout_ms=50)
    check(answer)
    assert skipped(answer) == {"retrieve:odd": "did not answer in time"}


def test_the_total_budget_of_a_placement_is_its_deadline(release: threading.Event) -> None:
    fitted = recommender(Remote(release.wait), Budget(total=50))
    assert skipped(fitted.recommend()) == {"retrieve:odd": "did not answer in time"}
    patient = threading.Timer(0.2, release.set)
    patient.start()
    assert skipped(fitted.recommend(timeout_ms=60_000)) == {}


def test_every_user_gets_a_degraded_list_rather_than_none() -> None:
    answers = list(recommender(Stub(fail)).recommend_all(n=1))
    for answer in answers:
        check(answer)
        assert skipped(answer) == {"retrieve:odd": "ConnectionError: the cable is cut"}
        assert (answer.candidates.counts == 1).all()
    assert sum(len(answer) for answer in answers) == len(small_dataset().users)


def evaluated(recommender: Recommender) -> Any:
    return evaluate(recommender, by_time(small_dataset(), test=0.2), k=5)


def test_evaluating_a_degraded_pipeline_raises_its_first_error() -> None:
    assert evaluated(recommender(Stub())).systems
    with pytest.raises(ConnectionError, match="the cable"):
        evaluated(recommender(Stub(fail)))
    with pytest.raises(ConnectionError, match="the cable"):
        evaluated(recommender(Remote(fail)))


def test_an_evaluation_ignores_the_budgets_of_a_pipeline() -> None:
    tight = Budget(total=1e-6, retrieve=1e-6, rank=1e-6, rerank=1e-6)
    assert evaluated(recommender(Stub(), tight)).systems == evaluated(recommender(Stub())).systems


def test_an_answer_with_a_skipped_stage_is_not_measured() -> None:
    pipeline = estimated(pipeline_with(ranker=index_ranker()), "rank", 1_000.0)
    answer = one(pipeline, n=4, milliseconds=5)
    with pytest.raises(TastemakerError, match="rank: estimated"):
        answer.trace.require_whole()


def test_a_setting_error_of_a_reranker_is_reported_in_the_answer() -> None:
    def refuse() -> Never:
        raise SettingError("MMR: there is no space 'als'")

    answer = ask(pipeline_with(rerankers={"diverse": Reversing(refuse)}))
    assert skipped(answer) == {"rerank:diverse": "SettingError: MMR: there is no space 'als'"}


def test_pipelines_of_one_placement_share_their_measured_costs() -> None:
    fitted = recommender(Stub())
    fitted.pipeline().latency.record("retrieve:odd", 1, 900)
    assert skipped(fitted.recommend(timeout_ms=500)).keys() == {"retrieve:odd"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [([([3], [1.0])] * 99, "returned 99 lists"), ([([3, 3], [2.0, 1.0])] * 14, "twice")],
)
def test_a_source_with_malformed_results_is_skipped(rows: list[Any], message: str) -> None:
    class Malformed(Stub):
        def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
            return Candidates.of(rows)

    answer = ask(pipeline_with({"odd": Malformed()}))
    assert message in skipped(answer)["retrieve:odd"]
    assert lists(answer) == lists(ask(pipeline_with()))


def test_rules_are_never_skipped_and_hide_the_list_if_they_fail() -> None:
    class Strict(Reversing):
        must_run: ClassVar = True

    pipeline = estimated(pipeline_with(rerankers={"house": Strict()}), "rerank:house", 1_000.0)
    assert "rerank:house" not in skipped(one(pipeline, n=4, milliseconds=10))
    failed = ask(pipeline_with(rerankers={"house": Strict(fail)}))
    assert "rerank:house" in skipped(failed)
    assert lists(failed) == [[]] * len(failed)
