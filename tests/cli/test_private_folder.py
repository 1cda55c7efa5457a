"""The state folder is private, whichever command creates it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def usual_mask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def is_private(folder: Path) -> bool:
    return stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "command", [("train",), ("validate",), ("evaluate",), ("keys", "add", "k"), ("store", "stats")]
)
@pytest.mark.parametrize("url", ["sqlite", "sqlite:///else/where/store.db"])
def test_a_new_folder_is_private(shop: Any, run: Any, command: tuple[str, ...], url: str) -> None:
    shop.write([*shop.rows, "u1,,view,1700000000"])  # for the quarantine
    shop.change("[data]", f'[store]\nurl = "{url}"\n[data.max_bad_rows]\nevents = 0.5\n[data]')
    assert run(*command).code == 0
    assert is_private(shop.folder / ".tastemaker")
    if url != "sqlite" and command[0] == "store":
        assert is_private(shop.folder / "else")
        assert is_private(shop.folder / "else" / "where")
    assert not is_private(shop.folder)


@pytest.mark.parametrize("url", ["sqlite", "sqlite:///store.db"])
def test_an_open_folder_is_closed(shop: Any, run: Any, url: str) -> None:
    shop.change("[data]", f'[store]\nurl = "{url}"\n[data]')
    (shop.folder / ".tastemaker").mkdir(mode=0o755)
    message = run("train").err
    assert "was open to other users of this machine" in message
    assert is_private(shop.folder / ".tastemaker")
    (shop.folder / ".tastemaker").chmod(0o750)
    assert "was open to other users of this machine" in run("store", "stats").err
    assert is_private(shop.folder / ".tastemaker")
    assert not is_private(shop.folder)
