"""Baskets, complements, sessions, sequences: by hand, against NumPy, and main properties."""

import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tastemaker.component import FitOptions
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import ClockError, DataError, SettingError
from tastemaker.inventory import Inventory
from tastemaker.retrieval import (
    BoughtTogether,
    Complements,
    SequentialRules,
    SessionKNN,
    Swing,
)
from tastemaker.retrieval.neighbors import sessions
from tastemaker.retrieval.neighbors.visits import visits_of

MINUTE, DAY = 60, 86_400
START = 1_600_000_000
A, B, C, D = range(4)
Event = tuple[str, int, int]


def timed(
    events: Sequence[Event],
    items: int,
    groups: Sequence[str] | None = None,
    clock: Any = "absolute",
) -> Dataset:
    """(user, item, seconds since the start) → data; item i has index i and category groups[i]."""
    rows = [(u, f"i{i:03}", START + t) for u, i, t in events]
    names = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    known = pl.DataFrame({"item_id": [f"i{i:03}" for i in range(items)]})
    roles = {}
    if groups is not None:
        known = known.with_columns(pl.Series("group", groups))
        roles = {"group": ColumnRole(role="category")}
    schema = Schema(kinds={"buy": EventKind()}, item_roles=roles, clock=clock)
    return Dataset.from_frames(pl.DataFrame(rows, names, orient="row"), items=known, schema=schema)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return SyntheticWorld(users=50, items=40, events=800, tastes=3, repeats=True, seed=3).dataset()


# -- visits ---------------------------------------------------------------------------------------


def test_a_pause_ends_a_visit() -> None:
    log = timed([("a", 0, 0), ("a", 1, 60), ("a", 2, 200), ("b", 0, 200)], 3)
    assert visits_of(log, 100_000_000).offsets.tolist() == [0, 2, 3, 4]
    assert visits_of(log, 0).offsets.tolist() == [0, 1, 2, 3, 4]
    assert visits_of(log, None).offsets.tolist() == [0, 3, 4]


def test_without_absolute_times_a_user_is_one_visit() -> None:
    log = timed([("a", 0, 0), ("a", 1, DAY), ("b", 0, 0)], 2, clock="ordinal")
    assert visits_of(log, 1).offsets.tolist() == [0, 2, 3]


def test_an_unknown_kind_suggests_a_similar_name(data: Dataset) -> None:
    with pytest.raises(SettingError, match="purchase"):
        visits_of(data, None, ["purchases"])
    assert 0 < len(visits_of(data, None, ["purchase"]).item) < len(visits_of(data, None).item)


# -- baskets --------------------------------------------------------------------------------------

BASKETS = [[A, B], [A, B, C], [A], [C, D], [A, B]]


def shop() -> Dataset:
    """One user buys the five baskets, a day apart."""
    return timed([("a", i, DAY * b) for b, basket in enumerate(BASKETS) for i in basket], 4)


@pytest.mark.parametrize(
    ("measure", "expected"),
    [("support", 3 / 5), ("confidence", 3 / 4), ("lift", (3 / 4) / (3 / 5))],
)
def test_a_rule_matches_the_hand_computation(measure: Any, expected: float) -> None:
    fitted = BoughtTogether(measure=measure, min_support=1).fit(shop())
    assert fitted.weights.toarray()[A, B] == pytest.approx(expected)
    rules = fitted.rules(np.array([A], np.int32))
    at = rules.leads_to.tolist().index(B)
    assert rules.together[at] == 3
    assert rules.support[at] == pytest.approx(3 / 5)
    assert rules.confidence[at] == pytest.approx(3 / 4)
    assert rules.lift[at] == pytest.approx(5 / 4)


def test_a_rule_needs_its_support() -> None:
    fitted = BoughtTogether(min_support=2).fit(shop())
    assert {tuple(pair) for pair in np.argwhere(fitted.weights.toarray())} == {(A, B), (B, A)}


@pytest.mark.parametrize("measure", ["support", "lift"])
def test_rules_follow_a_later_basket(measure: Any) -> None:
    events = [("a", i, DAY * b) for b, basket in enumerate(BASKETS) for i in basket]
    before, later = timed(events, 4), timed([*events, ("b", A, 0), ("b", D, 0)], 4)
    model = BoughtTogether(measure=measure, min_support=1)
    updated, refitted = model.fit(before).update(later), BoughtTogether(**model.config.model_dump())
    refitted.fit(later)
    one, other = (m.rules(np.arange(4, dtype=np.int32)) for m in (updated, refitted))
    assert all(np.array_equal(a, b) for a, b in zip(one, other))
    assert model.baskets == 5
    assert updated.baskets == 6


def test_an_update_detects_baskets_merged_by_an_event() -> None:
    """No item changes its number of baskets; only the set of its baskets changes."""
    first, second = [("a", i, 0) for i in (C, D, A)], [("a", i, 50 * MINUTE) for i in (C, D, B)]
    late = [("a", C, 25 * MINUTE), ("a", C, DAY), ("a", D, DAY)]
    before, after = timed([*first, *second], 4), timed([*first, *second, *late], 4)
    model = BoughtTogether(min_support=1)
    updated = model.fit(before).update(after)
    assert np.array_equal(updated.sizes, model.sizes)
    assert updated.weights.toarray()[A, B] == 1
    refitted = BoughtTogether(min_support=1).fit(after)
    assert np.array_equal(updated.weights.toarray(), refitted.weights.toarray())


# -- complements ----------------------------------------------------------------------------------


def test_complements_are_of_other_categories() -> None:
    """Cameras, lenses and teas: users view several cameras and buy one with a lens."""
    random = np.random.default_rng(2)
    group = np.repeat(["camera", "lens", "tea", "cup"], 8)
    events: list[Event] = []
    for number in range(300):
        user, start, fits = f"u{number:03}", 16 * (number % 2), 2 * random.integers(4)
        bought = start + fits + random.integers(2)  # lens 2k or 2k + 1 fits camera 2k or 2k + 1
        events += [(user, bought, 0), (user, start + 8 + fits + random.integers(2), MINUTE)]
        looked_at = start + random.choice(8, 4, replace=False)
        events += [(user, item, 30 * DAY + place) for place, item in enumerate(looked_at)]
    log = timed(events, 32, group.tolist())
    cameras = np.arange(8, dtype=np.int32)
    goes_with = Complements(shrinkage=0.0).fit(log).similar(cameras, 2, Inventory.of(log))
    similar = Swing().fit(log).similar(cameras, 2, Inventory.of(log))
    assert (group[goes_with.item] == "lens").all()
    assert ((goes_with.item - 8) // 2 == goes_with.rows // 2).all()
    assert (group[similar.item] == "camera").all()


def test_a_complement_is_stronger_the_sooner_it_follows() -> None:
    events = [("a", A, 0), ("a", B, DAY), ("b", A, 0), ("b", C, 0)]
    weights = Complements(shrinkage=1.0).fit(timed(events, 4, list("xyyx"))).weights.toarray()
    assert weights[A, B] == pytest.approx(0.5 / (np.sqrt(2 * 1) + 1))
    assert weights[A, C] == pytest.approx(1.0 / (np.sqrt(2 * 1) + 1))
    assert weights[B, A] == 0
    assert weights[C, A] == weights[A, C]


def complemented(log: Dataset, group: NDArray[np.int32], related: NDArray[np.bool_]) -> Any:
    """Complements by the definition, over all ordered pairs of a user's events."""
    liked = log.events.where(log.events.weight > 0)
    n = len(log.catalogue)
    users = np.array([len(np.unique(liked.user[liked.item == i])) for i in range(n)])
    found = np.zeros((n, n))
    for u in range(len(log.users)):
        own = slice(*liked.offsets[u : u + 2])
        for i, t in zip(liked.item[own], liked.time[own]):
            for j, later in zip(liked.item[own], liked.time[own]):
                if later >= t and related[group[i], group[j]]:
                    found[i, j] += 1 / (1 + (later - t) / (DAY * 1_000_000))
    return found / (np.sqrt(np.outer(users, users)) + 5.0)


def test_complements_equal_the_definition(data: Dataset) -> None:
    column = data.catalogue.columns["category"]
    group = column.codes.values  # type: ignore[union-attr]
    bought = data.interactions(reduce="binary").toarray()
    has = np.stack([bought[:, group == g].any(axis=1) for g in range(3)]).astype(float)
    together = has @ has.T - np.diag(has.sum(axis=1))
    related = together == together.max(axis=1, keepdims=True)
    expected = complemented(data, group, related)
    model = Complements(neighbors=40, related=1, steps=1_000).fit(data)
    np.testing.assert_allclose(model.weights.toarray(), expected, rtol=1e-4)


def test_without_categories_there_are_no_complements() -> None:
    with pytest.raises(DataError, match="role 'category' under"):
        Complements().fit(shop())
    with pytest.raises(DataError, match="did you mean 'group'"):
        Complements(category="grup").fit(timed([("a", 0, 0)], 1, ["x"]))


def test_the_memory_of_many_categories_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    log = timed([("a", item, item) for item in range(1_000)], 1_000, [f"{g}" for g in range(1_000)])
    estimates: list[int] = []
    monkeypatch.setattr(
        FitOptions, "require_memory", lambda _, needed, *rest: estimates.append(needed)
    )
    Complements(steps=1).fit(log)  # compiles its kernel
    tracemalloc.start()
    Complements(steps=1).fit(log)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= estimates[-1]


# -- sessions -------------------------------------------------------------------------------------


def spoken(
    model: SessionKNN, sessions: list[list[int]], ends: list[int], present: list[int], now: int
) -> NDArray[np.float64]:
    """V-SkNN and STAN by their formulas; sessions in the order of their ends."""
    config, length = model.config, len(present)
    scores, likes = np.zeros(model.n_fitted), []
    for place, (held, end) in enumerate(zip(sessions, ends)):
        shared = [p for p, item in enumerate(present) if item in held]
        if config.method == "vsknn":
            like = sum((p + 1) / length for p in shared)
        else:
            like = sum(np.exp(-(length - 1 - p) / config.item_decay) for p in shared)
            like /= np.sqrt(length * len(held))
            like *= np.exp(-(now - end) / (20 * DAY * 1_000_000))
        if shared:
            likes.append((place, like, shared[-1]))
    likes = likes[-config.sample :]
    for place, like, last in sorted(likes, key=lambda x: (-np.float32(x[1]), x[0]))[
        : config.neighbors
    ]:
        held = sessions[place]
        for q, item in enumerate(held):
            if config.method == "vsknn":
                scores[item] += like / (length - last)
            else:
                scores[item] += like * np.exp(-abs(q - held.index(present[last])) / 5.0)
    held_by = np.bincount([i for held in sessions for i in held], minlength=model.n_fitted)
    inverse = np.log1p(len(sessions) / np.maximum(held_by, 1))
    return np.asarray(scores * inverse**config.rarity, np.float64)


@pytest.mark.parametrize("method", ["vsknn", "stan"])
@pytest.mark.parametrize("settings", [{}, {"neighbors": 3, "sample": 6, "rarity": 1.0}])
def test_session_scores_equal_the_formula(
    data: Dataset, method: Any, settings: dict[str, Any]
) -> None:
    model = SessionKNN(method=method, **settings).fit(data)
    visits = visits_of(data, 30 * MINUTE * 1_000_000)
    distinct = [
        [i for p, i in enumerate(held) if i not in held[p + 1 :]]
        for held in np.split(visits.item, visits.offsets[1:-1])
        for held in [held.tolist()]
    ]
    ends = visits.time[visits.offsets[1:] - 1]
    order = np.argsort(ends, kind="stable")
    sessions = [distinct[o] for o in order]
    requests = Requests.of([[3, 8, 15, 8], [30], []], time=data.end)
    found = model.scores(requests)(slice(0, 3))
    for row, present in enumerate([[3, 15, 8], [30]]):
        expected = spoken(model, sessions, ends[order].tolist(), present, data.end)
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-6)
    assert not found[2].any()


def test_the_current_session_begins_after_the_last_pause() -> None:
    log = timed([("a", 0, 0), ("a", 1, DAY), ("a", 2, DAY + 60), ("a", 1, DAY + 90)], 3)
    requests = log.requests(np.array([0]), np.array([log.end]))
    assert SessionKNN().fit(log).present(requests.history)[0].tolist() == [2, 1]
    untimed = timed([("a", 0, 0), ("a", 1, DAY), ("a", 2, DAY + 60)], 3, clock="ordinal")
    everything = untimed.requests(np.array([0]), np.array([untimed.end]))
    assert SessionKNN().fit(untimed).present(everything.history)[0].tolist() == [0, 1, 2]
    assert SessionKNN(longest=2).fit(untimed).present(everything.history)[0].tolist() == [1, 2]


def test_many_items_of_weight_zero_overflow_no_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old items have weight 0 in floats; recording them again overflowed the array."""
    monkeypatch.setattr(sessions, "_score", sessions._score.py_func)  # checks its bounds
    log = timed([(user, item, item) for user in "ab" for item in range(5)], 6)
    model = SessionKNN(item_decay=0.001).fit(log)
    found = model.scores(Requests.of([[0, 1, 2, 3, 4]]))(slice(0, 1))
    assert (found[0, :5] > 0).all()


def test_a_wrong_duration_is_named_after_its_setting() -> None:
    with pytest.raises(SettingError, match="'age_decay' must be a duration"):
        SessionKNN(age_decay="soon")


# -- sequences ------------------------------------------------------------------------------------


def test_a_sequential_rule_matches_the_hand_computation() -> None:
    log = timed([("a", A, 0), ("a", B, 1), ("a", C, 2), ("b", A, 0), ("b", C, 1)], 4)
    weights = SequentialRules(steps=2).fit(log).weights.toarray()
    assert weights[A, C] == pytest.approx((1 / 2 + 1) / 2)
    assert weights[A, B] == pytest.approx(1 / 2)
    assert weights[C].sum() == 0
    assert SequentialRules(steps=1).fit(log).weights.toarray()[A, C] == pytest.approx(1 / 2)


@pytest.mark.parametrize("pause", [None, "30m"])
def test_sequential_rules_equal_the_definition(data: Dataset, pause: str | None) -> None:
    visits = visits_of(data, None if pause is None else 30 * MINUTE * 1_000_000)
    expected = np.zeros((40, 40))
    for start, stop in zip(visits.offsets[:-1], visits.offsets[1:]):
        for here in range(start, stop):
            for step in range(1, min(4, stop - here)):
                expected[visits.item[here], visits.item[here + step]] += 1 / step
    expected /= np.maximum(np.bincount(visits.item, minlength=40), 1)[:, None]
    np.fill_diagonal(expected, 0)
    fitted = SequentialRules(steps=3, session_gap=pause, neighbors=40).fit(data)
    np.testing.assert_allclose(fitted.weights.toarray(), expected, rtol=1e-4)


def test_the_latest_item_of_a_history_counts_most() -> None:
    log = timed([("a", A, 0), ("a", B, 1), ("b", C, 0), ("b", D, 1)], 4)
    rules = SequentialRules(decay=0.5).fit(log)
    found = rules.retrieve(Requests.of([[C, A], [A, C]]), 1, Inventory.of(log))
    assert found.item.tolist() == [B, D]
    liked = rules.liked(Requests.of([[A, B, -1, A]])).toarray()[0]
    assert liked.tolist() == [1.0, 0.5, 0.0, 0.0]


def test_a_log_without_order_has_no_sequences() -> None:
    with pytest.raises(ClockError, match="map a timestamp column"):
        SequentialRules().fit(timed([("a", 0, 0)], 1, clock="none"))


def test_neighbors_can_exceed_the_number_of_sessions() -> None:
    log = timed([("a", A, 0), ("a", B, 1)], 2)
    scores = SessionKNN(neighbors=10**12).fit(log).score(Requests.of([[A]]), Ragged.of([[B]]))
    assert scores[0] > 0


def test_all_given_items_are_scored() -> None:
    """`score` scores all given items, whether or not they would be retrieved."""
    log = timed([("a", A, 0), ("a", B, 1), ("b", C, 0)], 3)
    scores = SessionKNN().fit(log).score(Requests.of([[A]]), Ragged.of([[B, C, 7]]))
    assert scores[0] > 0
    assert scores[1] == 0
    assert np.isnan(scores[2])
