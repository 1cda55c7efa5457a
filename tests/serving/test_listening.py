"""A real server that other machines can reach, with and without an API key."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from benchmarks.server import free_port, serving
from tastemaker.serving.keys import KeyFile
from tests.serving.conftest import wait_until

pytestmark = pytest.mark.slow
START = [sys.executable, "-c", "from tastemaker.cli import main; main()", "serve"]


@contextmanager
def listening(folder: Path, host: str, *options: str) -> Iterator[tuple[int, Path]]:
    """The port of a ready server, and the file with its output."""
    port, said = free_port(), folder / "said.txt"
    with said.open("wb") as stream:
        process = subprocess.Popen(
            [*START, "--host", host, "--port", str(port), *options],
            cwd=folder,
            stderr=stream,
            start_new_session=True,
        )
    try:
        wait_until(lambda: process.poll() is not None or "Ctrl-C stops" in said.read_text())
        assert process.poll() is None, said.read_text()
        yield port, said
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def status(url: str, key: str = "") -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as a:
            return int(a.status)
    except urllib.error.HTTPError as problem:
        with problem:
            return int(problem.code)


def test_workers_end_when_their_supervisor_is_killed(folder: Path) -> None:
    with serving(folder / "tastemaker.toml", workers=2) as server:
        workers = [pid for pid in server.pids() if pid != server.pid]
        assert len(workers) >= 2
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not any(is_alive(pid) for pid in workers))


def is_alive(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_other_machines_are_answered_with_a_key_by_every_worker(folder: Path) -> None:
    keys = KeyFile(folder / ".tastemaker")
    key = keys.add("shop")
    keys.path.chmod(0o644)
    with listening(folder, "0.0.0.0", "--workers", "2") as (port, said):  # noqa: S104
        lines = said.read_text().splitlines()
        url = f"http://127.0.0.1:{port}"
        assert any(f" at {url} " in line for line in lines)
        assert sum("sent unencrypted without a TLS" in line for line in lines) == 1
        assert sum("chmod 600" in line for line in lines) == 1
        trending = f"{url}/v1/trending"
        # each request uses a new connection, so that both workers get some
        assert {status(trending) for _ in range(20)} == {401}
        assert {status(trending, key) for _ in range(20)} == {200}
        assert status(f"{url}/health/ready") == 200
        other = keys.add("other")
        assert {status(trending, other) for _ in range(20)} == {200}
        keys.remove("shop")
        assert {status(trending, key) for _ in range(20)} == {401}
        keys.remove("other")
        assert {status(trending, other) for _ in range(20)} == {401}
        keys.path.unlink()
        assert {status(trending, sent) for sent in ("", key, other) for _ in range(10)} == {401}
    result = said.read_text()
    assert "keys.json is missing" in result
    assert key not in result
    assert other not in result
    assert "Traceback" not in result


def test_a_server_on_all_ipv6_addresses_announces_a_usable_address(
    folder: Path,
) -> None:
    try:
        with socket.socket(socket.AF_INET6) as listener:
            listener.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    key = KeyFile(folder / ".tastemaker").add("shop")
    with listening(folder, "::") as (port, said):
        assert f" at http://[::1]:{port} " in said.read_text()
        assert status(f"http://[::1]:{port}/v1/trending", key) == 200


def test_a_variable_of_uvicorn_does_not_set_the_workers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    with listening(folder, "127.0.0.1") as (port, _):
        assert status(f"http://127.0.0.1:{port}/health/ready") == 200


def test_a_large_body_without_a_key_is_rejected_unread(folder: Path) -> None:
    KeyFile(folder / ".tastemaker").add("shop")
    with listening(folder, "127.0.0.1") as (port, _):
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.putrequest("POST", "/v1/events")
        connection.putheader("Content-Length", "9000000")
        connection.endheaders(b"{")
        with connection.getresponse() as answer:
            assert answer.status == 401
            assert json.load(answer)["error"]["code"] == "no_key"
        connection.close()
