"""Changes of the project file apply immediately, or are reported if they need training."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tastemaker.component import FitOptions
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import SettingError
from tastemaker.pipeline import Recommender
from tastemaker.pipeline.project_settings import difference, with_project_settings
from tastemaker.project import load_project
from tastemaker.project.sections import ProjectFile

PROJECT = """
[data]
events = "events.csv"
items = "items.csv"
[items.roles]
title = { role = "text" }
tags = { role = "tags", separator = "|" }
category = { role = "category" }
published = { role = "time" }
[events.view]
[events.purchase]
weight = 6.0
[events.dislike]
role = "negative"
hide_item = true
[retrievers.popular]
type = "popular"
[retrievers.item_knn]
type = "item_knn"
[rankers.main]
type = "gbm"
loss = "binary"
objectives = ["view", "purchase"]
trees = 10
[rerankers.rules]
type = "rules"
[rerankers.mmr]
type = "mmr"
[training]
slices = 2
window = 0.1
requests = 200
require_improvement = false
[placements.home]
retrievers = { popular = 20, item_knn = 20 }
ranker = "main"
rerankers = ["rules"]
[placements.home.objective_weights]
view = 1.0
"""


def written(folder: Path, text: str) -> ProjectFile:
    path = folder / "tastemaker.toml"
    path.write_text(text)
    return load_project(path).file


@cache
def trained() -> Recommender:
    data = SyntheticWorld(users=60, items=60, events=3_000, purchases=0.4, seed=3).dataset()
    with TemporaryDirectory() as folder:
        file = written(Path(folder), PROJECT)
        assert list(file.events.items()) == list(data.kinds.items())
        return Recommender.from_file(file).fit(data, FitOptions(threads=1))


Edit = Callable[..., tuple[Recommender, list[str]]]


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """The trained version with a changed project file."""

    def edit(*pairs: tuple[str, str]) -> tuple[Recommender, list[str]]:
        text = PROJECT
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new, 1)
        return with_project_settings(trained(), written(tmp_path, text))

    return edit


USER = "u1"


def test_an_unchanged_file_has_no_differences(edited: Edit) -> None:
    adopted, changes = edited()
    assert changes == []
    assert adopted.settings() == trained().settings()
    assert difference("v", changes) == ""


def test_changed_objective_weights_apply_immediately(edited: Edit) -> None:
    adopted, changes = edited(("view = 1.0", "view = 0.0\npurchase = 1.0"))
    assert changes == []
    before, after = trained().recommend(USER, n=10), adopted.recommend(USER, n=10)
    predicted = after.candidates.columns["predicted:purchase"]
    assert after.candidates.score.tolist() == predicted.tolist()
    assert before.candidates.score.tolist() != after.candidates.score.tolist()


def test_a_changed_cap_applies_immediately(edited: Edit) -> None:
    adopted, changes = edited(('type = "rules"', 'type = "rules"\ncaps = { category = 1 }'))
    assert changes == []
    answer = adopted.recommend(USER, n=3)
    column = adopted.inventory.catalogue.columns["category"]
    shown = [column.codes[int(item)].tolist() for item in answer.candidates[0]]  # type: ignore[union-attr]
    assert len({tuple(codes) for codes in shown}) == len(shown) > 1


def test_changed_rerankers_seen_and_budget_apply_immediately(edited: Edit) -> None:
    adopted, changes = edited(
        ('rerankers = ["rules"]', 'rerankers = ["mmr", "rules"]\nseen = { view = "allow" }'),
        (
            "[placements.home.objective_weights]",
            "[placements.home.budget]\ntotal = 900\n[placements.home.objective_weights]",
        ),
    )
    assert changes == []
    pipeline = adopted.pipeline()
    assert list(pipeline.rerankers) == ["mmr", "rules"]
    assert pipeline.budget.total == 900
    assert adopted.seen().window[0] == 0 < trained().seen().window[0]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("popular = 20", "popular = 30", "placements.home.retrievers.popular is 30, was 20"),
        ("trees = 10", "trees = 11", "rankers.main.settings.trees is 11, was 10"),
        ('type = "item_knn"', 'type = "item_knn"\nneighbors = 7', "components.item_knn.settings"),
        (
            "require_improvement = false",
            "require_improvement = true",
            "training.require_improvement is True, was False",
        ),
        ("weight = 6.0", "weight = 5.0", "[events]"),
        ("[placements.home]", "[placements.cart]\nretrievers = { popular = 5 }\n[placements.home]",
         "placements.cart is new"),
        ('category = { role = "category" }', "", "items.roles.category is removed"),
    ],
)  # fmt: skip
def test_changes_that_need_training_are_reported(
    edited: Edit, old: str, new: str, named: str
) -> None:
    _, changes = edited((old, new))
    assert len(changes) == 1
    assert named in changes[0]
    text = difference("V", changes)
    assert text.startswith("the project file differs from what version V was trained with: ")
    assert text.endswith("; run `tastemaker train`")


def test_a_memory_budget_needs_no_training(edited: Edit) -> None:
    assert edited(("slices = 2", 'slices = 2\nmemory = "2GiB"'))[1] == []


def test_the_first_placement_of_the_file_is_the_default(tmp_path: Path) -> None:
    def built(first: str, second: str) -> ProjectFile:
        text = PROJECT[: PROJECT.index("[rankers.main]")]
        places = (
            f"[placements.{name}]\nretrievers = {{ popular = 5 }}\n" for name in (first, second)
        )
        return written(tmp_path, text + "".join(places))

    data = SyntheticWorld(users=20, items=20, events=300, purchases=0.4, seed=3).dataset()
    fitted = Recommender.from_file(built("home", "cart")).fit(data)
    adopted, changes = with_project_settings(fitted, built("cart", "home"))
    assert (next(iter(adopted.placements)), changes) == ("cart", [])


def test_rules_that_do_not_fit_the_version_are_rejected(edited: Edit) -> None:
    with pytest.raises(SettingError, match=r"do not fit version .*genre"):
        edited(('type = "rules"', 'type = "rules"\ncaps = { genre = 1 }'))
