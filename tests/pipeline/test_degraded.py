"""An answer comes, on time, whatever fails on its way; and it says what was left out and why."""

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
    WANTED,
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
from tastemaker.testing.small import small_dataset, small_inventory, small_requests, stranger

ITEMS = tuple(range(40))
NO_BUDGET = Budget()


class Nothing(Settings):
    """No settings."""


class Stub(Retriever):
    """Gives the same items to everyone, after whatever it is told to do first."""

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
    """The same, on another machine."""

    capabilities: ClassVar = Capabilities(history="none", empty_history=True, remote=True)


class Backwards(Ranker):
    """Ranks by index, the highest first; fitted on whatever features it is given."""

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
        return Scores((WANTED,), ("order",), values)

    def save(self, writer: ArtifactWriter) -> None:
        raise NotImplementedError

    def load(self, reader: ArtifactReader) -> Self:
        raise NotImplementedError


class Reversing(Reranker):
    """Turns every list around, after whatever it is told to do first."""

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


def road(
    extra: Mapping[str, Retriever] | None = None,
    ranker: Ranker | None = None,
    rerankers: Mapping[str, Reranker] | None = None,
    budget: Budget = NO_BUDGET,
) -> Pipeline:
    """Neighbours and popularity, and some more."""
    sources = {**fitted(), **(extra or {})}
    ranking = None if ranker is None else Ranking(ranker, FeatureSet.of(small_inventory(), sources))
    quotas = dict.fromkeys(sources, 20)
    return Pipeline(sources, quotas, ranking, dict(rerankers or {}), budget)


def by_index(sources: Mapping[str, Retriever] | None = None) -> Backwards:
    """A ranker that was fitted on the features of a road."""
    return Backwards(FeatureSet.of(small_inventory(), {**fitted(), **(sources or {})}).names)


def ask(pipeline: Pipeline, n: int = 8, deadline: Deadline | None = None) -> Recommendations:
    """Asks, and looks at the answer in every way."""
    answer = pipeline.recommend(small_requests(), n, inventory=small_inventory(), deadline=deadline)
    check(answer)
    return answer


def check(answer: Recommendations) -> None:
    """Whatever was left out, an answer can be looked at and has nothing excluded in it."""
    assert str(answer)
    for row in range(len(answer)):
        told = answer.to_dict(row, trace=True)
        json.dumps(told, allow_nan=False)
        assert len(answer.reasons(row)) == len(told["items"]) == len(told["trace"]["items"])
        assert all(
            set(left_out) == {"stage", "reason"} and all(left_out.values())
            for left_out in told["degraded"]
        )
        shown, away = answer.candidates[row].tolist(), answer.requests.exclude[row].tolist()
        assert len(set(shown)) == len(shown)
        assert not set(shown) & set(away)


def left_out(answer: Recommendations) -> dict[str, str]:
    """Stage → reason."""
    return {told.stage: told.reason for told in answer.trace.degraded}


def lists(answer: Recommendations) -> list[list[int]]:
    return [answer.candidates[row].tolist() for row in range(len(answer))]


class ApiKeyMiddleware(threading.Event):
    """Opens by itself after a while, so that a test that waits too long fails in the end."""

    def wait(self, timeout: float | None = 20) -> bool:
        return super().wait(timeout)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds sources back until the test ends."""
    event = ApiKeyMiddleware()
    yield event
    event.set()


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def spend(self, milliseconds: float) -> None:
        self.now += milliseconds / 1e3


def in_time(milliseconds: float) -> Deadline:
    """A deadline that never comes nearer: only estimates decide."""
    return Deadline(milliseconds, Clock())


# --- sources ---


def test_a_remote_source_that_hangs_delays_the_answer_no_longer_than_the_deadline(
    gate: threading.Event,
) -> None:
    whole = ask(road())
    pipeline = road({"far": Remote(gate.wait)})
    started = time.monotonic()
    answer = pipeline.recommend(
        small_requests(), 8, inventory=small_inventory(), deadline=Deadline(300)
    )
    assert 0.3 <= time.monotonic() - started < 10, "the source hangs for 20 s"
    check(answer)
    assert left_out(answer) == {"retrieve:far": "did not answer in time"}
    assert lists(answer) == lists(whole)


def test_a_source_that_hangs_leaves_the_ranker_the_time_it_needs(gate: threading.Event) -> None:
    far = {"far": Remote(gate.wait)}
    pipeline = estimated(road(far, ranker=by_index(far)), "rank", 0.2)
    answer = pipeline.recommend(
        small_requests(), 8, inventory=small_inventory(), deadline=Deadline(600)
    )
    assert left_out(answer) == {"retrieve:far": "did not answer in time"}


def test_remote_sources_are_asked_at_the_same_time() -> None:
    ask(road({"far": Remote()}))
    all_there = threading.Barrier(5)
    remotes = {f"far_{i}": Remote(lambda: all_there.wait(20)) for i in range(5)}
    pipeline = road(remotes)
    answer = pipeline.recommend(
        small_requests(), 8, inventory=small_inventory(), deadline=Deadline(30_000)
    )
    assert left_out(answer) == {}
    found = {s["name"]: s["out"] for s in answer.trace.to_list(0)}
    assert all(found[f"retrieve:{name}"] > 0 for name in remotes)


def test_a_source_that_hangs_again_and_again_is_no_longer_asked(gate: threading.Event) -> None:
    asked = []

    def hang() -> None:
        asked.append(1)
        gate.wait()

    pipeline = road({"far": Remote(hang)})
    reasons = [left_out(ask(pipeline, deadline=Deadline(1)))["retrieve:far"] for _ in range(12)]
    assert reasons[0] == "did not answer in time"
    assert "earlier calls have not come back" in reasons[-1]
    assert len(asked) < 12


HANGS = """
    import sys, threading
    sys.path.insert(0, {tests!r})
    from test_degraded import Remote, left_out, road
    from tastemaker.pipeline.latency import Deadline
    from tastemaker.testing.small import small_requests, small_inventory

    pipeline = road({{"far": Remote(threading.Event().wait)}})
    requests, inventory = small_requests(), small_inventory()
    answer = pipeline.recommend(requests, 3, inventory=inventory, deadline=Deadline(50))
    print(left_out(answer)["retrieve:far"])
"""


def test_a_source_that_never_comes_back_does_not_keep_the_program_from_ending() -> None:
    program = textwrap.dedent(HANGS).format(tests=__file__.rpartition("/")[0])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "did not answer in time"), done.stderr


@pytest.mark.parametrize("kind", [Stub, Remote])
def test_a_source_that_raises_is_left_out_with_what_it_said(kind: type[Stub]) -> None:
    answer = ask(road({"broken": kind(fail)}))
    assert left_out(answer) == {"retrieve:broken": "ConnectionError: the cable is cut"}
    assert lists(answer) == lists(ask(road()))


def test_a_remote_source_whose_own_time_is_up_has_raised() -> None:
    def give_up() -> Never:
        raise TimeoutError("no answer from the other machine")

    answer = ask(road({"far": Remote(give_up)}))
    assert left_out(answer) == {"retrieve:far": "TimeoutError: no answer from the other machine"}


@pytest.mark.parametrize("kind", [Stub, Remote])
def test_a_source_that_was_not_fitted_is_a_mistake_and_raises(kind: type[Stub]) -> None:
    unfitted = kind()
    unfitted.act = unfitted.require_fitted
    del unfitted.n_fitted
    with pytest.raises(NotFittedError, match=f"{kind.__name__} is not fitted"):
        ask(road({"new": unfitted}))


def test_a_source_expected_to_take_too_long_is_left_out_before_it_starts() -> None:
    asked: list[int] = []
    pipeline = road({"slow": Stub(lambda: asked.append(1))})
    pipeline.watch.record("retrieve:slow", 1, 900)
    answer = ask(pipeline, deadline=in_time(500))
    assert not asked
    assert left_out(answer).keys() == {"retrieve:slow"}
    assert "estimated" in left_out(answer)["retrieve:slow"]
    assert "500.0 ms left" in left_out(answer)["retrieve:slow"]
    assert lists(answer) == lists(ask(road()))


def test_a_source_left_out_for_its_estimate_is_tried_again() -> None:
    asked: list[int] = []
    pipeline = road({"slow": Stub(lambda: asked.append(1))})
    pipeline.watch.record("retrieve:slow", 1, 900)
    for _ in range(100):
        pipeline.recommend(stranger([]), 3, inventory=small_inventory(), deadline=in_time(500))
    assert asked


def broken(kind: type[Stub] = Stub) -> Pipeline:
    """A road all of whose sources raise."""
    return Pipeline({"one": kind(fail), "two": kind(fail)}, {"one": 5, "two": 5})


@pytest.mark.parametrize("kind", [Stub, Remote])
def test_where_every_source_raises_the_most_liked_items_stand_in(kind: type[Stub]) -> None:
    answer = ask(broken(kind), n=6)
    inventory, asked = small_inventory(), small_requests()
    items = np.arange(len(inventory.catalogue), dtype=np.int32)
    for row in range(len(asked)):
        liked = inventory.statistics.at(items, np.full(len(items), asked.time[row]))
        liked[asked.exclude[row]] = -1
        expected = np.lexsort((items, -liked))[: np.minimum(6, (liked >= 0).sum())]
        assert answer.candidates[row].tolist() == expected.tolist()
    assert left_out(answer).keys() == {"retrieve:one", "retrieve:two", "retrieve"}
    assert "most liked" in left_out(answer)["retrieve"]


def test_the_stand_in_respects_what_may_be_shown() -> None:
    pipeline, everything = broken(), list(range(len(small_inventory().catalogue)))
    asked = replace(stranger([3, 5]), exclude=Ragged.of([everything[:-2]]))
    answer = pipeline.recommend(asked, 10, inventory=small_inventory())
    assert sorted(answer.candidates[0].tolist()) == everything[-2:]


def test_an_item_added_later_can_stand_in() -> None:
    inventory = small_inventory().with_items(["added"])
    asked = replace(stranger([]), exclude=Ragged.of([list(range(len(inventory.catalogue) - 1))]))
    answer = broken().recommend(asked, 3, inventory=inventory)
    assert answer.item_ids() == ["added"]


def personal() -> Pipeline:
    """A road whose only source has nothing to say to whoever has no history."""
    return Pipeline({"knn": fitted()["knn"]}, {"knn": 10})


def test_healthy_sources_that_find_nothing_are_no_degradation() -> None:
    answer = personal().recommend(
        stranger([]), 5, inventory=small_inventory(), deadline=Deadline(60_000)
    )
    check(answer)
    assert len(answer.item_ids()) == 5
    assert answer.trace.degraded == []


def test_the_stand_in_helps_those_alone_for_whom_nothing_was_found() -> None:
    pipeline = Pipeline({"knn": fitted()["knn"], "b": Stub(fail)}, {"knn": 10, "b": 10})
    asked = Requests.of([[3, 5, 8], [], [2, 7]], time=small_dataset().end)
    answer = pipeline.recommend(asked, 5, inventory=small_inventory())
    check(answer)
    assert answer.candidates.counts.tolist() == [5, 5, 5]
    healthy = personal().recommend(asked, 5, inventory=small_inventory())
    for row in (0, 2):
        assert answer.candidates[row].tolist() == healthy.candidates[row].tolist()
        assert (
            answer.candidates[row].tolist()
            == pipeline.recommend(asked.take(np.array([row])), 5, inventory=small_inventory())
            .candidates[0]
            .tolist()
        )
    assert "popularity_fallback" in str(answer.reasons(1))


def test_the_trace_adds_up_where_something_stands_in() -> None:
    for row, stages in enumerate(ask(broken()).trace.to_list(row) for row in range(3)):
        told = {stage["name"]: stage for stage in stages}
        found = [s["out"] for name, s in told.items() if name.startswith("retrieve:")]
        assert told["merge"]["in"] == sum(found) == told["fill"]["in"] == 0, row
        assert told["fill"]["out"] == told["select"]["in"] == told["select"]["out"] == 8, row


# --- the ranker ---


def test_a_ranker_decides_the_order_where_nothing_goes_wrong() -> None:
    answer = ask(road(ranker=by_index()))
    assert answer.trace.degraded == []
    assert all(row == sorted(row, reverse=True) for row in lists(answer))


def unwell(case: str) -> tuple[Ranker, str]:
    """A ranker that cannot rank, and what is told of it."""
    if case == "not fitted":
        return GBM(), "NotFittedError: GBM is not fitted: call fit(dataset) first"
    if case == "raises":
        return Backwards(by_index().feature_names, fail), "ConnectionError: the cable is cut"
    return Backwards(("age", *by_index().feature_names)), "'age' is missing; train again"


@pytest.mark.parametrize("case", ["not fitted", "raises", "other features"])
def test_where_the_ranker_fails_the_order_of_the_fusion_stands(case: str) -> None:
    ranker, reason = unwell(case)
    answer = ask(road(ranker=ranker))
    assert left_out(answer).keys() == {"rank"}
    assert reason in left_out(answer)["rank"]
    assert lists(answer) == lists(ask(road()))


def estimated(pipeline: Pipeline, stage: str, per_unit: float) -> Pipeline:
    """The road, whose stage is known to take so long for one candidate."""
    pipeline.watch.record(stage, 1, per_unit)
    return pipeline


def one(pipeline: Pipeline, n: int, milliseconds: float) -> Recommendations:
    """A stranger's answer, all of whose estimates are compared with so many milliseconds."""
    answer = pipeline.recommend(
        stranger([3, 5, 8]), n, inventory=small_inventory(), deadline=in_time(milliseconds)
    )
    check(answer)
    return answer


def test_where_there_is_no_time_to_rank_all_the_first_of_them_are_ranked() -> None:
    pipeline = estimated(road(ranker=by_index()), "rank", 1.0)
    answer = one(pipeline, n=4, milliseconds=10)
    merged = road().recommend(stranger([3, 5, 8]), 10, inventory=small_inventory()).candidates[0]
    assert answer.candidates[0].tolist() == sorted(merged.tolist(), reverse=True)[:4]
    stages = {stage["name"]: stage for stage in answer.trace.to_list(0)}
    assert stages["rank"]["in"] == 10 < stages["filter"]["out"]
    assert "the first 10 of each list are ranked" in left_out(answer)["rank"]
    assert "10.0 ms left" in left_out(answer)["rank"]


def test_where_too_few_could_be_ranked_none_are() -> None:
    pipeline = estimated(road(ranker=by_index()), "rank", 1.0)
    answer = one(pipeline, n=4, milliseconds=5)
    plain = road().recommend(stranger([3, 5, 8]), 4, inventory=small_inventory())
    assert lists(answer) == lists(plain)
    assert left_out(answer)["rank"].endswith(": left out")
    assert answer.features is None


@pytest.mark.parametrize("n", [0, 1, 8])
@pytest.mark.parametrize("has_answered", [False, True])
def test_a_deadline_that_has_passed_still_brings_an_answer(has_answered: bool, n: int) -> None:
    def made() -> Pipeline:
        return road(ranker=by_index(), rerankers={"turn": Reversing()})

    pipeline = made()
    whole = ask(pipeline, n)
    answer = ask(pipeline if has_answered else made(), n, deadline=Deadline(-5))
    assert answer.candidates.counts.tolist() == whole.candidates.counts.tolist()
    assert {"rank", "rerank:turn", "retrieve", "retrieve:knn"} <= left_out(answer).keys()


def test_a_shortened_ranking_measures_itself_and_is_widened_again() -> None:
    pipeline = estimated(road(ranker=by_index()), "rank", 100.0)
    ranked = []
    for _ in range(200):
        answer = pipeline.recommend(
            stranger([3, 5, 8]), 2, inventory=small_inventory(), deadline=in_time(1_000)
        )
        ranked.append("rank" not in left_out(answer))
    assert not ranked[0]
    assert ranked[-1]


def test_the_cost_of_ranking_is_counted_by_candidate_whatever_the_batch() -> None:
    ask(road(ranker=by_index()))
    pipeline = road(ranker=Backwards(by_index().feature_names, lambda: time.sleep(0.05)))
    answered = ask(pipeline).trace.stages
    (ranked,) = [int(stage.n_in.sum()) for stage in answered if stage.name == "rank"]
    assert 50 <= pipeline.watch.estimate("rank", ranked) < 1_000
    pipeline.watch.record("rank", 1, 1.0)
    batch = len(small_requests())
    deadline = in_time(10 * batch * pipeline.watch.estimate("rank", 1))
    answer = pipeline.recommend(small_requests(), 4, inventory=small_inventory(), deadline=deadline)
    stages = [{s["name"]: s for s in answer.trace.to_list(row)} for row in range(batch)]
    assert max(stage["rank"]["in"] for stage in stages) in (9, 10)


# --- the rerankers ---


def test_a_reranker_that_raises_is_left_out_and_the_next_one_works() -> None:
    answer = ask(road(rerankers={"broken": Reversing(fail), "turn": Reversing()}))
    assert left_out(answer) == {"rerank:broken": "ConnectionError: the cable is cut"}
    assert lists(answer) == lists(ask(road(rerankers={"turn": Reversing()})))


def test_a_reranker_without_time_is_left_out_and_a_quicker_one_works() -> None:
    pipeline = road(rerankers={"slow": Reversing(fail), "turn": Reversing()})
    estimated(pipeline, "rerank:slow", 50.0)
    answer = one(pipeline, n=4, milliseconds=100)
    assert left_out(answer).keys() == {"rerank:slow"}
    assert "estimated" in left_out(answer)["rerank:slow"]
    turned = road(rerankers={"turn": Reversing()})
    assert lists(answer) == lists(one(turned, n=4, milliseconds=100))


# --- budgets ---


def poisoned(budget: Budget) -> Pipeline:
    """A road each of whose later stages is known to take a second for each candidate."""
    pipeline = road({"slow": Stub()}, by_index({"slow": Stub()}), {"turn": Reversing()}, budget)
    for stage in ("retrieve:slow", "rank", "rerank:turn"):
        pipeline.watch.record(stage, 1, 1_000)
    return pipeline


@pytest.mark.parametrize("deadline", [None, Deadline()])
def test_without_a_deadline_nothing_is_left_out_for_time(deadline: Deadline | None) -> None:
    tight = Budget(total=1e-6, retrieve=1e-6, rank=1e-6, rerank=1e-6)
    answer = poisoned(tight).recommend(
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
def test_the_budget_of_a_stage_holds_however_generous_the_deadline_is(
    budget: Budget, stage: str
) -> None:
    assert left_out(ask(poisoned(Budget()), deadline=in_time(10**9))) == {}
    answer = ask(poisoned(budget), deadline=in_time(10**9))
    assert left_out(answer).keys() == {stage}
    assert "500.0 ms left" in left_out(answer)[stage] or stage == "rank"


def test_a_remote_source_is_waited_for_no_longer_than_the_sources_budget(
    gate: threading.Event,
) -> None:
    ask(road())
    pipeline = road({"far": Remote(gate.wait)}, budget=Budget(retrieve=100))
    started = time.monotonic()
    answer = pipeline.recommend(
        small_requests(), 8, inventory=small_inventory(), deadline=Deadline(30_000)
    )
    assert time.monotonic() - started < 10, "the source hangs for 20 s"
    assert left_out(answer) == {"retrieve:far": "did not answer in time"}


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


def test_a_recommender_answers_within_the_time_it_is_given(gate: threading.Event) -> None:
    fitted = recommender(Remote(gate.wait))
    answer = fitted.recommend(timeout_ms=50)
    check(answer)
    assert left_out(answer) == {"retrieve:odd": "did not answer in time"}


def test_the_total_budget_of_a_placement_is_its_deadline(gate: threading.Event) -> None:
    fitted = recommender(Remote(gate.wait), Budget(total=50))
    assert left_out(fitted.recommend()) == {"retrieve:odd": "did not answer in time"}
    patient = threading.Timer(0.2, gate.set)
    patient.start()
    assert left_out(fitted.recommend(timeout_ms=60_000)) == {}


def test_everybody_gets_a_degraded_list_rather_than_none() -> None:
    answers = list(recommender(Stub(fail)).recommend_all(n=1))
    for answer in answers:
        check(answer)
        assert left_out(answer) == {"retrieve:odd": "ConnectionError: the cable is cut"}
        assert (answer.candidates.counts == 1).all()
    assert sum(len(answer) for answer in answers) == len(small_dataset().users)


def judged(recommender: Recommender) -> Any:
    return evaluate(recommender, by_time(small_dataset(), test=0.2), k=5)


def test_a_degraded_pipeline_is_not_judged_but_its_first_error_raised() -> None:
    assert judged(recommender(Stub())).systems
    with pytest.raises(ConnectionError, match="the cable"):
        judged(recommender(Stub(fail)))
    with pytest.raises(ConnectionError, match="the cable"):
        judged(recommender(Remote(fail)))


def test_a_pipeline_is_judged_whole_however_small_its_budgets_are() -> None:
    tight = Budget(total=1e-6, retrieve=1e-6, rank=1e-6, rerank=1e-6)
    assert judged(recommender(Stub(), tight)).systems == judged(recommender(Stub())).systems


def test_an_answer_with_something_left_out_for_time_is_no_ground_for_figures() -> None:
    pipeline = estimated(road(ranker=by_index()), "rank", 1_000.0)
    answer = one(pipeline, n=4, milliseconds=5)
    with pytest.raises(TastemakerError, match="rank: estimated"):
        answer.trace.require_whole()


def test_what_a_reranker_is_set_up_wrongly_for_is_told_in_the_answer() -> None:
    def refuse() -> Never:
        raise SettingError("MMR: there is no space 'als'")

    answer = ask(road(rerankers={"diverse": Reversing(refuse)}))
    assert left_out(answer) == {"rerank:diverse": "SettingError: MMR: there is no space 'als'"}


def test_pipelines_of_one_placement_share_what_they_have_learned_of_its_stages() -> None:
    fitted = recommender(Stub())
    fitted.pipeline().watch.record("retrieve:odd", 1, 900)
    assert left_out(fitted.recommend(timeout_ms=500)).keys() == {"retrieve:odd"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [([([3], [1.0])] * 99, "gave 99 lists"), ([([3, 3], [2.0, 1.0])] * 14, "twice")],
)
def test_a_malformed_answer_is_left_out(rows: list[Any], said: str) -> None:
    class Malformed(Stub):
        def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
            return Candidates.of(rows)

    answer = ask(road({"odd": Malformed()}))
    assert said in left_out(answer)["retrieve:odd"]
    assert lists(answer) == lists(ask(road()))


def test_rules_are_never_left_out_for_time_and_nothing_is_shown_where_they_fail() -> None:
    class Strict(Reversing):
        must_run: ClassVar = True

    pipeline = estimated(road(rerankers={"house": Strict()}), "rerank:house", 1_000.0)
    assert "rerank:house" not in left_out(one(pipeline, n=4, milliseconds=10))
    failed = ask(road(rerankers={"house": Strict(fail)}))
    assert "rerank:house" in left_out(failed)
    assert lists(failed) == [[]] * len(failed)
