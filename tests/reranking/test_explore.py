"""`Explore` on known answers, and the correctness of its propensities."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.component import PROPENSITY, Reranked, Reranker, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import Catalogue, TagsColumn
from tastemaker.data.requests import Requests
from tastemaker.data.vocabulary import Vocabulary
from tastemaker.errors import SettingError
from tastemaker.inventory import Inventory
from tastemaker.reranking import MMR, Explore, Rules
from tastemaker.retrieval import NewItems, Popular
from tastemaker.testing import RerankerConformance
from tastemaker.testing.small import small_inventory

IDS = "abcdefghijklmnopqrstuvwxyz"
ALWAYS = Explore(share=1.0, keep=0)
SOURCES: Mapping[str, Retriever] = {"popular": Popular(), "new_items": NewItems()}
TAGS = TagsColumn.of([["x"] if letter in "abc" else ["y"] for letter in IDS])
INVENTORY = Inventory(
    Catalogue(Vocabulary.of(list(IDS)), {"tags": TAGS}), small_inventory().statistics, 0, "none"
)


def listed(text: str, fresh: str = "", rows: int = 1) -> Candidates:
    """Items by id with the scores 30, 29, 28 …; `fresh` are the items of new_items by rank."""
    found = Candidates.of([([IDS.index(c) for c in text], 30.0 - np.arange(len(text)))] * rows)
    rank = np.array([[place, fresh.find(c)] for place, c in enumerate(text)] * rows, np.int16)
    rank = rank.reshape(-1, 2)
    return replace(
        found,
        sources=("popular", "new_items"),
        source_rank=rank,
        source_score=np.where(rank < 0, np.nan, -rank).astype(np.float32),
    )


def requests_of(seeds: Sequence[int]) -> Requests:
    return replace(Requests.of([[]] * len(seeds)), seed=np.array(seeds, np.uint64))


def rerank(explore: Explore, candidates: Candidates, n: int, first_seed: int = 0) -> Reranked:
    seeds = range(first_seed, first_seed + len(candidates))
    return explore.rerank(requests_of(seeds), candidates, n, INVENTORY, SOURCES)


def ids(candidates: Candidates, row: int = 0) -> str:
    return "".join(IDS[item] for item in candidates[row])


def propensities(candidates: Candidates, row: int = 0) -> list[float]:
    a, b = candidates.offsets[row : row + 2]
    return candidates.columns[PROPENSITY][a:b].tolist()


# -- known answers --------------------------------------------------------------------------------


def test_the_best_items_of_the_source_are_tried_out_first() -> None:
    answer = rerank(ALWAYS, listed("abcdef", fresh="fd"), 3)
    assert ids(answer.candidates) == "fdabce"
    assert answer.notes == (("'f' tried out at 1", "'d' tried out at 2"),)


def test_the_first_places_do_not_change() -> None:
    explore = Explore(share=1.0, keep=2)
    answer = rerank(explore, listed("abcdef", fresh="fe"), 4)
    assert ids(answer.candidates) == "abfecd"
    assert propensities(answer.candidates) == [1] * 6


@pytest.mark.parametrize(("n", "keep"), [(3, 3), (2, 3), (0, 0), (0, 3)])
def test_if_every_place_is_kept_nothing_is_tried_out(n: int, keep: int) -> None:
    answer = rerank(Explore(share=1.0, keep=keep), listed("abcdef", fresh="f"), n)
    assert ids(answer.candidates) == "abcdef"
    assert propensities(answer.candidates) == [1] * 6
    assert answer.notes == ((),)


def test_items_beyond_the_shown_places_do_not_move() -> None:
    answer = rerank(ALWAYS, listed("abcdef", fresh="fedcba"), 2)
    assert ids(answer.candidates) == "feabcd"


def test_an_item_among_the_kept_places_is_not_tried_out() -> None:
    answer = rerank(Explore(share=1.0, keep=1), listed("abcd", fresh="ad"), 3)
    assert ids(answer.candidates) == "adbc"


def test_an_item_already_at_its_place_is_not_tried_out() -> None:
    answer = rerank(Explore(share=0.5, keep=0), listed("abc", fresh="a"), 3)
    assert ids(answer.candidates) == "abc"
    assert propensities(answer.candidates) == [1, 1, 1]
    assert answer.notes == ((),)


def test_ties_of_rank_go_to_the_earlier_candidate() -> None:
    candidates = listed("abcd", fresh="cd")
    candidates.source_rank[2:, 1] = 0
    assert ids(rerank(ALWAYS, candidates, 1).candidates) == "cabd"


def test_a_share_of_0_tries_nothing_out() -> None:
    answer = rerank(Explore(share=0.0), listed(IDS, fresh="zyx", rows=50), 20)
    assert {ids(answer.candidates, row) for row in range(50)} == {IDS}
    assert set(answer.candidates.columns[PROPENSITY].tolist()) == {1.0}


def test_a_source_that_found_nothing_changes_nothing() -> None:
    answer = rerank(ALWAYS, listed("abcdef"), 4)
    assert ids(answer.candidates) == "abcdef"
    assert propensities(answer.candidates) == [1] * 6


def test_a_source_that_failed_changes_nothing() -> None:
    candidates = replace(listed("abc", "c"), sources=("popular", "other"))
    assert ids(rerank(ALWAYS, candidates, 3).candidates) == "abc"


def test_a_list_shorter_than_n_loses_no_item() -> None:
    assert ids(rerank(ALWAYS, listed("abc", fresh="c"), 20).candidates) == "cab"
    assert ids(rerank(ALWAYS, listed(""), 20).candidates) == ""


def test_an_unknown_source_is_reported_with_a_suggestion() -> None:
    nothing = (Requests.of([]), Candidates.none(0), 20, INVENTORY, SOURCES)
    with pytest.raises(SettingError, match=r"Explore: source: .* 'new_item'.*'new_items'"):
        Explore(source="new_item").rerank(*nothing)


@pytest.mark.parametrize("setting", [{"share": -0.1}, {"share": 1.1}, {"keep": -1}])
def test_a_setting_out_of_range_is_rejected(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        Explore(**setting)


def test_the_cost_is_the_predicted_value_given_up() -> None:
    answer = rerank(Explore(share=1.0, keep=2), listed("abcdef", fresh="f"), 4)
    assert ids(answer.candidates)[:4] == "abfc"
    assert answer.cost.tolist() == [(30 + 29 + 28 + 27) - (30 + 29 + 25 + 28)]


# -- probabilities --------------------------------------------------------------------------------

SEEDS = 40_000


def test_places_are_tried_out_as_often_as_the_propensity_says() -> None:
    n, keep, share = 12, 3, 0.1
    explore = Explore(share=share, keep=keep)
    shown = rerank(explore, listed(IDS, fresh=IDS[::-1][:14], rows=SEEDS), n).candidates
    p = share * n / (n - keep)
    items = shown.item.reshape(SEEDS, -1)[:, :n]
    propensity = shown.columns[PROPENSITY].reshape(SEEDS, -1)[:, :n]
    tried = items >= n
    assert not tried[:, :keep].any()
    assert (propensity[:, :keep] == 1).all()
    np.testing.assert_allclose(propensity[tried], p, rtol=1e-6)
    np.testing.assert_allclose(propensity[:, keep:][~tried[:, keep:]], 1 - p, rtol=1e-6)
    spread = 4.5 * np.sqrt(p * (1 - p) / SEEDS)
    np.testing.assert_allclose(tried[:, keep:].mean(axis=0), p, atol=spread)
    assert tried.mean() == pytest.approx(share, abs=spread)
    between = np.corrcoef(tried[:, keep:].T) - np.eye(n - keep)
    assert np.abs(between).max() < 5 / np.sqrt(SEEDS)


def test_propensities_multiply_to_the_probability_of_a_list() -> None:
    n, explore = 4, Explore(share=0.4, keep=1)
    shown = rerank(explore, listed("abcdefg", fresh="dgb", rows=SEEDS), n).candidates
    items = shown.item.reshape(SEEDS, -1)[:, :n]
    lists, first, count = np.unique(items, axis=0, return_index=True, return_counts=True)
    expected = shown.columns[PROPENSITY].reshape(SEEDS, -1)[first, :n].astype(float).prod(axis=1)
    assert expected.sum() == pytest.approx(1, abs=1e-5)
    spread = 4.5 * np.sqrt(expected * (1 - expected) / SEEDS)
    assert (np.abs(count / SEEDS - expected) <= spread).all()
    assert len(lists) > 5


def test_the_list_depends_on_the_seed() -> None:
    candidates = listed(IDS, fresh="zyxw")
    one, again = (rerank(Explore(share=0.3), candidates, 20, 5).candidates for _ in range(2))
    assert ids(one) == ids(again)
    lists = {ids(rerank(Explore(share=0.3), candidates, 20, seed).candidates) for seed in range(20)}
    assert len(lists) > 10


@given(
    counts=st.lists(st.integers(0, 26), min_size=1, max_size=4),
    fresh=st.permutations(list(IDS)),
    finds=st.integers(0, 26),
    n=st.integers(0, 30),
    keep=st.integers(0, 12),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**64 - 5),
)
def test_items_stay_distinct_and_only_those_of_the_source_move_up(
    counts: list[int], fresh: list[str], finds: int, n: int, keep: int, share: float, seed: int
) -> None:
    found = "".join(fresh[:finds])
    for place, count in enumerate(counts):
        before = IDS[:count]
        answer = rerank(Explore(share=share, keep=keep), listed(before, found), n, seed + place)
        after, probabilities = ids(answer.candidates), propensities(answer.candidates)
        assert sorted(after) == list(before)
        assert after[: min(keep, n)] == before[: min(keep, n)]
        tried = [note.split("'")[1] for note in answer.notes[0]]
        assert set(tried) <= set(found)
        assert sorted(tried, key=found.index) == tried
        assert [c for c in after if c not in tried] == [c for c in before if c not in tried]
        assert all(0 <= p <= 1 for p in probabilities)
        assert all(p == 1 for p in probabilities[n:])


# -- with other rerankers -------------------------------------------------------------------------


def test_items_that_mmr_moved_down_can_be_tried_out() -> None:
    candidates, requests = listed(IDS, fresh="z"), requests_of([0])
    diverse = MMR(relevance=0.2, depth=5).rerank(requests, candidates, 4, INVENTORY, SOURCES)
    answer = Explore(share=1.0, keep=3).rerank(requests, diverse.candidates, 4, INVENTORY, SOURCES)
    assert ids(answer.candidates)[:4] == ids(diverse.candidates)[:3] + "z"


def test_a_pin_has_propensity_1_and_other_items_keep_theirs() -> None:
    requests, explore = requests_of([0]), Explore(share=0.5, keep=0)
    drawn = explore.rerank(requests, listed("abcdef", fresh="f"), 6, INVENTORY, SOURCES).candidates
    before = dict(zip(ids(drawn), propensities(drawn)))
    assert min(before.values()) == 0.5
    pins = Rules(pinned=[{"item_id": "a", "position": 2}, {"item_id": "q", "position": 1}])
    answer = pins.rerank(requests, drawn, 6, INVENTORY, SOURCES).candidates
    assert ids(answer)[:2] == "qa"
    assert dict(zip(ids(answer), propensities(answer))) == before | {"q": 1.0, "a": 1.0}


def test_a_second_draw_multiplies_with_the_first() -> None:
    first = replace(listed("abc", "c"), columns={PROPENSITY: np.full(3, 0.5, np.float32)})
    shown = {
        (ids(answer), *propensities(answer))
        for answer in (
            rerank(Explore(share=0.5, keep=1), first, 3, s).candidates for s in range(30)
        )
    }
    usual, tried = ("abc", 0.5, 0.125, 0.5), ("acb", 0.5, 0.75, 0.5)
    assert shown == {usual, tried}


def test_the_column_survives_the_cut() -> None:
    answer = rerank(Explore(share=0.3), listed(IDS, fresh="zyx"), 10).candidates
    assert answer.head(10).columns[PROPENSITY].tolist() == propensities(answer)[:10]


# -- conformance ----------------------------------------------------------------------------------


class TestExplore(RerankerConformance):
    def make(self) -> Reranker:
        return Explore(source="one", share=0.3)

    def sources(self) -> Mapping[str, Retriever]:
        return {"one": Popular(), "other": Popular()}


class TestExploreEverywhere(TestExplore):
    def make(self) -> Reranker:
        return Explore(source="other", share=1.0, keep=0)
