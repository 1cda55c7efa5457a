import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, text

from tastemaker.data.schema import MAX_BAD_ROWS
from tastemaker.errors import DataError
from tastemaker.project import load_project
from tastemaker.store import EventSource
from tastemaker.store.importing import Importer
from tastemaker.store.opening import url_to_read
from tests.store.conftest import Shop, contents, lines, row


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables imported so far."""
    tables: list[str] = []
    replace = Importer.replace

    def counted(self: Importer, table: str, *others: object) -> None:
        tables.append(table)
        replace(self, table, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(Importer, "replace", counted)
    return tables


# --- the source of events ---


def test_without_a_store_files_are_read_and_no_store_is_created(shop: Shop, tmp_path: Path) -> None:
    found = shop.source.read()
    assert contents(found, tmp_path) == contents(shop.project.read(), tmp_path)
    assert not shop.source.stored
    assert not shop.source.path.exists()


def test_a_store_is_created_at_the_configured_path(shop: Shop) -> None:
    with (shop.folder / "tastemaker.toml").open("a") as project:
        project.write('[store]\nurl = "sqlite:///log.db"\n')
    shop.source.open().close()
    assert (shop.folder / "log.db").is_file()
    assert shop.source.stored


def test_a_missing_file_is_named(shop: Shop) -> None:
    (shop.folder / "items.csv").unlink()
    with pytest.raises(DataError, match=r"items\.csv: no such file"):
        shop.source.open()


# --- each file is imported once ---


def test_files_are_imported_once(shop: Shop, imports: list[str]) -> None:
    shop.source.open().close()
    assert imports == ["events", "items", "users"]
    assert shop.source.changed_files() == []
    for _ in range(2):
        with shop.source.open() as store:
            assert store.count() == 400
        assert len(shop.source.read().events) == 400
    assert imports == ["events", "items", "users"]


def test_a_file_rewritten_with_the_same_rows_is_not_imported(
    shop: Shop, imports: list[str]
) -> None:
    shop.source.open().close()
    shop.write(lines(400))
    os.utime(shop.folder / "events.csv", (1, 1))
    shop.source.open().close()
    assert imports == ["events", "items", "users"]


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ('item_id = "what"', 'item_id = "who"', ["events"]),
        ('clock = "absolute"', 'clock = "none"', ["events"]),
        ("positive_threshold = 4.0\nnegative_threshold = 2.0", "", ["events"]),
        ("[events.hide]", "[events.more]\n[events.hide]", ["events"]),
        ('brand = { role = "category" }', 'brand = { role = "text" }', ["items"]),
        ("born = { role", "# born = { role", ["users"]),
        ("weight = 6.0", "weight = 2.0", []),
        ("positive_threshold = 4.0", "positive_threshold = 3.0", []),
        ("popular = 10", "popular = 20", []),
    ],
)
def test_changed_read_settings_cause_another_import(
    shop: Shop, imports: list[str], tmp_path: Path, old: str, new: str, again: list[str]
) -> None:
    shop.source.open().close()
    imports.clear()
    shop.change(old, new)
    shop.source.open().close()
    assert imports == again
    assert contents(shop.source.read(), tmp_path) == contents(shop.project.read(), tmp_path)


def test_a_changed_file_replaces_its_rows_and_keeps_served_events(
    shop: Shop, imports: list[str]
) -> None:
    with shop.source.open() as store:
        store.append([row(event_id=f"served{n}", user_id="served") for n in range(3)]).result()
        kept = store.history("served").sequence.tolist()
    shop.write(lines(50, first=7))
    assert shop.source.changed_files() == ["events.csv"]
    with shop.source.open() as store:
        assert store.count() == 53
        assert store.history("served").sequence.tolist() == kept
        assert store.served_since(0).sequence.tolist() == kept
    assert imports == ["events", "items", "users", "events"]
    data = shop.source.read()
    assert len(data.events) == 53
    assert data.sequence > max(kept)


def test_a_file_can_be_moved_away_after_its_import(shop: Shop) -> None:
    shop.source.open().close()
    for name in ("events", "items", "users"):
        (shop.folder / f"{name}.csv").unlink()
    assert shop.source.changed_files() == []
    with shop.source.open() as store:
        store.append([row()]).result()
    data = shop.source.read()
    assert len(data.events) == 401
    assert data.catalogue.items.index("only-in-table") >= 0


def test_a_file_that_became_invalid_keeps_its_earlier_rows(shop: Shop) -> None:
    shop.source.open().close()
    bad = int(400 * MAX_BAD_ROWS) + 5
    shop.write(lines(395) + ["u,i,unknown,,1700000000,"] * bad)
    with pytest.raises(DataError, match=r"events\.csv: 9 of 404 rows cannot be used"):
        shop.source.open()
    with shop.source.open_as_it_is() as store:
        assert len(store.dataset(shop.project.schema).events) == 400
    assert (shop.project.state / "quarantine" / "events.csv.csv").is_file()


# --- leftovers of other processes ---


def test_a_log_left_by_a_concurrent_reader_is_reported(shop: Shop) -> None:
    shop.source.open().close()
    store = shop.source.open()
    store.append([row()]).result()
    reading = create_engine(url_to_read(store.path), poolclass=NullPool)
    with reading.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar() == 401
        store.close()
    source = shop.source
    source.open().close()
    assert source.recovered == [
        "a write-ahead log was left next to store.db, by a process that was killed or while "
        "another process was reading; no committed data is lost: 401 events"
    ]
    source = shop.source
    source.open().close()
    assert source.recovered == []


# --- a full or read-only disk ---


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the lock of imports fail with an error of the disk."""

    def refuse(number: int) -> None:
        def locked(path: Path, *_: Any) -> None:
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr("tastemaker.store.importing.locked", locked)

    return refuse


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EROFS, "(Read-only file system); mount the disk for writing"),
        (errno.ENOSPC, "(No space left on device); make room on the disk"),
    ],
)
def test_the_store_opens_when_the_disk_refuses_an_import(
    shop: Shop, refusing: Callable[[int], None], number: int, reason: str
) -> None:
    shop.source.open().close()
    shop.write(lines(450))
    refusing(number)
    source = shop.source
    assert len(source.read().events) == 400
    (line,) = source.recovered
    assert line.startswith("store.db is unchanged, the files are not imported ")
    assert reason in line


def test_an_incomplete_store_is_not_used_on_a_full_disk(
    shop: Shop, refusing: Callable[[int], None]
) -> None:
    shop.change('users = "users.csv"', "")
    shop.change('[users.roles]\ncity = { role = "category" }\nborn = { role = "time" }\n', "")
    shop.source.open().close()
    shop.change('items = "items.csv"', 'items = "items.csv"\nusers = "users.csv"')
    refusing(errno.EROFS)
    with pytest.raises(OSError, match=r"store\.db-import"):
        shop.source.open()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE])
def test_errors_unrelated_to_the_disk_are_raised(
    shop: Shop, refusing: Callable[[int], None], number: int
) -> None:
    shop.source.open().close()
    shop.write(lines(450))
    refusing(number)
    with pytest.raises(OSError, match=r"store\.db-import"):
        shop.source.open()


def test_a_project_can_be_opened_from_any_folder(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(shop.folder)
    source = EventSource(load_project(Path("tastemaker.toml")))
    source.open().close()
    monkeypatch.chdir(tmp_path)
    assert shop.source.stored
