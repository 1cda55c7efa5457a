"""The demo as its users meet it: trained once, served by a real process, seen by a real browser."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Demo:
    """A served demo."""

    url: str
    project: Path


@dataclass(frozen=True)
class Made:
    """What `tastemaker demo --no-serve --json` left behind, and what it said."""

    project: Path
    told: Any


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The demo from scratch: prepared, evaluated, trained."""
    folder = tmp_path_factory.mktemp("live")
    start = "from tastemaker.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", start, "demo", "--fresh", "--no-serve", "--json"],
        env={**os.environ, "XDG_CACHE_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    (project,) = folder.rglob("tastemaker.toml")
    return Made(project, json.loads(done.stdout))


@pytest.fixture(scope="session")
def demo(made: Made) -> Iterator[Demo]:
    """The demo, served."""
    with served(made.project) as running:
        yield running


@contextmanager
def served(project: Path) -> Iterator[Demo]:
    """A real `tastemaker serve`, stopped at the end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    start = "from tastemaker.cli import main; main()"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", start, "serve"),
            *("--project", str(project), "--port", str(port)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 300
        while True:
            try:
                with urllib.request.urlopen(f"{url}/health/ready", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, process.stderr and process.stderr.read().decode()
                assert time.monotonic() < end, "the server did not become ready"
                time.sleep(0.1)
        yield Demo(url, project)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(30) is not None
        if process.stderr is not None:
            process.stderr.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium; its absence is a loud skip, and in CI a failure."""
    place = shutil.which("chromium") or shutil.which("chromium-browser")
    if place is None:
        missing = "Chromium is not installed (Debian: apt install chromium)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=place, args=arguments)
        yield opened
        opened.close()
