"""On the smallest event logs, every command succeeds or reports the fix in one line."""

from pathlib import Path
from typing import Any

import pytest

START = 1_700_000_000


def log(n: int, users: int = 3, items: int = 4, step: int = 86_400, more: str = "") -> str:
    rows = (f"u{i % users},i{i * 7 % items},{START + i * step}{more}" for i in range(n))
    return "\n".join(["user_id,item_id,timestamp" + (",event_type" if more else ""), *rows]) + "\n"


def untimed(rows: int, more: str = "", column: str = "") -> str:
    lines = (f"u{i % 3},i{i * 7 % 4}{more}" for i in range(rows))
    return "\n".join([f"user_id,item_id{column}", *lines]) + "\n"


LOGS = {
    "no event": log(0),
    "one event": log(1),
    "two events": log(2),
    "three events": log(3),
    "ten events": log(10),
    "one user": log(10, users=1),
    "one item": log(10, items=1),
    "one moment": log(10, step=0),
    "one pair": log(10, users=1, items=1),
    "only dislikes": log(10, more=",dislike"),
    "only exposures": log(10, more=",impression"),
    "no times": untimed(10),
    "one event without a time": untimed(1),
    "only labels that are false": untimed(10, ",False", ",liked"),
    "only low ratings": untimed(10, ",1", ",rating"),
}
COMMANDS = (
    ("init",),
    ("validate",),
    ("train",),
    ("evaluate",),
    ("evaluate", "--window", "validation"),
    ("recommend", "--user", "u0"),
    ("recommend", "--history", "i0"),
    ("recommend", "--all", "--output", "all.csv"),
    ("similar", "i0"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGS)
def test_every_command_succeeds_or_reports_the_fix(
    name: str, tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    (tmp_path / "events.csv").write_text(LOGS[name])
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        done = run(*command)
        assert done.code in (0, 1, 2), done
        assert "Traceback" not in done.err
        errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == (done.code != 0), done
        if name != "no event":
            assert (tmp_path / "tastemaker.toml").exists()


@pytest.mark.parametrize("name", ["two events", "three events", "one moment", "no times"])
def test_few_events_are_enough_to_train_on(
    name: str, tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    (tmp_path / "events.csv").write_text(LOGS[name])
    monkeypatch.chdir(tmp_path)
    assert [run(verb).code for verb in ("init", "train")] == [0, 0]
    assert run("recommend", "--user", "u0", "--json").code == 0
