"""Conformance tests for rankers: a new ranker inherits them in three lines."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.component import Contributes, Features, FitOptions, Ranker, Scores, TrainingSet
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import offsets_of, ranges
from tastemaker.data.requests import Requests
from tastemaker.errors import DataError, NotFittedError, SettingError

_OPTIONS = FitOptions(seed=7, threads=2)
_NAMES = ("rank", "age", "price", "absent", "seen")
_PER_REQUEST = 12
_OBJECTIVE = "liked"

Values = NDArray[np.float32]
Rule = Callable[[Values], NDArray[np.bool_]]


class RankerConformance:
    """Inherit this class and implement `make`; the suite provides fixtures and data.

    The training sets have one label, `liked`, with the values 0 and 1.
    """

    def make(self) -> Ranker:
        """The ranker under test, not fitted. It must be able to learn from 2,400 rows."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Ranker:
        """The ranker fitted once for the whole class."""
        ranker = cls().make()
        return ranker.fit(training_set(one_column), _OPTIONS, validation=later_set(one_column))

    def test_the_constructor_only_stores_settings(self) -> None:
        ranker = self.make()
        assert ranker.name
        assert set(vars(ranker)) == {"config"}
        assert repr(ranker.clone()) == repr(ranker)
        with pytest.raises(SettingError, match="no_such_setting"):
            type(ranker)(no_such_setting=1)

    def test_score_before_fit_raises_a_clear_error(self) -> None:
        with pytest.raises(NotFittedError, match="call fit"):
            scores(self.make(), later_set(one_column))

    def test_fit_returns_self_and_keeps_the_settings(self) -> None:
        ranker = self.make()
        before = ranker.config
        assert ranker.fit(training_set(one_column), _OPTIONS) is ranker
        assert ranker.config is before
        assert ranker.feature_names == _NAMES

    def test_fit_and_score_do_not_change_their_inputs(self, fitted: Ranker) -> None:
        training, later = planted(one_column, 60, seed=3), planted(one_column, 20, seed=4)
        before = _bytes(training), _bytes(later)
        self.make().fit(training, _OPTIONS, validation=later)
        scores(fitted, later)
        assert (_bytes(training), _bytes(later)) == before

    def test_fitting_twice_gives_the_same_results(self, fitted: Ranker) -> None:
        ranker, later = self.make(), later_set(one_column)
        for _ in range(2):  # the second fit replaces the first
            ranker.fit(training_set(one_column), _OPTIONS, validation=later)
            assert np.array_equal(scores(ranker, later).values, scores(fitted, later).values)

    def test_a_loaded_ranker_gives_the_same_scores(self, fitted: Ranker, tmp_path: Path) -> None:
        with create_artifact(tmp_path / "artifact", "ranker", {}) as writer:
            fitted.save(writer)
        loaded = self.make().load(open_artifact(tmp_path / "artifact", "ranker")[0])
        one, two = scores(fitted, later_set(one_column)), scores(loaded, later_set(one_column))
        assert (two.names, two.kinds) == (one.names, one.kinds)
        assert np.array_equal(one.values, two.values)
        assert loaded.feature_names == fitted.feature_names

    def test_scores_match_their_declared_kind(self, fitted: Ranker) -> None:
        found = scores(fitted, later_set(one_column))
        assert found.names == (_OBJECTIVE,)
        assert found.values.shape == (len(later_set(one_column)), 1)
        assert found.values.dtype == np.float32
        assert np.isfinite(found.values).all()
        if found.kinds == ("probability",):
            assert ((found.values >= 0) & (found.values <= 1)).all()

    def test_a_row_score_does_not_depend_on_the_other_rows(self, fitted: Ranker) -> None:
        later = later_set(one_column)
        batch = scores(fitted, later).values
        for request in range(8):
            begin, end = later.offsets[request : request + 2]
            single = scores(fitted, take_requests(later, np.array([request])))
            assert np.array_equal(single.values, batch[begin:end])
        for row in range(8):
            alone = Features(_NAMES, later.features.values[row : row + 1])
            candidates = Candidates.of([([0], [0.0])])
            found = fitted.score(Requests.of([[]]), candidates, alone)
            assert np.array_equal(found.values, batch[row : row + 1])

    def test_the_order_of_requests_does_not_matter(self, fitted: Ranker) -> None:
        later = later_set(one_column)
        shuffled = np.random.default_rng(3).permutation(len(later.offsets) - 1)
        other = scores(fitted, take_requests(later, shuffled)).values
        rows = ranges(later.offsets[shuffled], np.diff(later.offsets)[shuffled])
        assert np.array_equal(other, scores(fitted, later).values[rows])

    def test_an_empty_batch_gives_no_scores(self, fitted: Ranker) -> None:
        none = take_requests(later_set(one_column), np.empty(0, np.int64))
        assert scores(fitted, none).values.shape == (0, 1)

    def test_missing_values_give_finite_scores(self, fitted: Ranker) -> None:
        later = later_set(one_column)
        nothing = replace(later.features, values=np.full_like(later.features.values, np.nan))
        assert np.isfinite(scores(fitted, replace(later, features=nothing)).values).all()

    def test_missing_features_are_rejected_by_name(self, fitted: Ranker) -> None:
        later = later_set(one_column)
        other = Features(("rank", "age", "cost", "absent", "seen"), later.features.values)
        with pytest.raises(SettingError, match="'price' is missing"):
            scores(fitted, replace(later, features=other))

    def test_training_data_without_two_labels_is_rejected(self) -> None:
        training = training_set(one_column)
        with pytest.raises(DataError, match=_OBJECTIVE):
            self.make().fit(take_requests(training, np.empty(0, np.int64)), _OPTIONS)
        for same in (0.0, 1.0, np.nan):
            labels = {_OBJECTIVE: np.full(len(training), same, np.float32)}
            with pytest.raises(DataError, match=_OBJECTIVE):
                self.make().fit(replace(training, labels=labels), _OPTIONS)

    @pytest.mark.parametrize("rule", ["one column", "a cross of two"])
    def test_a_planted_signal_is_ranked_first(self, rule: str) -> None:
        label_rule = one_column if rule == "one column" else a_cross
        ranker = self.make().fit(training_set(label_rule), _OPTIONS)
        later = later_set(label_rule)
        first = best_rows(scores(ranker, later), later)
        right = label_rule(later.features.values)[first].mean()
        assert right > 0.9, (
            f"{rule}: {right:.0%} of the first places are right, expected more than 90%"
        )

    def test_rows_without_a_label_are_ignored(self) -> None:
        training, later = training_set(one_column), later_set(one_column)
        known = np.arange(200) % 3 > 0
        unknown = np.repeat(~known, _PER_REQUEST)
        label = np.where(unknown, np.float32(np.nan), training.labels[_OBJECTIVE])
        with_gaps = replace(training, labels={_OBJECTIVE: label})
        one = self.make().fit(with_gaps, _OPTIONS)
        two = self.make().fit(take_requests(training, np.flatnonzero(known)), _OPTIONS)
        np.testing.assert_allclose(
            scores(one, later).values, scores(two, later).values, rtol=1e-5, atol=1e-7
        )

    def test_a_weight_of_ten_acts_like_ten_copies(self) -> None:
        """Two thirds of the requests follow a rule; the others, ten times over, its opposite."""
        mixed = replace(
            training_set(one_column),
            labels={_OBJECTIVE: _contradicting_labels(training_set(one_column))},
        )
        opposed = np.flatnonzero(np.arange(200) % 3 == 0)
        copied = take_requests(mixed, np.concatenate([np.arange(200), *[opposed] * 9]))
        heavy = np.repeat(np.where(np.arange(200) % 3 == 0, 10, 1), _PER_REQUEST)
        weighted = replace(mixed, weight=heavy.astype(np.float32))
        later = later_set(one_column)
        plain, copies, weights = (
            scores(self.make().fit(training, _OPTIONS), later).values[:, 0]
            for training in (mixed, copied, weighted)
        )
        low = one_column(later.features.values)
        assert plain[low].mean() > plain[~low].mean()
        assert copies[low].mean() < copies[~low].mean()
        assert weights[low].mean() < weights[~low].mean()
        assert spearmanr(weights, copies).statistic > 0.5

    def test_every_feature_has_a_contribution(self, fitted: Ranker) -> None:
        if not isinstance(fitted, Contributes):
            pytest.skip("does not report contributions")
        later = later_set(one_column)
        found = fitted.contributions(later.features, _OBJECTIVE)
        assert found.shape == later.features.values.shape
        assert np.isfinite(found).all()
        assert np.abs(found).mean(axis=0).argmax() == _NAMES.index("rank")
        alone = fitted.contributions(Features(_NAMES, later.features.values[:1]), _OBJECTIVE)
        assert np.array_equal(alone, found[:1])


def one_column(values: Values) -> NDArray[np.bool_]:
    """An item is liked if its rank is low."""
    return values[:, 0] < -0.6


def a_cross(values: Values) -> NDArray[np.bool_]:
    """An item is liked if exactly one of age and price is high: no single column predicts it."""
    return (values[:, 1] > 0) ^ (values[:, 2] > 0)


@cache
def training_set(rule: Rule) -> TrainingSet:
    """200 requests of 12 candidates each; one label in 20 is wrong."""
    return planted(rule, 200, seed=1)


@cache
def later_set(rule: Rule) -> TrainingSet:
    """50 later requests."""
    return planted(rule, 50, seed=2)


def planted(rule: Rule, requests: int, seed: int) -> TrainingSet:
    """Candidates whose label follows a rule; one column is all NaN, another partly."""
    random = np.random.default_rng(seed)
    rows = requests * _PER_REQUEST
    values = random.normal(size=(rows, len(_NAMES))).astype(np.float32)
    values[:, _NAMES.index("absent")] = np.nan
    values[random.random(rows) < 0.3, _NAMES.index("seen")] = np.nan
    liked = rule(values) ^ (random.random(rows) < 0.05)
    return TrainingSet(
        offsets_of(np.full(requests, _PER_REQUEST)),
        np.arange(requests, dtype=np.int32),
        1_000_000 * (seed * requests + np.arange(requests, dtype=np.int64)),
        np.arange(rows, dtype=np.int32) % 100,
        Features(_NAMES, values),
        {_OBJECTIVE: liked.astype(np.float32)},
        np.ones(rows, np.float32),
        np.full(rows, -1, np.int16),
        np.full(rows, np.nan, np.float32),
        {},
    )


def take_requests(training: TrainingSet, requests: NDArray[np.integer]) -> TrainingSet:
    """Some requests of a training set, in the order of `requests`."""
    counts = np.diff(training.offsets)[requests]
    rows = ranges(training.offsets[requests], counts)
    return TrainingSet(
        offsets_of(counts),
        training.user[requests],
        training.time[requests],
        training.item[rows],
        Features(training.features.names, training.features.values[rows]),
        {name: label[rows] for name, label in training.labels.items()},
        training.weight[rows],
        training.position[rows],
        training.propensity[rows],
        training.notes,
    )


def scores(ranker: Ranker, data: TrainingSet) -> Scores:
    """The ranker's scores for the candidates of a training set."""
    requests = Requests.of([[]] * (len(data.offsets) - 1))
    score = np.zeros(len(data), np.float32)
    return ranker.score(requests, Candidates(data.offsets, data.item, score), data.features)


def best_rows(found: Scores, data: TrainingSet) -> NDArray[np.int64]:
    """The row of the best candidate of each request."""
    best = [
        int(begin) + int(found.values[begin:end, 0].argmax())
        for begin, end in zip(data.offsets, data.offsets[1:])
    ]
    return np.array(best, np.int64)


def _contradicting_labels(training: TrainingSet) -> NDArray[np.float32]:
    """The labels, inverted in every third request."""
    label = training.labels[_OBJECTIVE]
    opposed = np.repeat(np.arange(len(training.offsets) - 1) % 3 == 0, _PER_REQUEST)
    return np.where(opposed, 1 - label, label).astype(np.float32)


def _bytes(training: TrainingSet) -> list[bytes]:
    kept = [training.offsets.tobytes(), training.item.tobytes(), training.weight.tobytes()]
    labels = [label.tobytes() for label in training.labels.values()]
    return [*kept, training.features.values.tobytes(), *labels]
