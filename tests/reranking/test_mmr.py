from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tastemaker.component import Reranked
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import Catalogue, CategoryColumn, TagsColumn
from tastemaker.data.item_similarity import attribute_similarity
from tastemaker.data.requests import Requests
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.data.vocabulary import Vocabulary
from tastemaker.errors import SettingError
from tastemaker.inventory import Inventory
from tastemaker.metrics import intra_list_diversity
from tastemaker.reranking import MMR, mmr
from tastemaker.retrieval import Popular
from tastemaker.testing.small import small_inventory

ITEMS = 8
Labels = tuple[list[str] | None, str | None]
Scored = list[tuple[int, float]]


class Table(Popular):
    """A retriever with a table of similarities; items beyond its end are unknown."""

    def __init__(self, similarity: Mapping[tuple[int, int], float]) -> None:
        super().__init__()
        self.table = np.eye(ITEMS, dtype=np.float32)
        for (one, other), value in similarity.items():
            self.table[one, other] = self.table[other, one] = value

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        known = (left >= 0) & (right >= 0) & (left < ITEMS) & (right < ITEMS)
        found = self.table[np.where(known, left, 0), np.where(known, right, 0)]
        return np.where(known, found, np.float32(0))


def inventory_of(*items: Labels) -> Inventory:
    catalogue = Catalogue(
        Vocabulary.of([f"item-{i}" for i in range(len(items))]),
        {
            "tags": TagsColumn.of([labels for labels, _ in items]),
            "category": CategoryColumn.of([label and [label] for _, label in items]),
        },
    )
    return Inventory(catalogue, small_inventory().statistics, 0, "none")


def reranked(
    made: MMR,
    rows: Sequence[Scored],
    n: int,
    inventory: Inventory | None = None,
    **sources: Popular,
) -> Reranked:
    lists = [([item for item, _ in row], [score for _, score in row]) for row in rows]
    requests = Requests.of([[] for _ in rows])
    return made.rerank(requests, Candidates.of(lists), n, inventory or small_inventory(), sources)


def order(
    made: MMR, row: Scored, n: int, inventory: Inventory | None = None, **sources: Popular
) -> list:
    return reranked(made, [row], n, inventory, **sources).candidates[0].tolist()


def by_definition(
    row: Scored, weight: float, depth: int, n: int, similarity: Callable[[int, int], float]
) -> list[int]:
    """A direct implementation of Carbonell & Goldstein 1998."""
    items, scores = [item for item, _ in row[:depth]], [np.float32(s) for _, s in row[:depth]]
    low, high = float(min(scores, default=0)), float(max(scores, default=0))
    relevance = {
        item: (float(score) - low) / (high - low) if high > low else 1.0
        for item, score in zip(items, scores)
    }
    placed: list[int] = []
    while len(placed) < n and (left := [item for item in items if item not in placed]):
        value = [
            weight * relevance[item]
            - (1 - weight) * max((similarity(item, other) for other in placed), default=0.0)
            for item in left
        ]
        placed.append(left[value.index(max(value))])
    return placed + [item for item, _ in row if item not in placed]


labels = st.tuples(st.none() | st.lists(st.sampled_from("abc"), max_size=3), st.sampled_from("xyz"))
scores = st.integers(-3, 3).map(lambda s: s / 2) | st.floats(-1e6, 1e6, width=32)
lists = st.lists(
    st.tuples(st.integers(0, ITEMS - 1), scores), max_size=ITEMS, unique_by=lambda pair: pair[0]
).map(lambda row: sorted(row, key=lambda pair: -pair[1]))
weights = st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.99])


@given(
    st.lists(labels, min_size=ITEMS, max_size=ITEMS),
    st.lists(lists, max_size=4),
    weights,
    st.integers(1, 10),
    st.integers(0, 10),
)
def test_each_place_goes_to_the_largest_marginal_relevance(
    items: list[Labels], rows: list[Scored], weight: float, depth: int, n: int
) -> None:
    inventory = inventory_of(*items)

    def similarity(one: int, other: int) -> float:
        pair = np.array([[one], [other]], np.int32)
        return float(attribute_similarity(inventory.catalogue, pair[0], pair[1])[0])

    found = reranked(MMR(relevance=weight, depth=depth), rows, n, inventory).candidates
    for row, scored in enumerate(rows):
        assert found[row].tolist() == by_definition(scored, weight, depth, n, similarity)


@given(
    st.dictionaries(
        st.tuples(st.integers(0, ITEMS - 1), st.integers(0, ITEMS - 1)),
        st.floats(-1, 1, width=32),
        max_size=20,
    ),
    st.lists(lists, max_size=4),
    weights,
    st.integers(0, 10),
)
def test_a_source_can_provide_the_similarity(
    pairs: dict[tuple[int, int], float], rows: list[Scored], weight: float, n: int
) -> None:
    source = Table(pairs)
    found = reranked(MMR(relevance=weight, space="table"), rows, n, table=source).candidates
    for row, scored in enumerate(rows):
        expected = by_definition(
            scored, weight, 100, n, lambda one, other: float(source.table[one, other])
        )
        assert found[row].tolist() == expected


def test_a_near_duplicate_moves_below_a_different_item() -> None:
    near = Table({(0, 1): 0.99, (0, 2): 0.1, (1, 2): 0.1})
    row = [(0, 0.9), (1, 0.89), (2, 0.88)]
    assert order(MMR(relevance=0.5, space="near"), row, 2, near=near) == [0, 2, 1]
    whole = [*row, (3, 0.5), (4, 0.1)]
    assert order(MMR(space="near"), whole, 2, near=near) == [0, 2, 1, 3, 4]


def test_a_relevance_of_1_keeps_the_order() -> None:
    row = [(3, 0.2), (1, 0.9), (2, 0.9), (0, 0.1)]
    inventory = inventory_of(*[(["a"], "x")] * 4)
    answer = reranked(MMR(relevance=1.0), [row], 3, inventory)
    assert answer.candidates[0].tolist() == [3, 1, 2, 0]
    assert answer.notes == ((),)


def test_a_relevance_of_0_uses_only_similarities() -> None:
    inventory = inventory_of((["a"], "x"), (["a"], "x"), (["b"], "y"), (["c"], "x"))
    row = [(0, 4.0), (1, 3.0), (2, 2.0), (3, 1.0)]
    assert order(MMR(relevance=0.0), row, 4, inventory) == [0, 2, 3, 1]


def test_equal_candidates_stay_in_their_order() -> None:
    inventory = inventory_of(*[(["a"], "x")] * 5)
    row = [(4, 1.0), (1, 1.0), (3, 1.0), (0, 1.0)]
    assert order(MMR(), row, 3, inventory) == [4, 1, 3, 0]


def test_the_scale_of_scores_does_not_matter() -> None:
    inventory = inventory_of((["a"], "x"), (["a"], "x"), (["b"], "y"))
    row = [(0, 0.75), (1, 0.625), (2, 0.5)]
    small = order(MMR(relevance=0.4), row, 3, inventory)
    large = order(MMR(relevance=0.4), [(i, 1e6 * s - 5e6) for i, s in row], 3, inventory)
    assert small == large == [0, 2, 1]


def test_only_the_first_candidates_compete() -> None:
    inventory = inventory_of((["a"], "x"), (["a"], "x"), (["a"], "x"), (["b"], "y"))
    row = [(0, 4.0), (1, 3.0), (2, 2.0), (3, 1.0)]
    assert order(MMR(relevance=0.1), row, 4, inventory) == [0, 3, 1, 2]
    assert order(MMR(relevance=0.1, depth=3), row, 4, inventory) == [0, 1, 2, 3]


def test_only_the_shown_places_are_reranked() -> None:
    inventory = inventory_of((["a"], "x"), (["a"], "x"), (["b"], "y"), (["c"], "z"))
    row = [(0, 4.0), (1, 3.0), (2, 2.0), (3, 1.0)]
    assert order(MMR(relevance=0.1), row, 2, inventory) == [0, 2, 1, 3]
    assert order(MMR(relevance=0.1), row, 3, inventory) == [0, 2, 3, 1]


def test_an_item_unknown_to_the_source_has_similarity_0() -> None:
    near = Table({(0, 1): 0.9})
    row = [(0, 1.0), (1, 0.9), (ITEMS, 0.8), (2, 0.0)]
    assert order(MMR(relevance=0.5, space="near"), row, 2, near=near) == [0, ITEMS, 1, 2]


def test_the_chunk_size_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(2)
    rows = [[(int(i), float(-i)) for i in random.permutation(60)[: 7 * r]] for r in range(8)]
    rows = [sorted(row, key=lambda pair: -pair[1]) for row in rows]
    together = reranked(MMR(), rows, 9)
    monkeypatch.setattr(mmr, "_PAIRS_AT_ONCE", 1)
    one_by_one = reranked(MMR(), rows, 9)
    assert together.notes == one_by_one.notes
    np.testing.assert_array_equal(together.candidates.item, one_by_one.candidates.item)


def test_a_lower_relevance_gives_more_diverse_lists() -> None:
    dataset = SyntheticWorld(users=50, items=2_000, events=2_000, tastes=20, seed=3).dataset()
    inventory, random = Inventory.of(dataset), np.random.default_rng(8)
    rows = [
        list(zip(random.permutation(2_000)[:200].tolist(), -np.sort(-random.random(200))))
        for _ in range(40)
    ]

    def alike(left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        return attribute_similarity(inventory.catalogue, left, right)

    diversity, cost = [], []
    for weight in (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.0):
        answer = reranked(MMR(relevance=weight), rows, 20, inventory)
        top = answer.candidates.head(20)
        diversity.append(intra_list_diversity(top.offsets, top.item, alike).mean())
        cost.append(answer.cost.mean())
    assert diversity == sorted(diversity)
    assert cost == sorted(cost)
    assert diversity[-1] > diversity[0] + 0.03
    assert cost[0] == 0


def test_the_notes_count_the_places_that_changed() -> None:
    inventory = inventory_of((["a"], "x"), (["a"], "x"), (["b"], "y"))
    row = [(0, 3.0), (1, 2.0), (2, 1.0)]
    answer = reranked(MMR(relevance=0.1), [row, row[:1], []], 2, inventory)
    assert answer.notes == (("for variety, 1 of 2 places hold another item",), (), ())
    assert answer.cost.tolist() == [1, 0, 0]


def test_an_unknown_space_is_reported_with_a_suggestion() -> None:
    lines = {"als": Table({}), "popular": Popular()}
    with pytest.raises(SettingError, match="there is no space 'als2'; did you mean 'als'"):
        reranked(MMR(space="als2"), [[]], 5, **lines)
    with pytest.raises(SettingError, match="there is no space 'zzz'; known: als, attributes"):
        reranked(MMR(space="zzz", relevance=1.0), [[]], 5, **lines)


def test_a_source_that_does_not_compare_items_is_rejected() -> None:
    with pytest.raises(SettingError, match="'popular' does not compare items; known: attributes"):
        reranked(MMR(space="popular"), [[]], 5, popular=Popular())


def test_a_catalogue_without_labels_cannot_compare_items() -> None:
    bare = Inventory(Catalogue(Vocabulary.of(["a"]), {}), small_inventory().statistics, 0, "none")
    with pytest.raises(SettingError, match="no tags or category to compare by; known: als"):
        reranked(MMR(), [[]], 5, bare, als=Table({}))
    assert order(MMR(space="als"), [(0, 1.0)], 5, bare, als=Table({})) == [0]


@pytest.mark.parametrize(
    ("setting", "value"), [("relevance", 1.5), ("relevance", -0.1), ("depth", 0)]
)
def test_a_setting_out_of_range_is_rejected(setting: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"MMR: '{setting}' must be .* got {value}"):
        MMR(**{setting: value})
