"""A list for n has min(n, allowed) items, whatever is blocked, capped, pinned, excluded or seen."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Self

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import (
    RELEVANT,
    Features,
    FitOptions,
    Ranker,
    Reranked,
    Reranker,
    Retriever,
    Scores,
    TrainingSet,
)
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.item_similarity import attribute_columns
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Masks, Requests
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.synthetic import SCHEMA, SyntheticWorld
from tastemaker.errors import SettingError
from tastemaker.features import FeatureSet
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Pipeline, Recommendations, Recommender
from tastemaker.pipeline.latency import Deadline
from tastemaker.pipeline.ranking import Ranking
from tastemaker.pipeline.sources import POPULARITY_FALLBACK, popularity_fallback
from tastemaker.project import Placement
from tastemaker.project.registry import component_class, our_names
from tastemaker.reranking import MMR, Explore, Rules
from tastemaker.retrieval import EASE, ItemKNN, Popular
from tastemaker.testing import PipelineConformance
from tastemaker.testing.small import OPTIONS, small_inventory


def made_data() -> Dataset:
    """Sixty items in nine categories of different size, some items without one, and in tags."""
    synthetic = SyntheticWorld(users=90, items=60, events=2_000, tastes=4, seed=11)
    kind = [None if item % 10 == 9 else f"k{int((item % 10) ** 2 / 9)}" for item in range(60)]
    items = synthetic.items.with_columns(pl.Series("category", kind))
    return Dataset.from_frames(synthetic.events, items=items, schema=SCHEMA)


DATA = made_data()
INVENTORY = Inventory.of(DATA)
N_ITEMS = len(INVENTORY.catalogue)
IDS = INVENTORY.catalogue.items.ids(range(N_ITEMS))
SOURCES = our_names(Retriever)
SEEN = [{}, {"view": "allow", "purchase": "allow"}, {"view": "exclude for 30d"}]


@cache
def source(name: str) -> Retriever:
    return component_class(name, Retriever)().fit(DATA, OPTIONS)


def labels_of(column: str) -> list[list[str]]:
    """The labels of each item."""
    tags = attribute_columns(INVENTORY.catalogue)[column]
    return [tags.labels.ids(tags.codes[item]) for item in range(N_ITEMS)]


LABELS = {column: labels_of(column) for column in ("category", "tags")}
NAMES = {column: sorted({name for row in rows for name in row}) for column, rows in LABELS.items()}


def pipeline(
    quotas: Mapping[str, int],
    rerankers: Mapping[str, Reranker] | None = None,
    ranking: Ranking | None = None,
) -> Pipeline:
    return Pipeline({n: source(n) for n in quotas}, quotas, ranking, dict(rerankers or {}))


def ask(
    made: Pipeline, requests: Requests, n: int, deadline: Deadline | None = None
) -> Recommendations:
    return made.recommend(requests, n, inventory=INVENTORY, deadline=deadline)


def anonymous_request(history: list[int]) -> Requests:
    return Requests.of([history], time=DATA.end)


def known() -> Requests:
    """Requests of a dozen users."""
    users = np.arange(12)
    return DATA.requests(users, np.full(len(users), DATA.end))


def stages(answer: Recommendations, row: int = 0) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in answer.trace.to_list(row)}


def found_by(answer: Recommendations, name: str) -> list[int]:
    """The shown items of the first list that a source has found."""
    shown = answer.candidates
    first = shown.source_rank[: shown.offsets[1], shown.sources.index(name)]
    return shown[0][first >= 0].tolist()


# --- blocked items ---


def test_a_blocked_label_leaves_a_list_full() -> None:
    """One source with a quota below the number of blocked items at its head."""
    best = ask(pipeline({"popular": 5}), anonymous_request([]), 8).candidates[0].tolist()
    rules = Rules(
        blocked_labels={"category": [name for item in best for name in LABELS["category"][item]]}
    )
    answer = ask(pipeline({"popular": 5}, {"house": rules}), anonymous_request([]), 10)
    blocked = set(rules.config.blocked_labels["category"])
    assert len(found_by(answer, "popular")) == 10
    assert not any(blocked & set(LABELS["category"][item]) for item in answer.candidates[0])


def test_the_trace_counts_what_is_blocked() -> None:
    answer = ask(
        pipeline({"popular": 5}, {"house": Rules(blocked=IDS[:7])}), anonymous_request([]), 10
    )
    assert stages(answer)["filter"]["notes"] == [
        "7 items blocked by 'house', excluded from retrieval"
    ]


def test_blocks_are_computed_once_for_a_catalogue() -> None:
    rules, inventory = Rules(blocked=["i3"]), INVENTORY
    allowed = rules.allowed_items(inventory)
    assert allowed is not None
    assert np.flatnonzero(~allowed).tolist() == [IDS.index("i3")]
    assert (
        rules.allowed_items(Inventory(inventory.catalogue, inventory.statistics, 5, "none"))
        is allowed
    )
    assert rules.allowed_items(inventory.with_items(["added"])) is not allowed
    assert Rules(caps={"category": 1}).allowed_items(inventory) is None
    assert MMR().allowed_items(inventory) is None


def test_eligibility_and_blocking_rules_are_combined() -> None:
    bitmap = np.zeros((1, N_ITEMS), np.bool_)
    bitmap[0, :6] = True
    both = replace(known(), exclude=Ragged.of([[0]] * len(known())))
    requests = replace(both, eligible=Masks(bitmap, np.array([0, -1] * 6, np.int32)))
    answer = ask(pipeline({"ease": 3}, {"house": Rules(blocked=IDS[1:4])}), requests, 100)
    for row in range(len(requests)):
        expected = {4, 5} if row % 2 == 0 else set(range(4, N_ITEMS))
        assert set(answer.candidates[row].tolist()) == expected


def test_invalid_blocking_rules_hide_the_list() -> None:
    rules = Rules(blocked_labels={"colour": ["red"]})
    answer = ask(pipeline({"popular": 5}, {"house": rules}), anonymous_request([]), 5)
    assert answer.item_ids() == []
    (one,) = answer.trace.degraded
    assert one.stage == "rerank:house"
    assert "'colour' is not a column" in one.reason


class Nothing(Settings):
    """No settings."""


class Recording(Ranker):
    """Records the items to score."""

    name = "recording"
    config: Nothing

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.feature_names, self.items = names, list[int]()

    def fit(
        self,
        training: TrainingSet,
        options: FitOptions = FitOptions(),
        *,
        validation: TrainingSet | None = None,
    ) -> Self:
        raise NotImplementedError

    def score(self, requests: Requests, candidates: Candidates, features: Features) -> Scores:
        self.items += candidates.item.tolist()
        return Scores((RELEVANT,), ("order",), candidates.item[:, None].astype(np.float32))

    def save(self, writer: ArtifactWriter) -> None:
        raise NotImplementedError

    def load(self, reader: ArtifactReader) -> Self:
        raise NotImplementedError


def test_the_ranker_sees_no_blocked_item() -> None:
    features = FeatureSet.of(INVENTORY, {"popular": source("popular")})
    ranker = Recording(features.names)
    rules = {"house": Rules(blocked=IDS[:20], caps={"category": 1})}
    answer = ask(
        pipeline({"popular": 9}, rules, Ranking(ranker, features)), anonymous_request([]), 9
    )
    assert ranker.items
    assert min(ranker.items) >= 20
    assert len(answer.candidates[0]) == 9
    assert np.isfinite(answer.candidates.score).all()


# --- caps ---


def test_caps_hold_for_items_that_sources_find_later() -> None:
    plain = ask(pipeline({"ease": 3}), anonymous_request([2, 7, 30]), 5)
    of_plain = [name for item in plain.candidates[0] for name in LABELS["category"][item]]
    assert max(Counter(of_plain).values()) > 1
    rules = {"house": Rules(caps={"category": 1})}
    answer = ask(pipeline({"ease": 3}, rules), anonymous_request([2, 7, 30]), 5)
    of_shown = [name for item in answer.candidates[0] for name in LABELS["category"][item]]
    assert max(Counter(of_shown).values()) == 1
    assert len(answer.candidates[0]) == 5
    assert not found_by(answer, POPULARITY_FALLBACK)
    (note,) = stages(answer)["fill"]["notes"]
    assert note.endswith("more from the sources, for the caps")
    assert "not held" not in str(stages(answer)["rerank:house"])


def test_caps_that_no_list_can_meet_cost_no_second_retrieval() -> None:
    rules = {"house": Rules(caps={"category": 1})}
    answer = ask(pipeline({"popular": 60}, rules), anonymous_request([]), 20)
    assert len(answer.candidates[0]) == 20
    assert "fill" not in stages(answer)
    assert "was not held" in str(stages(answer)["rerank:house"]["notes"])


def test_without_time_caps_are_broken_and_reported() -> None:
    rules = {"house": Rules(caps={"category": 1})}
    made = pipeline({"ease": 3}, rules)
    answer = ask(made, anonymous_request([2, 7, 30]), 8, Deadline(-1))
    assert len(answer.candidates[0]) == 8
    assert {"retrieve:ease", "fill"} <= {one.stage for one in answer.trace.degraded}


# --- too few candidates ---


def test_without_history_the_most_liked_items_follow() -> None:
    answer = ask(pipeline({"ease": 10}), anonymous_request([]), 6)
    expected = popularity_fallback(anonymous_request([]), 6, INVENTORY)
    assert answer.candidates[0].tolist() == expected[0].tolist()
    assert answer.trace.degraded == []
    assert stages(answer)["fill"]["notes"] == ["6 of the most liked items"]
    payload = answer.to_dict(trace=True)
    assert payload["items"][0]["reasons"][0]["source"] == POPULARITY_FALLBACK
    assert payload["trace"]["items"][2]["sources"] == {
        POPULARITY_FALLBACK: {"rank": 3, "score": float(expected.score[2])}
    }


def test_items_of_the_sources_come_before_the_most_liked() -> None:
    most = ask(pipeline({"item_knn": 10}), anonymous_request([3]), 1_000)
    found = found_by(most, "item_knn")
    assert most.candidates[0][: len(found)].tolist() == found
    assert sorted(most.candidates[0].tolist()) == [i for i in range(N_ITEMS) if i != 3]
    own = most.candidates.score[: len(found)]
    assert (most.candidates.score[len(found) :] == own.min()).all()


def test_the_name_of_the_fallback_is_reserved() -> None:
    with pytest.raises(SettingError, match=f"'{POPULARITY_FALLBACK}' is reserved for the fallback"):
        Pipeline({POPULARITY_FALLBACK: source("popular")}, {POPULARITY_FALLBACK: 5})


class Dropping(Reranker):
    """Drops items of even index, without reporting it in `allowed_items`."""

    name = "dropping"
    config: Nothing

    def rerank(
        self,
        requests: Requests,
        candidates: Candidates,
        n: int,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
    ) -> Reranked:
        kept = candidates.where(candidates.item % 2 == 1)
        return Reranked(kept, np.zeros(len(kept), np.float32), ((),) * len(kept))


@pytest.mark.parametrize("n", [5, 25, 100])
def test_items_that_a_reranker_drops_are_replaced(n: int) -> None:
    answer = ask(pipeline({"popular": 4}, {"odd": Dropping()}), known(), n)
    for row in range(len(answer)):
        allowed = np.setdiff1d(np.arange(1, N_ITEMS, 2), answer.requests.exclude[row])
        assert len(answer.candidates[row]) == min(n, len(allowed))


class Keeping(Dropping):
    """Drops all items except some."""

    def __init__(self, kept: list[int]) -> None:
        super().__init__()
        self.kept = kept

    def rerank(
        self,
        requests: Requests,
        candidates: Candidates,
        n: int,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
    ) -> Reranked:
        kept = candidates.where(np.isin(candidates.item, self.kept))
        return Reranked(kept, np.zeros(len(kept), np.float32), ((),) * len(kept))


def test_a_refill_adds_a_few_items_for_each_place() -> None:
    """The sources find 25 more; 4 are added for each of two empty places, and 3 for the list."""
    order = popularity_fallback(anonymous_request([]), N_ITEMS, INVENTORY)[0].tolist()
    keeping = Keeping([order[0], order[30], order[35]])
    answer = ask(pipeline({"popular": 25}, {"few": keeping}), anonymous_request([]), 3)
    assert answer.candidates[0].tolist() == [order[0], order[30], order[35]]
    assert stages(answer)["fill"]["notes"] == ["11 more from the sources, for the caps"]


# --- combinations ---


class TestFilledLists(PipelineConformance):
    """Blocked, capped and filled lists do not depend on the rest of the batch."""

    def make(self) -> Recommender:
        home = Placement(
            retrievers={"ease": 3, "item_knn": 2}, rerankers=("diverse", "new", "house")
        )
        columns = attribute_columns(small_inventory().catalogue)
        tag = columns["tags"].labels.id(0)
        house = Rules(caps={"category": 2, "tags": 3}, blocked_labels={"tags": [tag]})
        return Recommender(
            {"ease": EASE(), "item_knn": ItemKNN(neighbors=4)},
            {"home": home},
            rerankers={
                "diverse": MMR(relevance=0.7),
                "new": Explore(source="ease", share=0.3),
                "house": house,
            },
        )


@dataclass(frozen=True)
class Case:
    quotas: dict[str, int]
    rules: Rules
    before: tuple[str, ...]
    user: int | None
    seen: dict[str, str]
    history: list[int]
    exclude: list[int]
    unavailable: list[int]
    n: int

    def requests(self) -> Requests:
        data = DATA
        requests = anonymous_request(self.history)
        if self.user is not None:
            policy = SeenPolicy.of(data.kinds, self.seen)
            requests = data.requests(np.array([self.user]), np.array([data.end]), seen=policy)
        excluded = np.union1d(requests.exclude[0], np.array(self.exclude, np.int32))
        bitmap = ~np.isin(np.arange(N_ITEMS), self.unavailable)
        mask = Masks(bitmap[None], np.array([0 if self.unavailable else -1], np.int32))
        return replace(requests, exclude=Ragged.of([excluded]), eligible=mask)

    def pipeline(self) -> Pipeline:
        earlier: dict[str, Reranker] = {
            "mmr": MMR(depth=5),
            "explore": Explore(source=next(iter(self.quotas)), share=0.5, keep=1),
        }
        rerankers = {name: earlier[name] for name in self.before}
        return pipeline(self.quotas, {**rerankers, "house": self.rules})

    def allowed(self) -> set[int]:
        """The items that may be shown, by definition."""
        config, excluded = (
            self.rules.config,
            {*self.requests().exclude[0].tolist(), *self.unavailable},
        )
        return {
            item
            for item in range(N_ITEMS)
            if item not in excluded
            and IDS[item] not in config.blocked
            and not any(set(LABELS[c][item]) & set(b) for c, b in config.blocked_labels.items())
        }


items = st.integers(0, N_ITEMS - 1)
blocks = st.fixed_dictionaries(
    {
        "blocked": st.lists(st.sampled_from(IDS), max_size=20, unique=True),
        "blocked_labels": st.fixed_dictionaries(
            {},
            optional={
                column: st.lists(st.sampled_from(names), max_size=len(names), unique=True)
                for column, names in NAMES.items()
            },
        ),
    }
)
caps = st.dictionaries(st.sampled_from(["category", "tags"]), st.integers(1, 6))
pins = st.lists(
    st.fixed_dictionaries({"item_id": st.sampled_from(IDS), "position": st.integers(1, 15)}),
    max_size=3,
)


def cases(rules: st.SearchStrategy[Rules]) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        quotas=st.dictionaries(
            st.sampled_from(SOURCES), st.integers(1, 20), min_size=1, max_size=3
        ),
        rules=rules,
        before=st.sampled_from([(), ("mmr",), ("explore",), ("mmr", "explore")]),
        user=st.none() | st.integers(0, 30),
        seen=st.sampled_from(SEEN),
        history=st.lists(items, max_size=5, unique=True),
        exclude=st.lists(items, max_size=20, unique=True),
        unavailable=st.just([]) | st.lists(items, max_size=N_ITEMS, unique=True),
        n=st.integers(0, N_ITEMS + 5),
    )


any_rules = st.tuples(blocks, caps, pins).map(lambda r: Rules(**r[0], caps=r[1], pinned=r[2]))
capped = st.tuples(blocks, st.integers(1, 6)).map(lambda r: Rules(**r[0], caps={"category": r[1]}))


@settings(max_examples=150, deadline=None)
@given(cases(any_rules))
def test_a_list_has_as_many_items_as_are_allowed(case: Case) -> None:
    answer = ask(case.pipeline(), case.requests(), case.n)
    shown, allowed = answer.candidates[0].tolist(), case.allowed()
    assert len(shown) == len(set(shown)) == min(case.n, len(allowed))
    assert set(shown) <= allowed
    assert answer.trace.degraded == []
    named = (answer.candidates.source_rank >= 0).any(axis=1)
    pinned = {pin.item_id for pin in case.rules.config.pinned}
    assert all(found or IDS[item] in pinned for item, found in zip(shown, named))


@settings(max_examples=150, deadline=None)
@given(cases(capped))
def test_a_category_cap_is_met_as_far_as_possible(case: Case) -> None:
    (cap,) = case.rules.config.caps.values()
    shown, allowed = ask(case.pipeline(), case.requests(), case.n).candidates[0], case.allowed()
    there = Counter(name for item in allowed for name in LABELS["category"][item])
    most = sum(min(cap, count) for count in there.values())
    most += sum(not LABELS["category"][item] for item in allowed)
    counts = Counter(name for item in shown.tolist() for name in LABELS["category"][item])
    over = sum(max(0, count - cap) for count in counts.values())
    assert over == max(0, min(case.n, len(allowed)) - most)


def test_popular_fills_a_list_without_the_fallback() -> None:
    """The fallback is not needed if a source finds every liked item."""
    made = Pipeline({"popular": Popular().fit(DATA)}, {"popular": 1})
    assert "fill" not in stages(ask(made, anonymous_request([]), 20))
