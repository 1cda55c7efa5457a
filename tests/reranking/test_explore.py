"""What `Explore` does where the right answer is plain, and that its propensities are true."""

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
    """Items by their ids with the scores 30, 29, 28 …; `fresh`, new_items from rank 0."""
    found = Candidates.of([([IDS.index(c) for c in text], 30.0 - np.arange(len(text)))] * rows)
    rank = np.array([[place, fresh.find(c)] for place, c in enumerate(text)] * rows, np.int16)
    rank = rank.reshape(-1, 2)
    return replace(
        found,
        sources=("popular", "new_items"),
        source_rank=rank,
        source_score=np.where(rank < 0, np.nan, -rank).astype(np.float32),
    )


def asked(seeds: Sequence[int]) -> Requests:
    return replace(Requests.of([[]] * len(seeds)), seed=np.array(seeds, np.uint64))


def ask(explore: Explore, candidates: Candidates, n: int, first_seed: int = 0) -> Reranked:
    seeds = range(first_seed, first_seed + len(candidates))
    return explore.rerank(asked(seeds), candidates, n, INVENTORY, SOURCES)


def ids(candidates: Candidates, row: int = 0) -> str:
    return "".join(IDS[item] for item in candidates[row])


def propensities(candidates: Candidates, row: int = 0) -> list[float]:
    a, b = candidates.offsets[row : row + 2]
    return candidates.columns[PROPENSITY][a:b].tolist()


# -- known answers --------------------------------------------------------------------------------


def test_what_the_source_ranks_highest_is_tried_out_first() -> None:
    answer = ask(ALWAYS, listed("abcdef", fresh="fd"), 3)
    assert ids(answer.candidates) == "fdabce"
    assert answer.notes == (("'f' tried out at 1", "'d' tried out at 2"),)


def test_the_best_places_are_left_alone() -> None:
    explore = Explore(share=1.0, keep=2)
    answer = ask(explore, listed("abcdef", fresh="fe"), 4)
    assert ids(answer.candidates) == "abfecd"
    assert propensities(answer.candidates) == [1] * 6


@pytest.mark.parametrize(("n", "keep"), [(3, 3), (2, 3), (0, 0), (0, 3)])
def test_where_every_place_is_kept_nothing_is_tried_out(n: int, keep: int) -> None:
    answer = ask(Explore(share=1.0, keep=keep), listed("abcdef", fresh="f"), n)
    assert ids(answer.candidates) == "abcdef"
    assert propensities(answer.candidates) == [1] * 6
    assert answer.notes == ((),)


def test_beyond_the_shown_places_nothing_moves() -> None:
    answer = ask(ALWAYS, listed("abcdef", fresh="fedcba"), 2)
    assert ids(answer.candidates) == "feabcd"


def test_a_find_that_has_its_place_already_is_not_tried_out() -> None:
    answer = ask(Explore(share=1.0, keep=1), listed("abcd", fresh="ad"), 3)
    assert ids(answer.candidates) == "adbc"


def test_an_item_that_would_be_there_anyway_is_not_tried_out() -> None:
    answer = ask(Explore(share=0.5, keep=0), listed("abc", fresh="a"), 3)
    assert ids(answer.candidates) == "abc"
    assert propensities(answer.candidates) == [1, 1, 1]
    assert answer.notes == ((),)


def test_ties_of_rank_go_to_the_earlier_candidate() -> None:
    candidates = listed("abcd", fresh="cd")
    candidates.source_rank[2:, 1] = 0
    assert ids(ask(ALWAYS, candidates, 1).candidates) == "cabd"


def test_a_share_of_nothing_gives_nothing_away() -> None:
    answer = ask(Explore(share=0.0), listed(IDS, fresh="zyx", rows=50), 20)
    assert {ids(answer.candidates, row) for row in range(50)} == {IDS}
    assert set(answer.candidates.columns[PROPENSITY].tolist()) == {1.0}


def test_a_source_that_found_nothing_changes_nothing() -> None:
    answer = ask(ALWAYS, listed("abcdef"), 4)
    assert ids(answer.candidates) == "abcdef"
    assert propensities(answer.candidates) == [1] * 6


def test_a_source_that_failed_changes_nothing() -> None:
    candidates = replace(listed("abc", "c"), sources=("popular", "other"))
    assert ids(ask(ALWAYS, candidates, 3).candidates) == "abc"


def test_a_list_shorter_than_asked_for_loses_nothing() -> None:
    assert ids(ask(ALWAYS, listed("abc", fresh="c"), 20).candidates) == "cab"
    assert ids(ask(ALWAYS, listed(""), 20).candidates) == ""


def test_a_source_that_the_placement_does_not_have_is_told_with_the_near_miss() -> None:
    nothing = (Requests.of([]), Candidates.none(0), 20, INVENTORY, SOURCES)
    with pytest.raises(SettingError, match=r"Explore: source: .* 'new_item'.*'new_items'"):
        Explore(source="new_item").rerank(*nothing)


@pytest.mark.parametrize("setting", [{"share": -0.1}, {"share": 1.1}, {"keep": -1}])
def test_a_setting_out_of_range_is_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        Explore(**setting)


def test_the_cost_is_the_predicted_value_given_up() -> None:
    answer = ask(Explore(share=1.0, keep=2), listed("abcdef", fresh="f"), 4)
    assert ids(answer.candidates)[:4] == "abfc"
    assert answer.cost.tolist() == [(30 + 29 + 28 + 27) - (30 + 29 + 25 + 28)]


# -- chance ---------------------------------------------------------------------------------------

SEEDS = 40_000


def test_places_are_given_away_as_often_as_the_propensity_says() -> None:
    n, keep, share = 12, 3, 0.1
    explore = Explore(share=share, keep=keep)
    shown = ask(explore, listed(IDS, fresh=IDS[::-1][:14], rows=SEEDS), n).candidates
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


def test_the_propensities_of_a_list_multiply_to_how_often_it_is_shown() -> None:
    n, explore = 4, Explore(share=0.4, keep=1)
    shown = ask(explore, listed("abcdefg", fresh="dgb", rows=SEEDS), n).candidates
    items = shown.item.reshape(SEEDS, -1)[:, :n]
    lists, first, count = np.unique(items, axis=0, return_index=True, return_counts=True)
    told = shown.columns[PROPENSITY].reshape(SEEDS, -1)[first, :n].astype(float).prod(axis=1)
    assert told.sum() == pytest.approx(1, abs=1e-5)
    spread = 4.5 * np.sqrt(told * (1 - told) / SEEDS)
    assert (np.abs(count / SEEDS - told) <= spread).all()
    assert len(lists) > 5


def test_equal_seeds_give_equal_lists_and_others_others() -> None:
    candidates = listed(IDS, fresh="zyxw")
    one, again = (ask(Explore(share=0.3), candidates, 20, 5).candidates for _ in range(2))
    assert ids(one) == ids(again)
    lists = {ids(ask(Explore(share=0.3), candidates, 20, seed).candidates) for seed in range(20)}
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
def test_nothing_is_lost_or_doubled_and_only_finds_move_up(
    counts: list[int], fresh: list[str], finds: int, n: int, keep: int, share: float, seed: int
) -> None:
    found = "".join(fresh[:finds])
    for place, count in enumerate(counts):
        before = IDS[:count]
        answer = ask(Explore(share=share, keep=keep), listed(before, found), n, seed + place)
        after, told = ids(answer.candidates), propensities(answer.candidates)
        assert sorted(after) == list(before)
        assert after[: min(keep, n)] == before[: min(keep, n)]
        tried = [note.split("'")[1] for note in answer.notes[0]]
        assert set(tried) <= set(found)
        assert sorted(tried, key=found.index) == tried
        assert [c for c in after if c not in tried] == [c for c in before if c not in tried]
        assert all(0 <= p <= 1 for p in told)
        assert all(p == 1 for p in told[n:])


# -- beside other rerankers -----------------------------------------------------------------------


def test_what_mmr_left_below_can_be_tried_out() -> None:
    candidates, requests = listed(IDS, fresh="z"), asked([0])
    diverse = MMR(relevance=0.2, depth=5).rerank(requests, candidates, 4, INVENTORY, SOURCES)
    answer = Explore(share=1.0, keep=3).rerank(requests, diverse.candidates, 4, INVENTORY, SOURCES)
    assert ids(answer.candidates)[:4] == ids(diverse.candidates)[:3] + "z"


def test_a_pin_stands_for_certain_and_all_others_keep_their_propensity() -> None:
    requests, explore = asked([0]), Explore(share=0.5, keep=0)
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
        for answer in (ask(Explore(share=0.5, keep=1), first, 3, s).candidates for s in range(30))
    }
    usual, tried = ("abc", 0.5, 0.125, 0.5), ("acb", 0.5, 0.75, 0.5)
    assert shown == {usual, tried}


def test_the_column_survives_the_cut() -> None:
    answer = ask(Explore(share=0.3), listed(IDS, fresh="zyx"), 10).candidates
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
