"""A project file of an earlier version is refused with the new name of each setting."""

from pathlib import Path

import pytest

from tastemaker.errors import ProjectError
from tastemaker.project import load_project

CURRENT = """
[data]
events = "events.csv"
[events.rating]
positive_threshold = 4.0
negative_threshold = 2.0
[events.hide]
role = "negative"
hide_item = true
[retrievers.popular]
type = "popular"
[retrievers.sessions]
type = "session_knn"
session_gap = "30m"
[retrievers.new]
type = "new_items"
max_age = "30d"
[rankers.main]
type = "gbm"
objectives = ["rating"]
[placements.home]
retrievers = ["popular", "sessions", "new"]
ranker = "main"
[placements.home.objective_weights]
rating = 1.0
[training]
require_improvement = true
[split]
type = "by_time"
test = "7d"
[server]
max_queue_wait_ms = 250
"""
RENAMED = [
    (
        "positive_threshold = ",
        "like = ",
        "[events.rating]: 'like' was renamed: write 'positive_threshold'",
    ),
    ("negative_threshold = ", "dislike = ", "'dislike' was renamed: write 'negative_threshold'"),
    ("hide_item = ", "blocks = ", "[events.hide]: 'blocks' was renamed: write 'hide_item'"),
    (
        'type = "popular"',
        'use = "popular"',
        "[retrievers.popular]: 'use' was renamed: write 'type'",
    ),
    (
        "session_gap = ",
        "pause = ",
        "[retrievers.sessions]: 'pause' was renamed: write 'session_gap'",
    ),
    ("max_age = ", "young = ", "[retrievers.new]: 'young' was renamed: write 'max_age'"),
    (
        '"new_items"',
        '"newcomers"',
        "[retrievers.new] type: 'newcomers' was renamed: write 'new_items'",
    ),
    ("objective_weights]", "value]", "'value' was renamed: write 'objective_weights'"),
    (
        "require_improvement = ",
        "must_earn = ",
        "'must_earn' was renamed: write 'require_improvement'",
    ),
    (
        "max_queue_wait_ms = ",
        "longest_wait = ",
        "'longest_wait' was renamed: write 'max_queue_wait_ms'",
    ),
]


def load(folder: Path, text: str) -> None:
    path = folder / "tastemaker.toml"
    path.write_text(text)
    load_project(path)


def test_the_file_that_is_changed_below_is_valid(tmp_path: Path) -> None:
    load(tmp_path, CURRENT)


@pytest.mark.parametrize(("name", "before", "message"), RENAMED)
def test_a_renamed_setting_is_named(tmp_path: Path, name: str, before: str, message: str) -> None:
    assert name in CURRENT
    with pytest.raises(ProjectError) as caught:
        load(tmp_path, CURRENT.replace(name, before, 1))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value), "a second error follows from the first"
