"""A real server, killed while it stores events. The benchmark KILLS does the same for longer."""

from pathlib import Path

import pytest

from benchmarks.kills import make_project, trial

pytestmark = pytest.mark.slow
SECONDS = 1.0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "shop"
    make_project(folder)
    return folder


def test_what_was_acknowledged_survives_every_kill_exactly_once(shop: Path) -> None:
    with trial(shop, seed=1) as killed:
        rounds = [killed.round(SECONDS) for _ in range(3)]
    assert all(each.acknowledged for each in rounds)
    assert [each for each in rounds if not each.clean] == []


def test_the_same_holds_for_two_workers_killed_together(shop: Path) -> None:
    with trial(shop, workers=2, seed=2) as killed:
        one = killed.round(SECONDS)
    assert one.acknowledged
    assert one.clean, one
