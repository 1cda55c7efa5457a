"""Point-in-time training data: known events, labels, sampling and errors."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import ClassVar, Self, TypeVar

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import (
    FUSED,
    RELEVANT,
    Capabilities,
    FitOptions,
    Retriever,
    Task,
    TrainingSet,
)
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.schema import Clock, EventKind, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import ClockError, DataError, SettingError
from tastemaker.features import FeatureSet
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Pipeline
from tastemaker.pipeline.fusion import Fusion
from tastemaker.pipeline.point_in_time import TrainingWindow, travel
from tastemaker.progress import Progress
from tastemaker.project import Training
from tastemaker.retrieval import ItemKNN, Popular

T = TypeVar("T")
SETTINGS = Training(slices=3, window=0.1, requests=600, negatives=5)


class SpyConfig(Settings):
    """No settings."""


class Spy(Retriever):
    """Returns the whole catalogue, and records the time of the last event."""

    name = "spy"
    capabilities: ClassVar = Capabilities(history="none", empty_history=True)
    config: SpyConfig
    latest: int

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        assert validation is None
        self.latest = int(dataset.events.time.max())
        self.n_fitted = len(dataset.catalogue)
        return self

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        return Candidates.of([(range(self.n_fitted), -np.arange(self.n_fitted))] * len(requests))

    def save(self, writer: ArtifactWriter) -> None:
        raise NotImplementedError

    def load(self, reader: ArtifactReader) -> Self:
        raise NotImplementedError


@cache
def data() -> Dataset:
    return SyntheticWorld(users=120, items=90, events=5_000, purchases=0.4, seed=8).dataset()


def make_pipeline(sources: Mapping[str, Retriever]) -> Pipeline:
    return Pipeline(sources, dict.fromkeys(sources, 12))


def training_windows(
    settings: Training = SETTINGS,
    objectives: tuple[str, ...] = (),
    *,
    log: Dataset | None = None,
    sources: Mapping[str, Retriever] | None = None,
    seed: int = 0,
) -> list[TrainingWindow]:
    log = log or data()
    return travel(
        log,
        make_pipeline,
        sources or {"popular": Popular(), "item_knn": ItemKNN()},
        settings,
        SeenPolicy.of(log.kinds),
        objectives,
        FitOptions(seed=seed, threads=2),
    )


@cache
def default_windows() -> list[TrainingWindow]:
    return training_windows()


def rows_of(training: TrainingSet) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(training.offsets) - 1), np.diff(training.offsets))


# --- known events ---


def test_sources_are_fitted_only_on_events_before_their_window() -> None:
    windows = training_windows(sources={"spy": Spy()})
    seen_by_spies = [(w.start, w.sources["spy"]) for w in windows if w.sources]
    assert len(seen_by_spies) == 2, "the last two windows keep their sources"
    for start, spy in seen_by_spies:
        assert isinstance(spy, Spy)
        assert spy.latest < start
        assert spy.latest == int(data().events.time[data().events.time < start].max())


def test_progress_names_every_window_and_counts_its_sources() -> None:
    progress_calls: list[tuple[str, int | None]] = []

    class Recorder(Progress):
        def track(self, steps: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
            progress_calls.append((label, total))
            yield from steps

    sources = {"popular": Popular(), "item_knn": ItemKNN()}
    options = FitOptions(threads=1, progress=Recorder())
    travel(data(), make_pipeline, sources, SETTINGS, SeenPolicy.of(data().kinds), (), options)
    windows = [f"window {n} of {SETTINGS.slices}: sources" for n in range(1, SETTINGS.slices + 1)]
    assert [entry for entry in progress_calls if entry[0] in windows] == [(w, 2) for w in windows]


def test_evaluated_requests_keep_candidates_and_relevance() -> None:
    window = default_windows()[-1]
    evaluated = window.evaluation
    assert evaluated is not None
    assert len(evaluated.requests) == len(evaluated.fusion_data.user) <= len(window.task)
    assert (evaluated.training.weight == 1).all()
    assert evaluated.fusion_data.hit.sum() == evaluated.training.labels[RELEVANT].sum()
    assert evaluated.candidates.item.tolist() == evaluated.training.item.tolist()
    assert (
        evaluated.fusion_data.relevant
        >= np.add.reduceat(evaluated.fusion_data.hit, evaluated.fusion_data.offsets[:-1])
    ).all()


def test_another_fusion_changes_only_the_score_and_its_feature() -> None:
    evaluated = training_windows()[-1].evaluation
    assert evaluated is not None
    features, names = evaluated.training.features, evaluated.candidates.sources
    column, before = features.names.index(FUSED), features.values.copy()
    other = evaluated.fused(Fusion(dict.fromkeys(names, 5), dict(zip(names, (1.0, 0.1))), 10))
    assert not np.array_equal(other.candidates.score, evaluated.candidates.score)
    assert np.array_equal(features.values[:, column], other.candidates.score)
    unchanged = np.delete(before, column, 1), np.delete(features.values, column, 1)
    assert np.array_equal(*unchanged, equal_nan=True)


def test_windows_are_consecutive_up_to_the_last_event() -> None:
    starts = [window.start for window in default_windows()]
    assert starts == sorted(set(starts))
    for window, until in zip(default_windows(), [*starts[1:], data().end]):
        assert (window.training.time >= window.start).all()
        assert (window.training.time < until).all()


def test_the_given_sources_are_not_fitted() -> None:
    given = Popular()
    training_windows(sources={"popular": given})
    assert not hasattr(given, "n_fitted")


def test_a_window_can_be_a_duration() -> None:
    day = MICROSECONDS["d"]
    windows = training_windows(Training(slices=2, window="7d", requests=100))
    assert [window.start for window in windows] == [data().end - 14 * day, data().end - 7 * day]


# --- labels ---


def liked_later(user: int, moment: int, until: int, kind: str | None = None) -> set[int]:
    """The items that the user liked later and had no event with before, from the log."""
    log = data().events
    rows = range(int(log.offsets[user]), int(log.offsets[user + 1]))
    before = {int(log.item[e]) for e in rows if log.time[e] < moment}
    return {
        int(log.item[e])
        for e in rows
        if moment <= log.time[e] < until
        and log.weight[e] > 0
        and (kind is None or list(data().kinds)[log.kind[e]] == kind)
    } - before


def test_a_label_marks_events_up_to_the_end_of_the_window() -> None:
    edges = [*(window.start for window in default_windows()[1:]), data().end]
    relevant = 0
    for window, until in zip(default_windows(), edges):
        training = window.training
        for row in range(0, len(training.offsets) - 1, 3):
            rows = slice(training.offsets[row], training.offsets[row + 1])
            later = liked_later(int(training.user[row]), int(training.time[row]), until)
            expected = [float(item in later) for item in training.item[rows].tolist()]
            assert training.labels[RELEVANT][rows].tolist() == expected
            relevant += int(sum(expected))
    assert relevant > 50


@pytest.mark.parametrize("kind", ["view", "purchase"])
def test_an_objective_labels_events_of_its_type(kind: str) -> None:
    window = training_windows(objectives=("view", "purchase"))[-1]
    training = window.training
    assert set(training.labels) == {"view", "purchase"}
    assert training.labels[kind].any()
    for row in range(0, len(training.offsets) - 1, 3):
        rows = slice(training.offsets[row], training.offsets[row + 1])
        later = liked_later(int(training.user[row]), int(training.time[row]), data().end, kind)
        expected = [float(item in later) for item in training.item[rows].tolist()]
        assert training.labels[kind][rows].tolist() == expected


def test_relevant_items_that_no_source_found_are_counted() -> None:
    for window in default_windows():
        notes, training = window.training.notes, window.training
        assert notes["relevant"] == len(window.task.truth.values)
        assert notes["relevant_not_found"] > 0
        found = int(training.labels[RELEVANT].sum())
        assert notes["relevant"] == found + notes["relevant_not_found"]


def test_the_count_adds_up_over_several_objectives() -> None:
    edges = [window.start for window in default_windows()]
    windows = training_windows(objectives=("purchase", "view"))
    for window, until in zip(windows, [*edges[1:], data().end]):
        training = window.training
        found = sum(int(label.sum()) for label in training.labels.values())
        assert training.notes["relevant"] == found + training.notes["relevant_not_found"]
        by_hand = [
            len(liked_later(int(user), int(moment), until, kind))
            for user, moment in zip(training.user, training.time)
            for kind in ("purchase", "view")
        ]
        assert training.notes["relevant"] == sum(by_hand)


# --- sampling ---


def test_all_relevant_candidates_and_a_few_others_are_kept() -> None:
    whole = training_windows(SETTINGS.model_copy(update={"negatives": 10_000}))
    for few, window in zip(default_windows(), whole):
        kept, everything = few.training, window.training
        assert kept.labels[RELEVANT].sum() == everything.labels[RELEVANT].sum()
        assert kept.notes["candidates"] == everything.notes["candidates"] == len(everything)
        assert kept.notes["candidates_kept"] == len(kept) < len(everything)
        assert (everything.weight == 1).all()
        others = np.bincount(rows_of(kept)[kept.labels[RELEVANT] == 0])
        assert others.max() == SETTINGS.negatives


def test_the_weights_of_negatives_add_up_to_their_number() -> None:
    whole = training_windows(SETTINGS.model_copy(update={"negatives": 10_000}))
    for few, window in zip(default_windows(), whole):
        n = len(few.task)
        kept, everything = few.training, window.training
        negative, all_negative = kept.labels[RELEVANT] == 0, everything.labels[RELEVANT] == 0
        weight = np.bincount(rows_of(kept)[negative], kept.weight[negative], n)
        np.testing.assert_allclose(weight, np.bincount(rows_of(everything)[all_negative], None, n))
        assert (kept.weight[~negative] == 1).all()


def test_sampling_does_not_change_features() -> None:
    whole = training_windows(SETTINGS.model_copy(update={"negatives": 10_000}))[-1].training
    kept = default_windows()[-1].training
    place = {
        (row, item): entry
        for entry, (row, item) in enumerate(zip(rows_of(whole).tolist(), whole.item.tolist()))
    }
    same = [place[pair] for pair in zip(rows_of(kept).tolist(), kept.item.tolist())]
    np.testing.assert_array_equal(kept.features.values, whole.features.values[same])


def test_unseen_candidates_have_no_position_or_propensity() -> None:
    training = default_windows()[0].training
    assert (training.position == -1).all()
    assert np.isnan(training.propensity).all()


def test_features_are_those_that_serving_computes() -> None:
    window = default_windows()[-1]
    assert (
        window.training.features.names == FeatureSet.of(Inventory.of(data()), window.sources).names
    )


def test_the_number_of_requests_is_limited() -> None:
    few = training_windows(SETTINGS.model_copy(update={"requests": 60}))
    assert all(0 < len(window.task) <= 20 for window in few)


# --- seeds ---


def bytes_of(training: TrainingSet) -> list[bytes]:
    return [
        *(training.offsets.tobytes(), training.user.tobytes(), training.time.tobytes()),
        *(training.item.tobytes(), training.weight.tobytes()),
        training.features.values.tobytes(),
        *(label.tobytes() for label in training.labels.values()),
    ]


def test_equal_seeds_give_equal_training_sets() -> None:
    for one, two in zip(default_windows(), training_windows()):
        assert bytes_of(one.training) == bytes_of(two.training)


def test_another_seed_samples_other_moments() -> None:
    busy = SETTINGS.model_copy(update={"requests": 90})
    one, two = (training_windows(busy, seed=seed)[-1].training for seed in (0, 1))
    assert one.time.tolist() != two.time.tolist()


# --- joining ---


def test_joined_sets_are_concatenated_and_their_notes_add_up() -> None:
    parts = [window.training for window in default_windows()]
    whole = TrainingSet.joined(parts)
    assert len(whole) == sum(len(part) for part in parts)
    assert whole.notes == {name: sum(part.notes[name] for part in parts) for name in parts[0].notes}
    first = len(parts[0])
    requests = len(parts[0].offsets) - 1
    assert whole.offsets[requests] == first
    rows = slice(whole.offsets[requests], whole.offsets[requests + 1])
    assert whole.item[rows].tolist() == parts[1].item[: parts[1].offsets[1]].tolist()
    np.testing.assert_array_equal(whole.features.values[first:][:5], parts[1].features.values[:5])


def test_one_set_joined_is_itself() -> None:
    part = default_windows()[0].training
    assert bytes_of(TrainingSet.joined([part])) == bytes_of(part)
    assert TrainingSet.joined([part]).notes == part.notes


# --- errors ---


def test_an_unknown_objective_suggests_a_similar_one() -> None:
    with pytest.raises(
        SettingError, match=r"'purchas' is not a positive.*did you mean 'purchase'\?"
    ):
        training_windows(objectives=("purchas",))


def test_a_negative_objective_is_rejected() -> None:
    with pytest.raises(SettingError, match="'dislike' is not a positive event type"):
        training_windows(objectives=("view", "dislike"))


@pytest.mark.parametrize(
    "settings",
    [Training(slices=3, window="40d"), Training(slices=2, window="90d"), Training(window="9999d")],
)
def test_data_that_is_too_short_is_rejected_with_a_fix(settings: Training) -> None:
    with pytest.raises(DataError, match=r"too short for a ranker.*shorten \[training\] window"):
        training_windows(settings)


def test_windows_that_cover_all_events_are_rejected_with_a_fix() -> None:
    with pytest.raises(SettingError, match=r"4 windows of 0\.25 leave no events.*lower 'slices'"):
        training_windows(Training(slices=4, window=0.25))


def test_a_log_of_a_single_moment_is_too_short() -> None:
    rows = [(f"u{user}", f"i{item}", 1_700_000_000) for user in range(9) for item in range(5)]
    frame = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    log = Dataset.from_frames(frame, schema=Schema(kinds={"view": EventKind()}, time_unit="s"))
    with pytest.raises(DataError, match="too short for a ranker"):
        training_windows(log=log)


@pytest.mark.parametrize("clock", ["ordinal", "none"])
def test_data_without_moments_is_rejected_with_a_fix(clock: Clock) -> None:
    rows = [(f"u{user}", f"i{item}") for user in range(9) for item in range(5)]
    frame = pl.DataFrame(rows, ["user_id", "item_id"], orient="row")
    schema = Schema(kinds={"view": EventKind()}, clock=clock)
    with pytest.raises(ClockError, match=r"a ranker needs moments.*map a timestamp column"):
        training_windows(log=Dataset.from_frames(frame, schema=schema))
