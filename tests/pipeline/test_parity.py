"""Training and serving compute bitwise equal features, from past events only."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from tastemaker.component import Features, FitOptions, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Events
from tastemaker.data.schema import EventKind
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.state import NEVER
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.data.times import MICROSECONDS
from tastemaker.features import Family, FeatureSet, Pairs
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Pipeline
from tastemaker.pipeline.latency import Deadline
from tastemaker.pipeline.point_in_time import TrainingWindow, travel
from tastemaker.pipeline.trace import Trace
from tastemaker.project import Training
from tastemaker.retrieval import ALS, EASE, Content, ItemKNN, Popular, Trending
from tastemaker.testing import feature_differences

HOUR = MICROSECONDS["h"]
QUOTAS = {"popular": 10, "trending": 10, "item_knn": 15, "ease": 15, "als": 15, "content": 10}
REQUESTS = 1_000
UNVIEW = EventKind(role="neutral", replaces=("view",))


@cache
def data() -> Dataset:
    return SyntheticWorld(users=300, items=200, events=12_000, repeats=True, seed=5).dataset()


@cache
def seen() -> SeenPolicy:
    """Repeats are allowed, so that seen candidates are compared too."""
    return SeenPolicy.of(data().kinds, {"view": "allow"})


def make_pipeline(sources: Mapping[str, Retriever]) -> Pipeline:
    return Pipeline(sources, QUOTAS)


@cache
def windows() -> Sequence[TrainingWindow]:
    retrievers: list[Retriever] = [
        *(Popular(), Trending(half_life="10d"), ItemKNN()),
        *(EASE(regularization=50.0), ALS(factors=16, iterations=4), Content()),
    ]
    return travel(
        data(),
        make_pipeline,
        {retriever.name: retriever for retriever in retrievers},
        Training(slices=2, window=0.15, requests=3_000, negatives=20),
        seen(),
        options=FitOptions(seed=3, threads=2),
    )


@cache
def drawn(place: int) -> tuple[int, ...]:
    """Half of the requests to compare, from one of the two windows."""
    total = len(windows()[place].task)
    assert total >= REQUESTS // 2
    picked = np.random.default_rng(place).choice(total, REQUESTS // 2, replace=False)
    return tuple(np.sort(picked).tolist())


@pytest.mark.parametrize("place", [0, 1])
def test_past_requests_have_the_features_of_serving(place: int) -> None:
    window = windows()[place]
    assert (window.task.requests.time < window.task.inventory.watermark).all()
    features = FeatureSet.of(window.task.inventory, window.sources)
    pipeline = make_pipeline(window.sources)
    chosen = drawn(place)
    eligible = window.task.requests.eligible
    assert not feature_differences(
        window.training, pipeline, data(), features, seen=seen(), requests=chosen, eligible=eligible
    )


def candidates_of_batch(window: TrainingWindow) -> Candidates:
    """The candidates of all requests of a window, computed at once."""
    return make_pipeline(window.sources).candidates(
        window.task.requests,
        20,
        inventory=window.task.inventory,
        trace=Trace(),
        deadline=Deadline(),
    )


def candidates_of_request(window: TrainingWindow, row: int) -> Candidates:
    """The candidates of one request, computed at its moment."""
    known = data().before(int(window.task.requests.time[row]))
    request = known.requests(
        window.task.user[row : row + 1], window.task.requests.time[row : row + 1], seen=seen()
    )
    request = replace(request, eligible=window.task.requests.eligible.take(np.array([row])))
    return make_pipeline(window.sources).candidates(
        request, 20, inventory=Inventory.of(known), trace=Trace(), deadline=Deadline()
    )


@pytest.mark.parametrize("place", [0, 1])
def test_past_requests_have_the_candidates_of_serving(place: int) -> None:
    window = windows()[place]
    batch = candidates_of_batch(window)
    for row in drawn(place):
        one, other = batch.take(np.array([row])), candidates_of_request(window, row)
        assert one.item.tolist() == other.item.tolist()
        assert one.score.tobytes() == other.score.tobytes()
        assert one.source_rank.tobytes() == other.source_rank.tobytes()
        np.testing.assert_array_equal(one.source_score, other.source_score)


def test_requests_with_replaced_events_have_serving_features() -> None:
    """Two thirds of the events are views; the others replace earlier views of the item."""
    views = SyntheticWorld(users=60, items=40, events=2_400, repeats=True, seed=6).dataset()
    log, kinds = views.events, {"view": EventKind(), "unview": UNVIEW}
    kind = (np.random.default_rng(0).random(len(log)) < 1 / 3).astype(np.int8)
    events = Events.of(log.offsets, log.user, log.item, kind, log.value, log.time, kinds)
    replacing = Dataset(views.catalogue, views.users, events, kinds)
    assert events.replaced_at is not None
    assert (events.replaced_at < NEVER).sum() > 300
    policy = SeenPolicy.of(kinds, {"view": "allow"})
    sources = {"popular": Popular(), "item_knn": ItemKNN()}
    *_, window = travel(
        replacing,
        lambda fitted: Pipeline(fitted, {name: QUOTAS[name] for name in sources}),
        sources,
        Training(slices=2, window=0.1, requests=100, negatives=20),
        policy,
        options=FitOptions(threads=1),
    )
    assert not feature_differences(
        window.training,
        Pipeline(window.sources, {name: QUOTAS[name] for name in sources}),
        replacing,
        FeatureSet.of(window.task.inventory, window.sources),
        seen=policy,
        eligible=window.task.requests.eligible,
    )


# --- families with a leak ---


class OneLeak:
    """A family with one correct column and one that leaks."""

    @property
    def columns(self) -> dict[str, str]:
        return {"honest": "likes so far", "leak": "something serving could not have known"}

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        out[:, 0] = pairs.inventory.statistics.at(pairs.item, pairs.time)
        out[:, 1] = self.peek(pairs)

    def peek(self, pairs: Pairs) -> NDArray[np.float32]:
        raise NotImplementedError


class AnHourAhead(OneLeak):
    """Counts events within the hour after the moment."""

    def peek(self, pairs: Pairs) -> NDArray[np.float32]:
        return pairs.inventory.statistics.at(pairs.item, pairs.time + HOUR)


class AtTheMoment(OneLeak):
    """Counts the event of the request itself, but no later ones."""

    def peek(self, pairs: Pairs) -> NDArray[np.float32]:
        return pairs.inventory.statistics.at(pairs.item, pairs.time + 1)


class AsOfTheInventory(OneLeak):
    """Counts events up to the watermark instead of up to the moment."""

    def peek(self, pairs: Pairs) -> NDArray[np.float32]:
        until = np.full(len(pairs.item), pairs.inventory.watermark, np.int64)
        return pairs.inventory.statistics.at(pairs.item, until)


class OfTheBatch(OneLeak):
    """Depends on the other requests of the same call."""

    def peek(self, pairs: Pairs) -> NDArray[np.float32]:
        return pairs.row.astype(np.float32)


class ByRounding(OneLeak):
    """Differs in the last bit, like a sum in another order."""

    def peek(self, pairs: Pairs) -> NDArray[np.float32]:
        count = pairs.inventory.statistics.at(pairs.item, pairs.time) + np.float32(1)
        return np.nextafter(count, np.float32(np.inf)) if len(pairs.requests) > 1 else count


class SometimesMissing(OneLeak):
    """Is missing for single requests."""

    def peek(self, pairs: Pairs) -> NDArray[np.float32]:
        return np.full(len(pairs.item), 1.0 if len(pairs.requests) > 1 else np.nan, np.float32)


def differences(*families: Family) -> list[str]:
    """The reported differences of some families, for fifty requests of the last window."""
    window = windows()[-1]
    features = FeatureSet(families)
    rows = np.arange(50)
    requests, found = window.task.requests.take(rows), candidates_of_batch(window).take(rows)
    own = replace(
        window.training,
        offsets=found.offsets,
        user=window.task.user[rows],
        time=requests.time,
        item=found.item,
        features=features.build(requests, found, window.task.inventory, window.sources),
    )
    return feature_differences(own, make_pipeline(window.sources), data(), features, seen=seen())


@pytest.mark.parametrize(
    "leak",
    [
        AnHourAhead(),
        AtTheMoment(),
        AsOfTheInventory(),
        OfTheBatch(),
        ByRounding(),
        SometimesMissing(),
    ],
    ids=lambda leak: type(leak).__name__,
)
def test_only_the_leaking_feature_is_reported(leak: OneLeak) -> None:
    (found,) = differences(leak)
    assert found.startswith("leak: ")
    assert int(found.split()[1]) > 0


def test_a_family_without_a_leak_passes() -> None:
    class NoLeak(OneLeak):
        def peek(self, pairs: Pairs) -> NDArray[np.float32]:
            return pairs.inventory.statistics.at(pairs.item, pairs.time, HOUR)

    assert differences(NoLeak()) == []


def test_candidates_that_serving_does_not_find_are_counted() -> None:
    window = windows()[-1]
    features = FeatureSet.of(window.task.inventory, window.sources)
    forged_item = np.where(np.arange(len(window.training)) == 4, -5, window.training.item)
    forged = replace(window.training, item=forged_item.astype(np.int32))
    found = feature_differences(
        forged, make_pipeline(window.sources), data(), features, seen=seen(), requests=[0]
    )
    assert found == ["candidates: 1 of training were not found in serving"]


def test_features_of_other_names_are_not_compared() -> None:
    window = windows()[-1]
    features = FeatureSet.of(window.task.inventory, window.sources)
    renamed = Features(("other",), window.training.features.values[:, :1])
    found = feature_differences(
        replace(window.training, features=renamed), make_pipeline(window.sources), data(), features
    )
    assert found[0].startswith("names: ('other',) in training")
