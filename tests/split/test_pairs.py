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


def wanted(task: Task) -> set[Pair]:
    ids = task.inventory.catalogue.items
    asked = task.requests.user_id
    return {(str(asked[r]), i) for r in range(len(task)) for i in ids.ids(task.truth[r])}


def heard(task: Task) -> set[Pair]:
    ids, past = task.inventory.catalogue.items, task.requests.history
    row = np.repeat(np.arange(len(task)), past.counts)
    return {(str(task.requests.user_id[r]), i) for r, i in zip(row, ids.ids(past.item))}


def excluded(task: Task) -> set[Pair]:
    ids = task.inventory.catalogue.items
    asked = task.requests.user_id
    return {(str(asked[r]), i) for r in range(len(task)) for i in ids.ids(task.requests.exclude[r])}


def assert_sound(split: Split) -> None:
    for task, known in ((split.validation, split.train), (split.test, split.before_test)):
        assert not wanted(task) & excluded(task)
        assert not wanted(task) & pairs_of(known, liked=False)
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
def test_a_holdout_parts_the_pairs_of_the_core_and_everyone_asked_has_a_history(
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
    tested, tuned, learned = wanted(split.test), wanted(split.validation), pairs_of(split.train)
    assert not tested & tuned
    assert tested | tuned | learned == pairs_of(core(data, min_user, min_item))
    assert pairs_of(split.before_test) == learned | tuned
    for user in {user for user, _ in tested | tuned | learned}:
        n = sum(u == user for u, _ in tested | tuned | learned)
        assert sum(u == user for u, _ in tested) == min(int(share * n + 0.5), n - 1)


@drawn(rows, st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_neither_the_order_of_the_log_nor_repeats_change_what_is_held_out(
    log: list[Row], random: Any
) -> None:
    shuffled = [*log, *log[:5]]
    random.shuffle(shuffled)
    try:
        once, again = (holdout(dataset(rows), test=0.4) for rows in (log, shuffled))
    except DataError:
        return
    assert wanted(once.test) == wanted(again.test)
    assert wanted(once.validation) == wanted(again.validation)


@drawn(rows, st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=60)
def test_the_core_is_what_is_left_when_nothing_more_has_to_go(
    log: list[Row], min_user: int, min_item: int
) -> None:
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


def test_another_seed_holds_out_others_and_the_same_one_the_same() -> None:
    log = dataset([(u, i, "view") for u in "abcdef" for i in "stuvwxyz"])
    first, same, other = (wanted(holdout(log, seed=seed).test) for seed in (1, 1, 2))
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
def test_what_cannot_be_held_out_is_refused(
    split: Any, settings: dict[str, Any], message: str
) -> None:
    log = dataset([(u, i, "view") for u in "abcdef" for i in "stuvwxyz"])
    with pytest.raises(SettingError, match=message):
        split(log, **settings)


def test_nothing_to_hold_out_is_reported_with_a_fix() -> None:
    fix = "add events, or hold out a larger share"
    with pytest.raises(DataError, match=f"^no user with a history likes a new item in .*{fix}$"):
        holdout(dataset(views("as", "bt")))
    with pytest.raises(DataError, match=r"are too few .*; choose other shares, or add events$"):
        new_users(dataset(views("as", "bt")))


@pytest.mark.parametrize("split", [holdout, new_users, new_items])
def test_data_without_a_liked_item_is_reported_with_a_fix(split: Any) -> None:
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


def test_a_given_split_is_taken_as_it_is() -> None:
    split = given(frame(TRAIN), frame(TEST), validation=frame(views("ay", "bv")), schema=SCHEMA)
    assert_sound(split)
    assert pairs_of(split.train) == {("a", "x"), ("a", "z"), ("b", "x"), ("b", "w")}
    assert pairs_of(split.before_test) == pairs_of(split.train) | {("a", "y"), ("b", "v")}
    assert heard(split.test) == pairs_of(split.before_test)
    assert heard(split.validation) == pairs_of(split.train)
    assert wanted(split.validation) == {("a", "y"), ("b", "v")}
    assert wanted(split.test) == {("a", "w"), ("b", "y"), ("b", "q")}
    assert split.test.notes == {
        "users": 2,
        "requests": 2,
        "requests_without_truth_left_out": 0,
        "users_without_history_left_out": 1,
        "wanted": 3,
        "wanted_but_seen_left_out": 1,
        "wanted_new_items": 1,
        "requests_of_new_users": 0,
    }
    assert len(split.test.inventory.catalogue) == 6
    assert split.train.catalogue is split.before_test.catalogue


def test_a_given_split_is_the_same_from_frames_and_from_data_sets() -> None:
    told = {"validation": 0.4, "schema": SCHEMA}
    frames = given(frame(TRAIN), frame(TEST), **told)
    sets = given(dataset(TRAIN), dataset(TEST), **told)
    for one, other in ((frames.test, sets.test), (frames.validation, sets.validation)):
        assert (wanted(one), heard(one)) == (wanted(other), heard(other))


@pytest.mark.parametrize("share", [0.4, np.float32(0.4)])
def test_validation_pairs_are_drawn_from_train_where_a_share_is_given(share: float) -> None:
    split = given(frame(TRAIN), frame(TEST), validation=share, schema=SCHEMA)
    assert_sound(split)
    assert pairs_of(split.before_test) == {(u, i) for u, i, _ in TRAIN}
    assert wanted(split.validation) == pairs_of(split.before_test) - pairs_of(split.train)
    assert len(wanted(split.validation)) == 2


@pytest.mark.parametrize("share", [0, 1, 1.5, float("nan")])
def test_a_share_to_tune_on_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(SettingError, match="'validation' must be a share between 0 and 1"):
        given(frame(TRAIN), frame(TEST), validation=share, schema=SCHEMA)


REPLACING = Schema(
    kinds=KINDS | {"unview": EventKind(role="neutral", replaces=("view",))}, clock="none"
)


def test_a_pair_that_was_taken_back_is_not_held_out() -> None:
    kept = views("av", "aw", "ax", "ay")
    log = [*views("at", "au"), *kept, ("a", "t", "unview"), ("a", "u", "unview")]
    data = Dataset.from_frames(frame(log), schema=REPLACING)
    split = holdout(data, test=0.5, validation=0.25)
    assert len(wanted(split.test)) == 2
    assert wanted(split.test) | pairs_of(split.before_test) == {pair[:2] for pair in kept}


def test_a_given_split_holds_the_state_at_the_end_of_each_table() -> None:
    train = frame([*views("ax", "ay", "bx"), ("a", "y", "unview")])
    validation = frame([*views("az", "bz"), ("b", "z", "unview")])
    test = frame([*views("aw", "av"), ("a", "v", "unview")])
    split = given(train, test, validation=validation, schema=REPLACING)
    assert pairs_of(split.before_test) == {("a", "x"), ("a", "z"), ("b", "x")}
    assert wanted(split.validation) == {("a", "z")}
    assert wanted(split.test) == {("a", "w")}


def test_plain_pairs_need_no_schema() -> None:
    train, test = frame(TRAIN).drop("event_type"), frame(TEST).drop("event_type")
    split = given(train, test, validation=0.4)
    assert wanted(split.test) == {("a", "w"), ("b", "y"), ("b", "q")}
    assert split.train.clock == "none"


def test_tables_of_other_kinds_are_refused() -> None:
    ratings = Dataset.from_frames(pl.DataFrame({"user": ["a"], "item": ["x"], "rating": [4.0]}))
    with pytest.raises(DataError, match="test has the kinds of event rating and clock 'none'"):
        given(dataset(TRAIN), ratings)


def test_tables_whose_kinds_stand_in_another_order_are_refused() -> None:
    turned = SCHEMA.model_copy(update={"kinds": dict(reversed(SCHEMA.kinds.items()))})
    with pytest.raises(DataError, match="pass one 'schema' for all"):
        given(dataset(TRAIN), Dataset.from_frames(frame(TEST), schema=turned))


def test_new_users_are_not_fitted_on_and_come_with_the_rest_of_their_pairs() -> None:
    log = dataset([(u, i, "view") for u in "abcdefghij" for i in "stuvw"])
    split = new_users(log, test=0.2, validation=0.1, wanted=0.4)
    asked = {user for user, _ in wanted(split.test)}
    tuned = {user for user, _ in wanted(split.validation)}
    assert (len(asked), len(tuned)) == (2, 1)
    assert not (asked | tuned) & {user for user, _ in pairs_of(split.train)}
    assert len(pairs_of(split.before_test)) == 7 * 5
    assert not split.test.known_user.any()
    assert split.test.truth.counts.tolist() == [2, 2]
    assert heard(split.test) | wanted(split.test) == {(u, i) for u in asked for i in "stuvw"}
    assert not heard(split.test) & wanted(split.test)


def test_new_items_have_no_event_before() -> None:
    log = dataset([(u, i, "view") for u in "abcdef" for i in "pqrstuvwyz"])
    split = new_items(log, test=0.2, validation=0.1)
    assert_sound(split)
    items = {item for _, item in wanted(split.test)}
    assert len(items) == 2
    assert not items & {item for _, item in pairs_of(split.before_test)}
    assert not {i for _, i in wanted(split.validation)} & {i for _, i in pairs_of(split.train)}
    assert split.test.notes["wanted_new_items"] == split.test.notes["wanted"]


@pytest.mark.parametrize(("split", "too_few"), [(new_users, "2 are"), (new_items, "1 are")])
def test_too_few_to_hold_any_out_whole_is_told(split: Any, too_few: str) -> None:
    with pytest.raises(DataError, match=too_few):
        split(dataset(views("as", "bs")))


def test_a_holdout_is_evaluated_and_says_that_it_leaks() -> None:
    blocks = [(f"u{n}", f"i{m}", "view") for n in range(40) for m in range(20) if n % 2 == m % 2]
    split = holdout(dataset(blocks), test=0.2, validation=0.1)
    found = evaluate([tm.ItemKNN()], split, k=3)
    assert found.systems["item_knn"]["recall@3"].value == 1.0
    assert found.systems["popular"]["recall@3"].value < 0.9
    assert "fitted on what came later" in str(found)
    assert found.protocol["split"] == "holdout"
    assert found.protocol["fitted_events"] == 320
