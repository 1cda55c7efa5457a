"""The project file is read for each version that a server loads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tastemaker.data import times
from tastemaker.project import load_project
from tastemaker.registry import Registry
from tastemaker.registry.version import trained_at
from tastemaker.serving import RecommendationRequest, Service, snapshot_manager
from tests.serving.conftest import train, wait_until

RULES = '\n[rerankers.house]\ntype = "rules"\n'
BLOCKED = f'{RULES}blocked = ["{{id}}"]\n'
HOME = "popular = 5 }"


def shown(service: Service) -> list[str]:
    return [
        entry["item_id"]
        for entry in service.recommend(RecommendationRequest("user-3", n=10))["items"]
    ]


def serves(service: Service, version: str) -> None:
    wait_until(lambda: service.status()["model_version"] == version)


@pytest.fixture
def path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(snapshot_manager, "RETRY_SECONDS", 0.2)
    return folder / "tastemaker.toml"


@pytest.fixture
def ruled(path: Path) -> Iterator[Service]:
    """A service whose placement has rules that block no item yet."""
    path.write_text(path.read_text().replace(HOME, HOME + '\nrerankers = ["house"]') + RULES)
    train(path.parent)
    with Service(load_project(path)) as opened:
        wait_until(lambda: opened.status()["status"] == "ready")
        yield opened


def block(path: Path, id_: str) -> None:
    text = path.read_text()
    assert RULES in text
    path.write_text(text.replace(RULES, BLOCKED.format(id=id_)))


def test_a_block_applies_with_the_next_version(ruled: Service, path: Path) -> None:
    first = shown(ruled)[0]
    block(path, first)
    version = train(path.parent)
    serves(ruled, version)
    assert len(shown(ruled)) == 10
    assert first not in shown(ruled)
    assert not {"note", "problem"} & {*ruled.status()}


def test_a_block_without_training_applies_after_a_promotion(ruled: Service, path: Path) -> None:
    version = train(path.parent, promote=False)
    first = shown(ruled)[0]
    block(path, first)
    Registry(path.parent / ".tastemaker").promote(version)
    serves(ruled, version)
    assert first not in shown(ruled)


def test_a_new_reranker_in_the_file_applies_too(service: Service, path: Path) -> None:
    first = shown(service)[0]
    text = path.read_text().replace(HOME, HOME + '\nrerankers = ["house"]')
    path.write_text(text + BLOCKED.format(id=first))
    serves(service, train(path.parent))
    assert first not in shown(service)


def test_what_needs_training_is_named_after_a_promotion(ruled: Service, path: Path) -> None:
    version = train(path.parent, promote=False)
    path.write_text(path.read_text().replace("popular = 5 }", "popular = 6 }"))
    Registry(path.parent / ".tastemaker").promote(version)
    serves(ruled, version)
    assert "placements.home.retrievers.popular is 6, was 5" in ruled.status()["note"]


def test_with_a_broken_file_a_version_keeps_its_own_settings(ruled: Service, path: Path) -> None:
    first = shown(ruled)[0]
    block(path, first)
    version = train(path.parent, promote=False)
    whole = path.read_text()
    path.write_text(whole + "[[")
    Registry(path.parent / ".tastemaker").promote(version)
    wait_until(lambda: "problem" in ruled.status())
    status = ruled.status()
    assert (status["status"], status["model_version"]) == ("ready", version)
    assert f"version {version} is served without the current project file" in status["problem"]
    assert "tastemaker.toml" in status["problem"]
    assert first not in shown(ruled)
    second = shown(ruled)[0]
    path.write_text(whole.replace(f'["{first}"]', f'["{first}", "{second}"]'))
    wait_until(lambda: "problem" not in ruled.status())
    assert not {first, second} & {*shown(ruled)}


def test_a_broken_file_lifts_no_block_in_a_rollback(ruled: Service, path: Path) -> None:
    registry, before = Registry(path.parent / ".tastemaker"), ruled.status()["model_version"]
    first = shown(ruled)[0]
    block(path, first)
    wait_until(lambda: times.now() > trained_at(before) + times.MICROSECONDS["s"])
    serves(ruled, train(path.parent))
    path.write_text("[[")
    registry.rollback()
    serves(ruled, before)
    wait_until(lambda: "problem" in ruled.status())
    assert first not in shown(ruled)


def test_rules_that_do_not_fit_leave_the_old_version(ruled: Service, path: Path) -> None:
    before, whole = ruled.status()["model_version"], path.read_text()
    version = train(path.parent, promote=False)
    path.write_text(whole.replace(RULES, f"{RULES}caps = {{ color = 1 }}\n"))
    Registry(path.parent / ".tastemaker").promote(version)
    wait_until(lambda: "problem" in ruled.status())
    assert ruled.status()["model_version"] == before
    assert "color" in ruled.status()["problem"]
    path.write_text(whole)
    serves(ruled, version)


def test_a_new_event_type_is_accepted_with_its_version(service: Service, path: Path) -> None:
    event = {"user_id": "user-3", "item_id": "drama-0", "event_type": "booked"}
    assert service.add_events([event]).indices == []
    path.write_text(path.read_text() + "[events.booked]\nweight = 2.0\n")
    serves(service, train(path.parent))
    taken = service.add_events([event])
    assert (taken.indices, taken.rejected) == ([0], [])


def test_the_moment_follows_the_file_of_the_version(service: Service, path: Path) -> None:
    path.write_text(path.read_text() + '[server]\nnow = "log"\n')
    serves(service, train(path.parent))
    service.add_events([{"user_id": "user-3", "item_id": "drama-0"}]).written.result()
    service.refresh()
    assert service.moment(service.snapshot) == service.snapshot.fitted.inventory.watermark
