import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tastemaker.errors import SettingError, StoreError
from tastemaker.lock import is_held
from tastemaker.store import Store, upgrading
from tastemaker.store.counters import EVENTS, count_of
from tastemaker.store.tables import SCHEMA, sqlite_path
from tests.store.conftest import Shop, lines, row
from tests.store.test_decision import realistic
from tests.store.test_importing import sums


def test_the_store_path_follows_the_url() -> None:
    state = Path("shop/.tastemaker")
    assert sqlite_path("sqlite", state) == state / "store.db"
    assert sqlite_path("sqlite:///log/events.db", state) == Path("shop/log/events.db")
    assert sqlite_path("sqlite:////data/events.db", state) == Path("/data/events.db")


@pytest.mark.parametrize("url", ["", "sqlite:///", "sqlite://", "postgresql://localhost/x", "x"])
def test_any_other_url_is_refused_with_the_valid_forms(url: str) -> None:
    with pytest.raises(SettingError, match=r"\[store\] url must be 'sqlite' or 'sqlite:///FILE'"):
        sqlite_path(url, Path(".tastemaker"))


def test_a_missing_store_is_created_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "store.db"
    with Store(path) as store:
        store.append([row()]).result()
    with Store(path) as again:
        assert again.count() == 1


@pytest.mark.parametrize("name", ["a b.db", "what?.db", "100%.db", "ü#1.db", "a:b@c.db", "'.db"])
def test_a_store_may_have_any_name(tmp_path: Path, name: str) -> None:
    with Store(tmp_path / name) as store:
        store.append([row()]).result()
    assert (tmp_path / name).stat().st_size > 0


def test_the_settings_make_commits_survive_a_power_failure(store: Store) -> None:
    for engine in (store._writing, store._reading):
        with engine.connect() as connection:
            raw = connection.connection.cursor()
            assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert raw.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_store_has_a_permanent_unique_id(path: Path, tmp_path: Path) -> None:
    with Store(path) as store, Store(path) as same, Store(tmp_path / "new.db") as other:
        assert len(store.id) == 32
        assert store.id == same.id != other.id
        first = store.id
    with Store(path) as again:
        assert again.id == first


def test_upgrading_from_schema_1_keeps_all_data(shop: Shop) -> None:
    with shop.source.open() as store:
        store.append([row(event_id="served", user_id="u1")]).result()
        history = store.history("u1")
        with closing(sqlite3.connect(path := store.path)) as new:
            expected = new.execute(_SHAPES).fetchall()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_FIRST_SCHEMA)
    with shop.source.open() as store:
        assert store.count() == 401
        assert len(store.id) == 32
        assert store.history("u1").sequence.tolist() == history.sequence.tolist()
        assert store.append([row(event_id="served"), row(event_id="f1")]).result().new == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(_SHAPES).fetchall() == expected
    shop.write(lines(9))
    with shop.source.open() as store:
        assert store.count() == 10


@pytest.mark.parametrize("schema", [2, 3, 4])
def test_upgrading_adds_all_tables_and_sums(shop: Shop, schema: int) -> None:
    with shop.source.open() as store:
        store.append([row(event_id="served", user_id="u1")]).result()
        store.log(realistic(0)).result()
        decided, described = store.decision_log.totals(), store.item_count()
        with closing(sqlite3.connect(path := store.path)) as new:
            expected = new.execute(_ALL_SHAPES).fetchall()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_EARLIER[schema])
    with shop.source.open() as store:
        assert store.count() == 401
        assert sums(path, "pairs") == sums(path, "events") != []
        assert store.decision_log.totals() == decided
        assert store.item_count() == described > 0
        with store.reading() as connection:
            assert count_of(connection, EVENTS).rows == store.count_served(0) == 1
        assert store.removal_mark() == (0, 0)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(_ALL_SHAPES).fetchall() == expected


_ALL_SHAPES = "SELECT name, sql FROM sqlite_master ORDER BY name"
_FOURTH_SCHEMA = """
DROP INDEX decisions_by_user;
DELETE FROM totals WHERE name != 'decisions';
DROP TABLE recounts;
UPDATE about SET value = '4' WHERE name = 'schema';
"""
_THIRD_SCHEMA = """
DROP TABLE removals;
DROP TABLE removed_items;
DROP TABLE totals;
UPDATE about SET value = '3' WHERE name = 'schema';
"""
_SECOND_SCHEMA = """
DROP TABLE pairs;
DROP INDEX events_by_time;
DROP INDEX events_by_user;
DROP INDEX events_served_of;
CREATE INDEX events_by_user ON events ("user", sequence, item, kind, value, time, source);
UPDATE about SET value = '2' WHERE name = 'schema';
"""
_EARLIER = {
    2: _FOURTH_SCHEMA + _THIRD_SCHEMA + _SECOND_SCHEMA,
    3: _FOURTH_SCHEMA + _THIRD_SCHEMA,
    4: _FOURTH_SCHEMA,
}
_SHAPES = (
    "SELECT name, sql FROM sqlite_master WHERE tbl_name IN ('sources', 'events') ORDER BY name"
)
_FIRST_SCHEMA = """
DROP INDEX decisions_by_user;
DELETE FROM totals WHERE name != 'decisions';
DROP INDEX events_by_id;
DROP INDEX events_by_user;
CREATE UNIQUE INDEX events_by_id ON events (event_id);
CREATE INDEX events_by_user ON events ("user", sequence, item, kind, value, time);
CREATE TABLE one (
    source INTEGER NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL, rows INTEGER NOT NULL,
    complete INTEGER NOT NULL, PRIMARY KEY (source), UNIQUE (name)
);
INSERT INTO one SELECT * FROM sources;
DROP TABLE sources;
ALTER TABLE one RENAME TO sources;
DELETE FROM about WHERE name = 'id';
UPDATE about SET value = '1' WHERE name = 'schema';
"""


def test_a_store_open_in_another_process_is_not_upgraded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrading, "_PATIENCE_SECONDS", 0.2)
    with Store(path) as older:
        older.append([row()]).result()
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(_FOURTH_SCHEMA)
        with pytest.raises(StoreError, match=r"from schema 4 to 5: stop the server and other com"):
            Store(path)
        with closing(sqlite3.connect(path)) as connection:
            query = "SELECT value FROM about WHERE name = 'schema'"
            assert connection.execute(query).fetchone() == ("4",)
        older.append([row()]).result()  # its lock is still its own
        assert is_held(path.with_name("store.db-open"))
    with Store(path) as newer, Store(path) as other:
        assert (newer.count(), other.count()) == (2, 2)


def test_two_processes_can_upgrade_concurrently(path: Path) -> None:
    with Store(path) as store:
        store.append([row()]).result()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_FOURTH_SCHEMA)
    code = "import sys; from pathlib import Path; from tastemaker.store import Store\n"
    code += "with Store(Path(sys.argv[1])) as store: print(store.count())"
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [one.communicate(timeout=120)[0] for one in both] == [b"1\n", b"1\n"]


def test_a_newer_schema_is_refused_and_unchanged(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE about SET value = ? WHERE name = 'schema'", (str(SCHEMA + 1),))
        connection.execute("DROP TABLE decisions")
    with pytest.raises(
        StoreError, match=rf"has schema {SCHEMA + 1}, this version reads schema {SCHEMA}: use"
    ):
        Store(path)
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'decisions'")
        assert found.fetchone() == (0,)


def test_another_programs_database_is_refused_and_unchanged(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    with pytest.raises(
        StoreError, match=r"contains another program's tables \(users\); set another path"
    ):
        Store(path)
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert found.fetchall() == [("users",)]


def test_a_file_that_is_not_a_database_is_refused(path: Path) -> None:
    path.write_bytes(b"user_id,item_id\n" * 100)
    with pytest.raises(
        StoreError, match=r"store\.db: cannot be used \(file is not a database\); re"
    ):
        Store(path)


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with Store(path) as store:
        assert store.count() == 0


def test_a_folder_at_the_path_of_the_store_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=r"cannot be used \(unable to open database file\); make"):
        Store(path)


def test_a_file_at_the_path_of_the_folder_is_refused(path: Path) -> None:
    path.touch()
    with pytest.raises(StoreError, match=r"cannot be used \(File exists\); make its folder"):
        Store(path / "store.db")


# --- locks ---


@pytest.fixture
def locked(path: Path) -> Iterator[None]:
    """Another process that has locked the database."""
    Store(path).close()
    code = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    yield
    holder.communicate(timeout=30)


@pytest.mark.usefixtures("locked")
def test_a_locked_database_is_refused_with_a_fix_after_a_timeout(path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(
        StoreError, match=r"\(database is locked\); another process has locked it: stop"
    ):
        Store(path, patience=0.3)
    assert 0.3 <= time.monotonic() - begun < 5


def test_a_write_waits_for_a_lock_and_fails_after_a_timeout(path: Path) -> None:
    with Store(path, patience=0.3) as store, closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        other.execute("BEGIN EXCLUSIVE")
        refused = store.append([row(event_id="refused")]).exception(10)
        assert str(refused).startswith("nothing was written (database is locked); another process")
        assert store.count() == 0  # reads still work
        waiting = store.append([row(event_id="kept")])
        other.execute("COMMIT")
        assert waiting.result(10).new == 1
        assert store.count() == 1


@pytest.fixture
def untouchable() -> Iterator[Path]:
    """A folder with a store that only its owner can write."""
    folder = Path(tempfile.mkdtemp())
    with Store(folder / "store.db") as store:
        store.append([row()]).result()
    (folder / "store.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["store.db", "new.db", "deep/new.db"])
def test_a_read_only_folder_is_named_with_a_fix(
    untouchable: Path, tmp_path: Path, name: str
) -> None:
    code = """
import os, sys
from pathlib import Path
from tastemaker.store import Store
Store(Path(sys.argv[2])).close()  # whatever is imported is imported by now
if os.geteuid() == 0:
    os.setuid(65_534)
try:
    Store(Path(sys.argv[1]), patience=0.3)
except Exception as problem:
    print(type(problem).__name__, problem)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(untouchable / name), str(tmp_path / "own.db")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.stdout.startswith(f"StoreError {untouchable / name}: cannot be used ("), result
    assert "; make its folder writable, or set another path in [store] url" in result.stdout
