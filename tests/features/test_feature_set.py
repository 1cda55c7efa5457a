from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from tastemaker.component import FitOptions, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import CategoryColumn, NumberColumn, TagsColumn, TimeColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import SettingError
from tastemaker.features import Family, FeatureSet, Pairs
from tastemaker.features.activity import Activity
from tastemaker.features.affinity import Affinity
from tastemaker.features.attributes import Attributes
from tastemaker.features.context import Context
from tastemaker.features.popularity import Popularity
from tastemaker.features.repeats import Repeats
from tastemaker.features.retrieval_signals import RetrievalSignals
from tastemaker.features.similarity import Similarity
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Pipeline
from tastemaker.retrieval import ALS, Content, ItemKNN, Popular

FAMILIES: list[Family] = [
    Popularity(("view", "purchase", "dislike")),
    Attributes((), ("published",)),
    Activity(),
    Repeats(),
    Affinity("tags"),
    Similarity("als"),
    RetrievalSignals(("als", "popular")),
    Context(),
]


@cache
def data() -> Dataset:
    return SyntheticWorld(users=60, items=80, events=2_000, repeats=True, seed=2).dataset()


@cache
def sources() -> dict[str, Retriever]:
    made: list[Retriever] = [Popular(), ItemKNN(), ALS(factors=8, iterations=3), Content()]
    known = data().before(data().end - 10 * 86_400_000_000)
    return {source.name: source.fit(known, FitOptions(threads=2)) for source in made}


def requests_and_candidates(inventory: Inventory) -> tuple[Requests, Candidates]:
    """Requests of known users at times before the end, and their candidates."""
    users = np.arange(40)
    times = np.sort(np.random.default_rng(1).integers(data().end - 5 * 10**11, data().end, 40))
    allowed = SeenPolicy.of(data().kinds, {"view": "allow"})
    requests = data().requests(users, times, seen=allowed)
    pipeline = Pipeline(sources(), dict.fromkeys(sources(), 10))
    return requests, pipeline.recommend(requests, 40, inventory=inventory).candidates


def test_names_are_distinct_and_have_meanings() -> None:
    features = FeatureSet.of(Inventory.of(data()), sources())
    assert len(set(features.names)) == len(features.names) > 60
    assert all(meaning.strip() for meaning in features.meanings.values())
    assert len(set(features.meanings.values())) == len(features.names)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_every_family_declares_as_many_columns_as_it_writes(family: Family) -> None:
    inventory = Inventory.of(data())
    requests, found = requests_and_candidates(inventory)
    names = {"als": sources()["als"], "popular": sources()["popular"]}
    pairs = Pairs.of(requests, found, inventory, names)
    wider = np.full((len(found.item), len(family.columns) + 1), -7, np.float32)
    family.write(pairs, wider[:, :-1])
    assert (wider[:, :-1] != -7).all()
    assert (wider[:, -1] == -7).all()


def test_two_features_with_one_name_are_rejected() -> None:
    with pytest.raises(SettingError, match=r"two features are called 'hour_sin': rename"):
        FeatureSet([Context(), Activity(), Context()])


def test_a_source_name_that_duplicates_a_feature_is_rejected() -> None:
    with pytest.raises(SettingError, match="two features are called 'fused_score'"):
        FeatureSet([RetrievalSignals(("fused", "als"))])


def test_columns_that_duplicate_a_feature_are_rejected() -> None:
    with pytest.raises(SettingError, match="two features are called 'catalogue_made_age'"):
        FeatureSet([Attributes(("made_age",), ("made",))])


def test_features_depend_on_catalogue_event_types_and_sources(
    make_inventory: Callable[..., Inventory],
) -> None:
    columns = {
        "genres": TagsColumn.of([["x"]] * 5),
        "shelf": CategoryColumn.of([["y"]] * 5),
        "price": NumberColumn.of([1.0] * 5),
        "published": TimeColumn.of([1] * 5),
    }
    names = FeatureSet.of(make_inventory(columns=columns), sources()).names
    expected = {
        *("genres_affinity", "shelf_affinity", "catalogue_price", "catalogue_published_age"),
        *("item_rate_buy", "als_like_best", "popular_rank", "met", "hour_sin", "user_idle"),
    }
    assert expected <= set(names)
    assert "popular_like_best" not in names
    assert "item_published" not in names
    assert "genres_affinity" not in FeatureSet.of(make_inventory(), {}).names


def test_every_value_is_finite_or_missing() -> None:
    inventory = Inventory.of(data())
    requests, found = requests_and_candidates(inventory)
    built = FeatureSet.of(inventory, sources()).build(requests, found, inventory, sources())
    assert built.values.dtype == np.float32
    assert built.values.shape == (len(found.item), len(built.names))
    assert not np.isinf(built.values).any()
    assert np.isfinite(built.values).any(axis=0).all()


def test_a_batch_equals_its_single_requests_bit_for_bit() -> None:
    inventory = Inventory.of(data())
    features = FeatureSet.of(inventory, sources())
    requests, found = requests_and_candidates(inventory)
    whole = features.build(requests, found, inventory, sources()).values
    for row in range(len(requests)):
        one = np.array([row])
        alone = features.build(requests.take(one), found.take(one), inventory, sources()).values
        np.testing.assert_array_equal(alone, whole[found.offsets[row] : found.offsets[row + 1]])


def test_the_order_of_requests_does_not_matter() -> None:
    inventory = Inventory.of(data())
    features = FeatureSet.of(inventory, sources())
    requests, found = requests_and_candidates(inventory)
    reversed_rows = np.arange(len(requests))[::-1]
    whole = features.build(requests, found, inventory, sources())
    back = features.build(
        requests.take(reversed_rows), found.take(reversed_rows), inventory, sources()
    )
    places = np.concatenate([np.arange(*found.offsets[row : row + 2]) for row in reversed_rows])
    np.testing.assert_array_equal(back.values, whole.values[places])


def test_a_subset_of_candidates_gets_the_same_features() -> None:
    inventory = Inventory.of(data())
    features = FeatureSet.of(inventory, sources())
    requests, found = requests_and_candidates(inventory)
    entries = np.sort(np.random.default_rng(3).choice(len(found.item), 50, replace=False))
    some = features.build(requests, found, inventory, sources(), entries).values
    whole = features.build(requests, found, inventory, sources()).values
    np.testing.assert_array_equal(some, whole[entries])


def test_events_at_or_after_the_request_time_are_not_read() -> None:
    requests, found = requests_and_candidates(Inventory.of(data()))
    for row in (0, 7, 23):
        one = np.array([row])
        moment = int(requests.time[row])
        assert (data().events.time >= moment).any()
        reaching, ending = (
            FeatureSet.of(inventory, sources())
            .build(requests.take(one), found.take(one), inventory, sources())
            .values
            for inventory in (Inventory.of(data()), Inventory.of(data(), at=moment))
        )
        np.testing.assert_array_equal(reaching, ending)


@pytest.mark.parametrize(
    "history", [[], [(-1, 1.0, 1.0)], [(80, 2.0, 1.0), (-1, 1.0, -1.0)], [(3, 1.0, -1.0)]]
)
def test_odd_histories_and_items_give_finite_or_missing_values(
    history: list[tuple[int, float, float]],
    make_requests: Callable[..., Requests],
    make_found: Callable[..., Candidates],
    now: int,
) -> None:
    """The candidates are an added item (80), items without events, and known items."""
    inventory = Inventory.of(data()).with_items(["new"], {"tags": [["taste0"]]})
    requests, found = make_requests([history, []], [now, now]), make_found([[80, 0, 1], [80]])
    values = FeatureSet.of(inventory, sources()).build(requests, found, inventory, sources()).values
    assert not np.isinf(values).any()
    assert len(values) == 4


def test_no_candidates_give_no_rows(
    make_requests: Callable[..., Requests], make_found: Callable[..., Candidates], now: int
) -> None:
    inventory = Inventory.of(data())
    features = FeatureSet.of(inventory, sources())
    for n in range(3):
        requests, found = make_requests([[]] * n, [now] * n), make_found([[]] * n)
        built = features.build(requests, found, inventory, sources())
        assert built.values.shape == (0, len(features.names))


def test_build_does_not_change_its_inputs() -> None:
    inventory = Inventory.of(data())
    requests, found = requests_and_candidates(inventory)

    def read() -> list[list[float]]:
        history = requests.history
        arrays = (
            requests.time,
            history.item,
            history.time,
            history.weight,
            found.item,
            found.score,
        )
        return [array.tolist() for array in arrays]

    before = read()
    FeatureSet.of(inventory, sources()).build(requests, found, inventory, sources())
    assert read() == before
