"""Helpers of the resilience tests: run commands, start servers, fill a disk.

A scenario that needs a private disk runs as a process in a private mount namespace. It imports this
module and reports its results with `tell`.
"""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tastemaker.cli import main

SECONDS = 180.0


@dataclass(frozen=True)
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The error line of a command that failed with exit code 1, without progress messages."""
        lines = [line for line in self.err.splitlines() if " … " not in line]
        assert self.code == 1, self
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        assert "Traceback" not in self.err
        return lines[0]


def verb(project: Path, *arguments: str) -> Ran:
    """Runs a command in this process, as a shell would."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["tastemaker", *arguments, "--project", str(project)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
        raise AssertionError("a verb ends by an exit")
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 0
        return Ran(code, out.getvalue(), err.getvalue())
    finally:
        sys.argv = before


class Server:
    """A real `tastemaker serve` process and its stderr."""

    def __init__(self, project: Path) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the server
        start = "from tastemaker.cli import main; main()"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", start, "serve"),
                *("--project", str(project), "--port", str(self.port)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=self._said,
        )

    def wait(self) -> None:
        """Waits until the server is ready and has announced it."""
        end = time.monotonic() + SECONDS
        while not self.is_ready() or "Ctrl-C stops" not in self.said:
            assert self._process.poll() is None, self.said
            assert time.monotonic() < end, f"not ready: {self.said}"
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            return self.call("GET", "/health/ready")[0] == 200
        except (OSError, HTTPException):
            return False

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any, str | None]:
        """The status, body and Retry-After header of a request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), answer.getheader("Retry-After")
        finally:
            connection.close()

    def post(self, event_id: str) -> tuple[int, Any, str | None]:
        """Posts a click with a large context, so that it needs disk space."""
        event = {"event_id": event_id, "user_id": "user-0", "item_id": "horror-1"}
        return self.call("POST", "/v1/events", {**event, "context": {"told": "x" * 3000}})

    def recommends(self) -> bool:
        status, answer, _ = self.call("GET", "/v1/recommendations?user_id=user-0")
        return status == 200 and len(answer["items"]) > 0

    @property
    def said(self) -> str:
        self._said.seek(0)
        return self._said.read().decode()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stops the server and returns its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        return self._process.wait(30)

    def close(self) -> None:
        self.end(signal.SIGKILL)
        self._said.close()


@contextmanager
def serving(project: Path) -> Iterator[Server]:
    """A ready server, killed at the end if it is still running."""
    server = Server(project)
    try:
        server.wait()
        yield server
    finally:
        server.close()


def serve_in_vain(project: Path) -> Ran:
    """A server that is expected to exit."""
    server = Server(project)
    end = time.monotonic() + SECONDS
    while server._process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    try:
        return Ran(server.end(signal.SIGKILL), "", server.said)
    finally:
        server.close()


def fill(folder: Path) -> Path:
    """Fills the disk and returns the file to remove."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for size in (65_536, 4_096, 1):
            try:
                while stream.write(bytes(size)):
                    pass
            except OSError:
                continue
    return ballast


def free(folder: Path) -> int:
    """The free bytes of the disk."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_bsize


def tell(**facts: Any) -> None:
    """Reports the results of a scenario."""
    sys.stdout.write(json.dumps(facts, default=vars))
