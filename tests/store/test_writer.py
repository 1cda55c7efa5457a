import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from tastemaker.errors import BusyError, StoreError, StoreFullError
from tastemaker.store import write_queue
from tastemaker.store.opening import connect
from tastemaker.store.write_queue import Work
from tastemaker.store.writer import Writer

SECONDS = 30


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    writing, reading = connect(path, patience=0.2)
    with writing.begin() as connection:
        connection.execute(text("CREATE TABLE notes (note TEXT PRIMARY KEY)"))
    yield writing
    writing.dispose()
    reading.dispose()


@pytest.fixture
def writer(engine: Engine, path: Path) -> Iterator[Writer]:
    made = Writer(engine, path)
    yield made
    made.close()


def note(content: str) -> Work:
    def work(connection: Connection) -> str:
        connection.execute(text("INSERT INTO notes VALUES (:note)"), {"note": content})
        return content

    return work


def notes(engine: Engine) -> list[str]:
    with engine.begin() as connection:
        return list(connection.execute(text("SELECT note FROM notes ORDER BY note")).scalars())


class Held:
    """Keeps the writer busy, so that all work that is queued meanwhile becomes one group."""

    def __init__(self, writer: Writer) -> None:
        self._go, begun = threading.Event(), threading.Event()

        def work(_: Connection) -> None:
            begun.set()
            assert self._go.wait(SECONDS)

        self.done = writer.submit(work)
        assert begun.wait(SECONDS)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self.done.result(SECONDS)


def commits(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with every transaction."""
    begun: list[int] = []
    begin = engine.begin

    def counted() -> Any:
        begun.append(1)
        return begin()

    monkeypatch.setattr(engine, "begin", counted)
    return begun


def test_work_is_on_disk_when_its_future_is_done(writer: Writer, engine: Engine) -> None:
    assert writer.submit(note("a")).result(SECONDS) == "a"
    assert notes(engine) == ["a"]


def test_queued_work_shares_one_transaction(
    writer: Writer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Held(writer):
        begun = commits(engine, monkeypatch)
        futures = [writer.submit(note(f"{n:03}")) for n in range(100)]
    assert [future.result(SECONDS) for future in futures] == notes(engine)
    assert len(begun) <= 2  # one for the notes, one to read them


def test_bad_work_in_a_group_fails_alone(writer: Writer, engine: Engine) -> None:
    def broken(_: Connection) -> None:
        raise ZeroDivisionError

    with Held(writer):
        futures: list[Future[Any]] = [
            writer.submit(work)
            for work in (note("a"), broken, note("b"), note("a"), note("c"))
        ]  # fmt: skip
    assert isinstance(futures[1].exception(SECONDS), ZeroDivisionError)
    doubled = futures[3].exception(SECONDS)
    assert isinstance(doubled, StoreError)
    assert str(doubled) == "nothing was written (UNIQUE constraint failed: notes.note)"
    assert [futures[place].result(SECONDS) for place in (0, 2, 4)] == ["a", "b", "c"]
    assert notes(engine) == ["a", "b", "c"]


def test_failed_work_is_rolled_back(writer: Writer, engine: Engine) -> None:
    def half(connection: Connection) -> None:
        note("half")(connection)
        raise ZeroDivisionError

    with Held(writer):
        failed, done = writer.submit(half), writer.submit(note("whole"))
    assert isinstance(failed.exception(SECONDS), ZeroDivisionError)
    done.result(SECONDS)
    assert notes(engine) == ["whole"]


def test_cancelled_work_is_not_written(writer: Writer, engine: Engine) -> None:
    with Held(writer):
        cancelled, kept = writer.submit(note("cancelled")), writer.submit(note("kept"))
        assert cancelled.cancel()
    assert kept.result(SECONDS) == "kept"
    with pytest.raises(CancelledError):
        cancelled.result(SECONDS)
    with Held(writer):
        assert writer.submit(note("alone")).cancel()
    writer.submit(note("later")).result(SECONDS)
    assert notes(engine) == ["kept", "later"]


def test_closing_writes_all_queued_work(writer: Writer, engine: Engine) -> None:
    held = Held(writer)
    futures = [writer.submit(note(f"{n:04}")) for n in range(600)]
    closing = threading.Thread(target=writer.close)
    closing.start()
    held.__exit__()
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert all(future.done() for future in futures)
    assert len(notes(engine)) == 600


def test_a_closed_writer_refuses(writer: Writer) -> None:
    writer.close()
    with pytest.raises(StoreError, match=r"^the store is closed$"):
        writer.submit(note("late"))
    writer.close()


def test_work_beyond_the_queue_limit_is_refused(
    writer: Writer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "MAX_QUEUED_ROWS", 3)
    with Held(writer):
        for content in ("a", "b", "c"):
            writer.submit(note(content))
        with pytest.raises(BusyError, match="3 rows are waiting for the disk already: try again"):
            writer.submit(note("d"))
    assert writer.submit(note("e")).result(SECONDS) == "e"
    assert notes(engine) == ["a", "b", "c", "e"]


def test_large_writes_use_several_transactions(
    writer: Writer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "ROWS_AT_ONCE", 20)
    commits: list[int] = []
    event.listen(engine, "commit", lambda _: commits.append(1))
    with Held(writer):
        futures = [writer.submit(note(str(n)), rows=10) for n in range(8)]
    assert not wait(futures, timeout=SECONDS).not_done
    assert len(commits) - 1 == 4  # what held the writer, then two and two
    assert len(notes(engine)) == 8


def test_a_permanent_lock_fails_the_whole_group_at_once(
    writer: Writer, path: Path, engine: Engine
) -> None:
    other, reading = connect(path)
    with other.begin():
        futures = [writer.submit(note(str(n))) for n in range(200)]
        assert not wait(futures, timeout=20).not_done  # one after the other they would take forty
        problems = [future.exception() for future in futures]
    assert {str(problem) for problem in problems} == {
        "nothing was written (database is locked); another process has locked it: stop that "
        "process, or wait"
    }
    assert writer.submit(note("after")).result(SECONDS) == "after"
    assert notes(engine) == ["after"]
    other.dispose()
    reading.dispose()


def test_an_unexpected_error_is_returned_unchanged(writer: Writer) -> None:
    problem = writer.submit(lambda _: [][0]).exception(SECONDS)
    assert isinstance(problem, IndexError)


def test_a_single_write_waits_for_one_transaction_of_a_flood(writer: Writer) -> None:
    order: list[str] = []

    def batch(name: str) -> Work:
        return lambda _: order.append(name)

    with Held(writer):
        flood = [writer.submit(batch("flood"), rows=10_000, caller="flood") for _ in range(5)]
        writer.submit(batch("decision"), defer=True)
        single = writer.submit(batch("single"), caller="other")
        written_before: list[str] = []
        single.add_done_callback(lambda _: written_before.extend(order))
    assert not wait([*flood, single], timeout=SECONDS).not_done
    assert written_before == ["decision", "single"]
    assert order[2:] == ["flood"] * 5


def test_a_flood_leaves_other_clients_their_share_of_the_queue(writer: Writer) -> None:
    with Held(writer):
        flood = [writer.submit(note(f"f{n}"), rows=10_000, caller="flood") for n in range(5)]
        with pytest.raises(BusyError, match="50,000 rows are waiting for the disk already"):
            writer.submit(note("f5"), rows=10_000, caller="flood")
        others = [writer.submit(note(f"o{n}"), rows=10_000, caller="other") for n in range(2)]
        third = writer.submit(note("third"), rows=10_000, caller="third")
        with pytest.raises(BusyError):
            writer.submit(note("late"), rows=1, caller="flood")
    assert not wait([*flood, *others, third], timeout=SECONDS).not_done


def test_a_full_store_fails_only_the_write_that_needs_space(writer: Writer, engine: Engine) -> None:
    def full(_: Connection) -> None:
        raise StoreFullError("full")

    with Held(writer):
        kept, refused = writer.submit(note("kept")), writer.submit(full)
    assert kept.result(SECONDS) == "kept"
    with pytest.raises(StoreFullError, match=r"^full$"):
        refused.result(SECONDS)
    assert notes(engine) == ["kept"]
