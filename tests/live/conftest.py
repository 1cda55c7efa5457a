"""The demo as its users meet it: trained once, served by a real process, seen by a real browser."""

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

from tastemaker.cli.demo import prepare
from tastemaker.component import FitOptions
from tastemaker.data import times
from tastemaker.pipeline import Recommender
from tastemaker.registry import Registry
from tastemaker.store import EventSource


@dataclass(frozen=True)
class Demo:
    """A served demo."""

    url: str
    project: Path


@pytest.fixture(scope="session")
def trained_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's project with a version that serves."""
    folder = tmp_path_factory.mktemp("live") / "demo"
    project = prepare(folder, ends=times.now())
    recommender = Recommender.from_project(project.path)
    recommender.fit(EventSource(project).read(), FitOptions())
    registry = Registry(project.state)
    registry.promote(registry.add(recommender))
    return project.path


@pytest.fixture(scope="session")
def demo(trained_demo: Path) -> Iterator[Demo]:
    """The demo, served."""
    with served(trained_demo) as running:
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
        end = time.monotonic() + 120
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
