"""Time travel: what a training set knows, what it wants, and what it leaves out."""

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
    WANTED,
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
    """Gives the catalogue to everyone, and remembers how far the events reached."""

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


def road(sources: Mapping[str, Retriever]) -> Pipeline:
    return Pipeline(sources, dict.fromkeys(sources, 12))


def travelled(
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
        road,
        sources or {"popular": Popular(), "item_knn": ItemKNN()},
        settings,
        SeenPolicy.of(log.kinds),
        objectives,
        FitOptions(seed=seed, threads=2),
    )


@cache
def slices() -> list[TrainingWindow]:
    return travelled()


def rows_of(training: TrainingSet) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(training.offsets) - 1), np.diff(training.offsets))


# --- what is known ---


def test_sources_know_nothing_at_or_after_the_start_of_their_window() -> None:
    windows = travelled(sources={"spy": Spy()})
    seen_by_spies = [(w.start, w.sources["spy"]) for w in windows if w.sources]
    assert len(seen_by_spies) == 2, "the last two windows keep their sources"
    for start, spy in seen_by_spies:
        assert isinstance(spy, Spy)
        assert spy.latest < start
        assert spy.latest == int(data().events.time[data().events.time < start].max())


def test_progress_names_every_window_and_counts_its_sources() -> None:
    heard: list[tuple[str, int | None]] = []

    class Heard(Progress):
        def track(self, steps: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
            heard.append((label, total))
            yield from steps

    sources = {"popular": Popular(), "item_knn": ItemKNN()}
    options = FitOptions(threads=1, progress=Heard())
    travel(data(), road, sources, SETTINGS, SeenPolicy.of(data().kinds), (), options)
    windows = [f"window {n} of {SETTINGS.slices}: sources" for n in range(1, SETTINGS.slices + 1)]
    assert [entry for entry in heard if entry[0] in windows] == [(w, 2) for w in windows]


def test_judged_requests_keep_candidates_and_relevance() -> None:
    window = slices()[-1]
    judged = window.judged
    assert judged is not None
    assert len(judged.requests) == len(judged.found.user) <= len(window.task)
    assert (judged.training.weight == 1).all()
    assert judged.found.hit.sum() == judged.training.labels[WANTED].sum()
    assert judged.candidates.item.tolist() == judged.training.item.tolist()
    assert (
        judged.found.relevant >= np.add.reduceat(judged.found.hit, judged.found.offsets[:-1])
    ).all()


def test_another_fusion_changes_the_score_and_its_feature_alone() -> None:
    judged = travelled()[-1].judged
    assert judged is not None
    features, names = judged.training.features, judged.candidates.sources
    column, before = features.names.index(FUSED), features.values.copy()
    other = judged.fused(Fusion(dict.fromkeys(names, 5), dict(zip(names, (1.0, 0.1))), 10))
    assert not np.array_equal(other.candidates.score, judged.candidates.score)
    assert np.array_equal(features.values[:, column], other.candidates.score)
    unchanged = np.delete(before, column, 1), np.delete(features.values, column, 1)
    assert np.array_equal(*unchanged, equal_nan=True)


def test_windows_follow_one_another_up_to_the_end() -> None:
    starts = [window.start for window in slices()]
    assert starts == sorted(set(starts))
    for window, until in zip(slices(), [*starts[1:], data().end]):
        assert (window.training.time >= window.start).all()
        assert (window.training.time < until).all()


def test_the_sources_that_were_given_stay_as_they_are() -> None:
    given = Popular()
    travelled(sources={"popular": given})
    assert not hasattr(given, "n_fitted")


def test_a_window_can_be_a_duration() -> None:
    day = MICROSECONDS["d"]
    windows = travelled(Training(slices=2, window="7d", requests=100))
    assert [window.start for window in windows] == [data().end - 14 * day, data().end - 7 * day]


# --- what was wanted ---


def liked_later(user: int, moment: int, until: int, kind: str | None = None) -> set[int]:
    """By a walk over the log: what the user went on to like and had not met before."""
    log = data().events
    own = range(int(log.offsets[user]), int(log.offsets[user + 1]))
    before = {int(log.item[e]) for e in own if log.time[e] < moment}
    return {
        int(log.item[e])
        for e in own
        if moment <= log.time[e] < until
        and log.weight[e] > 0
        and (kind is None or list(data().kinds)[log.kind[e]] == kind)
    } - before


def test_a_label_is_what_happened_from_the_moment_to_the_end_of_the_window() -> None:
    edges = [*(window.start for window in slices()[1:]), data().end]
    wanted = 0
    for window, until in zip(slices(), edges):
        training = window.training
        for row in range(0, len(training.offsets) - 1, 3):
            own = slice(training.offsets[row], training.offsets[row + 1])
            later = liked_later(int(training.user[row]), int(training.time[row]), until)
            expected = [float(item in later) for item in training.item[own].tolist()]
            assert training.labels[WANTED][own].tolist() == expected
            wanted += int(sum(expected))
    assert wanted > 50


@pytest.mark.parametrize("kind", ["view", "purchase"])
def test_an_objective_labels_by_its_kind_of_event(kind: str) -> None:
    window = travelled(objectives=("view", "purchase"))[-1]
    training = window.training
    assert set(training.labels) == {"view", "purchase"}
    assert training.labels[kind].any()
    for row in range(0, len(training.offsets) - 1, 3):
        own = slice(training.offsets[row], training.offsets[row + 1])
        later = liked_later(int(training.user[row]), int(training.time[row]), data().end, kind)
        expected = [float(item in later) for item in training.item[own].tolist()]
        assert training.labels[kind][own].tolist() == expected


def test_what_no_source_found_is_dropped_and_counted() -> None:
    for window in slices():
        notes, training = window.training.notes, window.training
        assert notes["wanted"] == len(window.task.truth.values)
        assert notes["wanted_but_not_found"] > 0
        found = int(training.labels[WANTED].sum())
        assert notes["wanted"] == found + notes["wanted_but_not_found"]


def test_the_count_adds_up_over_several_objectives() -> None:
    edges = [window.start for window in slices()]
    windows = travelled(objectives=("purchase", "view"))
    for window, until in zip(windows, [*edges[1:], data().end]):
        training = window.training
        found = sum(int(label.sum()) for label in training.labels.values())
        assert training.notes["wanted"] == found + training.notes["wanted_but_not_found"]
        by_hand = [
            len(liked_later(int(user), int(moment), until, kind))
            for user, moment in zip(training.user, training.time)
            for kind in ("purchase", "view")
        ]
        assert training.notes["wanted"] == sum(by_hand)


# --- what stands for what was left out ---


def test_every_wanted_candidate_is_kept_and_few_of_the_others() -> None:
    whole = travelled(SETTINGS.model_copy(update={"negatives": 10_000}))
    for few, window in zip(slices(), whole):
        kept, everything = few.training, window.training
        assert kept.labels[WANTED].sum() == everything.labels[WANTED].sum()
        assert kept.notes["candidates"] == everything.notes["candidates"] == len(everything)
        assert kept.notes["candidates_kept"] == len(kept) < len(everything)
        assert (everything.weight == 1).all()
        others = np.bincount(rows_of(kept)[kept.labels[WANTED] == 0])
        assert others.max() == SETTINGS.negatives


def test_the_weights_of_a_requests_negatives_add_up_to_all_of_them() -> None:
    whole = travelled(SETTINGS.model_copy(update={"negatives": 10_000}))
    for few, window in zip(slices(), whole):
        n = len(few.task)
        kept, everything = few.training, window.training
        negative, all_negative = kept.labels[WANTED] == 0, everything.labels[WANTED] == 0
        weight = np.bincount(rows_of(kept)[negative], kept.weight[negative], n)
        np.testing.assert_allclose(weight, np.bincount(rows_of(everything)[all_negative], None, n))
        assert (kept.weight[~negative] == 1).all()


def test_what_is_kept_was_described_as_it_stood_among_all() -> None:
    whole = travelled(SETTINGS.model_copy(update={"negatives": 10_000}))[-1].training
    kept = slices()[-1].training
    place = {
        (row, item): entry
        for entry, (row, item) in enumerate(zip(rows_of(whole).tolist(), whole.item.tolist()))
    }
    same = [place[pair] for pair in zip(rows_of(kept).tolist(), kept.item.tolist())]
    np.testing.assert_array_equal(kept.features.values, whole.features.values[same])


def test_a_candidate_shown_to_nobody_has_no_position_and_no_propensity() -> None:
    training = slices()[0].training
    assert (training.position == -1).all()
    assert np.isnan(training.propensity).all()


def test_features_are_those_that_serving_will_compute() -> None:
    window = slices()[-1]
    assert (
        window.training.features.names == FeatureSet.of(Inventory.of(data()), window.sources).names
    )


def test_no_more_requests_are_learned_from_than_were_allowed() -> None:
    few = travelled(SETTINGS.model_copy(update={"requests": 60}))
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
    for one, two in zip(slices(), travelled()):
        assert bytes_of(one.training) == bytes_of(two.training)


def test_another_seed_asks_at_other_moments() -> None:
    busy = SETTINGS.model_copy(update={"requests": 90})
    one, two = (travelled(busy, seed=seed)[-1].training for seed in (0, 1))
    assert one.time.tolist() != two.time.tolist()


# --- joining ---


def test_joined_sets_stand_one_after_the_other_and_their_notes_add_up() -> None:
    parts = [window.training for window in slices()]
    whole = TrainingSet.joined(parts)
    assert len(whole) == sum(len(part) for part in parts)
    assert whole.notes == {name: sum(part.notes[name] for part in parts) for name in parts[0].notes}
    first = len(parts[0])
    requests = len(parts[0].offsets) - 1
    assert whole.offsets[requests] == first
    own = slice(whole.offsets[requests], whole.offsets[requests + 1])
    assert whole.item[own].tolist() == parts[1].item[: parts[1].offsets[1]].tolist()
    np.testing.assert_array_equal(whole.features.values[first:][:5], parts[1].features.values[:5])


def test_one_set_joined_is_itself() -> None:
    part = slices()[0].training
    assert bytes_of(TrainingSet.joined([part])) == bytes_of(part)
    assert TrainingSet.joined([part]).notes == part.notes


# --- what is refused ---


def test_an_unknown_objective_names_the_near_miss() -> None:
    with pytest.raises(SettingError, match=r"'purchas' is no kind of.*did you mean 'purchase'\?"):
        travelled(objectives=("purchas",))


def test_an_objective_that_nobody_wants_is_refused() -> None:
    with pytest.raises(SettingError, match="'dislike' is no kind of event that can be wanted"):
        travelled(objectives=("view", "dislike"))


@pytest.mark.parametrize(
    "settings",
    [Training(slices=3, window="40d"), Training(slices=2, window="90d"), Training(window="9999d")],
)
def test_data_that_is_too_short_is_refused_with_the_cure(settings: Training) -> None:
    with pytest.raises(DataError, match=r"too short for a ranker.*shorten \[training\] window"):
        travelled(settings)


def test_windows_that_leave_nothing_before_them_are_refused_with_the_cure() -> None:
    with pytest.raises(SettingError, match=r"4 windows of 0\.25 leave nothing.*lower 'slices'"):
        travelled(Training(slices=4, window=0.25))


def test_a_log_of_a_single_moment_is_too_short() -> None:
    rows = [(f"u{user}", f"i{item}", 1_700_000_000) for user in range(9) for item in range(5)]
    frame = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    log = Dataset.from_frames(frame, schema=Schema(kinds={"view": EventKind()}, time_unit="s"))
    with pytest.raises(DataError, match="too short for a ranker"):
        travelled(log=log)


@pytest.mark.parametrize("clock", ["ordinal", "none"])
def test_data_without_moments_is_refused_with_the_cure(clock: Clock) -> None:
    rows = [(f"u{user}", f"i{item}") for user in range(9) for item in range(5)]
    frame = pl.DataFrame(rows, ["user_id", "item_id"], orient="row")
    schema = Schema(kinds={"view": EventKind()}, clock=clock)
    with pytest.raises(ClockError, match=r"a ranker needs moments.*map a timestamp column"):
        travelled(log=Dataset.from_frames(frame, schema=schema))
