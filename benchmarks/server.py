"""A real server process for measurements over HTTP: start, wait, call, stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

READY_SECONDS = 300.0


class Server:
    """A running `tastemaker serve`.

    Attributes:
        url: where it answers.
        ready_seconds: from its start until it was ready.
    """

    def __init__(self, project: Path, workers: int = 1) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from tastemaker.cli import main; main()", "serve"),
                *("--project", str(project), "--port", str(self.port), "--workers", str(workers)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")},
        )
        try:
            self._wait()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        self.ready_seconds = time.perf_counter() - begun

    def _wait(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended: {self._process.stderr.read().decode()}")  # type: ignore[union-attr]
            try:
                with urllib.request.urlopen(f"{self.url}/health/ready", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise RuntimeError(f"the server was not ready within {READY_SECONDS:.0f} s")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stops the process and its workers, gracefully or by killing them."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, how)
        self._process.wait(30)
        if self._process.stderr:
            self._process.stderr.close()

    @property
    def pid(self) -> int:
        """The started process; with several workers, their supervisor."""
        return self._process.pid

    def pids(self) -> Iterator[int]:
        """The process and its workers."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == self.pid:  # of this session
                yield int(stat.parent.name)

    def cpu_seconds(self) -> float:
        """The CPU time of the process and its workers so far."""
        ticks = os.sysconf("SC_CLK_TCK")
        total = 0.0
        for pid in self.pids():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            total += (int(fields[11]) + int(fields[12])) / ticks
        return total

    def peak_mb(self) -> float:
        """The peak resident memory of the largest process, MB."""
        return max(self._megabytes("VmHWM:"), default=0.0)

    def resident_mb(self) -> float:
        """The current private memory of all processes, MB."""
        return sum(self._megabytes("RssAnon:"))

    def _megabytes(self, what: str) -> Iterator[float]:
        """A line of the status of each of the server's processes."""
        for pid in self.pids():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                yield int(status.split(what)[1].split()[0]) * 1024 / 1e6
            except (OSError, IndexError):
                continue


@contextmanager
def serving(project: Path, workers: int = 1) -> Iterator[Server]:
    """A running server that is ready; stopped at the end."""
    server = Server(project, workers)
    try:
        yield server
    finally:
        server.stop()


class Caller:
    """A client with one persistent connection."""

    def __init__(self, server: Server) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=30)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and body of one call."""
        content = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, content, headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def free_port() -> int:
    """A free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
