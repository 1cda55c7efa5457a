"""A store that is moved away, removed or replaced under a server: nothing more is acknowledged that
nobody would find again, and answers go on.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tastemaker.errors import StoreError
from tastemaker.store import Store
from tests.serving.conftest import client, folder, trained, wait_until  # noqa: F401 - fixtures

EVENT = {"user_id": "user-0", "item_id": "horror-1"}


def away(store: Path) -> None:
    for path in store.parent.glob("store.db*"):
        path.rename(path.with_name(f"kept-{path.name}"))


def removed(store: Path) -> None:
    for path in store.parent.glob("store.db*"):
        path.unlink()


def replaced(store: Path) -> None:
    shutil.copy(store, store.with_name("other.db"))
    store.with_name("other.db").replace(store)


@pytest.mark.parametrize("how", [away, removed, replaced])
def test_nothing_is_acknowledged_any_more_and_answers_go_on(
    client: TestClient,  # noqa: F811 - a fixture
    folder: Path,  # noqa: F811 - a fixture
    how: Callable[[Path], None],
) -> None:
    assert client.post("/v1/events", json=EVENT).status_code == 200
    how(folder / ".tastemaker" / "store.db")
    refused = client.post("/v1/events", json=EVENT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store")
    assert "was moved away or replaced while it was open" in refused.json()["error"]["message"]
    assert client.put("/v1/items/new", json={"title": "New"}).status_code == 503
    wait_until(lambda: "moved away" in client.get("/health/ready").json().get("problem", ""))
    stranger = client.post("/v1/recommendations", json={"history": ["horror-2"]})
    assert stranger.status_code == 200
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


def test_looking_for_what_is_gone_makes_no_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store(path) as store:
        for part in tmp_path.glob("store.db*"):
            part.unlink()
        store._reading.dispose()  # the next reading opens the file anew
        with pytest.raises(StoreError, match="unable to open"):
            store.count()
        assert not path.exists()
