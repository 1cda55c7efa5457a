from typing import Any

import pytest

from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.errors import ProjectError, SettingError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"negative_threshold": 2},
            "events.rating: 'negative_threshold' needs 'positive_threshold' beside it",
        ),
        (
            {"positive_threshold": 2, "negative_threshold": 4},
            r"'negative_threshold' \(4.0\) must be below 'positive_threshold' \(2.0\)",
        ),
        ({"positive_threshold": 4, "negative_threshold": 4}, "must be below"),
        (
            {"positive_threshold": 4, "role": "negative"},
            "'positive_threshold' belongs to a positive event type, this one is neg",
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
def test_a_wrong_kind_of_event_names_itself(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        EventKind.checked(values, owner="events.rating")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"role": "tags"}, "items: role 'tags' needs a 'separator'"),
        (
            {"role": "text", "separator": "|"},
            "items: 'separator' belongs to role 'tags' or 'vector'",
        ),
    ],
)
def test_a_separator_belongs_to_tags_and_vectors(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        ColumnRole.checked(values, owner="items", error=ProjectError)


def test_the_default_kind_must_be_declared() -> None:
    values = {"kinds": {"rating": {}}, "default_kind": "ratings"}
    with pytest.raises(SettingError, match=r"'ratings' is not declared; did you mean 'rating'\?"):
        Schema.checked(values, owner="data")


def test_there_are_no_more_kinds_than_an_event_can_number() -> None:
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
