"""The limits of open connections, and which connections are closed."""

import logging
import resource
from dataclasses import dataclass, field

import pytest

from tastemaker.serving import connections
from tastemaker.serving.connections import Connections
from tastemaker.serving.guards import address_of


@dataclass
class Transport:
    unsent: int = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent


@dataclass(eq=False)
class Client:
    is_idle: bool = True
    is_sending: bool = False
    is_aborted: bool = False
    transport: Transport = field(default_factory=Transport)

    def abort(self) -> None:
        self.is_aborted = True


def opened(kept: Connections, n: int, address: str, *, idle: bool = True) -> list[Client]:
    """Connections of one address, opened one after the other."""
    clients = [Client(idle) for _ in range(n)]
    for client in clients:
        assert kept.opened(client, address)  # type: ignore[arg-type]
    return clients


def test_the_longest_idle_connection_is_closed() -> None:
    kept = Connections(6, 3)
    first, second, _ = opened(kept, 3, "a")
    opened(kept, 2, "b")
    opened(kept, 1, "c")
    kept.used(first)  # type: ignore[arg-type]
    opened(kept, 1, "d")
    assert second.is_aborted
    assert not first.is_aborted
    assert len(kept) == 6


def test_the_address_with_most_connections_loses_one() -> None:
    kept = Connections(4, 4)
    few = opened(kept, 1, "few")[0]
    opened(kept, 1, "few too")
    many = opened(kept, 2, "many")
    opened(kept, 1, "new")
    assert many[0].is_aborted
    assert not few.is_aborted


def test_a_new_connection_is_rejected_if_all_are_active() -> None:
    kept = Connections(2, 2)
    opened(kept, 1, "a", idle=False)
    opened(kept, 1, "c", idle=False)
    assert not kept.opened(Client(), "b")  # type: ignore[arg-type]


def test_one_address_has_half_of_the_connections_at_most() -> None:
    kept = Connections(5, 1_000)
    opened(kept, 2, "a", idle=False)
    assert not kept.opened(Client(), "a")  # type: ignore[arg-type]
    opened(kept, 2, "b", idle=False)


def test_an_idle_connection_of_another_address_is_closed() -> None:
    kept = Connections(5, 5)
    opened(kept, 2, "many", idle=False)
    opened(kept, 1, "few", idle=False)
    others = opened(kept, 2, "other")
    opened(kept, 1, "new")
    assert [client.is_aborted for client in others] == [True, False]


def test_a_connection_that_is_sending_is_closed_last() -> None:
    kept = Connections(5, 5)
    slow = opened(kept, 2, "slow", idle=False)
    for client in slow:
        client.is_sending = True
    opened(kept, 2, "busy", idle=False)
    idle = opened(kept, 1, "idle")
    opened(kept, 1, "new", idle=False)
    assert idle[0].is_aborted
    assert not slow[0].is_aborted
    opened(kept, 1, "new", idle=False)
    assert slow[0].is_aborted
    assert not slow[1].is_aborted
    # an active connection is closed only if its address has more connections
    slow[1].is_sending = True
    assert not kept.opened(Client(), "new")  # type: ignore[arg-type]


def test_one_address_has_at_most_its_share(caplog: pytest.LogCaptureFixture) -> None:
    kept = Connections(10, 2)
    opened(kept, 2, "a", idle=False)
    with caplog.at_level(logging.WARNING):
        assert not kept.opened(Client(), "a")  # type: ignore[arg-type]
        assert not kept.opened(Client(), "a")  # type: ignore[arg-type]
    opened(kept, 1, "b")
    (line,) = caplog.messages  # one line, however many connections are rejected
    assert line.startswith("a has 2 connections open, 2 are allowed")


def test_a_closed_connection_frees_its_place() -> None:
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


def test_a_client_that_reads_too_slowly_is_dropped() -> None:
    kept = Connections()
    (client,) = opened(kept, 1, "a")
    client.transport.unsent = 5_000_000
    kept.unread(client)  # type: ignore[arg-type]
    client.transport.unsent -= 1_000
    assert not kept.is_reading(client)  # type: ignore[arg-type]
    client.transport.unsent -= 1_000_000
    assert kept.is_reading(client)  # type: ignore[arg-type]


def test_of_too_many_unread_responses_the_largest_is_dropped(
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


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:a00:2", "10.0.0.2"),
        ("2001:db8::7", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv4_address_written_as_ipv6_is_itself(name: str, address: str) -> None:
    assert address_of((name, 1)) == address
