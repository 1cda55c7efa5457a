"""The relevant items that each source and stage found, kept and lost."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tastemaker import metrics
from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import Capabilities, FitOptions, Reranked, Reranker, Retriever, Task
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.evaluation import Evaluation, evaluate
from tastemaker.evaluation.funnel import Funnel, FunnelRow
from tastemaker.inventory import Inventory
from tastemaker.metrics import UserBootstrap
from tastemaker.pipeline import Pipeline, Recommender
from tastemaker.project import Placement, Training
from tastemaker.ranking import GBM
from tastemaker.reranking import MMR, Rules
from tastemaker.retrieval import Content, ItemKNN, Popular, Trending
from tastemaker.split import Split, by_time

# --- a tiny pipeline whose funnel is known ---


class Nothing(Settings):
    """No settings."""


class FixedLists(Retriever):
    """Returns a list for each request, chosen by the seed of the request."""

    name = "fixed_lists"
    capabilities: ClassVar = Capabilities(history="none", empty_history=True)
    config: Nothing

    def __init__(self, *lists: list[int]) -> None:
        super().__init__()
        self.lists, self.n_fitted = lists, 12

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        return self

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        lists = [self.lists[int(seed)] for seed in requests.seed]
        return Candidates.of([(row, [1 / (1 + r) for r in range(len(row))]) for row in lists])

    def save(self, writer: ArtifactWriter) -> None:
        raise NotImplementedError

    def load(self, reader: ArtifactReader) -> Self:
        raise NotImplementedError


class OddFirst(Reranker):
    """Puts item 11 first in every list, then items of odd index, then the others."""

    name = "odd_first"
    config: Nothing

    def rerank(
        self,
        requests: Requests,
        candidates: Candidates,
        n: int,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
    ) -> Reranked:
        lists = []
        for row in range(len(candidates)):
            items = candidates[row].tolist()
            lists.append([11, *(i for i in items if i % 2), *(i for i in items if i % 2 == 0)])
        turned = Candidates.of([(items, np.zeros(len(items))) for items in lists])
        return Reranked(turned, np.zeros(len(lists), np.float32), ((),) * len(lists))


def tiny() -> tuple[Pipeline, Requests, Ragged, Inventory]:
    """Two requests over twelve items; item 10 has no event, item 5 is excluded for the second."""
    rows = [(f"u{i}", f"i{i % 12:02}", i) for i in range(24) if i % 12 != 10]
    data = Dataset.from_frames(
        pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row"),
        items=pl.DataFrame({"item_id": [f"i{i:02}" for i in range(12)]}),
        schema=Schema(kinds={"view": EventKind()}, time_unit="s"),
    )
    sources = {"a": FixedLists([0, 1, 2, 3], [4, 5, 6, 7]), "b": FixedLists([3, 8], [5, 9])}
    pipeline = Pipeline(sources, {"a": 4, "b": 2}, rerankers={"odd": OddFirst()})
    requests = Requests.of([[], []], time=data.end, exclude=[[], [5]])
    relevant = Ragged.of([[2, 3, 8, 10], [5, 6, 11]])
    return pipeline, requests, relevant, Inventory.of(data)


def tiny_funnel(k: int = 3) -> list[FunnelRow]:
    pipeline, requests, relevant, inventory = tiny()
    funnel = Funnel(k)
    funnel.add(pipeline.recommend(requests, k, inventory=inventory, trace=True), relevant)
    return funnel.rows(relevant, np.arange(12) != 10)


def row_of(rows: list[FunnelRow], stage: str, source: str | None = None) -> FunnelRow:
    (found,) = [row for row in rows if (row.stage, row.source) == (stage, source)]
    return found


def test_rows_are_in_the_order_of_the_pipeline() -> None:
    assert [(row.stage, row.source) for row in tiny_funnel()] == [
        ("relevant", None),
        ("retrieve", "a"),
        ("retrieve", "b"),
        ("merge", None),
        ("filter", None),
        ("rerank:odd", None),
        ("select", None),
    ]


def test_relevant_items_with_events_can_be_found() -> None:
    relevant = row_of(tiny_funnel(), "relevant")
    assert (relevant.found, relevant.kept, relevant.lost, relevant.unique) == (7, 6, 1, 0)


def test_a_source_has_counts_of_found_and_unique_items() -> None:
    """a finds 2, 3 and 5, 6; b finds 3, 8 and 5."""
    a, b = row_of(tiny_funnel(), "retrieve", "a"), row_of(tiny_funnel(), "retrieve", "b")
    assert (a.found, a.unique, a.kept, a.lost) == (4, 2, 4, 0)
    assert (b.found, b.unique, b.kept, b.lost) == (3, 1, 3, 0)
    assert a.recall == pytest.approx(4 / 7, abs=1e-6)
    assert b.recall == pytest.approx(3 / 7, abs=1e-6)


def test_relevant_items_in_the_top_k_of_a_source_are_counted() -> None:
    assert row_of(tiny_funnel(k=3), "retrieve", "a").top == 3, (
        "2 of the first list; 5, 6 of the second"
    )
    assert row_of(tiny_funnel(k=1), "retrieve", "a").top == 0
    assert row_of(tiny_funnel(k=1), "retrieve", "b").top == 2, "3 and 5"


def test_the_filter_loses_excluded_items() -> None:
    merge, filtered = row_of(tiny_funnel(), "merge"), row_of(tiny_funnel(), "filter")
    assert (merge.found, merge.kept, merge.lost) == (5, 5, 0)
    assert (filtered.found, filtered.kept, filtered.lost) == (5, 4, 1)
    assert filtered.recall == pytest.approx(4 / 7, abs=1e-6)


def test_the_last_stage_counts_the_items_in_the_lists() -> None:
    """[11, 3, 1] holds 3; [11, 9, 7] holds 11, which no source found."""
    last = row_of(tiny_funnel(), "select")
    assert (last.kept, last.top) == (2, 2)


def test_an_item_added_by_a_reranker_counts_in_the_top_k() -> None:
    reranked = row_of(tiny_funnel(), "rerank:odd")
    assert (reranked.found, reranked.kept, reranked.lost) == (4, 4, 0)
    assert reranked.top == 2, "3 of the first list, and 11 of the second"
    assert row_of(tiny_funnel(), "select").found == 5


def test_requests_added_one_by_one_give_the_same_funnel() -> None:
    pipeline, requests, relevant, inventory = tiny()
    funnel = Funnel(3)
    for row in range(2):
        one = np.array([row])
        answer = pipeline.recommend(requests.take(one), 3, inventory=inventory, trace=True)
        funnel.add(answer, relevant.take(one))
    assert funnel.rows(relevant, np.arange(12) != 10) == tiny_funnel()


def test_without_relevant_items_the_recall_is_zero() -> None:
    pipeline, requests, _, inventory = tiny()
    funnel, nothing = Funnel(3), Ragged.of([[], []])
    funnel.add(pipeline.recommend(requests, 3, inventory=inventory, trace=True), nothing)
    rows = funnel.rows(nothing, np.ones(12, np.bool_))
    assert all(row.found == row.kept == row.top == 0 for row in rows)
    assert json.dumps([row.to_dict() for row in rows], allow_nan=False)


# --- a recommender ---

K = 5
QUOTAS = {"knn": 20, "content": 15, "trend": 10}


@cache
def split() -> Split:
    synthetic = SyntheticWorld(
        users=120, items=100, events=4_000, tastes=4, days=60, new_items=0.3, seed=3
    )
    return by_time(synthetic.dataset(), test="10d")


def recommender(*, ranks: bool, reranks: bool) -> Recommender:
    home = Placement(
        retrievers=QUOTAS,
        ranker="main" if ranks else None,
        rerankers=("diverse", "rules") if reranks else (),
    )
    return Recommender(
        {
            "knn": ItemKNN(),
            "content": Content(),
            "trend": Trending(half_life="20d"),
            "idle": Popular(),
        },
        {"home": home},
        {"main": GBM(trees=8, min_rows=5)},
        {"diverse": MMR(relevance=0.5), "rules": Rules(caps={"category": 4})},
        Training(slices=2, window=0.1, requests=300, require_improvement=False),
    )


OPTIONS = FitOptions(seed=2, threads=2)


@cache
def evaluated(*, ranks: bool = True, reranks: bool = True) -> Evaluation:
    return evaluate(recommender(ranks=ranks, reranks=reranks), split(), k=K, options=OPTIONS)


BASELINES = ["popular", "trending", "item_knn"]
SOURCES = ["idle", "knn", "content", "trend"]


@pytest.mark.parametrize(
    ("ranks", "reranks", "systems_measured"),
    [
        (False, False, ["pipeline"]),
        (True, False, ["merged", "pipeline"]),
        (False, True, ["merged", "pipeline"]),
        (True, True, ["merged", "ranked", "pipeline"]),
    ],
)
def test_every_source_and_every_distinct_stage_is_measured(
    ranks: bool, reranks: bool, systems_measured: list[str]
) -> None:
    found = evaluated(ranks=ranks, reranks=reranks)
    assert list(found.systems) == [*BASELINES, *SOURCES, *systems_measured]
    systems = list(found.systems)
    assert {system: list(gains) for system, gains in found.gains.items()} == {
        system: systems[: systems.index(system)] for system in systems_measured
    }


def test_a_stage_equals_a_pipeline_without_later_stages() -> None:
    merged = evaluated().systems["merged"]
    assert merged == evaluated(ranks=False, reranks=False).systems["pipeline"]
    assert evaluated().systems["ranked"] == evaluated(reranks=False).systems["pipeline"]
    assert merged != evaluated().systems["ranked"] != evaluated().systems["pipeline"]


@pytest.mark.parametrize("ranks", [False, True])
def test_found_items_are_either_kept_or_lost(ranks: bool) -> None:
    rows = evaluated(ranks=ranks, reranks=ranks).funnel
    assert all(row.found - row.kept == row.lost >= 0 for row in rows)
    assert all(0 <= row.unique <= row.found for row in rows)
    assert all(0 <= row.recall <= 1 for row in rows)


def test_the_output_of_a_stage_is_the_input_of_the_next() -> None:
    rows = evaluated().funnel
    stages = [row for row in rows if row.source is None][1:]
    assert [row.stage for row in stages] == [
        "merge", "filter", "rank", "rerank:diverse", "rerank:rules", "select",
    ]  # fmt: skip
    for before, after in pairwise(stages):
        assert after.found == before.kept, (before.stage, after.stage)
    relevant = row_of(rows, "relevant")
    for row in rows[1:]:
        assert row.recall == pytest.approx(row.kept / relevant.found, abs=1e-6)
    assert stages[-1].kept == stages[-1].top


def test_the_funnel_equals_counts_computed_by_hand() -> None:
    task, known = split().test, split().before_test
    rows = evaluated(ranks=False, reranks=False).funnel
    had_events = set(known.events.item.tolist())
    relevant = row_of(rows, "relevant")
    assert relevant.found == len(task.truth.values)
    assert relevant.kept == sum(item in had_events for item in task.truth.values.tolist())
    assert relevant.lost > 0
    depth = sum(QUOTAS.values())
    sources = {
        "knn": ItemKNN().fit(known, OPTIONS),
        "content": Content().fit(known, OPTIONS),
        "trend": Trending(half_life="20d").fit(known, OPTIONS),
    }
    hits = {}
    for name, source in sources.items():
        found = source.retrieve(task.requests, depth, task.inventory)
        hits[name] = {
            (row, item)
            for row in range(len(task))
            for item in set(found[row].tolist()) & set(task.truth[row].tolist())
        }
    for name, own in hits.items():
        row = row_of(rows, "retrieve", name)
        others = set[tuple[int, int]]().union(*(hits[other] for other in hits if other != name))
        assert row.found == len(own)
        assert row.unique == len(own - others)
    assert row_of(rows, "merge").found == len(set[tuple[int, int]]().union(*hits.values()))


def top(source: Retriever) -> Candidates:
    task = split().test
    return source.fit(split().before_test, OPTIONS).retrieve(task.requests, K, task.inventory)


def ndcg(lists: Candidates) -> NDArray[np.float64]:
    """The NDCG of every request, by its definition."""
    task, values = split().test, []
    for row in range(len(task)):
        relevant, shown = set(task.truth[row].tolist()), lists[row].tolist()
        gain = sum(1 / np.log2(2 + place) for place, item in enumerate(shown) if item in relevant)
        ideal = sum(1 / np.log2(2 + place) for place in range(min(K, len(relevant))))
        values.append(gain / ideal)
    return np.array(values)


@pytest.mark.parametrize(
    ("name", "source"),
    [("knn", ItemKNN()), ("content", Content()), ("trend", Trending(half_life="20d"))],
)
def test_a_source_is_measured_by_its_own_list_of_k(name: str, source: Retriever) -> None:
    figures = evaluated().systems[name]
    assert figures[f"ndcg@{K}"].value == pytest.approx(ndcg(top(source)).mean())
    alone = evaluate({"mine": source}, split(), k=K, options=OPTIONS).systems["mine"]
    assert figures == alone


def whole() -> Candidates:
    """The lists of the whole pipeline."""
    task = split().test
    fitted = recommender(ranks=True, reranks=True).fit(split().before_test, OPTIONS)
    return fitted.pipeline().recommend(task.requests, K, inventory=task.inventory).candidates


def test_a_gain_is_the_mean_difference_on_the_same_requests() -> None:
    found, task = evaluated(), split().test
    pipeline, alone = ndcg(whole()), ndcg(top(ItemKNN()))
    by_hand = UserBootstrap(task.user, OPTIONS.seed).mean(pipeline - alone)
    gain = found.gains["pipeline"]["knn"]
    assert gain.value == pytest.approx(by_hand.value)
    assert gain.low == pytest.approx(by_hand.low)
    assert gain.high == pytest.approx(by_hand.high)


def test_every_gain_is_the_difference_of_two_metrics() -> None:
    figures = {name: values[f"ndcg@{K}"].value for name, values in evaluated().systems.items()}
    for system, others in evaluated().gains.items():
        for name, gain in others.items():
            assert gain.value == pytest.approx(figures[system] - figures[name])
            assert gain.low <= gain.value <= gain.high


def test_pairing_narrows_the_interval_of_a_gain() -> None:
    found = evaluated()
    gain = found.gains["pipeline"]["ranked"]
    one, other = (found.systems[name][f"ndcg@{K}"] for name in ("pipeline", "ranked"))
    apart = (one.high - other.low) - (one.low - other.high)
    assert gain.high - gain.low < apart / 2


def test_the_slice_of_new_items_counts_only_new_items() -> None:
    task, known = split().test, split().before_test
    had_events = set(known.events.item.tolist())
    new = [[i for i in task.truth[r].tolist() if i not in had_events] for r in range(len(task))]
    rows = [row for row, items in enumerate(new) if items]
    part = evaluated().slices["new items"]
    assert part.requests == len(rows) > 0
    assert part.users == len(np.unique(task.user[rows]))
    fresh = Ragged.of([new[row] for row in rows])
    for name, source in (("content", Content()), ("trend", Trending(half_life="20d"))):
        lists = top(source).take(np.array(rows))
        hits = [
            len(set(lists[place].tolist()) & set(new[row])) > 0 for place, row in enumerate(rows)
        ]
        assert part.systems[name][f"hit_rate@{K}"].value == pytest.approx(np.mean(hits))
        gains, ideal = metrics.gains_of(lists, fresh, np.ones(len(fresh.values), np.float32), K)
        expected = metrics.ndcg(gains, ideal).mean()
        assert part.systems[name][f"ndcg@{K}"].value == pytest.approx(expected)
    assert part.systems["knn"][f"hit_rate@{K}"].value == 0, "neighbours know no new item"
    assert part.systems["trend"][f"hit_rate@{K}"].value > 0


def test_without_new_items_there_is_no_slice_of_them() -> None:
    task = split().test
    had_events = np.zeros(len(task.inventory.catalogue), np.bool_)
    had_events[split().before_test.events.item] = True
    kept = had_events[task.truth.values]
    rows = [task.truth[row][had_events[task.truth[row]]] for row in range(len(task))]
    some = np.array([row for row, items in enumerate(rows) if len(items)])
    known = replace(
        task,
        requests=task.requests.take(some),
        truth=Ragged.of([rows[row] for row in some]),
        gain=task.gain[kept],
        user=task.user[some],
        known_user=task.known_user[some],
    )
    found = evaluate([], replace(split(), test=known), k=K)
    assert "new items" not in found.slices


def test_the_funnel_can_be_written_as_json() -> None:
    payload = json.loads(json.dumps(evaluated().to_dict(), allow_nan=False))
    assert set(payload["funnel"][0]) == {
        "stage", "source", "found", "unique", "kept", "lost", "recall", "top",
    }  # fmt: skip
    assert payload["gains"].keys() == {"merged", "ranked", "pipeline"}
    for others in payload["gains"].values():
        assert {*BASELINES, *SOURCES} <= others.keys()
        assert all(gain.keys() == {"value", "low", "high"} for gain in others.values())


def test_the_text_report_shows_funnel_and_gains() -> None:
    text = str(evaluated())
    for label in (
        f"in top {K}",
        "rerank:diverse",
        "merged over",
        "pipeline over",
        "new items",
    ):
        assert label in text
    plain = str(evaluate([], split(), k=K))
    assert f"in top {K}" not in plain
    assert "pipeline" not in plain


def test_retrievers_alone_have_no_funnel() -> None:
    assert evaluate(ItemKNN(), split(), k=K).funnel == []
