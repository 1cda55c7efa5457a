"""Learning to rank: a ranker learns what no source can, and reports its metrics."""

from collections.abc import Mapping
from functools import cache
from typing import Self

import numpy as np
import polars as pl
import pytest

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import (
    RELEVANT,
    Features,
    FitOptions,
    Ranker,
    Retriever,
    Scores,
    TrainingSet,
)
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import SettingError
from tastemaker.pipeline import Recommender
from tastemaker.pipeline.learning import LearningResult, learn
from tastemaker.project import Placement, Training
from tastemaker.ranking import GBM
from tastemaker.retrieval import Content, Popular, Trending

DAY = MICROSECONDS["d"]
START = 1_600_000_000 * MICROSECONDS["s"]
DAYS, SHELVES, USERS, VISITS = 50, 6, 150, 20
NEWS = 4 * DAY
SETTINGS = Training(slices=3, window=0.12, requests=600, negatives=20)
QUOTAS = {"popular": 20, "trending": 40, "content": 60}
OPTIONS = FitOptions(seed=1, threads=1)


@cache
def news() -> Dataset:
    """Every shelf gets an item a day; every user reads new items of one shelf.

    Popular and Trending do not know the shelf of a user, and Content does not know what is new.
    """
    random = np.random.default_rng(7)
    items = [
        (f"s{shelf}-{day:02}", f"shelf{shelf}", START + day * DAY + shelf * 3_600)
        for day in range(DAYS)
        for shelf in range(SHELVES)
    ]
    rows = []
    for user in range(USERS):
        read: set[str] = set()
        for time in np.sort(random.integers(START + NEWS, START + DAYS * DAY, VISITS)).tolist():
            own = user % SHELVES if random.random() < 0.9 else int(random.integers(SHELVES))
            new = [i for i, shelf, at in items if shelf == f"shelf{own}" and 0 < time - at < NEWS]
            unread = [item for item in new if item not in read]
            if unread:
                item = unread[random.integers(len(unread))]
                read.add(item)
                kind = "save" if random.random() < 0.3 else "read"
                rows.append((f"u{user}", item, kind, time))
    log = pl.DataFrame(rows, ["user_id", "item_id", "event_type", "timestamp"], orient="row")
    schema = Schema(
        kinds={"read": EventKind(), "save": EventKind(weight=3.0)},
        time_unit="us",
        item_roles={"shelf": ColumnRole(role="category"), "published": ColumnRole(role="time")},
    )
    shelves = pl.DataFrame(items, ["item_id", "shelf", "published"], orient="row")
    return Dataset.from_frames(log, items=shelves, schema=schema)


def sources() -> dict[str, Retriever]:
    return {"popular": Popular(), "trending": Trending(half_life="3d"), "content": Content()}


def ranker(objectives: tuple[str, ...] = ()) -> GBM:
    return GBM(trees=60, leaves=15, learning_rate=0.1, objectives=objectives)


def learned(
    model: Ranker, value: Mapping[str, float] | None = None, settings: Training = SETTINGS
) -> LearningResult:
    home = Placement(retrievers=QUOTAS, ranker="main", objective_weights=dict(value or {}))
    return learn(model, news(), home, sources(), settings, OPTIONS)


class BackwardsConfig(Settings):
    """No settings."""


class Backwards(Ranker):
    """Reverses the order of the fusion."""

    name = "backwards"
    config: BackwardsConfig

    def fit(
        self,
        training: TrainingSet,
        options: FitOptions = FitOptions(),
        *,
        validation: TrainingSet | None = None,
    ) -> Self:
        self.feature_names = training.features.names
        return self

    def score(self, requests: Requests, candidates: Candidates, features: Features) -> Scores:
        return Scores((RELEVANT,), ("order",), -candidates.score[:, None])

    def save(self, writer: ArtifactWriter) -> None:
        raise NotImplementedError

    def load(self, reader: ArtifactReader) -> Self:
        raise NotImplementedError


@cache
def ranked() -> tuple[GBM, LearningResult]:
    model = ranker()
    return model, learned(model)


def test_a_ranker_that_combines_signals_beats_the_fusion() -> None:
    _, result = ranked()
    assert result.notes["ranked"] > 1.5 * result.notes["merged"]
    assert result.notes["ranked"] > 1.5 * result.notes["single"]
    assert result.enabled


def test_shelf_and_age_are_the_most_important_features() -> None:
    model, _ = ranked()
    importance = model.importance()
    first = sorted(importance, key=lambda name: -importance[name])[:6]
    assert any(name.startswith("shelf_") for name in first)
    assert any(name in ("catalogue_published_age", "item_age") for name in first)


def test_the_notes_hold_metrics_and_training_counts() -> None:
    _, result = ranked()
    notes = result.notes
    for figure in ("ranked", "merged", "single", "fresh", "stale"):
        assert 0 < notes[figure] <= 1
    assert notes["stale"] > notes["merged"]
    assert notes["training_rows"] == notes["candidates_kept"]
    assert 0 < notes["judged_requests"] <= notes["requests"]
    assert notes["requests"] <= SETTINGS.requests
    assert notes["relevant"] > notes["relevant_not_found"] >= 0


def test_learning_twice_gives_the_same() -> None:
    model, result = ranker(), ranked()[1]
    again = learned(model)
    assert again.notes == result.notes
    assert model.models == ranked()[0].models


@pytest.mark.parametrize("require_improvement", [True, False])
def test_a_ranker_worse_than_the_fusion_is_not_enabled(require_improvement: bool) -> None:
    settings = SETTINGS.model_copy(update={"require_improvement": require_improvement})
    result = learned(Backwards(), settings=settings)
    assert result.notes["ranked"] < result.notes["merged"]
    assert result.notes["better"] is False
    assert result.enabled is not require_improvement


class NoBetter(Backwards):
    """Keeps the order of the fusion."""

    name = "no_better"

    def score(self, requests: Requests, candidates: Candidates, features: Features) -> Scores:
        return Scores((RELEVANT,), ("order",), candidates.score[:, None])


def test_a_ranker_that_adds_nothing_is_not_used() -> None:
    result = learned(NoBetter())
    assert result.notes["ranked"] == result.notes["merged"]
    assert not result.enabled


class Blurred(Backwards):
    """The order of one source, with every third candidate put last."""

    name = "blurred"

    def score(self, requests: Requests, candidates: Candidates, features: Features) -> Scores:
        rank = candidates.source_rank[:, candidates.sources.index("trending")].astype(np.float32)
        last = (rank < 0) | (candidates.item % 3 == 0)
        return Scores((RELEVANT,), ("order",), np.where(last, -1e6, -rank)[:, None])


def test_a_ranker_below_the_best_source_is_not_used() -> None:
    """Better than the fusion is not enough."""
    home = Placement(retrievers=QUOTAS, ranker="main", weights={"popular": 1.0})
    result = learn(Blurred(), news(), home, sources(), SETTINGS, OPTIONS)
    notes = result.notes
    assert notes["merged"] < notes["ranked"] < notes["single"]
    assert not result.enabled


def test_objectives_are_weighted_by_the_placement() -> None:
    model = ranker(("read", "save"))
    result = learned(model, {"read": 1.0, "save": 3.0})
    assert model.predicts == ("read", "save")
    assert result.notes["ranked"] > result.notes["merged"]


def test_a_weight_for_an_unknown_objective_is_an_error() -> None:
    home = Placement(retrievers=QUOTAS, ranker="gbm", objective_weights={"reed": 1.0})
    with pytest.raises(SettingError, match=r"does not predict 'reed'; did you mean 'read'\?"):
        Recommender(sources(), {"home": home}, {"gbm": ranker(("read",))}).fit(news(), OPTIONS)
