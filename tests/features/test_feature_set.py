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


def asked_and_found(inventory: Inventory) -> tuple[Requests, Candidates]:
    """Requests of known users at moments before the end, and what the sources found."""
    users = np.arange(40)
    times = np.sort(np.random.default_rng(1).integers(data().end - 5 * 10**11, data().end, 40))
    allowed = SeenPolicy.of(data().kinds, {"view": "allow"})
    asked = data().requests(users, times, seen=allowed)
    road = Pipeline(sources(), dict.fromkeys(sources(), 10))
    return asked, road.recommend(asked, 40, inventory=inventory).candidates


def test_names_are_distinct_and_every_one_has_a_meaning() -> None:
    features = FeatureSet.of(Inventory.of(data()), sources())
    assert len(set(features.names)) == len(features.names) > 60
    assert all(meaning.strip() for meaning in features.meanings.values())
    assert len(set(features.meanings.values())) == len(features.names)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_every_family_declares_as_many_columns_as_it_writes(family: Family) -> None:
    inventory = Inventory.of(data())
    asked, found = asked_and_found(inventory)
    names = {"als": sources()["als"], "popular": sources()["popular"]}
    asked_of = Pairs.of(asked, found, inventory, names)
    wider = np.full((len(found.item), len(family.columns) + 1), -7, np.float32)
    family.write(asked_of, wider[:, :-1])
    assert (wider[:, :-1] != -7).all()
    assert (wider[:, -1] == -7).all()


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(SettingError, match=r"two features are called 'hour_sin': rename"):
        FeatureSet([Context(), Activity(), Context()])


def test_a_source_whose_name_makes_a_feature_twice_is_refused() -> None:
    with pytest.raises(SettingError, match="two features are called 'fused_score'"):
        FeatureSet([RetrievalSignals(("fused", "als"))])


def test_columns_whose_names_make_a_feature_twice_are_refused() -> None:
    with pytest.raises(SettingError, match="two features are called 'catalogue_made_age'"):
        FeatureSet([Attributes(("made_age",), ("made",))])


def test_catalogue_kinds_and_sources_decide_which_features_there_are(
    make_inventory: Callable[..., Inventory],
) -> None:
    columns = {
        "genres": TagsColumn.of([["x"]] * 5),
        "shelf": CategoryColumn.of([["y"]] * 5),
        "price": NumberColumn.of([1.0] * 5),
        "published": TimeColumn.of([1] * 5),
    }
    names = FeatureSet.of(make_inventory(columns=columns), sources()).names
    wanted = {
        *("genres_affinity", "shelf_affinity", "catalogue_price", "catalogue_published_age"),
        *("item_rate_buy", "als_like_best", "popular_rank", "met", "hour_sin", "user_idle"),
    }
    assert wanted <= set(names)
    assert "popular_like_best" not in names
    assert "item_published" not in names
    assert "genres_affinity" not in FeatureSet.of(make_inventory(), {}).names


def test_every_value_is_finite_or_missing() -> None:
    inventory = Inventory.of(data())
    asked, found = asked_and_found(inventory)
    built = FeatureSet.of(inventory, sources()).build(asked, found, inventory, sources())
    assert built.values.dtype == np.float32
    assert built.values.shape == (len(found.item), len(built.names))
    assert not np.isinf(built.values).any()
    assert np.isfinite(built.values).any(axis=0).all()


def test_a_batch_equals_its_requests_one_by_one_to_the_last_bit() -> None:
    inventory = Inventory.of(data())
    features = FeatureSet.of(inventory, sources())
    asked, found = asked_and_found(inventory)
    whole = features.build(asked, found, inventory, sources()).values
    for row in range(len(asked)):
        one = np.array([row])
        alone = features.build(asked.take(one), found.take(one), inventory, sources()).values
        np.testing.assert_array_equal(alone, whole[found.offsets[row] : found.offsets[row + 1]])


def test_the_order_of_requests_does_not_matter() -> None:
    inventory = Inventory.of(data())
    features = FeatureSet.of(inventory, sources())
    asked, found = asked_and_found(inventory)
    turned = np.arange(len(asked))[::-1]
    whole = features.build(asked, found, inventory, sources())
    back = features.build(asked.take(turned), found.take(turned), inventory, sources())
    places = np.concatenate([np.arange(*found.offsets[row : row + 2]) for row in turned])
    np.testing.assert_array_equal(back.values, whole.values[places])


def test_some_candidates_are_described_as_if_all_were() -> None:
    inventory = Inventory.of(data())
    features = FeatureSet.of(inventory, sources())
    asked, found = asked_and_found(inventory)
    entries = np.sort(np.random.default_rng(3).choice(len(found.item), 50, replace=False))
    some = features.build(asked, found, inventory, sources(), entries).values
    whole = features.build(asked, found, inventory, sources()).values
    np.testing.assert_array_equal(some, whole[entries])


def test_an_event_exactly_at_the_moment_or_later_changes_nothing() -> None:
    asked, found = asked_and_found(Inventory.of(data()))
    for row in (0, 7, 23):
        one = np.array([row])
        moment = int(asked.time[row])
        assert (data().events.time >= moment).any()
        reaching, ending = (
            FeatureSet.of(inventory, sources())
            .build(asked.take(one), found.take(one), inventory, sources())
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
    """An item added later (80), one without events, known ones; for whom nothing is known."""
    inventory = Inventory.of(data()).with_items(["new"], {"tags": [["taste0"]]})
    asked, found = make_requests([history, []], [now, now]), make_found([[80, 0, 1], [80]])
    values = FeatureSet.of(inventory, sources()).build(asked, found, inventory, sources()).values
    assert not np.isinf(values).any()
    assert len(values) == 4


def test_no_candidates_are_no_rows(
    make_requests: Callable[..., Requests], make_found: Callable[..., Candidates], now: int
) -> None:
    inventory = Inventory.of(data())
    features = FeatureSet.of(inventory, sources())
    for n in range(3):
        asked, found = make_requests([[]] * n, [now] * n), make_found([[]] * n)
        built = features.build(asked, found, inventory, sources())
        assert built.values.shape == (0, len(features.names))


def test_building_changes_no_input() -> None:
    inventory = Inventory.of(data())
    asked, found = asked_and_found(inventory)

    def read() -> list[list[float]]:
        history = asked.history
        given = (asked.time, history.item, history.time, history.weight, found.item, found.score)
        return [array.tolist() for array in given]

    before = read()
    FeatureSet.of(inventory, sources()).build(asked, found, inventory, sources())
    assert read() == before
