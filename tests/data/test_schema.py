from typing import Any

import pytest

from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.errors import ProjectError, SettingError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"negative_threshold": 2},
            "events.rating: 'negative_threshold' requires 'positive_threshold'",
        ),
        (
            {"positive_threshold": 2, "negative_threshold": 4},
            r"'negative_threshold' \(4.0\) must be below 'positive_threshold' \(2.0\)",
        ),
        ({"positive_threshold": 4, "negative_threshold": 4}, "must be below"),
        (
            {"positive_threshold": 4, "role": "negative"},
            "'positive_threshold' requires a positive event type, this one is neg",
        ),
        ({"weight": 0}, "'weight' must be greater than 0, got 0"),
        ({"weight": float("inf")}, "'weight' must be a finite number, got inf"),
        ({"wieght": 2}, r"unknown setting 'wieght'; did you mean 'weight'\?"),
        (
            {"role": "postive"},
            "'role' must be 'positive', 'negative', 'neutral' or 'exposure', got 'postive'",
        ),
    ],
)
def test_an_invalid_event_type_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        EventKind.checked(values, owner="events.rating")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"role": "tags"}, "items: role 'tags' requires a 'separator'"),
        (
            {"role": "text", "separator": "|"},
            "items: 'separator' requires role 'tags' or 'vector'",
        ),
    ],
)
def test_a_separator_requires_tags_or_vectors(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        ColumnRole.checked(values, owner="items", error=ProjectError)


def test_the_default_kind_must_be_declared() -> None:
    values = {"kinds": {"rating": {}}, "default_kind": "ratings"}
    with pytest.raises(SettingError, match=r"'ratings' is not declared; did you mean 'rating'\?"):
        Schema.checked(values, owner="data")


def test_the_number_of_kinds_is_limited() -> None:
    kinds = {f"kind {i}": EventKind() for i in range(128)}
    with pytest.raises(SettingError, match="'kinds'"):
        Schema.checked({"kinds": kinds}, owner="data")


def test_an_events_kind_is_a_position_in_the_order_given() -> None:
    schema = Schema(kinds={"view": EventKind(), "buy": EventKind(), "add": EventKind()})
    assert schema.kind_names == ("view", "buy", "add")


@pytest.mark.parametrize("separator", ["", ";" * 9])
def test_a_delimiter_is_a_few_characters(separator: str) -> None:
    with pytest.raises(SettingError, match="'separator' "):
        Schema.checked({"separator": separator}, owner="data")
