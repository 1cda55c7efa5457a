"""Values of a frame are valid arguments: ids, histories and moments of every type."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tastemaker.component import FitOptions
from tastemaker.data.catalogue import TagsColumn, TimeColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.errors import DataError, SettingError, UnknownIdError
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Recommender
from tastemaker.project import Placement
from tastemaker.reranking import Rules
from tastemaker.reranking.pins import Pin
from tastemaker.retrieval import ItemKNN, Popular, Trending
from tastemaker.split.by_time import by_time

START = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = Schema(
    kinds={"view": EventKind()},
    default_kind="view",
    item_roles={
        "title": ColumnRole(role="text"),
        "tags": ColumnRole(role="tags", separator="|"),
        "price": ColumnRole(role="number"),
        "published": ColumnRole(role="time"),
    },
)
USER, ITEM = 17850, 100


def events() -> pl.DataFrame:
    """Forty users with five of twelve items each, one per day; users are an hour apart."""
    rows = [
        (USER + user, ITEM + (user + 2 * step) % 12, START + timedelta(days=step, hours=user))
        for user in range(40)
        for step in range(5)
    ]
    return pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")


@cache
def data() -> Dataset:
    ids = [ITEM + item for item in range(12)]
    items = pl.DataFrame({"item_id": ids, "title": "t", "tags": "a|b", "price": 1.0})
    items = items.with_columns(published=pl.lit(START))
    return Dataset.from_frames(events(), items=items, schema=SCHEMA)


def fitted() -> Recommender:
    sources = {"item_knn": ItemKNN(), "popular": Popular(), "trending": Trending()}
    home = Placement(retrievers={"item_knn": 10, "popular": 10})
    return Recommender(sources, {"home": home}).fit(data(), FitOptions(threads=1))


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return fitted()


IDS = [
    str(USER), USER, float(USER), np.int32(USER), np.float64(USER), np.str_(USER), Decimal(USER),
    pa.scalar(USER), pd.Series([USER, None]).iloc[0], events()["user_id"][0],
]  # fmt: skip


@pytest.mark.parametrize("user_id", IDS, ids=lambda id_: type(id_).__name__)
def test_a_user_id_may_be_of_every_type(recommender: Recommender, user_id: Any) -> None:
    answer = recommender.recommend(user_id, n=5)
    assert answer.requests.user_id == (str(USER),)
    assert answer.requests.history.item.tolist()
    assert answer.item_ids() == recommender.recommend(str(USER), n=5).item_ids()


@pytest.mark.parametrize(
    "history",
    [
        [ITEM, "104"], (100.0, 104.0), np.array([100, 104]), np.array(["100", "104"]),
        np.array([100, "104"], object), pd.Series([100, 104]), pd.Series([100.0, 104.0]),
        pd.Index(["100", "104"]), pl.Series([100, 104]), pa.array([100, 104]),
        pa.chunked_array([["100"], ["104"]]), (id_ for id_ in (100, 104)),
    ],
    ids=lambda history: type(history).__name__,
)  # fmt: skip
def test_a_history_may_be_a_list_of_every_type(recommender: Recommender, history: Any) -> None:
    answer = recommender.recommend(history=history, n=5)
    items = recommender.inventory.catalogue.items
    assert items.ids(answer.requests.history.item) == ["100", "104"]


@pytest.mark.parametrize("history", [[], (), np.array([]), pd.Series([]), pl.Series([]), None])
def test_an_empty_history_may_be_of_every_type(recommender: Recommender, history: Any) -> None:
    assert not len(recommender.recommend(history=history, n=5).requests.history.item)


NOON = datetime(2024, 1, 3, 12, tzinfo=UTC)
MOMENTS = [
    1_704_283_200_000_000, NOON, NOON.replace(tzinfo=None), "2024-01-03T12:00:00Z",
    np.datetime64("2024-01-03T12", "h"), np.datetime64("2024-01-03T12", "ns"),
    pd.Timestamp("2024-01-03T13:00", tz="Europe/Berlin"), pd.Timestamp("2024-01-03T12:00"),
    pa.scalar(NOON), pl.Series([NOON])[0],
]  # fmt: skip


@pytest.mark.parametrize("at", MOMENTS, ids=lambda at: type(at).__name__)
def test_a_moment_of_every_type_is_the_same_moment(recommender: Recommender, at: Any) -> None:
    assert recommender.recommend(USER, at=at).requests.time.tolist() == [MOMENTS[0]]
    assert recommender.trending(at=at)[0] == "trending"
    before = data().before(at)
    assert len(before.events) == len(data().before(MOMENTS[0]).events)
    assert Inventory.of(data(), at=at).watermark == before.end
    assert Requests.of([[1]], time=at).time.tolist() == [MOMENTS[0]]
    assert data().requests([0], [at]).time.tolist() == [MOMENTS[0]]


@pytest.mark.parametrize("at", [pd.NaT, float("nan"), np.datetime64("NaT"), 1.7e9, "soon", True])
def test_an_invalid_moment_is_rejected_with_its_argument(recommender: Recommender, at: Any) -> None:
    for call in (lambda: recommender.recommend(USER, at=at), lambda: recommender.trending(at=at)):
        with pytest.raises(SettingError, match=r"^'at' must be a moment"):
            call()
    with pytest.raises(SettingError, match=r"^'time' must be a moment"):
        data().before(at)


@pytest.mark.parametrize("id_", [True, 1.5, float("nan"), pd.NA, b"1", [USER], np.bool_(True)])
def test_an_invalid_id_is_rejected_with_its_argument(recommender: Recommender, id_: Any) -> None:
    with pytest.raises(SettingError, match=r"^'user_id' must be text or an integer"):
        recommender.recommend(id_)
    with pytest.raises(SettingError, match=r"^'item_id' must be text or an integer"):
        recommender.similar(id_)
    with pytest.raises(SettingError, match="'history': the id at position 1 must be text or an"):
        recommender.recommend(history=[ITEM, id_])
    with pytest.raises(SettingError, match="'ids': the id at position 0 must be text or an"):
        recommender.add_items([id_])


def test_a_text_as_history_is_rejected(recommender: Recommender) -> None:
    with pytest.raises(SettingError, match="'history' must be a list, got the text '100'"):
        recommender.recommend(history="100")


@pytest.mark.parametrize(
    "item_id", ["100", 100, 100.0, np.int8(100), np.float32(100), pa.scalar(100)]
)
def test_similar_items_of_an_id_of_every_type(recommender: Recommender, item_id: Any) -> None:
    assert (
        recommender.similar(item_id)[1].item.tolist() == recommender.similar("100")[1].item.tolist()
    )


def test_an_unknown_whole_float_is_reported_without_its_point(recommender: Recommender) -> None:
    with pytest.raises(UnknownIdError, match="no item has the id '999'"):
        recommender.similar(999.0)


FRAME = pd.DataFrame(
    {
        "sku": [900, 901],
        "title": ["x", None],
        "tags": [["a"], np.array(["b", "c"])],
        "price": [2.5, np.nan],
        "published": [pd.Timestamp("2024-01-03T12"), pd.NaT],
    }
)


@pytest.mark.parametrize(
    ("ids", "attributes"),
    [
        (FRAME["sku"], FRAME.drop(columns="sku")),
        (FRAME["sku"].to_numpy(), {name: FRAME[name] for name in FRAME if name != "sku"}),
        (
            pl.Series([900, 901]),
            {
                "title": pl.Series(["x", None]),
                "tags": pl.Series([["a"], ["b", "c"]]),
                "price": pl.Series([2.5, None]),
                "published": pl.Series([NOON, None]),
            },
        ),
        (
            pa.array([900.0, 901.0]),
            {
                "title": pa.array(["x", None]),
                "tags": pa.array([["a"], ["b", "c"]]),
                "price": pa.array([2.5, None]),
                "published": pa.array([NOON, None]),
            },
        ),
        (
            [np.int64(900), "901"],
            {
                "title": [np.str_("x"), pd.NA],
                "tags": [("a",), {"c", "b"}],
                "price": [Decimal("2.5"), float("nan")],
                "published": ["2024-01-03T12:00:00Z", None],
            },
        ),
    ],
    ids=["pandas", "NumPy and series", "polars", "arrow", "lists"],
)
def test_new_items_may_come_from_every_frame(ids: Any, attributes: Any) -> None:
    recommender = fitted()
    recommender.add_items(ids, attributes)
    catalogue = recommender.inventory.catalogue
    new = catalogue.items.indices(ids)
    assert catalogue.items.ids(new) == ["900", "901"]
    assert [catalogue.title(index) for index in new] == ["x", None]
    tags, published = catalogue.columns["tags"], catalogue.columns["published"]
    assert isinstance(tags, TagsColumn)
    assert sorted(tags.labels.ids(tags.codes[int(new[1])])) == ["b", "c"]
    assert isinstance(published, TimeColumn)
    assert published.values[new[0]] == MOMENTS[0]
    assert recommender.recommend(history=ids).requests.history.item.tolist() == new.tolist()


def test_attributes_that_are_not_a_mapping_are_rejected(recommender: Recommender) -> None:
    with pytest.raises(SettingError, match="'attributes' must map each column to its values, got"):
        recommender.add_items([900], [["x"]])  # type: ignore[arg-type]


def test_users_and_moments_of_requests_may_be_series() -> None:
    known = data().users.indices(pd.Series([float(USER), 17860.0]))
    requests = data().requests(pl.Series(known), pd.Series([NOON, START]))
    assert requests.user_id == ("17850", "17860")
    assert requests.history.counts.tolist() == [3, 0]


@pytest.mark.parametrize(
    ("users", "moments", "message"),
    [
        ([-1], [NOON], "'users' must be indices from 0 to 39, got -1 to -1; an unknown id"),
        (["17850"], [NOON], "'users' must be a list of indices"),
        ([0, 1], [NOON], "'moments' must hold one moment for each user, got 1 for 2 users"),
        ([0], NOON, "'moments' must be a list, got datetime"),
        ([0], [None], "'moments' must be a moment"),
    ],
)
def test_invalid_requests_are_rejected(users: Any, moments: Any, message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}"):
        data().requests(users, moments)


def test_the_ids_of_requests_may_be_a_series() -> None:
    requests = Requests.of([[1], [2], [3]], user_id=pd.Series([1, "b", None], dtype=object))
    assert requests.user_id == ("1", "b", None)


@pytest.mark.parametrize(
    "test",
    [
        timedelta(days=1), np.timedelta64(24, "h"), pd.Timedelta(days=1),
    ],
)  # fmt: skip
def test_a_window_may_be_a_timedelta(test: Any) -> None:
    split = by_time(data(), test=test, gap=timedelta(hours=1), horizon=pd.Timedelta(hours=12))
    same = by_time(data(), test="1d", gap="1h", horizon="12h")
    assert split.protocol | {"gap": "1h"} == same.protocol | {"gap": "1h"}
    assert split.test.requests.time.tolist() == same.test.requests.time.tolist()


@pytest.mark.parametrize(
    "test",
    [
        "2024-01-05", date(2024, 1, 5), datetime(2024, 1, 5, tzinfo=UTC),
        np.datetime64("2024-01-05"),
        pd.Timestamp("2024-01-05"), pa.scalar(date(2024, 1, 5)),
    ],
)  # fmt: skip
def test_a_window_may_start_at_a_moment(test: Any) -> None:
    split = by_time(data(), test=test)
    assert split.protocol["test_from"] == "2024-01-05T00:00:00Z"
    assert split.protocol["validation_until"] == "2024-01-05T00:00:00Z"
    assert split.before_test.end <= datetime(2024, 1, 5, tzinfo=UTC).timestamp() * 1e6
    earlier = by_time(data(), test=test, validation="2024-01-04")
    assert earlier.protocol["validation_from"] == "2024-01-04T00:00:00Z"


def test_a_window_that_starts_after_the_last_event_is_rejected() -> None:
    with pytest.raises(DataError, match="the test window starts at 2030-01-01T00:00:00Z"):
        by_time(data(), test="2030-01-01")


@pytest.mark.parametrize(
    "blocked",
    [[100, 101.0], np.array([100, 101]), pd.Series([100.0, 101.0]), pa.array(["100", "101"])],
)
def test_rules_accept_ids_of_every_type(blocked: Any) -> None:
    rules = Rules(blocked=blocked, pinned=[Pin(item_id=np.int64(102), position=1)])  # type: ignore[arg-type]
    assert rules.config.blocked == ("100", "101")
    assert rules.config.pinned[0].item_id == "102"


@pytest.mark.parametrize("blocked", [[True], [None], [1.5]])
def test_rules_reject_invalid_ids(blocked: Any) -> None:
    with pytest.raises(SettingError, match=r"'blocked.0' must be text or an integer, got"):
        Rules(blocked=blocked)
