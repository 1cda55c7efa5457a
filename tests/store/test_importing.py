import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tastemaker.errors import StoreError
from tastemaker.progress import Progress
from tastemaker.store import Store, importing
from tests.store.conftest import ITEMS, Shop, contents, lines, row

T = TypeVar("T")
HERE = Path(__file__).parents[2]
HEAD = """
import os, signal, sys
from pathlib import Path
from tastemaker.progress import Progress
from tastemaker.project import load_project
from tastemaker.store import EventSource, importing
project = load_project(Path(sys.argv[1]) / "tastemaker.toml")
importing.ROWS_AT_A_TIME = 20
"""


def process(shop: Shop, code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + code, str(shop.folder), *arguments],
        stdout=subprocess.PIPE, text=True, cwd=HERE,
    )  # fmt: skip


# --- event ids, in files and served ---


def test_an_event_served_before_its_file_came_counts_once(shop: Shop) -> None:
    with Store(shop.source.path) as store:
        store.append([row(event_id="f1", item_id="served-first")]).result()
    with shop.source.open() as store:
        assert store.count() == 400
    data = shop.source.read()
    assert data.catalogue.items.index("served-first") >= 0


def test_an_event_of_the_file_that_is_posted_again_counts_once(shop: Shop) -> None:
    with shop.source.open() as store:
        assert store.append([row(event_id="f1"), row(event_id="new")]).result() == 1
        assert store.count() == 401


def test_an_event_id_that_stands_twice_in_the_file_counts_once(shop: Shop) -> None:
    shop.write([*lines(400), lines(2)[1]])
    with shop.source.open() as store:
        assert store.count() == 400


# --- items and users ---


def attributes(store: Store) -> dict[str, object]:
    return {item.item_id: item.attributes.get("title") for item in store.items_since(0)}


def test_a_put_item_wins_over_the_file_before_and_after_it(shop: Shop) -> None:
    with Store(shop.source.path) as store:
        store.put_item("a", {"title": "put before"}).result()
    with shop.source.open() as store:
        assert attributes(store) == {
            "a": "put before", "b": 'Über, "x"', "10": "One", "9": "Two", "only-in-table": "😀",
        }  # fmt: skip
        store.put_item("9", {"title": "put after"}).result()
    shop.table("items", [ITEMS[0], "a,A,,,,", "9,Nine,,,,", "10,Ten,,,,", "c,C,,,,"])
    with shop.source.open() as store:
        assert attributes(store) == {
            "a": "put before", "9": "put after", "10": "Ten", "c": "C",
        }  # fmt: skip
        assert [item.source for item in store.items_since(0) if item.item_id in "a9"] == [0, 0]


def test_a_changed_user_table_replaces_what_is_known_of_users(shop: Shop) -> None:
    shop.source.open().close()
    shop.table("users", ["user_id,city,born", "u1,Paris,", "fresh,Bonn,2001-01-01"])
    shop.source.open().close()
    data = shop.source.read()
    city = data.profiles["city"]
    told = {
        name: city.labels.ids(city.codes[data.users.index(name)])  # type: ignore[union-attr]
        for name in ("u1", "u2", "fresh")
    }
    assert told == {"u1": ["Paris"], "u2": [], "fresh": ["Bonn"]}
    assert data.users.index("quiet") == -1


# --- cut short ---


@pytest.mark.parametrize(
    ("label", "slices"),
    [
        ("users", 0),
        ("items", 0),
        ("importing events", 0),
        ("importing events", 4),
        ("importing items", 0),
        ("importing users", 1),
    ],
)
def test_an_import_that_was_killed_is_known_and_repeated(
    shop: Shop, tmp_path: Path, label: str, slices: int
) -> None:
    with shop.source.open() as store:
        store.append([row(event_id=f"served{n}", item_id="a") for n in range(5)]).result()
        store.put_item("a", {"title": "put"}).result()
    shop.write(lines(300, first=3))
    shop.table("items", ITEMS[:-1])
    shop.table("users", ["user_id,city,born", *(f"v{n},Rome," for n in range(50))])
    code = """
class Deadly(Progress):
    def track(self, work, label, total=None):
        for done, part in enumerate(work):
            if label == sys.argv[2] and done == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)
            yield part
EventSource(project, Deadly()).open()
"""
    killed = process(shop, code, label, str(slices))
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert shop.source.changed_files() != []
    with (
        shop.source.open_as_it_is() as store,
        pytest.raises(StoreError, match=r"the import of '\w+' was cut short or still goes on: run"),
    ):
        store.dataset(shop.project.schema)
    data = shop.source.read()
    assert len(data.events) == 305
    assert shop.source.changed_files() == []
    fresh = Shop(tmp_path / "fresh")
    shutil.copytree(shop.folder, fresh.folder, ignore=lambda *_: [".tastemaker"])
    with fresh.source.open() as store:
        store.append([row(event_id=f"served{n}", item_id="a") for n in range(5)]).result()
        store.put_item("a", {"title": "put"}).result()
    assert contents(data, tmp_path) == contents(fresh.source.read(), tmp_path)


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Does something between the transactions of the imports to come."""

    def track(_: Progress, work: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        for part in work:
            act()
            yield part

    monkeypatch.setattr(importing, "ROWS_AT_A_TIME", 2)
    monkeypatch.setattr(Progress, "track", track)


def test_while_files_are_imported_training_is_refused_and_posts_go_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write(lines(40))
    refused, posted = 0, 0
    with Store(shop.source.path, patience=0.5) as other:

        def act() -> None:
            nonlocal refused, posted
            posted += other.append([row(user_id="meanwhile")]).result(5)
            with pytest.raises(StoreError, match="was cut short or still goes on"):
                other.dataset(shop.project.schema)
            refused += 1

        between(monkeypatch, act)
        shop.source.open().close()
        assert refused == posted > 20
        assert len(other.history("meanwhile")) == posted
        assert len(other.dataset(shop.project.schema).events) == 40 + posted


def test_whoever_looks_while_items_are_imported_misses_none(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.table("items", [ITEMS[0], *(f"item-{n},Title,,,," for n in range(11))])
    seen: list[str] = []
    with Store(shop.source.path) as other:
        last = 0

        def look() -> None:
            nonlocal last
            for item in other.items_since(last):
                seen.append(item.item_id)
                last = item.changed

        between(monkeypatch, look)
        shop.source.open().close()
        look()
    assert sorted(seen) == sorted(f"item-{n}" for n in range(11))


def test_processes_that_open_the_project_together_import_it_once(shop: Shop) -> None:
    shop.write([line.rpartition(",")[0] + "," for line in lines(3000)])  # no event has an id
    code = """
with EventSource(project).open() as store:
    print(store.count())
"""
    processes = [process(shop, code) for _ in range(3)]
    told = [one.communicate(timeout=120)[0] for one in processes]
    assert told == ["3000\n"] * 3
