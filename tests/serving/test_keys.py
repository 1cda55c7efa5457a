"""The key file: only digests, private permissions, atomic writes, and no damage unnoticed."""

import base64
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tastemaker.errors import SettingError, StoreError, UnknownIdError
from tastemaker.serving.keys import KeyFile

DAMAGED = {
    "empty": b"",
    "an empty object": b"{}",
    "an empty list": b"[]",
    "null": b"null",
    "cut": b'{"keys": [{"name": "shop", "made": "2026',
    "binary": bytes(range(256)),
    "no list": b'{"keys": {}}',
    "more beside": b'{"keys": [], "open": true}',
    "a short digest": b'{"keys": [{"name": "a", "made": "x", "sha256": "ab"}]}',
    "no digest": b'{"keys": [{"name": "a", "made": "x"}]}',
    "twice": json.dumps(
        {"keys": [{"name": "a", "made": "x", "sha256": "0" * 64}] * 2},
    ).encode(),
}


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path)


@pytest.fixture
def key(file: KeyFile) -> str:
    return file.add("shop")


def test_a_key_is_long_random_and_recognized(file: KeyFile) -> None:
    one, other = file.add("one"), file.add("other")
    assert one != other
    assert one.startswith("tm_")
    assert len(base64.urlsafe_b64decode(one.removeprefix("tm_") + "=")) == 32


def test_only_its_digest_is_kept_and_only_for_the_owner(file: KeyFile, key: str) -> None:
    (kept,) = json.loads(file.path.read_text())["keys"]
    assert kept["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert set(kept) == {"name", "made", "sha256"}
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    for path in file.path.parent.rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_whatever_the_mask_the_file_is_the_owners_alone(file: KeyFile, mask: int) -> None:
    before = os.umask(mask)
    try:
        file.add("shop")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.warning() is None


def test_the_folder_of_keys_is_the_owners_alone(file: KeyFile) -> None:
    file.path.parent.mkdir(exist_ok=True)
    file.path.parent.chmod(0o755)
    file.add("shop")
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "a/b", "é", "a\n", "x" * 101, "\x1b[2J"])
def test_a_name_that_cannot_be_used_is_refused(file: KeyFile, name: str) -> None:
    with pytest.raises(SettingError, match="letters, digits"):
        file.add(name)
    assert not file.path.exists()


def test_a_name_identifies_one_key(file: KeyFile, key: str) -> None:
    with pytest.raises(SettingError, match="there is a key named 'shop'"):
        file.add("shop")
    with pytest.raises(UnknownIdError, match="did you mean 'shop'"):
        file.remove("shpo")
    assert [each.name for each in file.listed()] == ["shop"]


def test_keys_that_are_added_at_once_are_all_kept(file: KeyFile) -> None:
    names = [f"k{place}" for place in range(12)]
    threads = [threading.Thread(target=file.add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.name for each in file.listed()) == sorted(names)


def test_a_full_disk_leaves_the_old_file(
    file: KeyFile, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    entries = {path.name for path in file.path.parent.iterdir()}
    monkeypatch.setattr("tastemaker.disk.os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*keys\.json'"):
        file.add("other")
    assert file.path.read_bytes() == before
    assert {path.name for path in file.path.parent.iterdir()} == entries
    monkeypatch.undo()
    file.add("other")
    assert len(file.listed()) == 2


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_reported_and_never_means_no_keys(file: KeyFile, content: bytes) -> None:
    file.path.write_bytes(content)
    for work in (file.listed, lambda: file.add("shop"), lambda: file.remove("shop")):
        with pytest.raises(
            StoreError, match=r"keys\.json is damaged \([^\n]+\), so all requests are rejected"
        ) as result:
            work()
        assert "0" * 64 not in str(result.value)
    assert file.path.read_bytes() == content


def _folder(path: Path) -> None:
    path.mkdir()


def _link_to_nowhere(path: Path) -> None:
    path.symlink_to("gone.json")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("put", [_folder, _link_to_nowhere, _pipe])
def test_a_path_that_is_not_a_file_is_reported(file: KeyFile, put: Callable[[Path], None]) -> None:
    put(file.path)
    with pytest.raises(StoreError, match="so all requests are rejected"):
        file.listed()


def test_a_key_file_open_to_others_warns_and_the_next_write_fixes_it(
    file: KeyFile, key: str
) -> None:
    assert file.warning() is None
    elsewhere = file.path.rename(file.path.with_name("elsewhere.json"))
    elsewhere.chmod(0o644)
    file.path.symlink_to(elsewhere)
    warning = file.warning()
    assert warning is not None
    assert "link to a file elsewhere" in warning
    assert "chmod 600" in warning
    assert "\n" not in warning
    assert [each.name for each in file.listed()] == ["shop"]
    file.add("other")
    assert file.warning() is None
