"""How many connections are kept open, and whose gives way."""

import logging
import resource
from dataclasses import dataclass, field

import pytest

from tastemaker.serving import connections
from tastemaker.serving.connections import Connections


@dataclass
class Transport:
    unsent: int = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent


@dataclass(eq=False)
class Client:
    is_idle: bool = True
    is_aborted: bool = False
    transport: Transport = field(default_factory=Transport)

    def abort(self) -> None:
        self.is_aborted = True


def opened(kept: Connections, n: int, address: str, *, idle: bool = True) -> list[Client]:
    """Connections of one address, taken up one after the other."""
    clients = [Client(idle) for _ in range(n)]
    for client in clients:
        assert kept.opened(client, address)  # type: ignore[arg-type]
    return clients


def test_the_one_that_has_been_idle_longest_gives_way() -> None:
    kept = Connections(3, 3)
    first, second, _ = opened(kept, 3, "a")
    kept.used(first)  # type: ignore[arg-type]
    opened(kept, 1, "b")
    assert second.is_aborted
    assert not first.is_aborted
    assert len(kept) == 3


def test_the_address_with_the_most_connections_gives_way() -> None:
    kept = Connections(4, 4)
    (few,) = opened(kept, 1, "few")
    many = opened(kept, 3, "many")
    opened(kept, 1, "new")
    assert many[0].is_aborted
    assert not few.is_aborted


def test_where_all_are_being_answered_the_new_one_is_refused() -> None:
    kept = Connections(2, 2)
    opened(kept, 2, "a", idle=False)
    assert not kept.opened(Client(), "b")  # type: ignore[arg-type]


def test_one_address_has_at_most_its_share(caplog: pytest.LogCaptureFixture) -> None:
    kept = Connections(10, 2)
    opened(kept, 2, "a", idle=False)
    with caplog.at_level(logging.WARNING):
        assert not kept.opened(Client(), "a")  # type: ignore[arg-type]
        assert not kept.opened(Client(), "a")  # type: ignore[arg-type]
    opened(kept, 1, "b")
    (line,) = caplog.messages  # one, however many are refused
    assert line.startswith("a has 2 connections open, 2 are allowed")


def test_what_is_closed_makes_room() -> None:
    kept = Connections(1, 1)
    (client,) = opened(kept, 1, "a", idle=False)
    kept.closed(client)  # type: ignore[arg-type]
    kept.closed(client)  # type: ignore[arg-type]
    opened(kept, 1, "a")
    assert len(kept) == 1


def test_files_are_kept_free_below_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (200, 200))
    kept = Connections()
    opened(kept, 300, "a")
    assert len(kept) < 150


def test_a_client_that_reads_too_slowly_is_given_up() -> None:
    kept = Connections()
    (client,) = opened(kept, 1, "a")
    client.transport.unsent = 5_000_000
    kept.unread(client)  # type: ignore[arg-type]
    client.transport.unsent -= 1_000
    assert not kept.is_reading(client)  # type: ignore[arg-type]
    client.transport.unsent -= 1_000_000
    assert kept.is_reading(client)  # type: ignore[arg-type]


def test_of_too_many_unread_answers_the_largest_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "MOST_UNSENT", 100)
    kept = Connections()
    small, large, last = opened(kept, 3, "a")
    for client, size in ((small, 30), (large, 60), (last, 40)):
        client.transport.unsent = size
        kept.unread(client)  # type: ignore[arg-type]
    assert large.is_aborted
    assert not small.is_aborted
