"""Ranking of given items: all are returned, with the scores of a list, seen ones too."""

from functools import cache

import numpy as np
import pytest

from tastemaker.component import FitOptions
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import UnknownIdError
from tastemaker.pipeline import Recommender
from tastemaker.project import Placement, Training
from tastemaker.ranking import GBM
from tastemaker.retrieval import Content, ItemKNN, Popular

SOURCES = {"item_knn": 20, "popular": 10}


@cache
def fitted(*, ranker: bool) -> Recommender:
    data = SyntheticWorld(users=60, items=80, events=2_500, purchases=0.3, seed=3).dataset()
    recommender = Recommender(
        {"item_knn": ItemKNN(), "popular": Popular(), "content": Content()},
        {
            "home": Placement(retrievers=SOURCES, ranker="main" if ranker else None),
            "alike": Placement(retrievers={"content": 20}),
        },
        {"main": GBM(trees=8)} if ranker else {},
        training=Training(slices=2, window=0.1, requests=200, require_improvement=False),
    )
    return recommender.fit(data, FitOptions(threads=1))


@pytest.mark.parametrize("ranker", [True, False])
def test_all_given_items_are_returned_by_descending_score(ranker: bool) -> None:
    recommender = fitted(ranker=ranker)
    ids = recommender.inventory.catalogue.items.ids(range(0, 80, 2))
    for user in ("u1", "u2", None, "nobody"):
        answer = recommender.rank(user, [*ids, ids[0]])
        assert sorted(answer.item_ids()) == sorted(ids)
        assert (np.diff(answer.candidates.score) <= 0).all()
        assert answer.trace.degraded == []


def test_with_a_ranker_items_score_as_in_a_list() -> None:
    recommender = fitted(ranker=True)
    for user in ("u1", "u5", None):
        listed = recommender.recommend(user, n=15)
        ranked = recommender.rank(user, listed.item_ids()[::-1])
        assert ranked.item_ids() == listed.item_ids()
        assert ranked.candidates.score.tobytes() == listed.candidates.score.tobytes()
        assert ranked.to_dict(trace=True)["trace"]["items"][0]["predicted"]


def test_seen_items_are_ranked_unless_excluded() -> None:
    recommender = fitted(ranker=True)
    assert recommender.data is not None
    user = recommender.data.users.index("u1")
    (away,) = [recommender.data.requests([user], [recommender.data.end]).exclude[0]]
    seen = recommender.inventory.catalogue.items.ids(away[:5])
    fresh = recommender.recommend("u1", n=3).item_ids()
    assert sorted(recommender.rank("u1", [*seen, *fresh]).item_ids()) == sorted([*seen, *fresh])
    kept = recommender.rank("u1", [*seen, *fresh], exclude_seen=True)
    assert kept.item_ids() == fresh


def test_without_a_ranker_every_source_orders_the_items() -> None:
    recommender = fitted(ranker=False)
    liked = recommender.inventory.catalogue.items.ids([3])
    ids = recommender.inventory.catalogue.items.ids(range(80))
    answer = recommender.rank(None, ids, history=liked, placement="alike")
    assert answer.item_ids()[0] == liked[0]  # the most similar one
    assert answer.candidates.score[-1] == 0  # similar to nothing, but included
    assert len(answer.item_ids()) == 80


def test_unknown_items_are_reported() -> None:
    recommender = fitted(ranker=False)
    with pytest.raises(UnknownIdError, match="no item has the id 'x', 'y'"):
        recommender.rank("u1", ["x", recommender.inventory.catalogue.items.id(0), "y"])
    with pytest.raises(UnknownIdError, match="'q0', 'q1', 'q2', 'q3', 'q4' and 2 more"):
        recommender.rank("u1", [f"q{place}" for place in range(7)])


def test_an_empty_list_is_ranked() -> None:
    for ranker in (True, False):
        assert fitted(ranker=ranker).rank("u1", []).item_ids() == []


def test_an_item_added_later_is_ranked() -> None:
    recommender = fitted(ranker=True)
    moved = recommender.with_inventory(recommender.inventory.with_items(["late"]))
    known = moved.inventory.catalogue.items.ids([0, 1])
    assert sorted(moved.rank("u1", ["late", *known]).item_ids()) == sorted(["late", *known])
