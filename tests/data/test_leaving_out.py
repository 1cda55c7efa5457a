"""Events that are left out before training."""

import polars as pl
import pytest

from tastemaker.data.dataset import Dataset
from tastemaker.data.describe import describe
from tastemaker.data.leaving_out import leave_out
from tastemaker.data.schema import EventKind, Exclude, Schema
from tastemaker.errors import DataError

SCHEMA = Schema(kinds={"view": EventKind()}, default_kind="view", min_item_users=None)
DAY = 86_400
ITEMS = pl.DataFrame({"item_id": ["a", "b"]})


def events(pairs: list[tuple[str, str]], seconds: int = 1) -> pl.DataFrame:
    rows = [(user, item, 1_700_000_000 + n * seconds) for n, (user, item) in enumerate(pairs)]
    return pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")


HONEST = [(f"u{n % 5}", "ab"[n % 2]) for n in range(20)]
BOT = [("bot", f"invented-{n}") for n in range(50)]


def read(
    pairs: list[tuple[str, str]], items: pl.DataFrame | None = ITEMS, **settings: object
) -> Dataset:
    schema = SCHEMA.model_copy(update=settings)
    return Dataset.from_frames(events(pairs), items=items, schema=schema)


def item_ids(data: Dataset) -> list[str]:
    return data.catalogue.items.ids(range(len(data.catalogue)))


def test_undescribed_ids_of_one_user_are_left_out() -> None:
    data = read(HONEST + BOT)
    assert item_ids(data) == ["a", "b"]
    assert len(data.events) == len(HONEST)
    assert data.left_out.lines() == describe(data)["left_out"]
    assert data.left_out.lines()[0].startswith(
        "50 items without a row in the item table and with fewer than 2 users were left out: 50 "
        "events"
    )


def test_invented_ids_cannot_disable_the_rule() -> None:
    assert item_ids(read(HONEST + BOT * 20)) == ["a", "b"]


def test_a_repeated_pair_cannot_disable_the_rule() -> None:
    repeated = [("bot", "decoy"), ("bot2", "decoy")] * 500
    assert item_ids(read(HONEST + BOT + repeated)) == ["a", "b", "decoy"]


def test_served_events_cannot_disable_the_rule() -> None:
    invented = [(bot, f"new-{n}") for n in range(50) for bot in ("bot", "bot2")]
    log = cleaned(HONEST + BOT + invented, served=len(BOT) + len(invented))
    assert leave_out(log, ITEMS, Exclude(), None, True)[1].undescribed_items == len(BOT)
    log = log.with_columns(served=pl.lit(False))
    assert leave_out(log, ITEMS, Exclude(), None, True)[1].undescribed_items == 0


@pytest.mark.parametrize("fewest", [1_000, 10])
def test_a_long_log_is_compared_by_a_sample(monkeypatch: pytest.MonkeyPatch, fewest: int) -> None:
    monkeypatch.setattr("tastemaker.data.leaving_out._COMPARED", 1_000)
    monkeypatch.setattr("tastemaker.data.leaving_out._FEWEST_COMPARED", fewest)
    some = [(f"u{n}", f"a{n % 20}") for n in range(6_000)]
    others = [(f"u{n}", f"b{n % 30}") for n in range(3_000)] * 3
    for known, rare in (("a", len(BOT)), ("b", 0)):
        items = pl.DataFrame({"item_id": [f"{known}{n}" for n in range(30)]})
        log = cleaned(some + others + BOT, served=0)
        assert leave_out(log, items, Exclude(), None, True)[1].undescribed_items == rare


def cleaned(pairs: list[tuple[str, str]], served: int) -> pl.DataFrame:
    """A log whose last events were received over HTTP."""
    rows = [(*pair, n, n >= len(pairs) - served) for n, pair in enumerate(pairs)]
    return pl.DataFrame(rows, ["user_id", "item_id", "time", "served"], orient="row")


def test_an_undescribed_item_of_two_users_stays() -> None:
    assert item_ids(read([*HONEST, ("u1", "new"), ("u2", "new")])) == ["a", "b", "new"]


def test_a_described_item_of_one_user_stays() -> None:
    data = read([*HONEST, ("u1", "rare")], pl.DataFrame({"item_id": ["a", "b", "rare"]}))
    assert "rare" in item_ids(data)
    assert data.left_out.lines() == []


def test_without_an_item_table_nothing_is_left_out() -> None:
    data = read(HONEST + BOT, items=None)
    assert len(data.events) == len(HONEST) + len(BOT)
    assert data.left_out.lines() == []


def test_a_table_that_describes_little_leaves_nothing_out() -> None:
    others = [(f"u{n % 7}", f"i{n % 4}") for n in range(56)]
    data = read([*HONEST[:3], *others, ("u1", "rare")], pl.DataFrame({"item_id": ["a"]}))
    assert "rare" in item_ids(data)


def test_min_item_users_applies_without_an_item_table() -> None:
    data = read(HONEST + BOT, items=None, min_item_users=2)
    assert item_ids(data) == ["a", "b"]
    assert len(read(HONEST + BOT, min_item_users=1).events) == len(HONEST) + len(BOT)


def test_ids_of_numbers_are_compared_with_the_table_as_text() -> None:
    log = pl.DataFrame({"user_id": [1, 2, 1, 3], "item_id": [7, 7, 8, 9]})
    log = log.with_columns(timestamp=pl.lit(1_700_000_000) + pl.int_range(4))
    items = pl.DataFrame({"item_id": ["7", "8"]})
    data = Dataset.from_frames(log, items=items, schema=SCHEMA)
    assert item_ids(data) == ["7", "8"]


def test_excluded_users_and_items_are_left_out() -> None:
    exclude = Exclude(users=("bot",), items=("b",))
    data = read(HONEST + BOT, exclude=exclude, min_item_users=1)
    assert set(data.users.ids(range(len(data.users)))) == {f"u{n}" for n in range(5)}
    assert not (data.events.item == data.catalogue.items.index("b")).any()
    assert "50 events of 1 users were left out" in data.left_out.lines()[0]
    assert "10 events with 1 items were left out" in data.left_out.lines()[1]


def test_users_with_too_many_events_on_a_day_are_left_out() -> None:
    data = read(HONEST + BOT, exclude=Exclude(max_events_per_day=10), min_item_users=1)
    assert len(data.events) == len(HONEST)
    slow = [("bot", f"i{n}") for n in range(50)]
    schema = SCHEMA.model_copy(update={"exclude": Exclude(max_events_per_day=10)})
    spread = Dataset.from_frames(events(slow, DAY // 4), schema=schema)
    assert len(spread.events) == 50


def test_where_everything_is_excluded_the_error_says_why() -> None:
    with pytest.raises(DataError, match=r"no usable event is left .*\[data.exclude\] users"):
        read(BOT, exclude=Exclude(users=("bot",)))
