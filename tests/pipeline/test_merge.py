from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.candidates import Candidates
from tastemaker.pipeline.merge import RANK_OFFSET, merge

Lists = list[list[int]]  # the items of each request, best first


def found(rows: Lists, scale: float = 1.0) -> Candidates:
    return Candidates.of(
        [(items, [scale * (len(items) - rank) for rank in range(len(items))]) for items in rows]
    )


def merged(sources: dict[str, Lists], quotas: dict[str, int]) -> Candidates:
    return merge({name: found(rows) for name, rows in sources.items()}, quotas)


def items(candidates: Candidates) -> Lists:
    return [candidates[row].tolist() for row in range(len(candidates))]


def twin(
    sources: dict[str, list[int]], quotas: dict[str, int], n: int = 0
) -> list[tuple[int, float]]:
    """Merges one request by hand: quotas first, then the best others by reciprocal ranks."""
    largest = max(quotas.values())
    fused: dict[int, float] = {}
    for name, listed in sources.items():
        for rank, item in enumerate(listed):
            share = (RANK_OFFSET + 1) / (RANK_OFFSET + 1 + rank)
            fused[item] = fused.get(item, 0) + quotas[name] / largest * share
    ranked = sorted(fused, key=lambda item: (-round(fused[item], 9), item))
    certain = [i for i in ranked if any(i in sources[s][: quotas[s]] for s in sources)]
    others = [item for item in ranked if item not in certain]
    capacity = max(n, sum(quotas.values()))
    chosen = {*certain, *others[: capacity - len(certain)]}
    return [(item, fused[item]) for item in ranked if item in chosen]


listed = st.lists(st.integers(0, 8), unique=True, max_size=8)
three_sources = st.lists(st.tuples(listed, listed, listed), min_size=1, max_size=4)
three_quotas = st.tuples(*[st.integers(1, 6)] * 3)


@given(three_sources, three_quotas)
def test_merge_equals_reciprocal_ranks_computed_by_hand(
    rows: list[tuple[list[int], ...]], quota: tuple[int, ...]
) -> None:
    names = ("als", "knn", "popular")
    quotas = dict(zip(names, quota))
    whole = merged({name: [row[s] for row in rows] for s, name in enumerate(names)}, quotas)
    assert len(whole) == len(rows)
    for row, lists in enumerate(rows):
        expected = twin(dict(zip(names, lists)), quotas)
        assert whole[row].tolist() == [item for item, _ in expected]
        scores = whole.score[whole.offsets[row] : whole.offsets[row + 1]]
        assert scores.tolist() == pytest.approx([score for _, score in expected])


@given(three_sources, three_quotas, st.integers(0, 12))
def test_the_capacity_is_the_sum_of_quotas_and_at_least_n(
    rows: list[tuple[list[int], ...]], quota: tuple[int, ...], n: int
) -> None:
    found_by = {name: found([row[s] for row in rows]) for s, name in enumerate("abc")}
    quotas = dict(zip("abc", quota))
    whole = merge(found_by, quotas, n)
    for row, lists in enumerate(rows):
        expected = twin(dict(zip("abc", lists)), quotas, n)
        assert whole[row].tolist() == [item for item, _ in expected]
        distinct = len({item for listed in lists for item in listed})
        assert len(expected) == min(distinct, max(n, sum(quota)))


@given(three_sources, three_quotas)
def test_a_batch_equals_its_requests_one_by_one(
    rows: list[tuple[list[int], ...]], quota: tuple[int, ...]
) -> None:
    quotas = dict(zip("abc", quota))
    whole = merged({name: [row[s] for row in rows] for s, name in enumerate("abc")}, quotas)
    for row, lists in enumerate(rows):
        alone = merged({name: [lists[s]] for s, name in enumerate("abc")}, quotas)
        part = whole.take(np.array([row]))
        assert part.item.tolist() == alone.item.tolist()
        assert part.score.tolist() == alone.score.tolist()
        assert part.source_rank.tolist() == alone.source_rank.tolist()
        np.testing.assert_array_equal(part.source_score, alone.source_score)


def test_an_item_of_several_sources_occurs_once_with_all_ranks() -> None:
    whole = merged(
        {"als": [[7, 1]], "knn": [[2, 7]], "popular": [[3, 4, 7]]},
        {"als": 5, "knn": 5, "popular": 5},
    )
    assert sorted(items(whole)[0]) == [1, 2, 3, 4, 7]
    assert items(whole)[0][0] == 7
    assert whole.sources == ("als", "knn", "popular")
    assert whole.source_rank[0].tolist() == [0, 1, 2]
    assert whole.source_score[0].tolist() == [2, 1, 1]


def test_a_source_that_did_not_find_an_item_has_no_rank() -> None:
    whole = merged({"als": [[5]], "knn": [[6]]}, {"als": 2, "knn": 2})
    assert dict(zip(whole.item.tolist(), whole.source_rank.tolist())) == {5: [0, -1], 6: [-1, 0]}
    assert np.isnan(whole.source_score).tolist() == [[False, True], [True, False]]


def test_a_source_stays_within_its_quota_if_others_fill_theirs() -> None:
    whole = merged({"a": [[0, 1, 2, 3]], "b": [[10, 11, 12, 13]]}, {"a": 3, "b": 1})
    assert sorted(items(whole)[0]) == [0, 1, 2, 10]


def test_places_a_source_cannot_fill_go_to_the_best_others() -> None:
    sources: dict[str, Lists] = {
        "empty": [[]],
        "short": [[0, 1, 2]],
        "long": [[*range(10, 30)]],
    }
    whole = merged(sources, {"empty": 4, "short": 2, "long": 3})
    assert sorted(items(whole)[0]) == [0, 1, *range(10, 17)]


def test_unused_quota_is_not_given_to_other_requests() -> None:
    whole = merged({"a": [[], [1, 2, 3, 4]]}, {"a": 2})
    assert items(whole) == [[], [1, 2]]


@pytest.mark.parametrize("source", ["als", "popular"])
def test_the_scale_of_scores_does_not_matter(source: str) -> None:
    rows: dict[str, Lists] = {"als": [[4, 2, 9], [1]], "popular": [[2, 3, 4], [5, 1]]}
    quotas = {"als": 3, "popular": 2}
    plain = merge({name: found(r) for name, r in rows.items()}, quotas)
    scaled = merge(
        {name: found(r, 1000.0 if name == source else 1.0) for name, r in rows.items()}, quotas
    )
    assert items(scaled) == items(plain)
    assert scaled.score.tolist() == plain.score.tolist()


def test_a_larger_quota_gives_a_larger_weight() -> None:
    sources: dict[str, Lists] = {"a": [[9]], "b": [[1]]}
    assert items(merged(sources, {"a": 2, "b": 1})) == [[9, 1]]
    assert items(merged(sources, {"a": 1, "b": 2})) == [[1, 9]]


def test_an_item_of_two_sources_beats_the_first_item_of_one() -> None:
    assert items(merged({"a": [[1, 5]], "b": [[2, 5]]}, {"a": 2, "b": 2})) == [[5, 1, 2]]


def test_ties_go_to_the_lower_index() -> None:
    quotas = {"a": 3, "b": 3}
    one = merged({"a": [[8, 2]], "b": [[3, 5]]}, quotas)
    other = merged({"a": [[3, 5]], "b": [[8, 2]]}, quotas)
    assert items(one) == items(other) == [[3, 8, 2, 5]]


def test_sums_that_differ_only_by_rounding_are_ties() -> None:
    fifths = merged({"a": [[4]], "b": [[0]], "c": [[4]]}, {"a": 1, "b": 5, "c": 4})
    assert items(fifths) == [[0, 4]]  # 1/5 + 4/5 for item 4, 5/5 for item 0


def test_the_order_of_requests_does_not_matter() -> None:
    rows: dict[str, Lists] = {"a": [[4, 2], [], [9, 1]], "b": [[2], [3], [4]]}
    turned = {name: r[::-1] for name, r in rows.items()}
    quotas = {"a": 2, "b": 1}
    assert items(merged(turned, quotas)) == items(merged(rows, quotas))[::-1]


def test_one_source_keeps_its_order() -> None:
    assert items(merged({"a": [[3, 1, 2]]}, {"a": 10})) == [[3, 1, 2]]


def test_an_empty_batch_is_merged() -> None:
    assert items(merged({"a": [[]], "b": [[]]}, {"a": 1, "b": 1})) == [[]]
    assert items(merged({"a": [], "b": []}, {"a": 1, "b": 1})) == []


def test_a_list_too_long_for_int16_ranks_is_cut() -> None:
    many: Any = np.arange(40_000)
    whole = merge({"a": Candidates.of([(many, -many)])}, {"a": 40_000})
    assert whole.item.tolist() == list(range(32_767))
    assert whole.source_rank[:, 0].tolist() == list(range(32_767))


def test_a_negative_item_is_ignored() -> None:
    whole = merge({"a": Candidates.of([([-1, 2, 3], [3.0, 2.0, 1.0]), ([-1], [1.0])])}, {"a": 3})
    assert items(whole) == [[2, 3], []]


def test_weights_decide_the_order_and_quotas_the_capacity() -> None:
    lists = {"als": found([[1, 2, 3]]), "popular": found([[7, 8, 9]])}
    whole = merge(lists, {"als": 3, "popular": 1}, weights={"als": 0.01, "popular": 1.0})
    assert whole[0].tolist() == [7, 1, 2, 3]
    assert whole.score[:3].tolist() == pytest.approx([1, 0.01, 0.01 * 21 / 22])
