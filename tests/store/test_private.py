"""Only the owner of a store can read its files."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tastemaker.store import Store
from tests.store.conftest import Shop, row


@contextmanager
def mask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


FILES = ("store.db", "store.db-wal", "store.db-shm")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_the_owner_can_access_the_files_of_a_store(tmp_path: Path, umask: int) -> None:
    with mask(umask), Store(tmp_path / "store.db") as store:
        store.append([row()]).result()
        assert {name: mode(tmp_path / name) for name in FILES} == dict.fromkeys(FILES, 0o600)
        assert store.restricted_files == []


def test_opening_a_store_removes_permissions_of_others(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store(path) as store:
        store.append([row()]).result()
        for name in FILES:
            (tmp_path / name).chmod(0o644)
        with Store(path) as other:
            assert [file.name for file in other.restricted_files] == list(FILES)
            assert {mode(tmp_path / name) for name in FILES} == {0o600}
    path.chmod(0o664)
    with Store(path) as store:
        assert store.restricted_files == [path]
        assert store.count() == 1
    with Store(path) as store:
        assert store.restricted_files == []


def test_a_read_only_store_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store(path).close()
    path.chmod(0o444)
    with Store(path):
        assert mode(path) == 0o400


def test_opening_a_project_makes_its_state_folder_private(shop: Shop) -> None:
    with mask(0o022):
        source = shop.source
        source.open().close()
    assert mode(source.path.parent) == 0o700
    assert source.recovered == []
    source.path.parent.chmod(0o755)
    source.path.chmod(0o644)
    again = shop.source
    again.open().close()
    assert (mode(again.path.parent), mode(again.path)) == (0o700, 0o600)
    assert len(again.recovered) == 2
    assert "was open to other users of this machine" in again.recovered[0]
    assert again.recovered[1].startswith("store.db could be read by other users")


def test_the_folder_of_a_store_elsewhere_is_unchanged(shop: Shop) -> None:
    shop.change("[data]\n", '[store]\nurl = "sqlite:///other.db"\n[data]\n')
    shop.folder.chmod(0o755)
    shop.source.open().close()
    assert mode(shop.folder) == 0o755
    assert mode(shop.folder / "other.db") == 0o600
