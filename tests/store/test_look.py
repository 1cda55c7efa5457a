"""The read-only summary of a store, while other processes open and write it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tastemaker.errors import StoreError
from tastemaker.store import Store
from tastemaker.store import look as looking
from tastemaker.store.look import look
from tastemaker.store.opening import url_to_read
from tests.store.conftest import row
from tests.store.test_tables import _FIRST_SCHEMA


def names(path: Path) -> set[str]:
    return {found.name for found in path.parent.iterdir()}


@pytest.fixture
def kept(path: Path) -> Path:
    """A store with one event, closed."""
    with Store(path) as store:
        store.append([row()]).result()
    return path


def test_looking_at_a_closed_store_leaves_no_files(kept: Path) -> None:
    before = names(kept)
    assert look(kept).events == 1
    assert "immutable" in url_to_read(kept).query
    assert names(kept) == before


def test_an_open_store_without_writes_is_not_immutable(
    kept: Path,
) -> None:
    with Store(kept):
        assert kept.with_name("store.db-wal").stat().st_size == 0
        assert "immutable" not in url_to_read(kept).query
        assert look(kept).events == 1


def test_a_store_open_in_another_program_is_not_immutable(kept: Path) -> None:
    with closing(sqlite3.connect(kept)) as other:
        other.execute("SELECT * FROM about").fetchall()
        assert kept.with_name("store.db-wal").stat().st_size == 0
        assert "immutable" not in url_to_read(kept).query


def test_a_store_that_is_being_opened_is_not_immutable(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def connect(*_: Any) -> Any:
        seen.append(url_to_read(kept))
        raise StoreError("enough")

    monkeypatch.setattr("tastemaker.store.store.connect", connect)
    with pytest.raises(StoreError, match="enough"):
        Store(kept)
    assert "immutable" not in seen[0].query


def test_a_store_written_during_a_look_is_read_again(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = looking._look_at
    opened: list[Store] = []

    def torn(*arguments: Any) -> Any:
        if opened:
            return real(*arguments)
        opened.append(Store(kept))
        opened[0].append([row()]).result()
        raise StoreError("is damaged")  # the error for pages from different times

    monkeypatch.setattr(looking, "_look_at", torn)
    assert look(kept).events == 2
    opened[0].close()


def test_a_store_of_schema_1_can_be_looked_at(kept: Path) -> None:
    with closing(sqlite3.connect(kept)) as connection:
        connection.executescript(_FIRST_SCHEMA)
    before = kept.read_bytes()
    assert look(kept).events == 1
    assert kept.read_bytes() == before


@pytest.mark.parametrize("change", ["UPDATE about SET value = '99'", "DELETE FROM about"])
def test_looking_and_opening_refuse_another_schema_equally(kept: Path, change: str) -> None:
    with closing(sqlite3.connect(kept)) as connection, connection:
        connection.execute(f"{change} WHERE name = 'schema'")
    with pytest.raises(StoreError, match=r"has schema .*: use the version of") as looked:
        look(kept)
    if "99" in change:
        with pytest.raises(StoreError) as opened:
            Store(kept)
        assert str(opened.value) == str(looked.value)
