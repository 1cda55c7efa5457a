"""The kernels behind vector scores, against their slow twins."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.data.candidates import Candidates
from tastemaker.data.decay import first_not_before
from tastemaker.data.ragged import Ragged, offsets_of
from tastemaker.retrieval.cosine import inner_products
from tastemaker.retrieval.vector_scores import _best

SCORES = [float("nan"), -1.0, 0.0, -0.0, 1e-45, 0.5, 2.0, float("inf")]
scored = st.dictionaries(st.integers(0, 2**31 - 1), st.sampled_from(SCORES), max_size=12)


@given(st.lists(scored, min_size=1, max_size=5), st.integers(1, 15))
def test_the_best_equal_those_of_a_sort(rows: list[dict[int, float]], n: int) -> None:
    item = np.array([item for row in rows for item in row], np.int32)
    score = np.array([score for row in rows for score in row.values()], np.float32)
    items, best, counts = _best(
        Candidates(offsets_of([len(r) for r in rows]), item, score), score, n
    )
    assert items.shape == best.shape == (len(rows), n)
    for row, entry in enumerate(rows):
        able = [(-np.float32(score), item) for item, score in entry.items() if score > 0]
        expected = sorted(able)[:n]
        assert counts[row] == len(expected)
        assert items[row, : len(expected)].tolist() == [item for _, item in expected]
        assert best[row, : len(expected)].tolist() == [-score for score, _ in expected]


@given(st.lists(st.integers(0, 30), max_size=40), st.data())
def test_a_search_from_the_end_equals_one_from_the_middle(
    times: list[int], data: st.DataObject
) -> None:
    moments = np.sort(np.array(times, np.int64))
    first = data.draw(st.integers(0, len(times)))
    last = data.draw(st.integers(first, len(times)))
    moment = data.draw(st.integers(-2, 33))
    expected = first + np.searchsorted(moments[first:last], moment)
    assert first_not_before(moments, first, last, moment) == expected


@settings(max_examples=50)
@given(st.integers(0, 5), st.lists(st.integers(-2, 8), max_size=11), st.integers(0, 2**32 - 1))
def test_products_are_added_factor_by_factor(n: int, requested: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n, 5)).astype(np.float32)
    weight, x = random.random(n, np.float32), random.random((2, 5), np.float32)
    cut = len(requested) // 2
    items = Ragged.of([requested[:cut], requested[cut:]])
    found = inner_products(x, items, vectors, weight)
    for entry, item in enumerate(requested):
        row, total = int(entry >= cut), np.float32(0)
        if not 0 <= item < n:
            assert np.isnan(found[entry])
            continue
        for factor in range(5):
            total += x[row, factor] * (vectors[item, factor] * weight[item])
        assert found[entry] == total
