from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

import tastemaker as tm
from tastemaker.component import Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import EventKind, Schema
from tastemaker.errors import DataError, SettingError
from tastemaker.evaluation import evaluate
from tastemaker.split import Split, given, holdout, new_items, new_users
from tastemaker.split.pairs import core

KINDS = {
    "view": EventKind(),
    "dislike": EventKind(role="negative"),
    "shown": EventKind(role="exposure"),
}
SCHEMA = Schema(kinds=KINDS, default_kind="view", clock="none")

Pair = tuple[str, str]
Row = tuple[str, str, str]

rows = st.lists(
    st.tuples(
        st.sampled_from("abcdef"), st.sampled_from("stuvwxyz"), st.sampled_from(["view", *KINDS])
    ),
    min_size=1,
    max_size=60,
)


def frame(log: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(
        log, dict.fromkeys(("user_id", "item_id", "event_type"), pl.String), orient="row"
    )


def dataset(log: list[Row]) -> Dataset:
    return Dataset.from_frames(frame(log), schema=SCHEMA)


def views(*pairs: str) -> list[Row]:
    return [(pair[0], pair[1], "view") for pair in pairs]


def pairs_of(data: Dataset, liked: bool = True) -> set[Pair]:
    log, keep = data.events, data.events.weight > 0 if liked else slice(None)
    users, items = data.users.ids(log.user[keep]), data.catalogue.items.ids(log.item[keep])
    return set(zip(users, items))


def relevant(task: Task) -> set[Pair]:
    ids = task.inventory.catalogue.items
    users = task.requests.user_id
    return {(str(users[r]), i) for r in range(len(task)) for i in ids.ids(task.truth[r])}


def history_pairs(task: Task) -> set[Pair]:
    ids, past = task.inventory.catalogue.items, task.requests.history
    row = np.repeat(np.arange(len(task)), past.counts)
    return {(str(task.requests.user_id[r]), i) for r, i in zip(row, ids.ids(past.item))}


def excluded(task: Task) -> set[Pair]:
    ids = task.inventory.catalogue.items
    users = task.requests.user_id
    return {(str(users[r]), i) for r in range(len(task)) for i in ids.ids(task.requests.exclude[r])}


def assert_sound(split: Split) -> None:
    for task, known in ((split.validation, split.train), (split.test, split.before_test)):
        assert not relevant(task) & excluded(task)
        assert not relevant(task) & pairs_of(known, liked=False)
        assert task.truth.counts.min() > 0
        assert task.requests.history.counts.min() > 0
        assert len(task.gain) == len(task.truth.values)
        assert len(set(task.user.tolist())) == len(task)
        assert task.requests.user_id == tuple(known.users.ids(task.user))
    assert pairs_of(split.train) <= pairs_of(split.before_test)


@drawn(
    rows, st.sampled_from([0.1, 0.3, 0.5]), st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)
)
@settings(max_examples=60)
def test_a_holdout_splits_the_core_and_every_request_has_a_history(
    log: list[Row], share: float, min_user: int, min_item: int, seed: int
) -> None:
    data = dataset(log)
    try:
        split = holdout(
            data, test=share, validation=0.4, min_user=min_user, min_item=min_item, seed=seed
        )
    except DataError:
        return
    assert_sound(split)
    tested, tuned, trained = relevant(split.test), relevant(split.validation), pairs_of(split.train)
    assert not tested & tuned
    assert tested | tuned | trained == pairs_of(core(data, min_user, min_item))
    assert pairs_of(split.before_test) == trained | tuned
    for user in {user for user, _ in tested | tuned | trained}:
        n = sum(u == user for u, _ in tested | tuned | trained)
        assert sum(u == user for u, _ in tested) == min(int(share * n + 0.5), n - 1)


@drawn(rows, st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_the_order_of_the_log_and_repeats_do_not_matter(log: list[Row], random: Any) -> None:
    shuffled = [*log, *log[:5]]
    random.shuffle(shuffled)
    try:
        once, again = (holdout(dataset(rows), test=0.4) for rows in (log, shuffled))
    except DataError:
        return
    assert relevant(once.test) == relevant(again.test)
    assert relevant(once.validation) == relevant(again.validation)


@drawn(rows, st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=60)
def test_the_core_equals_repeated_removal(log: list[Row], min_user: int, min_item: int) -> None:
    left = {(u, i) for u, i, kind in log if kind == "view"}
    while True:
        kept = {
            (u, i)
            for u, i in left
            if sum(u == v for v, _ in left) >= min_user and sum(i == j for _, j in left) >= min_item
        }
        if kept == left:
            break
        left = kept
    if not left:
        with pytest.raises(
            DataError, match="min_user" if min_user or min_item else "no user likes"
        ):
            core(dataset(log), min_user, min_item)
        return
    found = core(dataset(log), min_user, min_item)
    assert pairs_of(found) == left
    if min_user and min_item:
        assert {u for u, _ in pairs_of(found, liked=False)} <= {u for u, _ in left}


def test_the_seed_decides_which_pairs_are_held_out() -> None:
    log = dataset([(u, i, "view") for u in "abcdef" for i in "stuvwxyz"])
    first, same, other = (relevant(holdout(log, seed=seed).test) for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_items_outside_the_core_are_not_listed() -> None:
    log = dataset([*((u, i, "view") for u in "abcd" for i in "stuv"), ("a", "z", "view")])
    split = holdout(log, test=0.25, min_item=2)
    lists = tm.Popular().fit(log).retrieve(split.test.requests, 5, split.test.inventory)
    assert "z" not in log.catalogue.items.ids(lists.item)
    assert len(lists.item)


def test_a_holdout_needs_no_cap_on_histories() -> None:
    many = [("a", f"i{n}", "view") for n in range(1_500)] + [("b", "i1", "view")]
    split = holdout(dataset(many), test=0.1, validation=0.1)
    assert split.test.requests.history.counts.tolist() == [1_350]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": 0.0}, "'test' must be a share between 0 and 1, got 0.0"),
        ({"validation": 1.5}, "'validation' must be a share"),
        ({"test": 0.6}, "'test' \\+ 'validation' must be below 1, got 1.2"),
        ({"min_user": -1}, "'min_user' must be at least 0"),
        ({"seed": -1}, "'seed' must be at least 0, got -1"),
        ({"seed": 0.5}, "'seed' must be an integer, got 0.5"),
        ({"seed": None}, "'seed' must be an integer, got None"),
        ({"min_item": 1.5}, "'min_item' must be an integer, got 1.5"),
    ],
)
@pytest.mark.parametrize("split", [holdout, new_users, new_items])
def test_invalid_settings_are_rejected(split: Any, settings: dict[str, Any], message: str) -> None:
    log = dataset([(u, i, "view") for u in "abcdef" for i in "stuvwxyz"])
    with pytest.raises(SettingError, match=message):
        split(log, **settings)


def test_too_few_pairs_are_reported_with_a_fix() -> None:
    fix = "add events, or hold out a larger share"
    with pytest.raises(DataError, match=f"^no user with a history likes a new item in .*{fix}$"):
        holdout(dataset(views("as", "bt")))
    with pytest.raises(DataError, match=r"are too few .*; choose other shares, or add events$"):
        new_users(dataset(views("as", "bt")))


@pytest.mark.parametrize("split", [holdout, new_users, new_items])
def test_data_without_likes_is_rejected_with_a_fix(split: Any) -> None:
    log = dataset(views("as", "bt"))
    with pytest.raises(DataError, match="no user likes an item; pass data with positive events"):
        split(log.where(np.zeros(len(log.events), np.bool_)))


def test_a_seed_of_a_given_split_must_be_a_whole_number() -> None:
    log = dataset([(u, i, "view") for u in "abcdef" for i in "stuvwxyz"])
    for seed, message in ((-1, "at least 0, got -1"), (0.5, "an integer, got 0.5")):
        with pytest.raises(SettingError, match=f"'seed' must be {message}"):
            given(log, log, seed=seed)


TRAIN = views("ax", "ay", "az", "bx", "bw")
TEST = views("aw", "ax", "by", "cx", "bq")


def test_a_given_split_is_used_unchanged() -> None:
    split = given(frame(TRAIN), frame(TEST), validation=frame(views("ay", "bv")), schema=SCHEMA)
    assert_sound(split)
    assert pairs_of(split.train) == {("a", "x"), ("a", "z"), ("b", "x"), ("b", "w")}
    assert pairs_of(split.before_test) == pairs_of(split.train) | {("a", "y"), ("b", "v")}
    assert history_pairs(split.test) == pairs_of(split.before_test)
    assert history_pairs(split.validation) == pairs_of(split.train)
    assert relevant(split.validation) == {("a", "y"), ("b", "v")}
    assert relevant(split.test) == {("a", "w"), ("b", "y"), ("b", "q")}
    assert split.test.notes == {
        "users": 2,
        "requests": 2,
        "requests_without_truth_left_out": 0,
        "users_without_history_left_out": 1,
        "relevant": 3,
        "relevant_but_seen": 1,
        "relevant_new_items": 1,
        "requests_of_new_users": 0,
    }
    assert len(split.test.inventory.catalogue) == 6
    assert split.train.catalogue is split.before_test.catalogue


def test_a_given_split_is_the_same_from_frames_and_from_data_sets() -> None:
    settings = {"validation": 0.4, "schema": SCHEMA}
    frames = given(frame(TRAIN), frame(TEST), **settings)
    sets = given(dataset(TRAIN), dataset(TEST), **settings)
    for one, other in ((frames.test, sets.test), (frames.validation, sets.validation)):
        assert (relevant(one), history_pairs(one)) == (relevant(other), history_pairs(other))


@pytest.mark.parametrize("share", [0.4, np.float32(0.4)])
def test_a_validation_share_draws_pairs_from_train(share: float) -> None:
    split = given(frame(TRAIN), frame(TEST), validation=share, schema=SCHEMA)
    assert_sound(split)
    assert pairs_of(split.before_test) == {(u, i) for u, i, _ in TRAIN}
    assert relevant(split.validation) == pairs_of(split.before_test) - pairs_of(split.train)
    assert len(relevant(split.validation)) == 2


@pytest.mark.parametrize("share", [0, 1, 1.5, float("nan")])
def test_an_invalid_validation_share_is_rejected(share: float) -> None:
    with pytest.raises(SettingError, match="'validation' must be a share between 0 and 1"):
        given(frame(TRAIN), frame(TEST), validation=share, schema=SCHEMA)


REPLACING = Schema(
    kinds=KINDS | {"unview": EventKind(role="neutral", replaces=("view",))}, clock="none"
)


def test_a_replaced_pair_is_not_held_out() -> None:
    kept = views("av", "aw", "ax", "ay")
    log = [*views("at", "au"), *kept, ("a", "t", "unview"), ("a", "u", "unview")]
    data = Dataset.from_frames(frame(log), schema=REPLACING)
    split = holdout(data, test=0.5, validation=0.25)
    assert len(relevant(split.test)) == 2
    assert relevant(split.test) | pairs_of(split.before_test) == {pair[:2] for pair in kept}


def test_a_given_split_uses_the_state_at_the_end_of_each_table() -> None:
    train = frame([*views("ax", "ay", "bx"), ("a", "y", "unview")])
    validation = frame([*views("az", "bz"), ("b", "z", "unview")])
    test = frame([*views("aw", "av"), ("a", "v", "unview")])
    split = given(train, test, validation=validation, schema=REPLACING)
    assert pairs_of(split.before_test) == {("a", "x"), ("a", "z"), ("b", "x")}
    assert relevant(split.validation) == {("a", "z")}
    assert relevant(split.test) == {("a", "w")}


def test_plain_pairs_need_no_schema() -> None:
    train, test = frame(TRAIN).drop("event_type"), frame(TEST).drop("event_type")
    split = given(train, test, validation=0.4)
    assert relevant(split.test) == {("a", "w"), ("b", "y"), ("b", "q")}
    assert split.train.clock == "none"


def test_tables_with_other_event_types_are_rejected() -> None:
    ratings = Dataset.from_frames(pl.DataFrame({"user": ["a"], "item": ["x"], "rating": [4.0]}))
    with pytest.raises(DataError, match="test has the event types rating and clock 'none'"):
        given(dataset(TRAIN), ratings)


def test_tables_with_event_types_in_another_order_are_rejected() -> None:
    turned = SCHEMA.model_copy(update={"kinds": dict(reversed(SCHEMA.kinds.items()))})
    with pytest.raises(DataError, match="pass one 'schema' for all"):
        given(dataset(TRAIN), Dataset.from_frames(frame(TEST), schema=turned))


def test_new_users_are_not_fitted_and_keep_their_other_pairs() -> None:
    log = dataset([(u, i, "view") for u in "abcdefghij" for i in "stuvw"])
    split = new_users(log, test=0.2, validation=0.1, relevant=0.4)
    tested = {user for user, _ in relevant(split.test)}
    tuned = {user for user, _ in relevant(split.validation)}
    assert (len(tested), len(tuned)) == (2, 1)
    assert not (tested | tuned) & {user for user, _ in pairs_of(split.train)}
    assert len(pairs_of(split.before_test)) == 7 * 5
    assert not split.test.known_user.any()
    assert split.test.truth.counts.tolist() == [2, 2]
    assert history_pairs(split.test) | relevant(split.test) == {
        (u, i) for u in tested for i in "stuvw"
    }
    assert not history_pairs(split.test) & relevant(split.test)


def test_new_items_have_no_event_before() -> None:
    log = dataset([(u, i, "view") for u in "abcdef" for i in "pqrstuvwyz"])
    split = new_items(log, test=0.2, validation=0.1)
    assert_sound(split)
    items = {item for _, item in relevant(split.test)}
    assert len(items) == 2
    assert not items & {item for _, item in pairs_of(split.before_test)}
    assert not {i for _, i in relevant(split.validation)} & {i for _, i in pairs_of(split.train)}
    assert split.test.notes["relevant_new_items"] == split.test.notes["relevant"]


@pytest.mark.parametrize(("split", "too_few"), [(new_users, "2 are"), (new_items, "1 are")])
def test_too_few_users_or_items_to_hold_out_are_reported(split: Any, too_few: str) -> None:
    with pytest.raises(DataError, match=too_few):
        split(dataset(views("as", "bs")))


def test_an_evaluated_holdout_reports_that_it_leaks() -> None:
    blocks = [(f"u{n}", f"i{m}", "view") for n in range(40) for m in range(20) if n % 2 == m % 2]
    split = holdout(dataset(blocks), test=0.2, validation=0.1)
    found = evaluate([tm.ItemKNN()], split, k=3)
    assert found.systems["item_knn"]["recall@3"].value == 1.0
    assert found.systems["popular"]["recall@3"].value < 0.9
    assert "fitted on later events" in str(found)
    assert found.protocol["split"] == "holdout"
    assert found.protocol["fitted_events"] == 320
