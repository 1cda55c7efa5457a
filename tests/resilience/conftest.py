"""Fixtures: a small trained project, and private disks that tests can fill and break."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.resilience.stage import Ran, verb
from tests.serving.conftest import trained  # noqa: F401 - a fixture

Scenario = Callable[..., dict[str, Any]]
PRIVATE = ("unshare", "--mount", "--propagation", "private")
if os.geteuid() != 0:
    PRIVATE += ("--user", "--map-root-user")
"""Runs a command in a private mount namespace, which ends with it."""


@pytest.fixture
def films(trained: Path, tmp_path: Path) -> Path:  # noqa: F811 - a fixture
    """The project file of a copy of the trained project."""
    return Path(shutil.copytree(trained, tmp_path / "films")) / "tastemaker.toml"


@pytest.fixture
def run(films: Path) -> Callable[..., Ran]:
    """Runs a command on the project."""
    return lambda *arguments: verb(films, *arguments)


def inside(*commands: str) -> "subprocess.CompletedProcess[str]":
    """Runs shell commands in a private mount namespace, which ends with them."""
    told = "set -e; " + "; ".join(commands)
    return subprocess.run([*PRIVATE, "sh", "-c", told], capture_output=True, text=True, timeout=600)


def missing(what: str) -> None:
    """Skips the test if this machine does not support it; fails in CI."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def _scenario(films: Path, *mount: str) -> Scenario:
    state, kept = films.parent / ".tastemaker", films.parent.parent / "kept"
    mounts = [part.replace("STATE", shlex.quote(str(state))) for part in mount]
    tried = inside(*mounts)
    if tried.returncode:
        missing(f"this machine mounts no disk of one's own ({tried.stderr.strip()})")

    def scenario(code: str, *further: str) -> dict[str, Any]:
        head = (
            "import os, signal, sys, time\nfrom pathlib import Path\n"
            "from tests.resilience.stage import *\n"
            f"project = Path({str(films)!r})\nstate = project.parent / '.tastemaker'\n"
        )
        ran = inside(
            f"cp -a {shlex.quote(str(state))} {shlex.quote(str(kept))}",
            *mounts,
            f"cp -a {shlex.quote(str(kept))}/. {shlex.quote(str(state))}/",
            *(part.replace("STATE", shlex.quote(str(state))) for part in further),
            f"exec {shlex.quote(sys.executable)} -c {shlex.quote(head + code)}",
        )
        assert ran.returncode == 0, ran.stderr
        told: dict[str, Any] = json.loads(ran.stdout)
        return told

    return scenario


@pytest.fixture
def small_disk(films: Path) -> Scenario:
    """Runs code with the project's state on a 6 MB disk."""
    return _scenario(films, "mount -t tmpfs -o size=6m tmpfs STATE")


@pytest.fixture
def disk_of_30_mb(films: Path) -> Scenario:
    """Runs code with the project's state on a 30 MB disk."""
    return _scenario(films, "mount -t tmpfs -o size=30m tmpfs STATE")


@pytest.fixture
def filled_disk(films: Path) -> Scenario:
    """Runs code on a larger disk with a 54 MB file `ballast`, which can be removed."""
    mount = "mount -t tmpfs -o size=60m tmpfs STATE"
    return _scenario(films, mount, "fallocate -l 54M STATE/ballast")


@pytest.fixture
def breaking_disk(films: Path) -> Scenario:
    """Runs code with the project's state on a disk that can be made read-only."""
    image = films.parent.parent / "disk.img"
    with image.open("wb") as stream:
        stream.truncate(40_000_000)
    if shutil.which("mkfs.ext4") is None:
        missing("there is no mkfs.ext4 here")
    made = subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], capture_output=True, text=True)
    if made.returncode:
        missing(f"mkfs.ext4 makes no file system ({made.stderr.strip()})")
    return _scenario(films, f"mount -o loop {shlex.quote(str(image))} STATE")
