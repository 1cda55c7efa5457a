"""The demo project is in the cache folder, or in another writable folder."""

import os
import tempfile
from pathlib import Path

import pytest

from tastemaker.cli.demo import demo_folder

OWN = f"tastemaker-{os.getuid()}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home, and a folder for temporary files."""
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "home"


def test_the_demo_is_in_the_cache_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo_folder() == home / ".cache" / "tastemaker" / "demo"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert demo_folder() == home / ".cache" / "tastemaker" / "demo"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert demo_folder() == tmp_path / "elsewhere" / "tastemaker" / "demo"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("cache", ["/proc/none", "/proc/sys"])
def test_without_a_writable_cache_the_demo_is_temporary(
    home: Path, cache: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    found = demo_folder()
    assert found == home.with_name("temporary") / OWN / "demo"
    assert found.parent.stat().st_mode & 0o077 == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{cache}")
    assert line.endswith(f": the demo uses {found} instead")
    assert demo_folder() == found


def test_a_user_without_a_home_has_a_demo(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert demo_folder() == home.with_name("temporary") / OWN / "demo"
    assert capsys.readouterr().err.startswith("the user has no home folder: ")


@pytest.mark.parametrize("kind", ["link", "open to all"])
def test_a_temporary_folder_that_others_can_change_is_not_used(
    home: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    taken = home.with_name("temporary") / OWN
    if kind == "link":
        taken.symlink_to(home)
    else:
        taken.mkdir()
        taken.chmod(0o777)
    assert demo_folder().parent != taken
    assert demo_folder().parent.stat().st_mode & 0o077 == 0
