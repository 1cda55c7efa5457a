import os
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tastemaker.errors import ArtifactError
from tastemaker.lock import locked
from tastemaker.registry import Registry

MONDAY = 1_763_942_400_000_000
DAY = 86_400_000_000


@pytest.fixture(autouse=True)
def _trained_days_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    days = count()
    monkeypatch.setattr("tastemaker.cli.verbs.now", lambda: MONDAY + next(days) // 2 * DAY)


@pytest.fixture
def trained(shop: Any, run: Any) -> list[str]:
    """Three versions, oldest first; the last one is current."""
    return [run("train", "--json").json["version"] for _ in range(3)]


def current(shop: Any) -> str:
    text = (shop.folder / ".tastemaker" / "current").read_text()
    return str(text.splitlines()[0])


def damage(shop: Any, version: str) -> None:
    place = shop.folder / ".tastemaker" / "artifacts" / version
    target = place / "components" / "popular" / "users.npy"
    target.write_bytes(target.read_bytes()[:-1] + b"\x07")


def test_versions_are_listed_newest_first_with_a_mark(
    shop: Any, run: Any, trained: list[str]
) -> None:
    head, *rows = run("versions").out.splitlines()
    assert head.split() == ["version", "trained", "MB", "ranker"]
    assert [row.lstrip("* ").split()[0] for row in rows] == trained[::-1]
    assert rows[0].startswith(f"*  {trained[2]}  2025-11-26T00:00:00Z")
    assert rows[0].endswith("none    serves")
    assert rows[1].endswith("none    rollback target")
    assert rows[2].endswith("none")


def test_versions_as_json(shop: Any, run: Any, trained: list[str]) -> None:
    result = run("versions", "--json").json
    assert (result["current"], result["previous"]) == (trained[2], trained[1])
    first = result["versions"][0]
    assert first.pop("bytes") > 10_000
    assert {table: len(digits) for table, digits in first.pop("data").items()} == {
        "events": 12,
        "items": 12,
    }
    assert first == {
        "version": trained[2],
        "trained": "2025-11-26T00:00:00Z",
        "current": True,
        "previous": False,
        "problem": None,
        "sources": ["item_knn", "popular"],
        "rankers": {},
        "left_out": {},
        "notes": [],
    }


def test_there_are_no_versions_before_training(shop: Any, run: Any) -> None:
    done = run("versions")
    assert (done.code, done.out) == (0, "")
    assert done.err == "nothing is trained yet: run `tastemaker train` first\n"
    assert run("versions", "--json").json == {"current": None, "previous": None, "versions": []}
    assert not (shop.folder / ".tastemaker").exists()


def test_a_version_that_cannot_serve_is_reported(shop: Any, run: Any, trained: list[str]) -> None:
    (shop.folder / ".tastemaker" / "artifacts" / trained[0] / "manifest.json").write_text("{")
    last = run("versions").out.splitlines()[-1]
    assert last.split()[0] == trained[0]
    assert "cannot serve: " in last
    assert "manifest.json cannot be read" in last


def test_leftovers_of_a_killed_training_are_reported_and_pruned(
    shop: Any, run: Any, trained: list[str]
) -> None:
    left = shop.folder / ".tastemaker" / "artifacts" / ".building-x"
    left.mkdir()
    assert run("versions").err == ""
    os.utime(left, (0, 0))
    assert "1 folder was left behind" in run("versions").err
    assert run("versions", "prune", "--keep", "3", "--json").json["leftovers"] == [".building-x"]
    assert not left.exists()


def test_training_without_promotion_keeps_the_current_version(
    shop: Any, run: Any, trained: list[str]
) -> None:
    done = run("train", "--no-promote")
    version = done.out.splitlines()[-1].split()[1]
    assert done.err.splitlines()[-1] == (
        f"it does not serve yet: run `tastemaker versions promote {version}`"
    )
    assert current(shop) == trained[2]
    assert run("versions", "--json").json["versions"][0]["version"] == version
    assert run("train", "--no-promote", "--json").json["promoted"] is False
    assert run("versions", "promote", version).code == 0
    assert run("recommend", "--user", "u1", "--json").json["model_version"] == version


def test_the_first_training_need_not_serve(shop: Any, run: Any) -> None:
    version = run("train", "--no-promote", "--json").json["version"]
    assert "none of the trained versions serves yet" in run("similar", "red1").refused(1)
    done = run("versions", "promote", version)
    assert done.out == f"{version} now serves\n"
    assert run("similar", "red1").code == 0


def test_a_training_that_cannot_be_promoted_is_not_lost(
    shop: Any, run: Any, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tastemaker.cli.verbs.Registry", partial(Registry, patience=0.1))
    with locked(shop.folder / ".tastemaker" / "registry.lock", ArtifactError):
        done = run("train")
    assert (done.code, done.out) == (1, "")
    message = done.err.splitlines()[-1]
    version = message.removeprefix("error: ").split()[0]
    assert "is saved but does not serve: another process" in message
    assert message.endswith(f"then run: tastemaker versions promote {version}")
    assert run("versions", "promote", version).code == 0


def test_promote_and_rollback_report_the_change(shop: Any, run: Any, trained: list[str]) -> None:
    first, second, third = trained
    done = run("versions", "promote", first)
    assert (done.code, done.out) == (0, f"{first} now serves, instead of {third}\n")
    assert run("versions", "promote", first).out == f"{first} already serves\n"
    assert run("versions", "rollback").out == f"{third} now serves, instead of {first}\n"
    result = run("versions", "rollback", "--json").json
    assert result == {"version": second, "before": third, "skipped": {}}
    assert current(shop) == second
    assert run("recommend", "--user", "u1", "--json").json["model_version"] == second
    message = run("versions", "rollback").refused(1)
    assert "no earlier version is left to go back to" in message


def test_a_rollback_reports_skipped_versions(shop: Any, run: Any, trained: list[str]) -> None:
    damage(shop, trained[1])
    done = run("versions", "rollback")
    assert done.out == f"{trained[0]} now serves, instead of {trained[2]}\n"
    assert "skipped: " in done.err
    assert "users.npy' is damaged" in done.err


def test_a_damaged_version_is_refused_in_one_line(shop: Any, run: Any, trained: list[str]) -> None:
    damage(shop, trained[0])
    assert "users.npy' is damaged" in run("versions", "promote", trained[0]).refused(1)
    assert current(shop) == trained[2]


def test_an_unknown_version_is_refused_with_a_suggestion(
    shop: Any, run: Any, trained: list[str]
) -> None:
    message = run("versions", "promote", trained[1][:-1]).refused(2)
    assert f"no version '{trained[1][:-1]}'; did you mean '{trained[1]}'?" in message


def test_prune_removes_old_versions(shop: Any, run: Any, trained: list[str]) -> None:
    run("versions", "promote", trained[0])
    result = run("versions", "prune", "--keep", "1", "--json").json
    assert result["bytes"] > 10_000
    assert result["removed"] == [trained[1]]
    assert result["kept"] == [trained[2], trained[0]]
    assert run("versions", "prune", "--keep", "1").out == "removed 0 versions (0.0 kB), kept 2\n"
    assert run("recommend", "--user", "u1").code == 0


@pytest.mark.parametrize("keep", [[], ["--keep", "0"], ["--keep", "all"]])
def test_prune_requires_keep(shop: Any, run: Any, trained: list[str], keep: list[str]) -> None:
    done = run("versions", "prune", *keep)
    assert (done.code, done.out) == (2, "")
    assert "--keep" in done.err
    assert len(run("versions", "--json").json["versions"]) == 3


def test_options_may_precede_or_follow_the_subcommand(
    shop: Any, run: Any, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = run("versions", "--project", shop.project, "--json", "rollback")
    after = run("versions", "rollback", "--project", shop.project, "--json")
    assert (before.json["version"], after.json["version"]) == (trained[1], trained[0])
    assert "no tastemaker.toml here" in run("versions").refused(2)


@pytest.mark.parametrize("verb", [[], ["promote"], ["rollback"], ["prune"]])
def test_every_command_has_help(run: Any, verb: list[str]) -> None:
    done = run("versions", *verb, "--help")
    assert done.code == 0
    assert "--json" in done.out
    assert "--project" in done.out
