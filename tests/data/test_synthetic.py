import numpy as np
import polars as pl
import pytest
from scipy import stats

from tastemaker.data.synthetic import KINDS, SyntheticWorld
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import SettingError, UnknownIdError


def world(**settings):
    return SyntheticWorld(**{"users": 200, "items": 300, "events": 8_000, "seed": 1} | settings)


def truth_of_every_event(small):
    log = small.events
    return small.probabilities(log["user_id"].to_list(), log["timestamp"].to_numpy())


def chosen_columns(small):
    return small.events["item_id"].str.slice(1).cast(pl.Int64).to_numpy()


def chi_square_agrees(observed, expected):
    """Whether counts match their expectation; small cells are merged for the test."""
    order = np.argsort(expected)
    small = order[np.cumsum(expected[order]) < 10]
    large = np.setdiff1d(order, small)
    pooled = [np.append(counts[large], counts[small].sum()) for counts in (observed, expected)]
    pooled = [counts[pooled[1] > 0] for counts in pooled]
    return stats.chisquare(pooled[0], pooled[1]).pvalue > 1e-3


def test_equal_seeds_give_equal_bytes():
    one, two = world(), world()
    assert one.events.write_csv() == two.events.write_csv()
    assert one.items.write_csv() == two.items.write_csv()


def test_another_seed_gives_other_data():
    assert not world().events.equals(world(seed=2).events)


def test_the_log_has_the_requested_size_and_is_sorted_by_time():
    small = world(repeats=True)
    assert small.events.height == 8_000
    assert small.events["timestamp"].is_sorted()
    assert small.events["timestamp"].min() >= small.start
    assert small.events["timestamp"].max() < small.end + MICROSECONDS["d"]


@pytest.mark.parametrize("repeats", [True, False])
def test_the_truth_sums_to_one_and_is_never_negative(repeats):
    truth = truth_of_every_event(world(events=2_000, repeats=repeats))
    assert truth.min() >= 0
    np.testing.assert_allclose(truth.sum(axis=1), 1, rtol=1e-9)


def test_one_users_choices_follow_the_truth():
    still = world(users=1, items=60, tastes=4, concentration=2, drift=0, new_items=0, repeats=True)
    observed = np.bincount(chosen_columns(still), minlength=60)
    assert chi_square_agrees(observed, 8_000 * still.probabilities(["u0"], still.end)[0])


@pytest.mark.parametrize("repeats", [True, False])
def test_choices_follow_the_truth_while_tastes_drift_and_items_appear(repeats):
    moving = world(users=400, concentration=1, drift=1, new_items=0.5, repeats=repeats)
    observed = np.bincount(chosen_columns(moving), minlength=300)
    assert chi_square_agrees(observed, truth_of_every_event(moving).sum(axis=0))


def test_ranks_of_chosen_items_follow_the_truth():
    """Each choice is compared with its own user's probabilities, not with sums over users."""
    moving = world(drift=1, new_items=0.5, repeats=True)
    truth = truth_of_every_event(moving)
    drawn = truth[np.arange(len(truth)), chosen_columns(moving)]
    mean, variance = (truth**2).sum(axis=1), (truth**3).sum(axis=1)
    excess = (drawn - mean).sum() / np.sqrt((variance - mean**2).sum())
    assert abs(excess) < 3.5


@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_of_kinds_follow_the_truth(kind):
    lively = world(purchases=0.4, dislikes=0.4, repeats=True)
    users, times = lively.events["user_id"].to_list(), lively.events["timestamp"].to_numpy()
    by_kind = lively.probabilities(users, times, kind=kind)
    chance = by_kind.sum(axis=1)
    observed = (lively.events["event_type"] == kind).sum()
    assert abs(observed - chance.sum()) < 4 * np.sqrt((chance * (1 - chance)).sum())


def test_the_kinds_together_are_the_whole_truth():
    small = world()
    parts = [
        small.probabilities(["u3"], small.end, kind=k) for k in ("view", "purchase", "dislike")
    ]
    np.testing.assert_allclose(sum(parts), small.probabilities(["u3"], small.end))


def test_nothing_is_chosen_before_its_publication():
    small = world(new_items=0.9)
    log = small.events.join(small.items, on="item_id")
    assert (log["timestamp"] >= log["published"]).all()
    assert (log["published"] > small.start).any()


def test_the_truth_of_an_unpublished_item_is_zero_until_its_moment():
    small = world(new_items=0.5, repeats=True)
    published = small.items["published"].to_numpy()
    newest = int(published.argmax())
    before, at = published[newest] - 1, published[newest]
    truth = small.probabilities(["u0", "u0"], np.array([before, at]))[:, newest]
    assert truth[0] == 0
    assert truth[1] > 0


def test_every_taste_has_items_at_the_start_however_many_are_new():
    barren = world(new_items=0.999)
    np.testing.assert_allclose(barren.probabilities(["u0"], barren.start).sum(), 1)


def test_without_repeats_chosen_items_have_probability_zero():
    small = world(repeats=False)
    assert not small.events.select("user_id", "item_id").is_duplicated().any()
    user, item = small.events.row(0)[:2]
    after = small.end + MICROSECONDS["d"]
    assert small.probabilities([user], after)[0, int(item[1:])] == 0


def test_a_user_who_has_chosen_everything_stops():
    tiny = world(users=2, items=5, tastes=2, events=1_000, new_items=0)
    assert tiny.events.height <= 10
    assert tiny.probabilities(["u0"], tiny.start).sum() == pytest.approx(1)


def test_popularity_follows_zipfs_law_with_the_exponent():
    steep = SyntheticWorld(
        items=500, tastes=1, events=200_000, popularity=1.2, new_items=0, repeats=True
    )
    counts = np.sort(np.bincount(chosen_columns(steep), minlength=500))[::-1]
    ranks = np.arange(1, 101)
    slope = np.polyfit(np.log(ranks), np.log(counts[:100]), 1)[0]
    assert slope == pytest.approx(-1.2, abs=0.05)


def test_exponent_zero_makes_items_equally_likely():
    flat = world(popularity=0, tastes=1, new_items=0, repeats=True)
    np.testing.assert_allclose(flat.probabilities(["u0"], flat.end), 1 / 300)


def test_drift_moves_the_truth_and_no_drift_leaves_it():
    settings = {"new_items": 0, "repeats": True}
    for drift, moves in ((0.0, False), (0.8, True)):
        some = world(drift=drift, **settings)
        first, last = (some.probabilities(["u0"], t)[0] for t in (some.start, some.end))
        assert (np.abs(first - last).sum() > 0.1) == moves


def test_drift_is_halfway_at_half_the_time():
    some = world(drift=1, new_items=0, repeats=True)
    middle = (some.start + some.end) // 2
    first, half, last = some.probabilities(["u5"] * 3, [some.start, middle, some.end])
    np.testing.assert_allclose(half, (first + last) / 2)


def test_events_come_in_sessions():
    """Gaps have two modes: a minute within a session, days between sessions."""
    bursty = world(users=50, session_events=8, days=3_000, repeats=True)
    gaps = (
        bursty.events.sort("user_id", "timestamp")
        .select(pl.col("timestamp").diff().over("user_id").alias("gap"))["gap"]
        .drop_nulls()
    )
    within = gaps.filter(gaps < MICROSECONDS["h"])
    assert len(within) / len(gaps) == pytest.approx(1 - 1 / 8, abs=0.02)
    assert within.mean() == pytest.approx(MICROSECONDS["m"], rel=0.1)
    assert gaps.filter(gaps >= MICROSECONDS["h"]).median() > MICROSECONDS["d"]


def test_small_concentration_gives_each_user_one_taste():
    narrow = world(concentration=0.01, drift=0, new_items=0, repeats=True)
    taste = np.arange(300) % 10
    truth = narrow.probabilities([f"u{i}" for i in range(200)], narrow.end)
    shares = np.stack([truth[:, taste == t].sum(axis=1) for t in range(10)], axis=1)
    assert np.median(shares.max(axis=1)) > 0.95


def test_the_best_items_are_the_most_probable_published_ones():
    small = world()
    truth = small.probabilities(["u4"], small.start)[0]
    best = small.best("u4", small.start, 5)
    assert len(best) == 5
    assert truth[int(best[0][1:])] == truth.max()
    assert len(small.best("u4", small.start, 1_000)) == (truth > 0).sum()


def test_the_dataset_holds_every_event_and_item():
    small = world()
    data = small.dataset()
    assert len(data.events) == small.events.height
    assert len(data.catalogue) == 300
    assert set(data.catalogue.columns) == {"title", "tags", "category", "published"}
    assert data.clock == "absolute"


def test_a_misspelt_setting_and_an_impossible_one_are_named():
    with pytest.raises(SettingError, match="unknown setting 'user'; did you mean 'users'"):
        SyntheticWorld(user=3)
    with pytest.raises(SettingError, match="an item per taste"):
        SyntheticWorld(items=3, tastes=4)
    with pytest.raises(SettingError, match="'purchases' and 'dislikes' must not exceed 1"):
        SyntheticWorld(purchases=0.6, dislikes=0.6)


@pytest.mark.parametrize("user", ["u200", "u-1", "u01", "x1", ""])
def test_an_unknown_user_is_refused(user):
    with pytest.raises(UnknownIdError, match="known: u0 to u199"):
        world(events=500).probabilities([user], 0)


def test_an_unknown_kind_is_refused():
    small = world(events=500)
    with pytest.raises(UnknownIdError, match="unknown kind 'click'"):
        small.probabilities(["u0"], small.end, kind="click")


def test_one_user_one_item_and_one_event_are_enough():
    least = SyntheticWorld(users=1, items=1, events=1, tastes=1, days=1)
    assert least.events.height == 1
