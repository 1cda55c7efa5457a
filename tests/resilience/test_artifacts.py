"""Damaged versions, and forged versions with valid checksums, are rejected with the reason.

Damaged bytes, missing files, foreign formats and links to files are tested in
tests/test_artifact.py.
"""

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tastemaker.artifact import _described, _digest, open_artifact
from tastemaker.errors import ArtifactError
from tastemaker.registry import Registry
from tests.resilience.stage import Ran

Run = Callable[..., Ran]
ARRAY = "components/popular/users.npy"
MEGABYTE = 1_000_000


@pytest.fixture
def registry(films: Path) -> Registry:
    return Registry(films.parent / ".tastemaker")


@pytest.fixture
def place(registry: Registry) -> Path:
    """A copy of the current version, to be changed."""
    copy = registry.artifacts / "20300101T000000-00000000"
    shutil.copytree(registry.artifacts / registry.current(), copy)
    return copy


def sealed(place: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> str:
    """Writes a manifest for the current files and returns the name of the version."""
    path = place / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        if (place / name).is_file():
            manifest["files"][name] = _described(place / name)
    change(manifest)
    manifest["digest"] = _digest(manifest)
    path.write_text(json.dumps(manifest))
    version = f"20300101T000000-{manifest['digest'][:8]}"
    place.rename(place.with_name(version))
    return version


def refused(run: Run, registry: Registry, version: str) -> str:
    """The error of `promote`. Little memory is used, and the current version stays."""
    before = registry.current()
    tracemalloc.start()
    message = run("versions", "promote", version).refusal
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * MEGABYTE
    assert registry.current() == before
    return message


def npy(shape: tuple[int, ...], kind: str, content: bytes = b"") -> bytes:
    """A NumPy file with the given header."""
    head = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npy((10**15,), "<f4"), "its header declares 4,000,000,000,000,000 bytes, the file has 0"),
        (npy((2**40, 2**40), "<f8", bytes(64)), "the file has 64"),
        (npy((-1,), "<f4", bytes(64)), "not a NumPy array"),
        (npy((3,), "|O", bytes(24)), "not a NumPy array (Array can't be memory-mapped: Python obj"),
        (npy((3,), "<f4", bytes(8)), "its header declares 12 bytes, the file has 8"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "not a NumPy array"),
        (b"\x93NUMPY\x09\x00", "not a NumPy array"),
        (b"", "not a NumPy array"),
        (npy(("x",), "<f4"), "not a NumPy array"),  # type: ignore[arg-type]
    ],
    ids=["petabytes", "wraps", "negative", "objects", "short", "long-head", "format", "empty",
         "words"],
)  # fmt: skip
def test_a_forged_array_is_rejected(
    run: Run, registry: Registry, place: Path, content: bytes, reason: str
) -> None:
    (place / ARRAY).write_bytes(content)
    message = refused(run, registry, sealed(place))
    assert ARRAY in message
    assert reason in message


def test_a_flipped_bit_anywhere_is_refused_by_the_name_of_its_file(
    run: Run, registry: Registry, place: Path
) -> None:
    version = sealed(place)
    files = [path for path in (registry.artifacts / version).rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        whole = path.read_bytes()
        if not whole:
            continue
        bad = bytearray(whole)
        bad[len(bad) // 2] ^= 0x10
        path.write_bytes(bad)
        message = run("versions", "promote", version).refusal
        assert path.name in message
        path.write_bytes(whole)
    assert run("versions", "promote", version).code == 0


def outside(name: str) -> Callable[[Path], str]:
    def change(place: Path) -> str:
        target = place.parent.parent / "outside.npy"
        np.save(target, np.zeros(3))
        named = name.replace("TARGET", str(target))
        return sealed(place, lambda m: m["files"].update({named: _described(target)}))

    return change


def linked_folder(place: Path) -> str:
    """A parent folder is a link; the file itself is not."""
    away = place.parent.parent / "away"
    shutil.move(place / "components" / "popular", away)
    (place / "components" / "popular").symlink_to(away)
    return sealed(place)


@pytest.mark.parametrize(
    "change",
    [outside("../../outside.npy"), outside("TARGET"), linked_folder],
    ids=["parent", "absolute", "linked-folder"],
)
def test_a_manifest_that_names_a_path_outside_its_folder_is_refused(
    run: Run, registry: Registry, place: Path, change: Callable[[Path], str]
) -> None:
    assert "outside its folder" in refused(run, registry, change(place))


def test_a_manifest_that_lists_a_file_twice_is_refused(
    run: Run, registry: Registry, place: Path
) -> None:
    version = sealed(place)
    path = registry.artifacts / version / "manifest.json"
    text = path.read_text()
    message = json.dumps({ARRAY: {"sha256": "0", "bytes": 0}})[1:-1]
    path.write_text(text.replace('"files": {', f'"files": {{{message}, ', 1))
    assert f"'{ARRAY}' occurs twice" in refused(run, registry, version)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m["files"][ARRAY].update(bytes=10**18), f"file '{ARRAY}' is damaged"),
        (lambda m: m.update(files=["a"]), "is not a Tastemaker manifest"),
        (lambda m: m.update(about=[]), "does not describe a recommender"),
        (lambda m: m["about"].pop("placements"), "does not describe a recommender"),
        (lambda m: m["about"].update(components={"x": {"type": "os", "settings": {}}}), "os"),
        (lambda m: m["files"].pop(ARRAY), f"lists no file '{ARRAY}'"),
        (lambda m: m.update(format=4), "format 4, this version reads 3"),
    ],
    ids=["huge-file", "list", "no-about", "no-placements", "unknown-part", "unlisted", "format"],
)
def test_a_forged_manifest_is_rejected(
    run: Run,
    registry: Registry,
    place: Path,
    change: Callable[[dict[str, Any]], object],
    reason: str,
) -> None:
    assert reason in refused(run, registry, sealed(place, change))


def test_a_manifest_too_large_to_be_one_is_not_read(
    run: Run, registry: Registry, place: Path
) -> None:
    version = sealed(place)
    with (registry.artifacts / version / "manifest.json").open("r+b") as stream:
        stream.truncate(10**12)
    assert "it is larger than 10,000,000 bytes" in refused(run, registry, version)


def test_a_manifest_too_deep_to_be_one_is_refused(
    run: Run, registry: Registry, place: Path
) -> None:
    version = sealed(place)
    (registry.artifacts / version / "manifest.json").write_text("[" * 100_000)
    assert "manifest.json cannot be read" in refused(run, registry, version)


# --- parts that do not match ---


def test_a_retriever_of_another_catalogue_is_refused(
    run: Run, registry: Registry, place: Path
) -> None:
    (place / "components" / "popular" / "fitted.json").write_text('{"items": 47}')
    message = refused(run, registry, sealed(place))
    assert (
        "retriever 'popular' was fitted on a catalogue of 47 items, but the artifact has 48"
        in message
    )


def test_a_catalogue_of_another_version_is_refused(
    run: Run, registry: Registry, place: Path
) -> None:
    version = sealed(place, lambda m: m["about"].update(items="0" * 64))
    assert "the catalogue is not the fitted one" in refused(run, registry, version)


def test_neighbors_that_are_not_items_are_rejected(
    run: Run, registry: Registry, place: Path
) -> None:
    path = place / "components" / "item_knn" / "weights" / "indices.npy"
    indices = np.load(path)
    indices[0] = 10**6
    np.save(path, indices)
    assert "not a sparse matrix" in refused(run, registry, sealed(place))


def test_of_a_rejected_version_only_the_manifest_is_opened(place: Path) -> None:
    """Reading a device instead of a file would never end."""
    (place / ARRAY).unlink()
    os.mkfifo(place / ARRAY)
    with pytest.raises(ArtifactError, match="is missing"):
        open_artifact(place, "recommender")
