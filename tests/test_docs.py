"""What the pages say of models is what the models are."""

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
    """Rows by their first cell, of the table whose head begins with `first_cells`."""
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


def told(model: type[Retriever]) -> list[str]:
    """The row that a class's own declarations make."""
    can, made = model.capabilities, model()
    marks = [
        can.empty_history,
        can.new_items,
        isinstance(made, SimilarItems),
        isinstance(made, Explains),
        isinstance(made, ItemSimilarity),
        isinstance(made, ScoresItems),
        isinstance(made, Incremental),
        can.holds_users,
    ]
    return [can.history, *("yes" if mark else "" for mark in marks)]


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.name)
def test_what_a_model_can_do_is_told_as_it_is(model: type[Retriever]) -> None:
    assert table("| use | history |")[model.name] == told(model)


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.name)
def test_what_a_model_is_good_for_and_costs_is_told(model: type[Retriever]) -> None:
    row = table("| use | class |")[model.name]
    assert row[0] == f"`{model.__name__}`"
    assert all(row)


def test_nothing_is_told_of_models_that_are_not_there() -> None:
    names = {model.name for model in CLASSES}
    assert set(table("| use | history |")) == set(table("| use | class |")) == names
    advised = re.findall(r"`(\w+)`", PAGE.split("## In short")[1].split("## What each is good")[0])
    assert names >= {name for name in advised if "_" in name or name in names}


DATA_PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", DATA_PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_page_on_data_declares_is_valid(block: str) -> None:
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
