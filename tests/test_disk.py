import errno
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tastemaker.disk import cure, naming, refusal, replacing


def test_what_is_written_takes_the_others_place(tmp_path: Path) -> None:
    path = tmp_path / "told.txt"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("problem", [ValueError("no"), OSError(errno.EIO, "broken"), KeyError("k")])
def test_what_fails_leaves_the_other_as_it_was(tmp_path: Path, problem: Exception) -> None:
    path = tmp_path / "told.txt"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise problem

    with pytest.raises(type(problem)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "problem",
    [
        OSError("1000 requested and 512 written"),
        OSError("No space left on device (os error 28)"),
        OSError(errno.ENOSPC, "whatever"),
        pl.exceptions.ComputeError("parquet: underlying IO error: … (os error 28)"),
    ],
    ids=["numpy", "polars", "system", "parquet"],
)
def test_a_full_disk_is_told_in_the_systems_words_with_the_file_and_the_cure(
    problem: Exception,
) -> None:
    with (
        pytest.raises(OSError, match="No space left on device: 'here'") as told,
        naming(Path("here")),
    ):
        raise problem
    assert told.value.errno == errno.ENOSPC
    assert cure(told.value).startswith("; make room on the disk")


def test_what_is_no_matter_of_the_disk_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another matter"), naming(tmp_path):
        raise ValueError("another matter")
    with (
        pytest.raises(FileNotFoundError, match=r"deep/x\.npy"),
        naming(tmp_path / "deep" / "x.npy"),
    ):
        np.save(tmp_path / "deep" / "x.npy", np.zeros(3))


def test_a_folder_that_takes_files_refuses_nothing(tmp_path: Path) -> None:
    assert refusal(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert refusal(tmp_path / "none").errno == errno.ENOENT  # type: ignore[union-attr]
