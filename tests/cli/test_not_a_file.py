"""A named pipe, socket, device or folder in place of a file never blocks a command."""

import faulthandler
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60
"""A timeout that is sufficient for all commands, unless they wait for a pipe."""
STATE = Path(".tastemaker")
KINDS = {"pipe": "a named pipe", "socket": "a socket", "device": "a device"}


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    def waited(*_: Any) -> None:
        raise AssertionError("a command waits for what is not a file")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(
        2 * SECONDS, exit=True
    )  # signals do not interrupt a wait in Rust
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(kind: str, path: Path) -> None:
    """Replaces a file by something else."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        here = Path.cwd()
        os.chdir(path.parent)  # socket paths have a length limit
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
        os.chdir(here)


def version_of(shop: Any) -> Path:
    return Path(next((shop.folder / STATE / "artifacts").glob("2*")))


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
@pytest.mark.parametrize("name", ["events.csv", "items.csv"])
def test_a_table_that_is_not_a_file_is_refused(shop: Any, run: Any, kind: str, name: str) -> None:
    put(kind, shop.folder / name)
    for verb in ("validate", "train", "doctor"):
        done = run(verb)
        assert done.code in (1, 2)
        assert name in done.out + done.err
        assert "Traceback" not in done.err
    assert run("init", "--force", "--events", name).code == 2


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
def test_a_project_file_that_is_not_a_file_is_refused(shop: Any, run: Any, kind: str) -> None:
    put(kind, shop.project)
    for verb in ("validate", "train", "doctor", "versions", "recommend"):
        done = run(verb, "--project", shop.project)
        assert done.code in (1, 2)
        assert "is not a file" in done.out + done.err or verb == "recommend"
    assert run("init", "--force").code in (0, 1, 2)


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
@pytest.mark.parametrize(
    "name", ["manifest.json", "about.json", "world/catalogue/ids/offsets.npy", "FIRST"]
)
def test_a_version_with_a_non_file_is_damaged(shop: Any, run: Any, kind: str, name: str) -> None:
    run("train")
    version = version_of(shop)
    path = version / name
    if not path.exists():
        path = next(iter(sorted(version.rglob("*.npy"))))
    put(kind, path)
    assert run("doctor").code == 1
    assert run("versions").code == 0
    assert run("similar", "red1").code == 1
    assert run("versions", "promote", version.name).code in (1, 2)


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
@pytest.mark.parametrize("name", ["current", "keys.json", "keys.lock", "store.db"])
def test_a_non_file_in_the_state_folder_is_reported(
    shop: Any, run: Any, kind: str, name: str
) -> None:
    run("train")
    put(kind, shop.folder / STATE / name)
    refused = [run(verb) for verb in ("versions", "doctor")]
    refused += (
        [run("keys", "add", "one"), run("similar", "red1"), run("serve", "--port", "0")]
        if (name != "keys.lock")
        else [run("keys", "add", "one")]
    )
    assert any(done.code in (1, 2) for done in refused)
    message = "".join(done.out + done.err for done in refused)
    assert name in message
    assert "Traceback" not in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["store.db-wal", "store.db-open", "registry.lock"])
def test_other_paths_are_opened_without_waiting(shop: Any, run: Any, kind: str, name: str) -> None:
    run("train")
    put(kind, shop.folder / STATE / name)
    for verb in ("versions", "doctor", "train"):
        assert "Traceback" not in run(verb).err


def test_a_link_to_a_file_is_read(shop: Any, run: Any) -> None:
    kept = shop.events.rename(shop.folder / "kept.csv")
    shop.events.symlink_to(kept)
    assert run("validate").code == 0
