from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from tastemaker.data.propose import propose_schema
from tastemaker.data.propose_kinds import MAX_KINDS
from tastemaker.data.schema import EventKind
from tastemaker.errors import DataError


def proposed(columns: dict[str, Any], **others: Any) -> Any:
    return propose_schema(pl.DataFrame(columns), **others)


@pytest.mark.parametrize(
    ("user", "item", "time"),
    [
        ("userId", "movieId", "timestamp"),
        ("user_id", "item_id", "ts"),
        ("visitorid", "itemid", "event_time"),
        ("CustomerID", "SKU", "created_at"),
        ("reviewerID", "asin", "unixReviewTime"),
    ],
)
def test_common_names_are_recognized(user: str, item: str, time: str) -> None:
    schema = proposed({time: [1_700_000_000], item: [1], user: [2]})
    assert schema.event_columns == {
        ours: theirs
        for ours, theirs in (("user_id", user), ("item_id", item), ("timestamp", time))
        if ours != theirs
    }
    assert schema.clock == "absolute"


def test_without_times_there_is_no_clock() -> None:
    assert proposed({"user_id": [1], "item_id": [2]}).clock == "none"


def test_a_rating_is_liked_high_and_disliked_low() -> None:
    schema = proposed({"user": [1] * 5, "item": [1] * 5, "rating": [1.0, 2.0, 3.0, 4.0, 5.0]})
    rating = schema.kinds["rating"]
    assert (rating.positive_threshold, rating.negative_threshold) == (4.0, 2.0)
    assert schema.default_kind == "rating"
    assert schema.event_columns["value"] == "rating"


def test_half_stars_and_hundred_points_have_their_own_thresholds() -> None:
    half_stars = [i / 2 for i in range(1, 11)]
    rating = proposed({"user": [1] * 10, "item": [1] * 10, "stars": half_stars}).kinds["rating"]
    assert (rating.positive_threshold, rating.negative_threshold) == (4.0, 2.0)
    points = list(range(101))
    rating = proposed({"user": [1] * 101, "item": [1] * 101, "score": points}).kinds["rating"]
    assert (rating.positive_threshold, rating.negative_threshold) == (70.0, 35.0)


def test_a_count_is_an_amount_not_a_rating() -> None:
    schema = proposed({"user": [1, 1], "item": [1, 2], "weight": [1, 30]})
    assert schema.kinds == {"interaction": EventKind(strength="log")}
    assert schema.event_columns["value"] == "weight"


def test_kinds_are_weighted_by_their_names() -> None:
    names = ["view", "purchase", "add_to_cart", "like", "dislike", "impression"]
    kinds = proposed({"user": [1] * 6, "item": [1] * 6, "event": names}).kinds
    assert {name: kinds[name].role for name in names} == {
        "view": "positive", "purchase": "positive", "add_to_cart": "positive",
        "like": "positive", "dislike": "negative", "impression": "exposure",
    }  # fmt: skip
    assert kinds["purchase"].weight > kinds["add_to_cart"].weight > kinds["view"].weight


def test_a_column_with_too_many_kinds_is_rejected() -> None:
    names = [f"k{i}" for i in range(MAX_KINDS + 1)]
    with pytest.raises(DataError, match=r"the column 'type' has more than 50 kinds.*map another"):
        proposed({"user": names, "item": names, "type": names})


@pytest.mark.parametrize("lacking", ["user", "item"])
def test_a_table_without_users_or_items_is_rejected_with_a_fix(lacking: str) -> None:
    columns = {"user": [1], "item": [1], "foo": [1]}
    del columns[lacking]
    with pytest.raises(DataError, match=rf"looks like '{lacking}_id' among .*foo; name it under"):
        proposed(columns)


def test_columns_of_items_get_their_roles() -> None:
    n = 40
    items = pl.DataFrame(
        {
            "movieId": range(n),
            "title": [f"film {i}" for i in range(n)],
            "genres": ["war|art"] * n,
            "labels": [["a", "b"]] * n,
            "country": ["de", "fr"] * (n // 2),
            "studio": pl.Series(["x", "y"] * (n // 2), dtype=pl.Categorical),
            "plot": [f"a long story {i}" for i in range(n)],
            "price": [1.5] * n,
            "released": [datetime(2020, 1, 1, tzinfo=UTC)] * n,
            "timestamp": [1_600_000_000] * n,
            "empty": pl.Series([None] * n, dtype=pl.String),
        }
    )
    schema = proposed({"userId": [1], "movieId": [1]}, items=items)
    assert {name: role.role for name, role in schema.item_roles.items()} == {
        "title": "text", "genres": "tags", "labels": "tags", "country": "category",
        "studio": "category", "plot": "text", "price": "number", "released": "time",
        "timestamp": "time",
    }  # fmt: skip
    assert schema.item_roles["genres"].separator == "|"
    assert schema.item_columns == {"item_id": "movieId"}


def test_an_id_column_of_items_may_simply_be_called_id() -> None:
    schema = proposed({"user": [1], "item": [1]}, items=pl.DataFrame({"id": [1], "price": [2.0]}))
    assert schema.item_columns == {"item_id": "id"}
    assert list(schema.item_roles) == ["price"]


def test_items_without_an_id_are_refused() -> None:
    with pytest.raises(DataError, match="no column looks like 'item_id' among price"):
        proposed({"user": [1], "item": [1]}, items=pl.DataFrame({"price": [2.0]}))


def test_columns_of_users_get_their_roles() -> None:
    users = pl.DataFrame({"user_id": [1, 2], "age": [30, 40]})
    schema = proposed({"user": [1], "item": [1]}, users=users)
    assert schema.user_roles["age"].role == "number"
    assert schema.user_columns == {}


@pytest.mark.parametrize("values", [[3.0] * 4, [1.6e9] * 2, [i * 1e-9 for i in range(1, 200)]])
def test_ratings_without_a_lower_end_have_no_dislikes(values: list[float]) -> None:
    n = len(values)
    frame = pl.DataFrame({"user_id": ["u"] * n, "item_id": ["i"] * n, "rating": values})
    assert propose_schema(frame).kinds["rating"].negative_threshold is None


def test_a_log_without_rows_recognizes_no_ids_by_their_values() -> None:
    events = pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String})
    with pytest.raises(DataError, match="no column looks like 'item_id' among thing"):
        propose_schema(events, pl.DataFrame({"thing": ["a"]}))
