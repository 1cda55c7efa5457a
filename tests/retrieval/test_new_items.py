"""`NewItems`: which items are new, which users get them, and no use of future events."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Masks, Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import ClockError, SettingError
from tastemaker.inventory import Inventory
from tastemaker.retrieval import Content, NewItems

NOW = 1_600_000_000_000_000
DAY = 86_400_000_000
GENRES = {
    "alien": "Horror",
    "psycho": "Horror",
    "saw": "Horror",
    "shane": "Western",
    "heat": "Drama",
    "big": "Drama",
    "babe": "Drama",
    "amelie": "Drama",
}
IDS = sorted(GENRES)
SCHEMA = Schema(
    kinds={
        "like": EventKind(),
        "view": EventKind(),
        "dislike": EventKind(role="negative"),
        "shown": EventKind(role="exposure"),
    },
    time_unit="us",
    item_roles={"genres": ColumnRole(role="tags", separator="|")},
)
ALL: dict[str, Any] = {"affinity": 0.0}
"""Settings with which an item is found for every history that shares content with it."""


def log(*events: tuple[str, int] | tuple[str, int, str], genres: Any = GENRES) -> Dataset:
    """Events as (item, microseconds before now[, kind]), each by another user."""
    rows = [(*event, "like")[:3] for event in events]
    frame = pl.DataFrame(
        {
            "user_id": [f"user {place}" for place in range(len(rows))],
            "item_id": [item for item, *_ in rows],
            "timestamp": [NOW - age for _, age, _ in rows],
            "event_type": [kind for *_, kind in rows],
        }
    )
    items = pl.DataFrame({"item_id": list(genres), "genres": list(genres.values())})
    return Dataset.from_frames(frame, items=items, schema=SCHEMA)


def requests_liking(*liked: str, rows: int = 1, **more: Any) -> Requests:
    return Requests.of([[IDS.index(item) for item in liked]] * rows, time=NOW, **more)


def found(
    new_items: NewItems, dataset: Dataset, requests: Requests, inventory: Inventory | None = None
) -> list[str]:
    inventory = inventory or Inventory.of(dataset)
    answer = (
        new_items.fit(dataset).with_items(inventory.catalogue).retrieve(requests, 20, inventory)
    )
    return inventory.catalogue.items.ids(answer[0])


# -- what is new ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "new"),
    [
        (1, True),
        (DAY, True),
        (30 * DAY - 1, True),
        (30 * DAY, True),
        (30 * DAY + 1, False),
        (300 * DAY, False),
        (0, False),
        (-DAY, False),
    ],
)
def test_an_item_with_a_recent_first_event_is_new(age: int, new: bool) -> None:
    dataset = log(("alien", 90 * DAY), ("psycho", age))
    assert found(NewItems(**ALL), dataset, requests_liking("alien")) == (["psycho"] if new else [])


def test_an_old_item_that_is_liked_again_is_not_new() -> None:
    dataset = log(("alien", 90 * DAY), ("psycho", 31 * DAY), ("psycho", DAY))
    assert found(NewItems(**ALL), dataset, requests_liking("alien")) == []


def test_max_age_limits_the_age_of_new_items() -> None:
    dataset = log(("alien", 90 * DAY), ("psycho", DAY // 24), ("saw", DAY))
    assert found(NewItems(max_age="2h", **ALL), dataset, requests_liking("alien")) == ["psycho"]


def test_an_item_without_events_is_not_new_unless_it_was_added() -> None:
    dataset = log(("alien", 90 * DAY), ("psycho", DAY))
    inventory = Inventory.of(dataset).with_items(
        ["scream", "plain"], {"genres": [["Horror"], None]}
    )
    answer = found(NewItems(**ALL), dataset, requests_liking("alien"), inventory)
    assert answer == ["scream", "psycho"]  # not `saw`, which has no event


def test_an_added_item_stays_new_until_the_next_training() -> None:
    dataset = log(("alien", 90 * DAY))
    inventory = Inventory.of(dataset).with_items(["scream"], {"genres": [["Horror"]]})
    liked = {"kind": np.zeros(1, np.int8), "weight": np.ones(1, np.float32)}
    item = np.array([inventory.catalogue.items.index("scream")], np.int32)
    inventory = inventory.with_events(item, np.array([NOW - 60 * DAY]), **liked)
    assert found(NewItems(**ALL), dataset, requests_liking("alien"), inventory) == ["scream"]


def test_an_event_of_any_kind_is_a_first_event() -> None:
    dataset = log(("alien", 90 * DAY), ("psycho", 60 * DAY, "dislike"), ("psycho", DAY))
    assert found(NewItems(**ALL), dataset, requests_liking("alien")) == []


@pytest.mark.parametrize("moment", [NOW - 10 * DAY, NOW, NOW + 5 * DAY])
def test_later_events_change_no_result(moment: int) -> None:
    past = [("alien", 90 * DAY), ("shane", 80 * DAY), ("psycho", 12 * DAY), ("heat", 11 * DAY)]
    ahead = NOW - moment
    later = [("psycho", ahead), ("saw", ahead), ("heat", ahead - DAY), ("shane", ahead - 2 * DAY)]
    early, late = log(*past), log(*past, *later)
    requests = replace(requests_liking("alien", "big"), time=np.array([moment]))
    new_items = NewItems(**ALL).fit(early)
    one = new_items.retrieve(requests, 20, Inventory.of(early))
    two = new_items.retrieve(requests, 20, Inventory.of(late))
    assert np.array_equal(one.item, two.item)
    assert np.array_equal(one.score, two.score)
    assert len(one.item)


def test_each_request_uses_its_own_time() -> None:
    dataset = log(("alien", 90 * DAY), ("psycho", 40 * DAY), ("saw", 5 * DAY))
    requests = requests_liking("alien", rows=4)
    requests = replace(requests, time=NOW - DAY * np.array([0, 20, 39, 50]))
    answer = NewItems(**ALL).fit(dataset).retrieve(requests, 20, Inventory.of(dataset))
    assert [[IDS[item] for item in answer[row]] for row in range(4)] == [
        ["saw"],
        ["psycho"],
        ["psycho"],
        [],
    ]


# -- for whom -------------------------------------------------------------------------------------

RECENT = (("alien", 90 * DAY), ("heat", 90 * DAY), ("shane", 90 * DAY), ("saw", DAY), ("big", DAY))


def test_excluded_and_ineligible_items_are_not_found() -> None:
    dataset = log(("alien", 90 * DAY), ("psycho", DAY), ("saw", DAY))
    new_items = NewItems(**ALL)
    assert found(new_items, dataset, requests_liking("alien", exclude=[[IDS.index("psycho")]])) == [
        "saw"
    ]
    only = np.zeros((1, len(IDS)), np.bool_)
    only[0, IDS.index("psycho")] = True
    eligible = replace(requests_liking("alien"), eligible=Masks(only, np.zeros(1, np.int32)))
    assert found(new_items, dataset, eligible) == ["psycho"]


def test_a_new_item_is_found_only_by_users_of_its_kind() -> None:
    dataset = log(*RECENT)
    assert found(NewItems(known=0.0), dataset, requests_liking("alien")) == ["saw"]
    assert found(NewItems(known=0.0), dataset, requests_liking("heat")) == ["big"]
    assert found(NewItems(known=0.0), dataset, requests_liking("shane")) == []


def test_a_rare_kind_ranks_above_a_common_one() -> None:
    dataset = log(("alien", 90 * DAY))
    added = {"genres": [["Drama"], ["Western"], ["Horror"]]}
    inventory = Inventory.of(dataset).with_items(["new drama", "new western", "new horror"], added)
    mostly_drama = requests_liking("shane", "heat", "babe")
    assert found(NewItems(), dataset, mostly_drama, inventory) == ["new western", "new drama"]
    content = Content().fit(dataset).with_items(inventory.catalogue)
    assert (
        inventory.catalogue.items.id(content.retrieve(mostly_drama, 20, inventory)[0][0])
        == "amelie"
    )


def test_exposures_do_not_make_an_item_known() -> None:
    shown = [("psycho", DAY, "shown")] * 50
    dataset = log(("alien", 90 * DAY), ("psycho", DAY), *shown)
    assert found(NewItems(), dataset, requests_liking("alien")) == ["psycho"]


def test_the_less_known_of_two_equal_items_comes_first() -> None:
    dataset = log(("alien", 90 * DAY), ("psycho", DAY), ("psycho", DAY, "view"), ("saw", DAY))
    assert found(NewItems(**ALL), dataset, requests_liking("alien")) == ["saw", "psycho"]
    assert found(NewItems(known=0.0, **ALL), dataset, requests_liking("alien")) == ["psycho", "saw"]


def test_an_item_that_became_known_is_no_longer_found() -> None:
    few, many = (log(("alien", 90 * DAY), *[("psycho", DAY)] * count) for count in (1, 50))
    assert found(NewItems(), few, requests_liking("alien")) == ["psycho"]
    assert found(NewItems(), many, requests_liking("alien")) == []


def test_a_request_without_history_finds_nothing() -> None:
    assert found(NewItems(**ALL), log(*RECENT), requests_liking()) == []


def test_a_score_equals_the_formula() -> None:
    dataset = SyntheticWorld(users=40, items=80, events=900, tastes=5, seed=3).dataset()
    inventory = Inventory.of(dataset).with_items(["a"], {"tags": [["taste1", "style2"]]})
    new_items = NewItems(max_age="36500d", min_documents=1, **ALL).fit(dataset)
    extended = new_items.with_items(inventory.catalogue)
    requests = Requests.of([[1, 5, 9], [2, 30, 31, 60]], time=dataset.end)
    content = extended.content
    width = content.encoder.width
    fitted = content.rows.matrix(width).toarray()
    vectors = np.vstack([fitted, content.added.matrix(width).toarray()])
    mean = fitted.mean(axis=0)
    rarity = (mean @ mean) / (vectors @ mean + (mean @ mean) / 4)
    log_ = dataset.events
    events = np.bincount(log_.item[log_.time < dataset.end], minlength=len(vectors))
    expected = content.profiles(requests).matrix(width).toarray() @ vectors.T
    expected *= rarity / np.sqrt(1 + events)
    answer = extended.retrieve(requests, 100, inventory)
    for row in range(len(requests)):
        scores = answer.score[answer.offsets[row] : answer.offsets[row + 1]]
        np.testing.assert_allclose(scores, expected[row, answer[row]], rtol=1e-4)
        assert 80 in answer[row]


# -- keeping and refusing -------------------------------------------------------------------------


def test_a_loaded_retriever_extends_as_the_fitted_one(tmp_path: Path) -> None:
    dataset = log(*RECENT)
    fitted = NewItems().fit(dataset)
    with create_artifact(tmp_path / "new_items", "test", {}) as writer:
        fitted.save(writer)
    loaded = NewItems().load(open_artifact(tmp_path / "new_items", "test")[0])
    inventory = Inventory.of(dataset).with_items(["scream"], {"genres": [["Horror"]]})
    one, two = (
        part.with_items(inventory.catalogue).retrieve(requests_liking("alien"), 20, inventory)
        for part in (fitted, loaded)
    )
    assert np.array_equal(one.item, two.item)
    assert np.array_equal(one.score, two.score)


def test_without_attributes_nothing_is_found() -> None:
    frame = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1, 2]})
    dataset = Dataset.from_frames(frame, schema=Schema(kinds={"like": EventKind()}))
    requests = replace(Requests.of([[0]], time=2_000_001), exclude=Ragged.of([[]]))
    assert NewItems(**ALL).fit(dataset).retrieve(requests, 5, Inventory.of(dataset)).counts[0] == 0


def test_data_without_absolute_times_is_refused() -> None:
    dataset = Dataset.from_frames(
        pl.DataFrame({"user_id": ["a"], "item_id": ["x"]}),
        schema=Schema(kinds={"like": EventKind()}, clock="none"),
    )
    with pytest.raises(ClockError, match="NewItems"):
        NewItems().fit(dataset)


@pytest.mark.parametrize("setting", [{"max_age": "soon"}, {"affinity": -1}, {"known": -0.1}])
def test_a_setting_out_of_range_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        NewItems(**setting)
