import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, Engine, text

from tastemaker.errors import StoreError
from tastemaker.progress import Progress
from tastemaker.store import Store, importing
from tastemaker.store.importing import Importer
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


def assert_killed(shop: Shop, code: str, *arguments: str) -> None:
    """Runs code that kills its own process."""
    killed = process(shop, code, *arguments)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL


# --- event ids, in files and served ---


def test_an_event_served_before_its_import_counts_once(shop: Shop) -> None:
    with Store(shop.source.path) as store:
        store.append([row(event_id="f1", item_id="served-first")]).result()
    with shop.source.open() as store:
        assert store.count() == 400
    data = shop.source.read()
    assert data.catalogue.items.index("served-first") >= 0


def test_a_file_that_conflicts_with_a_served_event_is_reported(shop: Shop) -> None:
    shop.write(of_file("abc", "id"))
    moment = 1_700_000_000_000_000
    with Store(shop.source.path) as store:
        same = row(event_id="ida", user_id="a", item_id="a", time=moment)
        other = row(event_id="idb", user_id="b", item_id="x", time=moment)
        store.append([same, other]).result()
    source = shop.source
    with source.open() as store:
        assert (users_in(store), store.count()) == ("abc", 3)
    assert [line for line in source.recovered if "event_id" in line] == [
        "rows of the event files skipped because their event_id was served with other content: 1"
    ]


def test_an_imported_event_posted_again_counts_once(shop: Shop) -> None:
    with shop.source.open() as store:
        assert store.append([row(event_id="f1"), row(event_id="new")]).result().new == 1
        assert store.count() == 401


def test_a_duplicate_event_id_in_a_file_counts_once(shop: Shop) -> None:
    shop.write([*lines(400), lines(2)[1]])
    with shop.source.open() as store:
        assert store.count() == 400


def of_file(users: str, event_id: str = "") -> list[str]:
    """One event per user, whose item is the letter of the user."""
    return [f"{user},{user},view,,1700000000,{event_id and event_id + user}" for user in users]


def rows_by_source(shop: Shop) -> dict[int, int]:
    """The number of events of each source, including hidden ones."""
    with closing(sqlite3.connect(shop.source.path)) as connection:
        found = connection.execute("SELECT source, count(*) FROM events GROUP BY source")
        return dict(found.fetchall())


def users_in(store: Store) -> str:
    """The users of all events, one letter per event."""
    return "".join(user * len(store.history(user)) for user in "abcdefgh")


def test_event_ids_of_both_files_keep_the_content_of_the_new_file(shop: Shop) -> None:
    shop.write(of_file("abcd", "id"))
    shop.source.open().close()
    shop.write([line.replace("1700000000", "1700000009") for line in of_file("cdef", "id")])
    with shop.source.open() as store:
        assert (users_in(store), store.count()) == ("cdef", 4)
        assert store.history("c").time.tolist() == [1_700_000_009_000_000]
        again = [row(event_id="idc", user_id="c"), row(event_id="ida", user_id="a")]
        assert store.append(again).result().new == 1  # the new file has no such event
        assert users_in(store) == "acdef"


@pytest.mark.parametrize("earlier", ["", "ab"])
def test_an_event_served_during_its_import_counts_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, earlier: str
) -> None:
    if earlier:
        shop.write(of_file(earlier, "id"))
        shop.source.open().close()
    shop.write(of_file("abcdefgh", "id"))
    with Store(shop.source.path) as other:
        posted: list[int] = []

        def post() -> None:
            served = [row(event_id=f"id{user}", user_id=user) for user in "hbd"]
            posted.append(other.append(served).result(5).new)

        def post_in_the_middle() -> None:  # when b and d have come, and h has not
            if max(rows_by_source(shop).values(), default=0) >= 4:
                post()

        between(monkeypatch, post_in_the_middle)
        shop.source.open().close()
        post()
        assert (users_in(other), other.count()) == ("abcdefgh", 8)
        assert posted[0] == (2 if earlier else 3)
        assert set(posted[1:]) == {0}
        assert len(other.served_since(0)) == posted[0]


# --- items and users ---


def attributes(store: Store) -> dict[str, object]:
    return {item.item_id: item.attributes.get("title") for item in store.items_since(0)}


def test_a_put_item_overrides_files_imported_before_and_after(shop: Shop) -> None:
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


def test_a_changed_user_table_replaces_all_user_attributes(shop: Shop) -> None:
    shop.source.open().close()
    shop.table("users", ["user_id,city,born", "u1,Paris,", "fresh,Bonn,2001-01-01"])
    shop.source.open().close()
    data = shop.source.read()
    city = data.profiles["city"]
    cities = {
        name: city.labels.ids(city.codes[data.users.index(name)])  # type: ignore[union-attr]
        for name in ("u1", "u2", "fresh")
    }
    assert cities == {"u1": ["Paris"], "u2": [], "fresh": ["Bonn"]}
    assert data.users.index("quiet") == -1


# --- interrupted imports ---


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
def test_a_killed_import_is_detected_and_repeated(
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
    assert_killed(shop, code, label, str(slices))
    assert shop.source.changed_files() != []
    with shop.source.open_as_it_is() as store:
        if label in ("importing items", "importing users"):
            with pytest.raises(
                StoreError, match=r"the import of '\w+' is incomplete or still running"
            ):
                store.dataset(shop.project.schema)
        else:
            assert len(store.dataset(shop.project.schema).events) == store.count() == 405
    data = shop.source.read()
    assert len(data.events) == 305
    assert shop.source.changed_files() == []
    fresh = Shop(tmp_path / "fresh")
    shutil.copytree(shop.folder, fresh.folder, ignore=lambda *_: [".tastemaker"])
    with fresh.source.open() as store:
        store.append([row(event_id=f"served{n}", item_id="a") for n in range(5)]).result()
        store.put_item("a", {"title": "put"}).result()
    assert contents(data, tmp_path) == contents(fresh.source.read(), tmp_path)


@pytest.mark.parametrize("event_id", ["", "id"])
def test_the_next_import_removes_rows_of_a_killed_import(shop: Shop, event_id: str) -> None:
    shop.write(of_file("abcd", event_id))
    shop.source.open().close()
    shop.write(of_file("cdefgh", event_id))
    code = """
class Deadly(Progress):
    def track(self, work, label, total=None):
        for part in work:
            yield part
            if label == "importing events":
                os.kill(os.getpid(), signal.SIGKILL)
importing.ROWS_AT_A_TIME = 2
EventSource(project, Deadly()).open()
"""
    for _ in range(2):
        assert_killed(shop, code)
        with shop.source.open_as_it_is() as store:
            assert (users_in(store), store.count()) == ("abcd", 4)
        assert sorted(rows_by_source(shop).values()) == [2, 4]
    with (source := shop.source).open() as store:
        assert users_in(store) == "cdefgh"
    assert "the import of events was interrupted" in source.recovered[-1]
    assert list(rows_by_source(shop).values()) == [6]


def test_a_failed_import_is_dropped_when_its_file_is_restored(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write(of_file("abcd"))
    shop.source.open().close()
    shop.write(of_file("efgh"))
    with monkeypatch.context() as patch:
        patch.setattr(Importer, "sweep", lambda _: None)
        patch.setattr(importing, "_DELETE_SERVED", text("nonsense"))
        with pytest.raises(StoreError, match=r"the files cannot be imported \(near"):
            shop.source.open()
    assert list(rows_by_source(shop).values()) == [4, 4]
    shop.write(of_file("abcd"))
    assert shop.source.changed_files() == []
    with shop.source.open() as store:
        assert users_in(store) == "abcd"
    assert list(rows_by_source(shop).values()) == [4]


def test_replaced_events_stay_hidden_after_a_killed_removal(shop: Shop) -> None:
    shop.write(of_file("abcdef"))
    shop.source.open().close()
    shop.write(of_file("fgh"))
    code = """
delete_events = importing.Importer._delete_events
def half(self, source):
    begin, done = self._writing.begin, []
    def deadly():
        if done:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(1)
        return begin()
    self._writing.begin = deadly
    delete_events(self, source)
importing.Importer._delete_events = half
importing.ROWS_AT_A_TIME = 4
EventSource(project).open()
"""
    assert_killed(shop, code)
    assert sorted(rows_by_source(shop).values()) == [2, 3]
    assert shop.source.changed_files() == []
    with shop.source.open_as_it_is() as store:
        assert (users_in(store), store.count()) == ("fgh", 3)
        assert len(store.dataset(shop.project.schema).events) == 3
    source = shop.source
    source.open().close()
    assert list(rows_by_source(shop).values()) == [3]
    assert [line for line in source.recovered if "interrupted" in line] == []


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Calls a function between the transactions of the next imports."""

    def track(_: Progress, work: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        for part in work:
            act()
            yield part

    monkeypatch.setattr(importing, "ROWS_AT_A_TIME", 2)
    monkeypatch.setattr(Progress, "track", track)


@pytest.mark.parametrize("event_id", ["", "id"])
def test_readers_see_all_events_of_one_file_during_an_import(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, event_id: str
) -> None:
    shop.write(of_file("aabbcdef"))
    shop.source.open().close()
    shop.write(of_file("defgh", event_id))
    seen: list[tuple[str, int, int]] = []
    with Store(shop.source.path) as other:

        def look() -> None:
            data = other.dataset(shop.project.schema)
            seen.append((users_in(other), other.count(), len(data.events)))

        monkeypatch.setattr(importing, "ROWS_AT_A_TIME", 2)
        source = shop.source
        begin = Engine.begin

        def looked(engine: Engine) -> AbstractContextManager[Connection]:
            if engine.url.database == str(source.path):  # before each of its transactions
                look()
            return begin(engine)

        monkeypatch.setattr(Engine, "begin", looked)
        source.open().close()
        look()
    before, after = ("aabbcdef", 8, 8), ("defgh", 5, 5)
    assert set(seen) == {before, after}
    assert seen == sorted(seen)  # never back
    assert seen.count(before) > 5
    assert seen.count(after) > 4  # while the earlier events are removed


def test_the_first_import_refuses_training_but_accepts_posts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write(lines(40))
    refused, posted = 0, 0
    with Store(shop.source.path, patience=0.5) as other:

        def act() -> None:
            nonlocal refused, posted
            posted += other.append([row(user_id="meanwhile")]).result(5).new
            with pytest.raises(StoreError, match="is incomplete or still running"):
                other.dataset(shop.project.schema)
            refused += 1

        between(monkeypatch, act)
        shop.source.open().close()
        assert refused == posted > 20
        assert len(other.history("meanwhile")) == posted
        assert len(other.dataset(shop.project.schema).events) == 40 + posted


def test_items_since_misses_no_item_during_an_import(
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


def test_concurrent_processes_import_a_project_once(shop: Shop) -> None:
    shop.write([line.rpartition(",")[0] + "," for line in lines(3000)])  # no event has an id
    code = """
with EventSource(project).open() as store:
    print(store.count())
"""
    processes = [process(shop, code) for _ in range(3)]
    counts = [one.communicate(timeout=120)[0] for one in processes]
    assert counts == ["3000\n"] * 3


def sums(path: Path, table: str) -> list[tuple[object, ...]]:
    """The events of visible sources aggregated by pair, from the log or the table `pairs`."""
    of = {
        "pairs": "SELECT user, item, kind, negative, source, time, sequence, amount FROM pairs",
        "events": (
            "SELECT user, item, kind, coalesce(value < 0, 0) AS negative, source, max(time), "
            "(SELECT sequence FROM events AS e WHERE (e.user, e.item, e.kind, e.source, "
            "coalesce(e.value < 0, 0)) = (events.user, events.item, events.kind, events.source, "
            "coalesce(events.value < 0, 0)) ORDER BY time DESC, sequence DESC LIMIT 1), "
            "sum(coalesce(value, 1.0)) FROM events GROUP BY user, item, kind, negative, source"
        ),
    }
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute(of[table]).fetchall())


def test_pairs_match_the_log_after_imports_and_posts(shop: Shop) -> None:
    shop.write(of_file("aabcd", "id"))
    with shop.source.open() as store:
        store.append([row(user_id="a", item_id="a", value=v) for v in (2.0, -1.0, None)]).result()
        store.append([row(user_id="a", item_id="a", time=5)]).result()  # late
        assert sums(store.path, "pairs") == sums(store.path, "events")
    shop.write(of_file("bcdef", "id"))
    with shop.source.open() as store:
        assert sums(store.path, "pairs") == sums(store.path, "events")
        assert len({source for *_, source, _, _, _ in sums(store.path, "pairs")}) == 2


def test_pairs_of_a_file_exclude_posted_events(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write(of_file("abcd", "id"))
    with Store(shop.source.path) as other:
        posted = [row(event_id="idc", user_id="c", item_id="c")]
        between(monkeypatch, lambda: other.append(posted).result(5) and None)
        shop.source.open().close()
        assert sums(other.path, "pairs") == sums(other.path, "events")
