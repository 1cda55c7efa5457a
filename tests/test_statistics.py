import math
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.data.catalogue import NO_TIME
from tastemaker.data.events import Events
from tastemaker.data.item_log import ItemLog
from tastemaker.data.schema import EventKind
from tastemaker.errors import SettingError
from tastemaker.statistics import ALL_TIME, EVERY, POSITIVE, ItemStatistics

KINDS = {"view": EventKind(), "buy": EventKind(weight=6), "hide": EventKind(role="negative")}
WEIGHTS = (1.0, 6.0, -1.0)
ITEMS = 4

Row = tuple[int, int, int]  # item, time, kind

rows = st.lists(
    st.tuples(st.integers(0, ITEMS - 1), st.integers(0, 50), st.integers(0, 2)), max_size=30
)
moments = st.integers(0, 60)


def statistics_of(log: list[Row], n_items: int = ITEMS) -> ItemStatistics:
    ordered = sorted(log, key=lambda row: row[1])
    n = len(ordered)
    return ItemStatistics.of(
        Events(
            np.array([0, n]),
            np.zeros(n, np.int32),
            np.array([row[0] for row in ordered], np.int32),
            np.array([row[2] for row in ordered], np.int8),
            np.full(n, np.nan, np.float32),
            np.array([WEIGHTS[row[2]] for row in ordered], np.float32),
            np.array([row[1] for row in ordered], np.int64),
        ),
        n_items,
        KINDS,
    )


def appended(
    statistics: ItemStatistics, log: list[Row], n_items: int | None = None
) -> ItemStatistics:
    return statistics.append(
        np.array([row[0] for row in log], np.int32),
        np.array([row[1] for row in log], np.int64),
        np.array([row[2] for row in log], np.int8),
        np.array([WEIGHTS[row[2]] for row in log], np.float32),
        n_items,
    )


def counts(statistics: ItemStatistics, moment: int, **options: object) -> list[float]:
    items = np.arange(statistics.n_items, dtype=np.int32)
    times = np.full(statistics.n_items, moment, np.int64)
    return statistics.at(items, times, **options).tolist()  # type: ignore[arg-type]


@given(rows, moments, st.one_of(st.none(), st.integers(1, 60)), st.sampled_from([None, *KINDS]))
def test_counts_equal_a_loop_over_the_log(
    log: list[Row], moment: int, window: int | None, kind: str | None
) -> None:
    expected = [0.0] * ITEMS
    for item, time, code in log:
        in_window = time < moment and (window is None or time >= moment - window)
        if in_window and (WEIGHTS[code] > 0 if kind is None else list(KINDS)[code] == kind):
            expected[item] += 1
    options = {} if window is None else {"window": window}
    assert counts(statistics_of(log), moment, kind=kind, **options) == expected


@given(rows, moments, st.integers(1, 100))
def test_decayed_sums_equal_a_loop_over_the_log(
    log: list[Row], moment: int, half_life: int
) -> None:
    expected = [0.0] * ITEMS
    for item, time, code in log:
        if time < moment:
            expected[item] += max(WEIGHTS[code], 0) * 0.5 ** ((moment - time) / half_life)
    found = statistics_of(log).decayed(moment, half_life)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@given(rows, rows, moments)
def test_nothing_at_or_after_the_moment_is_ever_counted(
    past: list[Row], future: list[Row], moment: int
) -> None:
    before = [row for row in past if row[1] < moment]
    later = [(item, time + moment, kind) for item, time, kind in future]
    with_future, without = statistics_of(before + later), statistics_of(before)
    assert counts(with_future, moment) == counts(without, moment)
    assert with_future.decayed(moment, 7).tolist() == without.decayed(moment, 7).tolist()


@given(rows, st.integers(0, 30), st.integers(0, 30), moments)
def test_a_base_and_its_tail_equal_everything_at_once(
    log: list[Row], first: int, second: int, moment: int
) -> None:
    a, b = sorted((min(first, len(log)), min(second, len(log))))
    parted = appended(appended(statistics_of(log[:a]), log[a:b]), log[b:])
    whole = statistics_of(log)
    for kind in (None, *KINDS):
        assert counts(parted, moment, kind=kind) == counts(whole, moment, kind=kind)
    np.testing.assert_allclose(parted.decayed(moment, 9), whole.decayed(moment, 9), rtol=1e-6)


@given(rows, st.integers(0, 30), st.integers(0, 30), moments)
def test_every_item_at_once_has_the_counts_of_each(
    log: list[Row], first: int, second: int, moment: int
) -> None:
    a, b = sorted((first, second))
    parted = appended(statistics_of(log[:a]), log[a:b])
    before = parted.of_every_item(moment)
    grown = appended(parted, [*log[b:], (5, 45, 0)], n_items=6)
    for statistics in (parted, grown):
        found = statistics.of_every_item(moment)
        assert found.dtype == np.float32
        assert found.tolist() == counts(statistics, moment)
    assert parted.of_every_item(moment).tolist() == before.tolist()


def test_appending_does_not_change_the_older_statistics() -> None:
    older = statistics_of([(0, 1, 0)])
    older.decayed(10, 5)
    newer = appended(older, [(0, 2, 0), (5, 3, 1)], n_items=6)
    assert counts(older, 10) == [1, 0, 0, 0]
    assert counts(newer, 10) == [2, 0, 0, 0, 0, 1]
    assert older.decayed(10, 5).tolist() == pytest.approx([0.5 ** (9 / 5), 0, 0, 0])
    expected = [0.5 ** (9 / 5) + 0.5 ** (8 / 5), 0, 0, 0, 0, 6 * 0.5 ** (7 / 5)]
    assert newer.decayed(10, 5).tolist() == pytest.approx(expected)


def test_every_pair_is_read_as_of_its_own_moment() -> None:
    statistics = statistics_of([(1, 3, 0), (1, 5, 0)])
    query = np.array([1, 1, 1, 0], np.int32), np.array([3, 4, 6, 6])
    assert statistics.at(*query).tolist() == [0, 1, 2, 0]


def test_an_event_exactly_as_old_as_the_window_still_counts() -> None:
    statistics = statistics_of([(0, 10, 0)])
    assert counts(statistics, 15, window=5)[0] == 1
    assert counts(statistics, 15, window=4)[0] == 0


def test_one_half_life_halves_an_event() -> None:
    assert statistics_of([(0, 0, 1)]).decayed(7, 7)[0] == 3


DAY = 86_400_000_000
YEARS = 365 * DAY


@pytest.mark.parametrize("age", [DAY, 400 * DAY, 20 * YEARS, 200 * YEARS])
@pytest.mark.parametrize("half_life", [DAY // 24, 7 * DAY])
def test_the_order_of_decayed_weights_is_kept_at_any_age(age: int, half_life: int) -> None:
    log = [(0, 0, 0), (1, 3 * half_life, 0), (2, 0, 1), (3, 3 * half_life, 2)]
    found = statistics_of(log).decayed(3 * half_life + age, half_life)
    assert found[1] > found[2] > found[0] > found[3] == 0
    assert found[0] >= np.finfo(np.float32).tiny


def test_an_old_item_keeps_its_weight_next_to_a_live_event() -> None:
    old = statistics_of([(0, 0, 0), (1, DAY, 0)])
    found = appended(old, [(2, 20 * YEARS, 0), (0, 20 * YEARS, 2)]).decayed(20 * YEARS + 1, DAY)
    assert found[2] == pytest.approx(1)
    assert found[1] > np.finfo(np.float32).tiny
    assert found[0] > np.finfo(np.float32).tiny


@given(st.lists(st.integers(0, 4_000), min_size=2, max_size=4, unique=True))
def test_decayed_weights_always_decrease_with_age(times: list[int]) -> None:
    found = statistics_of([(i, t, 0) for i, t in enumerate(times)]).decayed(4_001, 1)
    order = sorted(range(len(times)), key=lambda i: times[i])
    assert all(found[a] < found[b] for a, b in pairwise(order))
    assert (found[: len(times)] >= np.finfo(np.float32).tiny).all()


def test_a_dislike_does_not_reduce_the_weight() -> None:
    statistics = statistics_of([(0, 1, 0), (0, 2, 2)])
    assert counts(statistics, 9)[0] == 1
    assert statistics.decayed(9, 1 << 40)[0] == pytest.approx(1)


def test_an_unknown_item_has_no_events() -> None:
    found = statistics_of([(0, 1, 0), (3, 1, 0)]).at(np.array([-1], np.int32), np.array([9]))
    assert found.tolist() == [0]


def test_an_unknown_kind_is_named_with_its_near_miss() -> None:
    with pytest.raises(SettingError, match=r"unknown kind 'veiw'; did you mean 'view'\?"):
        counts(statistics_of([(0, 1, 0)]), 9, kind="veiw")


def test_years_of_half_lives_fade_without_becoming_subnormal() -> None:
    decade, hour = 10 * 365 * 86_400 * 10**6, 3_600 * 10**6
    faded = statistics_of([(0, 0, 0), (0, decade, 0)]).decayed(decade + 2 * hour, hour)
    assert faded[0] == pytest.approx(0.25)
    found = statistics_of([(0, 0, 0)]).decayed(decade, hour).tolist()
    assert found[0] == 2**-32
    assert found[1:] == [0] * (ITEMS - 1)


@settings(max_examples=20)
@given(rows)
def test_loaded_statistics_equal_the_saved_ones(log: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with create_artifact(Path(folder) / "v1", "statistics", {}) as writer:
            statistics_of(log).save(writer)
        loaded = ItemStatistics.load(open_artifact(Path(folder) / "v1", "statistics")[0])
        assert loaded.kinds == tuple(KINDS)
        assert counts(loaded, 40, kind="buy") == counts(statistics_of(log), 40, kind="buy")
        assert (loaded.decayed(40, 3) == statistics_of(log).decayed(40, 3)).all()
        more = appended(loaded, [(0, 41, 0)])
        assert counts(more, 60)[0] == counts(loaded, 60)[0] + 1


def test_statistics_over_nothing_are_zero() -> None:
    assert counts(statistics_of([]), 100) == [0] * ITEMS
    assert not statistics_of([]).decayed(100, 5).any()
    assert math.isclose(float(appended(statistics_of([]), [(2, 1, 1)]).decayed(1 + 5, 5)[2]), 3)


def test_items_outside_the_catalogue_have_no_events() -> None:
    unknown = np.array([-1, 10_000], np.int32)
    one = np.zeros(1, np.int32)
    log = Events(
        np.array([0, 1]),
        one,
        one,
        one.astype(np.int8),
        one + np.float32(1),
        one + np.float32(1),
        one + 5,
    )
    made = ItemStatistics.of(log, 1, KINDS)
    assert made.at(one, np.array([9])).tolist() == [1]
    assert made.at(unknown, np.array([9, 9])).tolist() == [0, 0]


# --- several windows at once, compared with a loop over the log ---

windows = st.lists(st.one_of(st.integers(1, 60), st.just(int(ALL_TIME))), max_size=4)
counted_kinds = st.sampled_from([POSITIVE, EVERY, *KINDS])
asked_pairs = st.lists(st.tuples(st.integers(-1, ITEMS), moments), max_size=6)


def counts_twin(
    log: list[Row], pairs: list[tuple[int, int]], lengths: list[int], what: str
) -> list[list[float]]:
    """One row for each (item, moment), one column for each window."""
    codes = {
        POSITIVE: {code for code, weight in enumerate(WEIGHTS) if weight > 0},
        EVERY: set(range(len(WEIGHTS))),
        **{name: {code} for code, name in enumerate(KINDS)},
    }[what]
    return [
        [
            float(
                sum(
                    other == item and code in codes and moment - length <= time < moment
                    for other, time, code in log
                )
            )
            for length in lengths
        ]
        for item, moment in pairs
    ]


def grown(log: list[Row], first: int, second: int) -> ItemStatistics:
    """The log as a base and a tail that is appended in two parts."""
    a, b = sorted((min(first, len(log)), min(second, len(log))))
    return appended(appended(statistics_of(log[:a]), log[a:b]), log[b:])


def arrays(pairs: list[tuple[int, int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    items = np.array([item for item, _ in pairs], np.int32)
    return items, np.array([moment for _, moment in pairs], np.int64)


@given(rows, asked_pairs, windows, counted_kinds, st.integers(0, 30), st.integers(0, 30))
def test_counts_in_several_windows_equal_a_loop_over_the_log(
    log: list[Row],
    pairs: list[tuple[int, int]],
    lengths: list[int],
    what: str,
    first: int,
    second: int,
) -> None:
    expected = counts_twin(log, pairs, lengths, what)
    found = grown(log, first, second).counts(*arrays(pairs), lengths, what)
    assert found.shape == (len(pairs), len(lengths))
    assert found.dtype == np.float32
    assert found.tolist() == expected


@given(rows, st.lists(moments, max_size=4), windows, counted_kinds, st.integers(0, 30))
def test_totals_are_the_counts_of_all_items_together(
    log: list[Row], times: list[int], lengths: list[int], what: str, first: int
) -> None:
    statistics = grown(log, first, len(log))
    found = statistics.totals(np.array(times, np.int64), lengths, what)
    for row, moment in enumerate(times):
        pairs = [(item, moment) for item in range(ITEMS)]
        by_item = np.reshape(counts_twin(log, pairs, lengths, what), (ITEMS, len(lengths)))
        assert found[row].tolist() == by_item.sum(axis=0).tolist()


@given(rows, asked_pairs, st.integers(0, 30), st.integers(0, 30))
def test_first_and_latest_events_equal_a_loop_over_the_log(
    log: list[Row], pairs: list[tuple[int, int]], first: int, second: int
) -> None:
    earliest, latest = grown(log, first, second).first_and_last(*arrays(pairs))
    for row, (item, moment) in enumerate(pairs):
        times = [time for other, time, _ in log if other == item and time < moment]
        assert earliest[row] == min(times, default=NO_TIME)
        assert latest[row] == max(times, default=NO_TIME)


@given(rows, asked_pairs, windows, counted_kinds)
def test_stretches_can_be_counted_for_any_kind(
    log: list[Row], pairs: list[tuple[int, int]], lengths: list[int], what: str
) -> None:
    statistics = statistics_of(log)
    found = statistics.stretches(*arrays(pairs), lengths)
    for kind in (what, POSITIVE, EVERY):
        expected = statistics.counts(*arrays(pairs), lengths, kind)
        assert found.counts(kind).tolist() == expected.tolist()
        assert found.counts(kind, slice(1, 3)).tolist() == expected[:, 1:3].tolist()


def test_windows_can_be_in_any_order() -> None:
    statistics = statistics_of([(0, time, 0) for time in range(10)])
    query = np.zeros(1, np.int32), np.array([10])
    lengths = [3, 10, 1, int(ALL_TIME), 5]
    assert statistics.counts(*query, lengths).tolist() == [[3, 10, 1, 10, 5]]


def test_a_window_reaches_across_1970() -> None:
    statistics = statistics_of([(0, -5, 0), (0, 2, 0)])
    query = np.zeros(3, np.int32), np.array([-4, 3, 3])
    assert statistics.counts(*query, [1, 8]).tolist() == [[1, 1], [1, 2], [1, 2]]
    assert statistics.totals(query[1], [1, 8]).tolist() == [[1, 1], [1, 2], [1, 2]]


def test_an_unknown_kind_is_rejected_by_every_method() -> None:
    statistics = statistics_of([(0, 1, 0)])
    query = np.zeros(1, np.int32), np.array([9])
    with pytest.raises(SettingError, match="did you mean 'view'"):
        statistics.counts(*query, [5], "veiw")
    with pytest.raises(SettingError, match="did you mean 'view'"):
        statistics.totals(query[1], [5], "veiw")


# --- cached arrays ---


def everything_of(statistics: ItemStatistics) -> list[list[float]]:
    """All statistics at two moments."""
    items = np.repeat(np.arange(statistics.n_items, dtype=np.int32), 2)
    times = np.tile(np.array([20, 60]), statistics.n_items)
    first, last = statistics.first_and_last(items, times)
    return [
        first.tolist(),
        last.tolist(),
        statistics.decayed(60, 7).tolist(),
        *(
            figures.ravel().tolist()
            for what in (POSITIVE, EVERY, *KINDS)
            for figures in (
                statistics.counts(items, times, (5, int(ALL_TIME)), what),
                statistics.totals(times[:2], (5, int(ALL_TIME)), what),
            )
        ),
    ]


@given(rows, rows, rows)
def test_earlier_queries_do_not_change_later_answers(
    base: list[Row], one_tail: list[Row], other_tail: list[Row]
) -> None:
    """Two branches of one base, queried in turn, do not affect each other."""
    root = statistics_of(base)
    before = everything_of(root)
    one = appended(root, one_tail)
    one_before = everything_of(one)
    other, longer = appended(root, other_tail), appended(one, other_tail)
    assert everything_of(other) == everything_of(appended(statistics_of(base), other_tail))
    fresh = appended(appended(statistics_of(base), one_tail), other_tail)
    assert everything_of(longer) == everything_of(fresh)
    assert everything_of(one) == one_before
    assert everything_of(root) == before


def test_items_added_after_the_first_query_are_counted() -> None:
    statistics = statistics_of([(0, 1, 0), (3, 2, 1)])
    everything_of(statistics)
    more = appended(statistics, [(5, 3, 0), (0, 4, 2)], n_items=6)
    query = np.array([0, 3, 4, 5], np.int32), np.full(4, 9)
    assert more.counts(*query, [int(ALL_TIME)], EVERY).ravel().tolist() == [2, 1, 0, 1]
    assert more.totals(query[1][:1], [int(ALL_TIME)], EVERY).tolist() == [[4]]
    assert more.first_and_last(*query)[1].tolist() == [4, 2, NO_TIME, 3]


@pytest.mark.parametrize("few", [0, 1_000])
def test_inserted_events_equal_a_new_sort(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr("tastemaker.data.item_log._FEW", few)
    random = np.random.default_rng(3)
    nothing = np.empty(0, np.int32)
    log = ItemLog.of(nothing, nothing.astype(np.int64), nothing.astype(np.int8), nothing * 1.0, 5)
    every = [np.empty(0, column) for column in (np.int32, np.int64, np.int8, np.float32)]
    for part in range(6):
        m, size = int(random.integers(0, 9)), 5 + part
        more = [
            random.integers(0, size, m).astype(np.int32),
            random.integers(0, 4, m),
            random.integers(0, 3, m).astype(np.int8),
            random.random(m).astype(np.float32),
        ]
        log = log.grown(*more, size)
        every = [np.concatenate(both) for both in zip(every, more)]
        expected = ItemLog.of(*every, size)
        for name in ("offsets", "time", "kind", "weight"):
            np.testing.assert_array_equal(getattr(log, name), getattr(expected, name))


def test_a_query_after_new_events_does_not_read_all_events() -> None:
    log = [(n % ITEMS, n, n % len(KINDS)) for n in range(40)]
    earlier = appended(statistics_of(log[:10]), log[10:30])
    everything_of(earlier)
    later = appended(earlier, log[30:])
    made = set(later._tail.derived)
    assert len(made) > 3
    assert everything_of(later) == everything_of(appended(statistics_of(log[:10]), log[10:]))
    assert set(later._tail.derived) - made <= {("latest", 0)}
