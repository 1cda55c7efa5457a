"""The documentation of models and of data agrees with the code."""

import re
import tomllib
from pathlib import Path

import pytest

from tastemaker import retrieval
from tastemaker.component import (
    Explains,
    Incremental,
    ItemSimilarity,
    Retriever,
    ScoresItems,
    SimilarItems,
)
from tastemaker.data.schema import EventKind, Schema
from tastemaker.project.sections import Data, StoreSection

PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
CLASSES: list[type[Retriever]] = [getattr(retrieval, name) for name in retrieval.__all__]


def table(first_cells: str) -> dict[str, list[str]]:
    """First cell → the other cells, of the table whose header starts with `first_cells`."""
    lines = iter(PAGE.splitlines())
    for line in lines:
        if line.startswith(first_cells):
            break
    next(lines)
    rows = {}
    for line in lines:
        if not line.startswith("|"):
            break
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        rows[first.strip("`")] = others
    return rows


def declared(model: type[Retriever]) -> list[str]:
    """The row that follows from a class's declarations."""
    can, instance = model.capabilities, model()
    marks = [
        can.empty_history,
        can.new_items,
        isinstance(instance, SimilarItems),
        isinstance(instance, Explains),
        isinstance(instance, ItemSimilarity),
        isinstance(instance, ScoresItems),
        isinstance(instance, Incremental),
        can.holds_users,
    ]
    return [can.history, *("yes" if mark else "" for mark in marks)]


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.name)
def test_documented_capabilities_match_the_class(model: type[Retriever]) -> None:
    assert table("| type | history |")[model.name] == declared(model)


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.name)
def test_use_and_cost_of_each_model_are_documented(model: type[Retriever]) -> None:
    row = table("| type | class |")[model.name]
    assert row[0] == f"`{model.__name__}`"
    assert all(row)


def test_only_existing_models_are_documented() -> None:
    names = {model.name for model in CLASSES}
    assert set(table("| type | history |")) == set(table("| type | class |")) == names
    advised = re.findall(r"`(\w+)`", PAGE.split("## In short")[1].split("## What each is good")[0])
    assert names >= {name for name in advised if "_" in name or name in names}


DATA_PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", DATA_PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_project_files_on_the_data_page_are_valid(block: str) -> None:
    values = tomllib.loads(block)
    Data.checked({"events": "events.csv", **values.get("data", {})}, owner="data")
    kinds = {
        name: EventKind.checked(kind, owner=name) for name, kind in values.get("events", {}).items()
    }
    named = {other for kind in kinds.values() for other in kind.replaces}
    Schema(kinds={**{name: EventKind() for name in named}, **kinds})
    StoreSection.checked(values.get("store", {}), owner="store")
    assert values.keys() <= {"data", "events", "store"}


def test_every_setting_of_an_event_type_is_documented() -> None:
    shown = {
        key
        for block in BLOCKS
        for kind in tomllib.loads(block).get("events", {}).values()
        for key in kind
    }
    assert shown | {"hide_item"} == set(EventKind.model_fields)
