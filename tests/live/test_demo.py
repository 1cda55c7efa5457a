"""The demo from scratch, as `make demo` runs it."""

import pytest

from tests.live.conftest import Made

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]


def test_it_beats_popularity(made: Made) -> None:
    systems = made.told["evaluation"]["systems"]
    assert systems["pipeline"]["ndcg@10"]["low"] > systems["popular"]["ndcg@10"]["value"]


def test_what_it_recommends_has_titles(made: Made) -> None:
    shown = [item for answer in made.told["recommendations"] for item in answer["items"]]
    assert shown
    assert all(item["title"] for item in shown)
