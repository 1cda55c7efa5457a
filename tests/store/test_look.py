"""Looking at a store without a write, while others come, write and go."""

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


def test_a_store_nobody_has_open_is_looked_at_without_a_trace(kept: Path) -> None:
    before = names(kept)
    assert look(kept).events == 1
    assert "immutable" in url_to_read(kept).query
    assert names(kept) == before


def test_a_store_that_was_opened_and_not_yet_written_is_not_taken_for_one_at_rest(
    kept: Path,
) -> None:
    with Store(kept):
        assert kept.with_name("store.db-wal").stat().st_size == 0
        assert "immutable" not in url_to_read(kept).query
        assert look(kept).events == 1


def test_a_store_that_another_program_has_open_is_not_taken_for_one_at_rest(kept: Path) -> None:
    with closing(sqlite3.connect(kept)) as other:
        other.execute("SELECT * FROM about").fetchall()
        assert kept.with_name("store.db-wal").stat().st_size == 0
        assert "immutable" not in url_to_read(kept).query


def test_a_store_that_is_just_being_opened_is_not_taken_for_one_at_rest(
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


def test_a_store_that_is_opened_and_written_during_the_look_is_looked_at_again(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = looking._looked
    opened: list[Store] = []

    def torn(*arguments: Any) -> Any:
        if opened:
            return real(*arguments)
        opened.append(Store(kept))
        opened[0].append([row()]).result()
        raise StoreError("is damaged")  # what pages of two moments look like

    monkeypatch.setattr(looking, "_looked", torn)
    assert look(kept).events == 2
    opened[0].close()


def test_a_store_of_the_first_schema_is_looked_at_as_it_is(kept: Path) -> None:
    with closing(sqlite3.connect(kept)) as connection:
        connection.executescript(_FIRST_SCHEMA)
    before = kept.read_bytes()
    assert look(kept).events == 1
    assert kept.read_bytes() == before


@pytest.mark.parametrize("change", ["UPDATE about SET value = '99'", "DELETE FROM about"])
def test_a_store_of_another_schema_is_refused_with_the_same_words_as_by_opening(
    kept: Path, change: str
) -> None:
    with closing(sqlite3.connect(kept)) as connection, connection:
        connection.execute(f"{change} WHERE name = 'schema'")
    with pytest.raises(StoreError, match=r"holds schema .*: use the version of") as told:
        look(kept)
    if "99" in change:
        with pytest.raises(StoreError) as opened:
            Store(kept)
        assert str(opened.value) == str(told.value)
