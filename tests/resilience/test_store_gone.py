"""A store that is moved, removed or replaced while a server runs.

The server acknowledges no event that would be lost, and continues to answer requests.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tastemaker.errors import StoreError
from tastemaker.store import Store
from tests.serving.conftest import client, folder, trained, wait_until  # noqa: F401 - fixtures
from tests.store.conftest import row
from tests.store.test_store import sql

EVENT = {"user_id": "user-0", "item_id": "horror-1"}


def move_away(store: Path) -> None:
    for path in store.parent.glob("store.db*"):
        path.rename(path.with_name(f"kept-{path.name}"))


def removed(store: Path) -> None:
    for path in store.parent.glob("store.db*"):
        path.unlink()


def replaced(store: Path) -> None:
    shutil.copy(store, store.with_name("other.db"))
    store.with_name("other.db").replace(store)


def part(ending: str, how: Callable[[Path], object]) -> Callable[[Path], None]:
    """Applies an action to one of the files of a database."""

    def change(store: Path) -> None:
        how(store.with_name(f"store.db{ending}"))

    return change


def swap(path: Path) -> None:
    """Replaces a file with a file of the same content."""
    shutil.copy(path, path.with_name("other"))
    path.with_name("other").replace(path)


def cut(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    """Copies another store over it in place, as `cp` does."""
    with Store(path.with_name("another.db")) as another:
        another.append([row() for _ in range(2_000)]).result()
    shutil.copyfile(path.with_name("another.db"), path)


def put_journal(path: Path) -> None:
    path.write_bytes(b"x" * 1_000)


PARTS = {
    "database swapped": part("", swap),
    "database cut": part("", cut),
    "database overwritten": part("", overwrite),
    "log removed": part("-wal", Path.unlink),
    "log moved": part("-wal", lambda path: path.rename(path.with_name("moved"))),
    "log swapped": part("-wal", swap),
    "log cut": part("-wal", cut),
    "index removed": part("-shm", Path.unlink),
    "index swapped": part("-shm", swap),
    "journal beside": part("-journal", put_journal),
}


@pytest.mark.parametrize("how", PARTS.values(), ids=PARTS)
def test_every_file_of_the_database_is_guarded(tmp_path: Path, how: Callable[[Path], None]) -> None:
    path = tmp_path / "store.db"
    with Store(path) as store:
        store.append([row(context="x" * 3_000) for _ in range(200)]).result()
        sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
        store.append([row(context="x" * 3_000) for _ in range(20)]).result()
        store.require_in_place()
        how(path)
        with pytest.raises(StoreError, match="no more data is accepted: restore it"):
            store.append([row()]).result()
        with pytest.raises(StoreError, match="while it was open"):
            store.require_in_place()


def test_acknowledged_events_survive_the_loss_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    code = """
import os, sys
from pathlib import Path
from tastemaker.errors import StoreError
from tastemaker.store import Store
from tests.store.conftest import row
store = Store(Path(sys.argv[1]))
store.append([row() for _ in range(100)]).result()
Path(sys.argv[1] + "-wal").unlink()
try:
    store.require_in_place()
except StoreError:
    os._exit(7)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[2])
    assert ended.returncode == 7, "killed while the log was gone"
    with Store(path) as store:
        assert store.count() == 100
        assert store.check() is None


def test_checkpoints_and_a_vacuum_of_others_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store(path) as store:
        for command in ("wal_checkpoint(TRUNCATE)", "wal_checkpoint(FULL)", "optimize"):
            store.append([row(context="x" * 3_000) for _ in range(2_000)]).result()
            sql(path, f"PRAGMA {command}")
            store.append([row()]).result()
        sql(path, "DELETE FROM events WHERE sequence % 7 > 0")
        sql(path, "VACUUM")
        sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
        store.append([row()]).result()
        store.require_in_place()
        with Store(path) as other:
            other.append([row()]).result()
        store.append([row()]).result()
        assert store.check() is None


@pytest.mark.parametrize("how", [move_away, removed, replaced])
def test_events_are_rejected_and_requests_are_answered(
    client: TestClient,  # noqa: F811 - a fixture
    folder: Path,  # noqa: F811 - a fixture
    how: Callable[[Path], None],
) -> None:
    assert client.post("/v1/events", json=EVENT).status_code == 200
    how(folder / ".tastemaker" / "store.db")
    refused = client.post("/v1/events", json=EVENT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store")
    assert "was moved or replaced while it was open" in refused.json()["error"]["message"]
    assert client.put("/v1/items/new", json={"title": "New"}).status_code == 503
    wait_until(lambda: "moved or replaced" in client.get("/health/ready").json().get("problem", ""))
    anonymous = client.post("/v1/recommendations", json={"history": ["horror-2"]})
    assert anonymous.status_code == 200
    known = client.post("/v1/recommendations", json={"user_id": "user-0"})
    assert known.status_code in (200, 503), "their history may be gone with the store"


def test_a_store_that_is_put_back_takes_events_again(
    client: TestClient,  # noqa: F811 - a fixture
    folder: Path,  # noqa: F811 - a fixture
) -> None:
    state = folder / ".tastemaker"
    state.rename(folder / "elsewhere")
    assert client.post("/v1/events", json=EVENT).status_code == 503
    (folder / "elsewhere").rename(state)
    assert client.post("/v1/events", json=EVENT).status_code == 200
    wait_until(lambda: "problem" not in client.get("/health/ready").json())


def test_looking_for_a_missing_store_creates_no_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store(path) as store:
        for part in tmp_path.glob("store.db*"):
            part.unlink()
        store._reading.dispose()  # the next read opens the file again
        with pytest.raises(StoreError, match="unable to open"):
            store.count()
        assert not path.exists()
