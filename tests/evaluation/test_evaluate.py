import json
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import pytest

import tastemaker as tm
from tastemaker.component import FitOptions, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import TagsColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import SettingError
from tastemaker.evaluation import Evaluation, evaluate
from tastemaker.index import exact_top_n
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Recommender
from tastemaker.project import Placement
from tastemaker.retrieval import ALS, ItemKNN, Popular, Trending
from tastemaker.split import Split, by_time, holdout

K = 5
METRICS = ["ndcg", "recall", "recall_min", "precision", "map", "mrr", "hit_rate"]
ALL_METRICS = [*METRICS, "novelty", "diversity", "coverage", "gini"]


@cache
def synthetic() -> SyntheticWorld:
    return SyntheticWorld(
        users=300, items=150, events=6_000, tastes=5, days=60, new_items=0.0, drift=0.0, seed=11
    )


@cache
def split() -> Split:
    return by_time(synthetic().dataset(), test="10d")


class Oracle(Popular):
    """Ranks by the probabilities that generated the data."""

    name = "oracle"

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        users = [user for user in requests.user_id if user is not None]
        truth = synthetic().probabilities(users, requests.time)
        places = [int(item[1:]) for item in inventory.catalogue.items.ids(range(truth.shape[1]))]
        scores = truth[:, places].astype(np.float32)
        return exact_top_n(lambda chunk: scores[chunk], requests, n, len(places))


class LeastPopular(Popular):
    """Ranks the least popular items first."""

    name = "contrary"

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        super().fit(dataset, options)
        self.order, self.users = self.order[::-1].copy(), self.users[::-1].copy()
        return self


class Recording(Popular):
    """Records its training and validation data."""

    name = "recording"
    calls: ClassVar[list[tuple[Dataset, Task | None]]] = []

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        self.calls.append((dataset, validation))
        return super().fit(dataset, options)


@cache
def evaluated() -> Evaluation:
    return evaluate([Oracle(), LeastPopular(), ALS(factors=8, iterations=3)], split(), k=K)


def recommender() -> Recommender:
    sources = {"knn": ItemKNN(), "trend": Trending(half_life="20d")}
    return Recommender(sources, {"home": Placement(retrievers={"knn": 30, "trend": 10})})


def flagged(found: Evaluation) -> set[str]:
    table = str(found).split("\n\n")[0]
    return {line.split("  ")[0] for line in table.splitlines() if line.endswith("▼ below popular")}


def test_a_model_with_the_true_probabilities_is_best() -> None:
    found = evaluated()
    for metric in ("ndcg", "recall", "map", "mrr", "hit_rate"):
        assert found.best(metric) == "oracle"
    best, second = found.systems["oracle"][f"ndcg@{K}"], found.systems["popular"][f"ndcg@{K}"]
    assert best.low > second.high


def test_the_baselines_are_always_measured() -> None:
    assert list(evaluated().systems) == [
        "popular", "trending", "item_knn", "oracle", "contrary", "als",
    ]  # fmt: skip


def test_a_baseline_of_the_caller_is_not_measured_twice() -> None:
    found = evaluate([ItemKNN(neighbors=5), Trending(half_life="1d")], split(), k=K)
    assert sorted(found.systems) == ["item_knn", "popular", "trending"]


def test_a_model_that_loses_to_popularity_is_flagged() -> None:
    assert "contrary" in flagged(evaluated())
    assert not flagged(evaluated()) & {"oracle", "popular"}


def test_models_are_compared_with_the_baseline_popularity() -> None:
    found = evaluate({"top": Popular(), "backwards": LeastPopular()}, split(), k=K)
    assert found.systems["top"] == found.systems["popular"]
    assert "backwards" in flagged(found)
    assert "top" not in flagged(found)


def test_a_model_named_popular_is_compared_with_popularity() -> None:
    found = evaluate({"popular": LeastPopular()}, split(), k=K)
    assert found.systems["popular"] != found.systems["popular (baseline)"]
    assert "popular" in flagged(found)


def timeless() -> Split:
    """Data with an order but no moments; the last item of each user is relevant."""
    rows = [(f"u{user}", f"i{(user + place) % 12}") for user in range(20) for place in range(5)]
    frame = pl.DataFrame(rows, ["user_id", "item_id"], orient="row")
    schema = Schema(kinds={"view": EventKind()}, clock="ordinal")
    data = Dataset.from_frames(frame, schema=schema)
    last = data.events.offsets[1:] - 1
    kept = np.ones(len(data.events), np.bool_)
    kept[last] = False
    known = Dataset(data.catalogue, data.users, data.events.where(kept), data.kinds, data.clock)
    users = np.arange(len(data.users), dtype=np.int32)
    notes = dict.fromkeys(("requests_without_truth_left_out", "relevant_new_items", "relevant"), 0)
    task = Task(
        data.requests(users, data.events.time[last]),
        Ragged.of([[item] for item in data.events.item[last]]),
        np.ones(len(users), np.float32),
        users,
        np.ones(len(users), np.bool_),
        Inventory.of(data),
        notes,
    )
    protocol = {f"{w}_{e}": "?" for w in ("test", "validation") for e in ("from", "until")}
    return Split(known, task, known, task, SeenPolicy.of(data.kinds), dict(protocol))


def test_trending_is_measured_only_with_a_clock() -> None:
    assert sorted(evaluate([], timeless(), k=3).systems) == ["item_knn", "popular"]


def test_every_estimate_lies_in_its_interval() -> None:
    for figures in evaluated().systems.values():
        assert list(figures) == [f"{metric}@{K}" for metric in ALL_METRICS]
        for estimate in figures.values():
            assert estimate.low <= estimate.value <= estimate.high


def test_metrics_equal_those_computed_by_hand() -> None:
    task = split().test
    model = Popular().fit(split().before_test)
    lists = model.retrieve(task.requests, K, task.inventory)
    hits = [
        len(set(lists[row].tolist()) & set(task.truth[row].tolist())) for row in range(len(task))
    ]
    found = evaluated().systems["popular"]
    relevant = task.truth.counts
    assert found[f"precision@{K}"].value == pytest.approx(np.mean(hits) / K)
    assert found[f"recall@{K}"].value == pytest.approx(np.mean(hits / relevant))
    assert found[f"recall_min@{K}"].value == pytest.approx(np.mean(hits / np.minimum(relevant, K)))
    assert found[f"hit_rate@{K}"].value == pytest.approx(np.mean(np.array(hits) > 0))
    shown = len(set(lists.item.tolist())) / len(task.inventory.catalogue)
    assert found[f"coverage@{K}"].value == pytest.approx(shown)


def test_diversity_equals_that_computed_by_hand() -> None:
    task = split().test
    catalogue = task.inventory.catalogue
    lists = Popular().fit(split().before_test).retrieve(task.requests, K, task.inventory)
    labels: list[TagsColumn] = [c for c in catalogue.columns.values() if isinstance(c, TagsColumn)]
    assert len(labels) == 2

    def dissimilarity(one: int, other: int) -> float:
        """1 minus the mean Jaccard index over the columns."""
        sets = [(set(c.codes[one].tolist()), set(c.codes[other].tolist())) for c in labels]
        return 1 - float(np.mean([len(a & b) / max(1, len(a | b)) for a, b in sets]))

    by_hand = [
        np.mean([dissimilarity(int(one), int(other)) for one, other in combinations(lists[row], 2)])
        for row in range(len(task))
    ]
    figure = evaluated().systems["popular"][f"diversity@{K}"]
    assert figure.value == pytest.approx(np.mean(by_hand), rel=1e-6)
    assert 0 < figure.value < 1


def test_without_labels_diversity_is_not_measured() -> None:
    found = evaluate([], timeless(), k=3)
    assert all("diversity@3" not in figures for figures in found.systems.values())
    assert "diversity" not in str(found)


def test_popular_lists_have_the_lowest_novelty_and_a_higher_gini() -> None:
    figures = evaluated().systems
    novelty = {name: f[f"novelty@{K}"].value for name, f in figures.items()}
    assert min(novelty, key=lambda name: novelty[name]) == "popular"
    assert max(novelty, key=lambda name: novelty[name]) == "contrary"
    assert figures["popular"][f"gini@{K}"].value > figures["als"][f"gini@{K}"].value


# --- windows ---


def test_models_are_fitted_on_all_events_before_the_test_window() -> None:
    Recording.calls.clear()
    found = evaluate(Recording(), split(), k=K)
    assert Recording.calls == [(split().before_test, None)]
    assert found.protocol["window"] == "test"
    assert found.protocol["from"] == split().protocol["test_from"]
    assert found.protocol["fitted_events"] == len(split().before_test.events)
    assert found.requests == len(split().test)


def test_models_are_fitted_on_training_data_for_validation() -> None:
    Recording.calls.clear()
    found = evaluate(Recording(), split(), k=K, window="validation")
    assert Recording.calls == [(split().train, None)]
    assert found.protocol["window"] == "validation"
    assert found.protocol["from"] == split().protocol["validation_from"]
    assert found.protocol["fitted_events"] == len(split().train.events)
    assert found.requests == len(split().validation)


def test_an_unknown_window_is_rejected() -> None:
    with pytest.raises(ValueError, match="'window' must be 'test' or 'validation', got 'train'"):
        evaluate([], split(), window="train")


def test_an_argument_that_is_not_a_model_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"expected a retriever such as tm\.ALS\(\), got <class"):
        evaluate([ALS], split())  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("k", "message"),
    [(0, "at least 1, got 0"), (-2, "at least 1, got -2"), (2.5, "an integer, got 2.5")],
)
def test_an_invalid_k_is_rejected(k: Any, message: str) -> None:
    with pytest.raises(SettingError, match=f"^'k' must be {message}$"):
        evaluate([], split(), k=k)


# --- models ---


def test_two_models_of_one_class_have_two_names() -> None:
    found = evaluate([ItemKNN(neighbors=3), ItemKNN(neighbors=30)], split(), k=K)
    assert {"item_knn", "item_knn_2"} <= found.systems.keys()
    assert found.systems["item_knn"] != found.systems["item_knn_2"]


def test_named_models_keep_their_names() -> None:
    assert "mine" in evaluate({"mine": LeastPopular()}, split(), k=K).systems


def test_an_evaluation_does_not_fit_the_given_models() -> None:
    given, fitted = Popular(), Popular().fit(split().train)
    before = fitted.order.tolist()
    evaluate({"given": given, "fitted": fitted}, split(), k=K)
    assert not hasattr(given, "n_fitted")
    assert fitted.order.tolist() == before


def test_a_recommender_and_its_sources_are_measured() -> None:
    found = evaluate(recommender(), split(), k=K)
    assert set(found.systems) == {"popular", "trending", "item_knn", "knn", "trend", "pipeline"}
    assert found.systems["knn"] == found.systems["item_knn"]
    ndcg = {name: figures[f"ndcg@{K}"].value for name, figures in found.systems.items()}
    assert ndcg["pipeline"] > ndcg["popular"]
    assert ndcg["pipeline"] not in (ndcg["knn"], ndcg["trend"])


def test_an_evaluation_does_not_change_a_fitted_recommender() -> None:
    fitted = recommender().fit(synthetic().dataset())
    users = fitted.data.users.ids(range(10)) if fitted.data else []
    before = [fitted.recommend(user, n=8).item_ids() for user in users]
    evaluate(fitted, split(), k=K)
    assert [fitted.recommend(user, n=8).item_ids() for user in users] == before


def test_an_evaluation_is_repeatable() -> None:
    again = evaluate([Oracle(), LeastPopular(), ALS(factors=8, iterations=3)], split(), k=K)
    assert again.systems == evaluated().systems
    assert {n: s.systems for n, s in again.slices.items()} == {
        n: s.systems for n, s in evaluated().slices.items()
    }


# --- slices ---


def test_slices_by_length_of_history_add_up() -> None:
    assert_adds_up([name for name in evaluated().slices if name.startswith("history")])


def test_slices_of_known_and_new_users_add_up() -> None:
    names = [name for name in evaluated().slices if "users" in name]
    assert "known users" in names
    assert_adds_up(names)


def assert_adds_up(names: list[str]) -> None:
    """Checks that the slices cover every request once and average to the whole."""
    found = evaluated()
    parts = [found.slices[name] for name in names]
    assert len(parts) > 1
    assert sum(part.requests for part in parts) == found.requests
    for system, figures in found.systems.items():
        for metric in METRICS:
            whole = sum(p.requests * p.systems[system][f"{metric}@{K}"].value for p in parts)
            assert whole / found.requests == pytest.approx(figures[f"{metric}@{K}"].value)


# --- reports ---


def test_the_json_of_an_evaluation_has_the_documented_keys() -> None:
    payload: dict[str, Any] = json.loads(json.dumps(evaluated().to_dict(), allow_nan=False))
    assert {"protocol", "users", "requests", "seconds", "systems", "slices"} <= payload.keys()
    assert payload["users"] == len(np.unique(split().test.user))
    assert payload["requests"] == len(split().test)
    for system in payload["systems"].values():
        assert {f"{metric}@{K}" for metric in ALL_METRICS} <= system.keys()
        assert all(estimate.keys() == {"value", "low", "high"} for estimate in system.values())
    for part in payload["slices"].values():
        assert part.keys() == {"users", "requests", "systems"}
        assert part["systems"].keys() == payload["systems"].keys()
    assert payload["protocol"]["split"] == "by_time"
    assert payload["protocol"]["k"] == K


def test_the_table_is_sorted_and_describes_the_protocol() -> None:
    text = str(evaluated())
    table = text.split("\n\n")[0].splitlines()
    assert f"ndcg@{K} (95 % interval)" in table[0]
    assert table[1].startswith("oracle")
    assert len(table) == 1 + len(evaluated().systems)
    assert f"{len(split().test):,} requests" in text
    assert "all items ranked, none sampled" in text
    assert "Left out:" in text


def repeated() -> Dataset:
    """Twenty users who buy the same five items repeatedly, and two new items each."""
    day = 86_400_000_000
    rows = [
        (f"u{user}", f"i{(user + place) % 8}", "buy", (turn * 5 + place) * day)
        for user in range(20)
        for turn in range(4)
        for place in range(5)
    ]
    for extra, when in ((5, 12), (6, 21)):
        rows += [(f"u{user}", f"i{(user + extra) % 8}", "buy", when * day) for user in range(20)]
    names = ["user_id", "item_id", "event_type", "timestamp"]
    kinds = {"buy": EventKind(), "hide": EventKind(role="negative", hide_item=True)}
    frame = pl.DataFrame(rows, names, orient="row")
    return Dataset.from_frames(frame, schema=Schema(kinds=kinds, time_unit="us"))


def bought(seen: dict[str, str]) -> Recommender:
    placement = Placement(retrievers={"knn": 30}, seen=seen)
    return Recommender({"knn": ItemKNN()}, {"shelf": placement})


def test_relevant_items_left_out_as_seen_are_reported() -> None:
    data = repeated()
    found = evaluate(bought({}), by_time(data, test=0.3), k=3)
    left = found.protocol["relevant_but_seen"]
    assert isinstance(left, int)
    total = left + int(found.protocol["relevant"])
    assert left > total / 2
    assert (
        f"{left:,} of {total:,} relevant items ({left / total:.0%}) were left out because the user "
        "had already seen them; to recommend seen items again, set seen = "
        '{ buy = "allow" } under [placements.shelf].'
    ) in str(found)


def test_with_repeats_allowed_no_item_is_left_out_as_seen() -> None:
    data, seen = repeated(), {"buy": "allow"}
    found = evaluate(bought(seen), by_time(data, test=0.3, seen=seen), k=3)
    assert found.protocol["relevant_but_seen"] == 0
    assert "already seen" not in str(found)


@pytest.mark.parametrize(("left", "is_shown"), [(4, False), (5, True)])
def test_a_small_share_left_out_as_seen_is_not_reported(left: int, is_shown: bool) -> None:
    notes = {"relevant": 100 - left, "relevant_but_seen": left}
    text = str(replace(evaluated(), protocol={**evaluated().protocol, **notes}))
    assert ("already seen" in text) == is_shown


@pytest.mark.parametrize("clock", ["none", "ordinal"])
def test_a_holdout_measures_a_recommender_without_times(clock: str) -> None:
    rows = [(f"u{user}", f"i{(user + place) % 12}") for user in range(20) for place in range(5)]
    frame = pl.DataFrame(rows, ["user_id", "item_id"], orient="row")
    schema = Schema(kinds={"view": EventKind()}, clock=clock)  # type: ignore[arg-type]
    split = holdout(Dataset.from_frames(frame, schema=schema), test=0.2, seed=5)
    placement = Placement(retrievers={"knn": 10}, seen={"view": "allow"})
    found = evaluate(Recommender({"knn": ItemKNN()}, {"home": placement}), split, k=3)
    text = str(found)
    assert found.protocol["split"] == "holdout"
    assert "split holdout, seed 5, held out: test 0.2 and validation 0.2 of each user's" in text
    assert "items of the history are excluded from lists and relevant items" in text
    assert "Warning: the split leaks the future" in text


def test_evaluate_is_exported_by_the_package() -> None:
    assert tm.evaluate is evaluate
