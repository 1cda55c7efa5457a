"""The reason of a database error names the right folder and the right fix."""

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from tastemaker.store import opening
from tastemaker.store.opening import describe_error, sorting_folder


@pytest.fixture
def full() -> sqlite3.OperationalError:
    problem = sqlite3.OperationalError("database or disk is full")
    problem.sqlite_errorcode = sqlite3.SQLITE_FULL
    return problem


@pytest.mark.parametrize(("sorting", "storing"), [(1, 2), (2, 1)])
def test_the_disk_with_less_free_space_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    full: sqlite3.OperationalError,
    sorting: int,
    storing: int,
) -> None:
    folder = tmp_path / "sorting"
    folder.mkdir()
    free = {folder: sorting, tmp_path: storing}
    monkeypatch.setenv("SQLITE_TMPDIR", str(folder))
    monkeypatch.setattr(opening, "_is_same_disk", lambda *_: False)
    monkeypatch.setattr(
        os, "statvfs", lambda path: SimpleNamespace(f_bavail=free[path], f_frsize=1)
    )
    message = describe_error(full, tmp_path / "store.db")
    named = f"in the folder for temporary files, {folder}, while sorting); set SQLITE_TMPDIR to"
    assert (named in message) == (sorting < storing)
    assert ("make room on the disk" in message) == (sorting > storing)


def test_a_shared_disk_is_reported_as_the_stores_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: sqlite3.OperationalError
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    message = describe_error(full, tmp_path / "store.db")
    assert message.startswith("(database or disk is full); make room on the disk")


def test_the_sorting_folder_is_the_one_sqlite_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path / "none"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert sorting_folder() == tmp_path
    monkeypatch.delenv("TMPDIR")
    assert sorting_folder() != tmp_path
