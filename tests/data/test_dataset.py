import gzip
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.catalogue import NumberColumn, TagsColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import ClockError, DataError

DAY = MICROSECONDS["d"]
START = 1_600_000_000
SHOP = Schema(
    kinds={
        "view": EventKind(),
        "purchase": EventKind(weight=6),
        "hide": EventKind(role="negative", hide_item=True),
        "impression": EventKind(role="exposure"),
    },
    default_kind="view",
)
RATINGS = Schema(
    kinds={"rating": EventKind(weight=2, positive_threshold=4, negative_threshold=2)}, clock="none"
)
Event = tuple[str, str, str, int]


def shop(events: list[Event], **others: Any) -> Dataset:
    """A data set of (user, item, kind, day) events."""
    users, items, kinds, days = zip(*events)
    times = [START + 86_400 * day for day in days]
    columns = {"user_id": users, "item_id": items, "event_type": kinds, "timestamp": times}
    return Dataset.from_frames(pl.DataFrame(columns), schema=SHOP, **others)


def moment(day: int) -> int:
    return (START + 86_400 * day) * 10**6


def rows(data: Dataset) -> list[tuple[str, str, str, int]]:
    log = data.events
    names = list(data.kinds)
    days = [(int(time) // 10**6 - START) // 86_400 for time in log.time]
    users, items = data.users.ids(log.user), data.catalogue.items.ids(log.item)
    return list(zip(users, items, [names[kind] for kind in log.kind], days))


# --- indexing ---


def test_events_are_sorted_by_user_and_time_and_ties_keep_their_order() -> None:
    data = shop(
        [("b", "y", "view", 5), ("a", "z", "view", 9), ("b", "x", "view", 5), ("a", "x", "view", 1)]
    )
    assert rows(data) == [
        ("a", "x", "view", 1), ("a", "z", "view", 9), ("b", "y", "view", 5), ("b", "x", "view", 5),
    ]  # fmt: skip
    assert data.events.offsets.tolist() == [0, 2, 4]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from("xyz"),
            st.sampled_from(["view", "purchase", "hide", "impression"]),
            st.integers(0, 9),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_no_event_is_lost_or_changed_by_indexing(events: list[Event]) -> None:
    data = shop(events)
    assert rows(data) == sorted(events, key=lambda event: (event[0], event[3]))
    weights = {"view": 1.0, "purchase": 6.0, "hide": -1.0, "impression": 0.0}
    assert data.events.weight.tolist() == [weights[kind] for _, _, kind, _ in rows(data)]


def test_columns_have_the_types_promised() -> None:
    log = shop([("a", "x", "view", 1)]).events
    promised = {
        "offsets": np.int64, "user": np.int32, "item": np.int32, "kind": np.int8,
        "value": np.float32, "preference": np.float32, "weight": np.float32, "time": np.int64,
    }  # fmt: skip
    assert {name: getattr(log, name).dtype for name in promised} == promised


def test_ids_are_text_and_a_leading_zero_makes_another_id() -> None:
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": ["1", "01"]})
    schema = SHOP.model_copy(update={"clock": "none"})
    data = Dataset.from_frames(frame, schema=schema)
    assert data.users.ids(range(2)) == ["1", "2"]
    assert sorted(data.catalogue.items.ids(range(2))) == ["01", "1"]


def test_items_match_their_events_for_all_id_types() -> None:
    items = pl.DataFrame({"item_id": [10, 11], "price": [1.5, 2.5]})
    schema = SHOP.model_copy(
        update={"clock": "none", "item_roles": {"price": ColumnRole(role="number")}}
    )
    log = pl.DataFrame({"user_id": ["a", "a"], "item_id": ["11", "12"]})
    data = Dataset.from_frames(log, items=items, schema=schema)
    assert data.catalogue.items.ids(range(3)) == ["10", "11", "12"]
    price = data.catalogue.columns["price"]
    assert isinstance(price, NumberColumn)
    np.testing.assert_array_equal(price.values, [1.5, 2.5, np.nan])


def test_attributes_of_items_and_users_are_at_their_index() -> None:
    items = pl.DataFrame({"item_id": ["y", "x"], "genres": ["b|a", None], "brand": ["Q", ""]})
    users = pl.DataFrame({"user_id": ["c", "a"], "age": [40, 30]})
    schema = SHOP.model_copy(
        update={
            "clock": "none",
            "item_roles": {
                "genres": ColumnRole(role="tags", separator="|"),
                "brand": ColumnRole(role="category"),
            },
            "user_roles": {"age": ColumnRole(role="number")},
        }
    )
    log = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "z"]})
    data = Dataset.from_frames(log, items=items, users=users, schema=schema)
    genres, brand = data.catalogue.columns["genres"], data.catalogue.columns["brand"]
    assert isinstance(genres, TagsColumn)
    assert isinstance(brand, TagsColumn)
    assert [genres.labels.ids(genres.codes[i]) for i in range(3)] == [[], ["a", "b"], []]
    assert [brand.labels.ids(brand.codes[i]) for i in range(3)] == [[], ["Q"], []]
    age = data.profiles["age"]
    assert isinstance(age, NumberColumn)
    np.testing.assert_array_equal(age.values, [30, np.nan, 40])


def test_a_rating_is_liked_disliked_or_neither() -> None:
    frame = pl.DataFrame(
        {"user_id": ["a"] * 6, "item_id": list("uvwxyz"), "value": [5.0, 4.0, 3.5, 2.5, 2.0, 1.0]}
    )
    data = Dataset.from_frames(frame, schema=RATINGS)
    assert data.events.weight.tolist() == [2, 2, 0, 0, -2, -2]
    assert data.events.value.tolist() == [5, 4, 3.5, 2.5, 2, 1]
    assert data.interactions().toarray().tolist() == [[2, 2, 0, 0, 0, 0]]
    assert data.interactions(role="negative").toarray().tolist() == [[0, 0, 0, 0, 2, 2]]


def test_without_a_lower_threshold_nothing_is_disliked() -> None:
    frame = pl.DataFrame({"user_id": ["a"] * 2, "item_id": ["x", "y"], "value": [5, 1]})
    schema = Schema(kinds={"rating": EventKind(positive_threshold=4)}, clock="none")
    assert Dataset.from_frames(frame, schema=schema).events.weight.tolist() == [1, 0]


def test_one_event_is_a_data_set() -> None:
    data = shop([("a", "x", "view", 0)])
    assert repr(data) == "Dataset(1 events, 1 users, 1 items, clock absolute)"
    assert data.end == moment(0) + 1
    assert data.interactions().toarray().tolist() == [[1]]


def test_a_user_with_a_hundred_thousand_events_is_supported() -> None:
    n = 100_000
    rng = np.random.default_rng(3)
    frame = pl.DataFrame(
        {
            "user_id": ["busy"] * n + ["idle"],
            "item_id": rng.integers(0, 500, n + 1),
            "timestamp": START + rng.permutation(n + 1),
        }
    )
    data = Dataset.from_frames(frame, schema=SHOP)
    assert np.diff(data.events.offsets).tolist() == [n, 1]
    assert (np.diff(data.events.time[:n]) > 0).all()
    requests = data.requests(np.array([0]), np.array([data.end]))
    assert requests.history.counts.tolist() == [1000]
    assert requests.history.time.tolist() == data.events.time[n - 1000 : n].tolist()
    assert requests.exclude.counts.tolist() == [500]


# --- reading ---


HEADER = "user_id,item_id,event_type,timestamp\n"
LINES = [f"u{i % 9},i{i % 8},view,{START + i}\n" for i in range(300)]


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz", "events.parquet"])
def test_files_of_every_format_give_the_same_data(tmp_path: Path, name: str) -> None:
    path, text = tmp_path / name, (HEADER + "".join(LINES)).encode()
    if name.endswith("parquet"):
        pl.read_csv(text).write_parquet(path)
    else:
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    data = Dataset.from_files(path, schema=SHOP)
    expected = Dataset.from_frames(pl.read_csv(text), schema=SHOP)
    assert rows(data) == rows(expected)
    assert data.reports[0].kept == 300


def test_bad_rows_of_every_table_are_written_to_the_quarantine(tmp_path: Path) -> None:
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    events.write_text(HEADER + "".join(LINES) + "u1,i1,veiw,1600000000\n")
    items.write_text("item_id,title\n" + "".join(f"i{i},T{i}\n" for i in range(200)) + ",X\n")
    schema = SHOP.model_copy(update={"item_roles": {"title": ColumnRole(role="text")}})
    folder = tmp_path / "quarantine"
    data = Dataset.from_files(events, items=items, schema=schema, quarantine=folder)
    assert [report.reasons for report in data.reports] == [
        {"unknown event_type": 1}, {"missing item_id": 1},
    ]  # fmt: skip
    lines = [pl.read_csv(path)["line"].to_list() for path in sorted(folder.iterdir())]
    assert lines == [[302], [202]]
    assert len(data.catalogue) == 200


def test_too_many_bad_rows_are_rejected_but_saved(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(HEADER + "".join(LINES) + ",i,view,1600000000\n" * 90)
    with pytest.raises(DataError, match=r"90 of 390 rows cannot be used \(90 missing user_id\)"):
        Dataset.from_files(path, schema=SHOP, quarantine=tmp_path / "q")
    assert len(list((tmp_path / "q").iterdir())) == 1


def test_a_table_with_only_bad_rows_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(HEADER + ",,,\n")
    with pytest.raises(DataError, match="1 of 1 rows cannot be used"):
        Dataset.from_files(path, schema=SHOP)


def test_a_second_file_that_is_missing_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "events.csv.gz"
    path.write_bytes(gzip.compress((HEADER + LINES[0]).encode()))
    with pytest.raises(DataError, match=r"items\.csv: no such file"):
        Dataset.from_files(path, items=tmp_path / "items.csv", schema=SHOP)


# --- frames ---


COLUMNS: dict[str, list[Any]] = {
    "userId": [2, 1, 2],
    "movieId": ["x", "y", "z"],
    "rating": [5.0, 1.0, 3.0],
    "when": [datetime(2024, 1, day, tzinfo=UTC) for day in (3, 1, 2)],
}
NAMED = Schema(
    event_columns={
        "user_id": "userId", "item_id": "movieId", "value": "rating", "timestamp": "when",
    },
    kinds={"rating": EventKind(positive_threshold=4, negative_threshold=2)},
)  # fmt: skip


def without_zones(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(when=frame["when"].dt.tz_localize(None))


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame(COLUMNS),
        pl.LazyFrame(COLUMNS),
        pd.DataFrame(COLUMNS),
        without_zones(pd.DataFrame(COLUMNS)),
        pd.DataFrame(COLUMNS).astype({"movieId": "category", "userId": "Int64"}),
        pd.DataFrame(COLUMNS).convert_dtypes(),
        pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow"),
        pd.DataFrame(COLUMNS).astype({"movieId": object}).set_index(pd.Index([7, 7, 3])),
        pa.table(COLUMNS),
        pa.table(COLUMNS).to_reader(),
    ],
    ids=[
        "polars",
        "lazy",
        "pandas",
        "naive",
        "category",
        "nullable",
        "arrow-backed",
        "object",
        "arrow",
        "stream",
    ],
)
def test_frames_of_every_library_give_the_same_data(frame: Any) -> None:
    data = Dataset.from_frames(frame, schema=NAMED)
    assert data.users.ids(data.events.user) == ["1", "2", "2"]
    assert data.catalogue.items.ids(data.events.item) == ["y", "z", "x"]
    assert data.events.weight.tolist() == [-1, 0, 1]
    days = [datetime.fromtimestamp(time / 1e6, UTC).day for time in data.events.time]
    assert days == [1, 2, 3]


def test_pandas_needs_no_pyarrow() -> None:
    program = """
import sys
sys.modules["pyarrow"] = None
import pandas as pd
from tastemaker.data.dataset import Dataset
when = pd.to_datetime(["2024-01-02", "2024-01-01"]).tz_localize("Europe/Berlin")
frame = pd.DataFrame({"user_id": ["b", "a"], "item_id": [7, 8], "timestamp": when})
data = Dataset.from_frames(frame)
print(data.users.ids(data.events.user), data.catalogue.items.ids(data.events.item), data.end)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "['a', 'b'] ['8', '7'] 1704150000000001", done.stderr


def test_numbers_and_words_of_an_object_column_become_text() -> None:
    frame = pd.DataFrame({"user_id": [12, "abc"], "item_id": ["i", "i"], "timestamp": [START] * 2})
    assert Dataset.from_frames(frame, schema=SHOP).users.ids(range(2)) == ["12", "abc"]


def test_nan_in_a_pandas_column_is_a_missing_value() -> None:
    n = 200
    frame = pd.DataFrame(
        {
            "user_id": ["a"] * (n - 1) + [None],
            "item_id": [f"i{i}" for i in range(n)],
            "timestamp": pd.date_range("2024-01-01", periods=n, tz="Europe/Berlin"),
        }
    )
    frame.loc[3, "timestamp"] = pd.NaT
    data = Dataset.from_frames(frame, schema=SHOP)
    assert data.reports[0].quarantine.select("__line__", "reason").rows() == [
        (4, "missing timestamp"), (200, "missing user_id"),
    ]  # fmt: skip


def test_pandas_ids_made_floats_by_nan_are_read_as_integers() -> None:
    n = 200
    users = [17850, *[None], *[17850] * (n - 2)]
    frame = pd.DataFrame({"user_id": users, "item_id": ["a"] * n, "timestamp": [START] * n})
    data = Dataset.from_frames(frame, schema=SHOP)
    assert data.users.ids(range(len(data.users))) == ["17850"]
    assert data.reports[0].reasons == {"missing user_id": 1}


@pytest.mark.parametrize("thing", [[1, 2], {"user_id": [1]}, "events.csv", None])
def test_a_value_that_is_not_a_frame_is_rejected(thing: Any) -> None:
    with pytest.raises(DataError, match="expected a Polars, pandas or Arrow frame, got"):
        Dataset.from_frames(thing, schema=SHOP)


@pytest.mark.parametrize("schema", [SHOP, None])
def test_a_frame_without_rows_is_refused(schema: Schema | None) -> None:
    empty = pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64})
    with pytest.raises(DataError, match="events: no usable event is left"):
        Dataset.from_frames(empty, schema=schema)


def test_without_a_schema_the_meaning_is_proposed() -> None:
    data = Dataset.from_frames(pl.DataFrame(COLUMNS).rename({"when": "timestamp"}))
    assert list(data.kinds) == ["rating"]
    assert data.clock == "absolute"
    assert data.events.weight.tolist() == [-1, 0, 1]


def test_the_frame_given_is_not_changed() -> None:
    frame = pd.DataFrame(COLUMNS)
    Dataset.from_frames(frame, schema=NAMED)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(COLUMNS))


# --- narrowing and clocks ---


def test_before_keeps_what_was_strictly_earlier_and_every_index() -> None:
    data = shop([("a", "x", "view", 1), ("b", "y", "view", 2), ("a", "z", "view", 3)])
    past = data.before(moment(2))
    assert rows(past) == [("a", "x", "view", 1)]
    assert len(past.users) == 2
    assert len(past.catalogue) == 3
    assert len(data.events) == 3
    assert past.before(moment(3)).end == moment(1) + 1


def test_no_later_than_keeps_events_and_moves_the_later_ones() -> None:
    data = shop([("a", "x", "view", 1), ("b", "y", "view", 2), ("a", "z", "view", 3)])
    moved = data.no_later_than(moment(2))
    assert rows(moved) == [("a", "x", "view", 1), ("a", "z", "view", 2), ("b", "y", "view", 2)]
    assert moved.end == moment(2) + 1
    assert data.end == moment(3) + 1
    assert moved.no_later_than(moment(2)) is moved


@pytest.mark.parametrize("clock", ["ordinal", "none"])
def test_a_data_set_without_moments_is_reported(clock: Any) -> None:
    frame = pl.DataFrame({"user_id": ["a", "a"], "item_id": ["y", "x"]})
    data = Dataset.from_frames(frame, schema=SHOP.model_copy(update={"clock": clock}))
    with pytest.raises(ClockError, match=f"before needs moments in time, .* clock is '{clock}'"):
        data.before(5)
    with pytest.raises(ClockError, match="half_life needs moments"):
        data.interactions(half_life=DAY)
    assert data.catalogue.items.ids(data.events.item) == ["y", "x"]


def test_a_half_life_halves_what_is_older() -> None:
    data = shop([("a", "x", "view", 0), ("a", "y", "view", 10), ("b", "x", "purchase", 10)])
    faded = data.interactions(half_life=10 * DAY).toarray()
    np.testing.assert_allclose(faded, [[0.5, 1], [6, 0]], rtol=1e-6)


# --- requests ---


event = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from("wxyz"),
    st.sampled_from(["view", "purchase", "hide", "impression"]),
    st.integers(0, 6),
)
RULES: list[dict[str, str]] = [
    {}, {"view": "allow"}, {"view": "exclude for 2d", "purchase": "allow"}, {"hide": "allow"},
]  # fmt: skip


def slow_requests(
    data: Dataset, user: int, now: int, rules: dict[str, str], cap: int
) -> tuple[list[tuple[int, int]], set[int]]:
    """History as (item, time) and exclusions, computed by a loop over the whole log."""
    history, away = [], set()
    names = list(data.kinds)
    log = data.events
    for owner, item, kind, time in zip(
        *(a.tolist() for a in (log.user, log.item, log.kind, log.time))
    ):
        if owner != user or time >= now or names[kind] == "impression":
            continue
        history.append((item, time))
        rule = "exclude" if names[kind] == "hide" else rules.get(names[kind], "exclude")
        if rule == "exclude" or (rule == "exclude for 2d" and now - time < 2 * DAY):
            away.add(item)
    return history[-cap:], away


@given(
    st.lists(event, min_size=1, max_size=25),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 7)), max_size=5),
    st.sampled_from(RULES),
    st.integers(1, 4),
)
def test_requests_equal_a_loop_and_never_see_the_future(
    events: list[Event], queries: list[tuple[str, int]], rules: dict[str, str], cap: int
) -> None:
    data = shop(events)
    queries = [(user, day) for user, day in queries if data.users.index(user) >= 0]
    users = data.users.indices([user for user, _ in queries])
    moments = np.array([moment(day) for _, day in queries], np.int64)
    policy = SeenPolicy.of(data.kinds, rules)
    requests = data.requests(users, moments, seen=policy, cap=cap)
    assert requests.user_id == tuple(user for user, _ in queries)
    offsets = requests.history.offsets
    for row, (user, now) in enumerate(zip(users.tolist(), moments.tolist())):
        span = slice(offsets[row], offsets[row + 1])
        found = zip(requests.history.item[span].tolist(), requests.history.time[span].tolist())
        history, away = slow_requests(data, user, now, rules, cap)
        assert list(found) == history
        assert requests.exclude[row].tolist() == sorted(away)


def test_a_blocked_item_is_excluded_though_repeats_are_allowed() -> None:
    data = shop([("a", "x", "hide", 0), ("a", "y", "view", 0), ("a", "z", "impression", 0)])
    policy = SeenPolicy.of(data.kinds, {"view": "allow", "hide": "allow"})
    requests = data.requests(np.array([0]), np.array([moment(999)]), seen=policy)
    assert data.catalogue.items.ids(requests.exclude[0]) == ["x"]


def test_items_beyond_the_history_cap_are_still_excluded() -> None:
    data = shop([("a", item, "view", day) for day, item in enumerate("vwxyz")])
    requests = data.requests(np.array([0]), np.array([moment(9)]), cap=2)
    assert data.catalogue.items.ids(requests.history.item) == ["y", "z"]
    assert data.catalogue.items.ids(requests.exclude[0]) == list("vwxyz")


def test_a_history_carries_kind_value_and_signed_weight() -> None:
    data = shop([("a", "x", "purchase", 0), ("a", "y", "hide", 1)])
    history = data.requests(np.array([0]), np.array([moment(2)])).history
    assert history.weight.tolist() == [6, -1]
    assert [list(data.kinds)[kind] for kind in history.kind] == ["purchase", "hide"]
    assert np.isnan(history.value).all()


def test_a_seed_depends_on_user_and_moment_alone() -> None:
    data = shop([("a", "x", "view", 0), ("b", "x", "view", 0)])
    users, moments = np.array([0, 1, 0]), np.array([moment(1), moment(1), moment(2)])
    batch = data.requests(users, moments).seed
    assert len(set(batch.tolist())) == 3
    alone = [data.requests(users[[i]], moments[[i]]).seed[0] for i in range(3)]
    assert batch.tolist() == alone


def test_no_requests_are_an_empty_batch() -> None:
    data = shop([("a", "x", "view", 0)])
    nothing = data.requests(np.empty(0, np.int32), np.empty(0, np.int64))
    assert len(nothing) == len(nothing.exclude) == len(nothing.history) == 0
