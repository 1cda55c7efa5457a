"""A project on disk, and the command line, run inside this process."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tastemaker.cli import main

PROJECT = """
[data]
events = "events.csv"
items = "items.csv"
[items.roles]
title = { role = "text" }
[events.view]
weight = 1.0
[events.buy]
weight = 6.0
[events.hide]
role = "negative"
hide_item = true
[retrievers.item_knn]
type = "item_knn"
[retrievers.popular]
type = "popular"
[placements.home]
retrievers = { item_knn = 20, popular = 10 }
[placements.cart]
retrievers = { item_knn = 20 }
[split]
test = 0.2
"""
HEADER = "user_id,item_id,event_type,timestamp"
START = 1_700_000_000


@dataclass(frozen=True)
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)

    def refused(self, code: int) -> str:
        """The only line on stderr, of a command that failed with `code` and no other output."""
        assert self.code == code, self
        assert self.out == ""
        assert "Traceback" not in self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        return lines[0]


Run = Callable[..., Ran]


@dataclass(frozen=True)
class Shop:
    """A folder with a project: two tastes, twelve users, ten items for each taste."""

    folder: Path

    @property
    def events(self) -> Path:
        return self.folder / "events.csv"

    @property
    def project(self) -> Path:
        return self.folder / "tastemaker.toml"

    @property
    def rows(self) -> list[str]:
        return [
            f"u{user},{taste}{(3 * user + place) % 10},view,{START + 86_400 * place + 7 * user}"
            for user, taste in enumerate(["red", "blue"] * 6)
            for place in range(7)
        ]

    def write(self, rows: list[str], header: str = HEADER) -> None:
        self.events.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")

    def change(self, old: str, new: str) -> None:
        text = self.project.read_text(encoding="utf-8")
        assert old in text
        self.project.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    folder = tmp_path / "my shop"
    folder.mkdir()
    made = Shop(folder)
    made.project.write_text(PROJECT)
    titles = [f"{t}{i},{t.title()} thing {i}" for t in ("red", "blue") for i in range(10)]
    (folder / "items.csv").write_text("\n".join(["item_id,title", *titles]) + "\n")
    made.write(made.rows)
    monkeypatch.chdir(folder)
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["tastemaker", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        code = stopped.value.code
        return Ran(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run
