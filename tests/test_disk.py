import errno
import os
import stat
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tastemaker.disk import fix_hint, naming, refusal, replacing


def test_a_written_file_replaces_the_other(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("problem", [ValueError("no"), OSError(errno.EIO, "broken"), KeyError("k")])
def test_a_failed_write_does_not_change_the_other(tmp_path: Path, problem: Exception) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise problem

    with pytest.raises(type(problem)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_may_write_the_same_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with replacing(path) as one:
        one.write_text("one")
        with replacing(path) as other:
            other.write_text("other")
        assert path.read_text() == "other"
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_only_stale_partial_files_are_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file.txt"
    with replacing(path) as dead, replacing(tmp_path / "other.txt") as others:
        dead.write_text("half")
        for part in (dead, others):
            os.utime(part, (1, 1))
        with replacing(path) as living:
            living.write_text("new")
            assert not dead.exists()
            with replacing(path) as more:
                more.write_text("more")
            assert living.exists()
        assert others.exists()
        dead.write_text("late")  # otherwise it cannot be renamed


@pytest.mark.parametrize(("mode", "mask", "seen"), [(0o666, 0o022, 0o644), (0o600, 0, 0o600)])
def test_a_file_has_its_mode_from_the_first_byte(
    tmp_path: Path, mode: int, mask: int, seen: int
) -> None:
    path = tmp_path / "file.txt"
    before = os.umask(mask)
    try:
        with replacing(path, mode) as part:
            assert stat.S_IMODE(part.stat().st_mode) == seen
            part.write_text("new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == seen


@pytest.mark.parametrize(
    "problem",
    [
        OSError("1000 requested and 512 written"),
        OSError("No space left on device (os error 28)"),
        OSError(errno.ENOSPC, "any text"),
        pl.exceptions.ComputeError("parquet: underlying IO error: … (os error 28)"),
    ],
    ids=["numpy", "polars", "system", "parquet"],
)
def test_a_full_disk_is_reported_with_file_and_fix(
    problem: Exception,
) -> None:
    with (
        pytest.raises(OSError, match="No space left on device: 'here'") as raised,
        naming(Path("here")),
    ):
        raise problem
    assert raised.value.errno == errno.ENOSPC
    assert fix_hint(raised.value).startswith("; make room on the disk")


def test_errors_unrelated_to_the_disk_are_not_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another matter"), naming(tmp_path):
        raise ValueError("another matter")
    with (
        pytest.raises(FileNotFoundError, match=r"deep/x\.npy"),
        naming(tmp_path / "deep" / "x.npy"),
    ):
        np.save(tmp_path / "deep" / "x.npy", np.zeros(3))


def test_a_writable_folder_has_no_refusal(tmp_path: Path) -> None:
    assert refusal(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert refusal(tmp_path / "none").errno == errno.ENOENT  # type: ignore[union-attr]
