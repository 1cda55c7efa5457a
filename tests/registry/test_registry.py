import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tastemaker.artifact import create_artifact
from tastemaker.component.ranker_use import RankerUse
from tastemaker.data.dataset import Dataset
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import ArtifactError, SettingError, UnknownIdError
from tastemaker.lock import locked
from tastemaker.pipeline import Recommender
from tastemaker.project import Placement
from tastemaker.registry import Registry, Switch, Version
from tastemaker.registry.pointer import MAX_VERSIONS
from tastemaker.retrieval import Popular

NOON = 1_763_812_800 * MICROSECONDS["s"]
HOUR = 3_600 * MICROSECONDS["s"]


@dataclass
class Tiny:
    """Saves the smallest valid recommender; each seed gives different content."""

    seed: int = 0

    def save(self, folder: Path) -> None:
        fitted(self.seed).save(folder)


@cache
def fitted(seed: int) -> Recommender:
    users = [f"u{place}" for place in range(3 + seed)]
    events = pl.DataFrame({"user_id": users, "item_id": ["a", "b", *users[2:]]})
    home = Placement(retrievers={"popular": 5})
    return Recommender({"popular": Popular()}, {"home": home}).fit(Dataset.from_frames(events))


@dataclass
class Described:
    """Saves only the manifest of a recommender with rankers."""

    learned: dict[str, Any]

    def save(self, folder: Path) -> None:
        about = {"components": {"popular": {}, "als": {}}, "learned": self.learned}
        with create_artifact(folder, "recommender", about) as writer:
            writer.array("users", np.arange(100))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / ".tastemaker")


def add(registry: Registry, count: int) -> list[str]:
    """Versions trained an hour apart, oldest first."""
    return [registry.add(Tiny(seed), NOON + seed * HOUR) for seed in range(count)]


@pytest.fixture
def three(registry: Registry) -> list[str]:
    """Three versions that served one after the other; the third serves."""
    versions = add(registry, 3)
    for version in versions:
        registry.promote(version)
    return versions


def names(registry: Registry) -> list[str]:
    return [version.name for version in registry.versions()]


def pointer(registry: Registry) -> Path:
    return registry.folder / "current"


def damage(registry: Registry, version: str) -> None:
    target = registry.artifacts / version / "components" / "popular" / "users.npy"
    target.write_bytes(target.read_bytes()[:-1] + b"\x07")


def remove(registry: Registry, version: str) -> None:
    for path in sorted((registry.artifacts / version).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (registry.artifacts / version).rmdir()


def child(code: str, folder: Path, *arguments: object) -> "subprocess.Popen[bytes]":
    head = "import os, signal, sys\nfrom pathlib import Path\n"
    head += "from tastemaker.registry import Registry\n"
    command = [sys.executable, "-c", head + code, str(folder), *map(str, arguments)]
    return subprocess.Popen(command, cwd=folder.parent)


# --- adding ---


def test_a_version_name_has_its_time_and_digest(registry: Registry) -> None:
    version = registry.add(Tiny(), NOON)
    manifest = json.loads((registry.artifacts / version / "manifest.json").read_text())
    assert version == f"20251122T120000-{manifest['digest'][:8]}"


def test_adding_does_not_change_the_serving_version(registry: Registry, three: list[str]) -> None:
    before = registry.stamp()
    registry.add(Tiny(9), NOON + 9 * HOUR)
    assert (registry.current(), registry.stamp()) == (three[2], before)


def test_adding_leaves_no_other_files(registry: Registry) -> None:
    version = registry.add(Tiny(), NOON)
    assert [path.name for path in registry.artifacts.iterdir()] == [version]


def test_a_failed_save_leaves_no_files(registry: Registry) -> None:
    class Unfitted:
        def save(self, folder: Path) -> None:
            (folder / "half").mkdir(parents=True)
            raise ValueError("not fitted")

    with pytest.raises(ValueError, match="not fitted"):
        registry.add(Unfitted(), NOON)
    assert list(registry.artifacts.iterdir()) == []


def test_adding_the_same_content_twice_gives_one_version(registry: Registry) -> None:
    first = registry.add(Tiny(), NOON)
    kept = (registry.artifacts / first).stat().st_ino
    assert registry.add(Tiny(), NOON) == first
    assert names(registry) == [first]
    assert (registry.artifacts / first).stat().st_ino == kept


def test_adding_the_same_content_repairs_a_damaged_version(registry: Registry) -> None:
    version = registry.add(Tiny(), NOON)
    damage(registry, version)
    with pytest.raises(ArtifactError, match="damaged"):
        registry.promote(version)
    assert registry.add(Tiny(), NOON) == version
    registry.promote(version)
    assert [path.name for path in registry.artifacts.iterdir()] == [version]


def test_a_training_needs_no_lock_to_save_its_version(registry: Registry) -> None:
    impatient = Registry(registry.folder, patience=0)
    with locked(registry.folder / "registry.lock", ArtifactError):
        version = impatient.add(Tiny(), NOON)
    assert names(registry) == [version]


# --- listing ---


def test_versions_are_listed_newest_first(registry: Registry, three: list[str]) -> None:
    versions = registry.versions()
    assert [version.name for version in versions] == three[::-1]
    assert [version.trained for version in versions] == [NOON + place * HOUR for place in (2, 1, 0)]
    assert [version.current for version in versions] == [True, False, False]
    assert [version.previous for version in versions] == [False, True, False]


def test_a_version_has_its_size_sources_and_rankers(registry: Registry) -> None:
    registry.add(Described({"main": {"enabled": False}, "cart": {"enabled": True}}), NOON)
    (version,) = registry.versions()
    files = [path for path in (registry.artifacts / version.name).rglob("*") if path.is_file()]
    assert version.bytes >= sum(path.stat().st_size for path in files) > 800
    assert version.sources == ("popular", "als")
    assert version.rankers == {"main": RankerUse(False, False), "cart": RankerUse(True, True)}
    assert version.problem is None


def test_other_files_are_not_listed_as_versions(registry: Registry, three: list[str]) -> None:
    for name in (".20251122T120000123456-x7", "20251122T120000123456", ".building-a", "notes",
                 "20251122T120000-XYZ", "20251199T120000-00000000"):  # fmt: skip
        (registry.artifacts / name).mkdir()
    (registry.artifacts / "20251122T120000-00000000").write_text("a file")
    assert names(registry) == three[::-1]


def unlisted(place: Path) -> None:
    (place / "manifest.json").unlink()


def foreign(place: Path) -> None:
    with create_artifact(place / "other", "vocabulary", {}):
        pass
    (place / "other" / "manifest.json").replace(place / "manifest.json")


def misnamed(place: Path) -> None:
    Tiny(77).save(place / "other")
    (place / "other" / "manifest.json").replace(place / "manifest.json")


def wordless(place: Path) -> None:
    with create_artifact(place / "other", "recommender", {"learned": 3}):
        pass
    digest = json.loads((place / "other" / "manifest.json").read_text())["digest"]
    (place / "other").rename(place.with_name(f"20251122T120000-{digest[:8]}"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (unlisted, "no manifest.json"),
        (foreign, "holds a 'vocabulary'"),
        (misnamed, "contains another version than its name says"),
        (wordless, "does not describe a recommender"),
    ],
)
def test_a_problem_of_the_manifest_is_reported(
    registry: Registry, three: list[str], change: Callable[[Path], None], problem: str
) -> None:
    change(registry.artifacts / three[0])
    (version,) = [version for version in registry.versions() if version.problem]
    assert problem in str(version.problem)
    assert (version.sources, version.rankers) == ((), {})


def test_listing_does_not_read_the_files(registry: Registry, three: list[str]) -> None:
    damage(registry, three[0])
    assert [version.problem for version in registry.versions()] == [None] * 3


def test_reading_the_registry_creates_no_folder(registry: Registry) -> None:
    assert (
        registry.versions() == registry.leftovers() == registry.sweep() == registry.prune(1) == []
    )
    assert registry.stamp() is None
    for ask in (registry.current, registry.rollback, lambda: registry.promote("v1")):
        with pytest.raises((ArtifactError, UnknownIdError), match="nothing is trained yet"):
            ask()
    assert not registry.folder.exists()


# --- the serving version ---


# --- read errors ---


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes all files in a folder, or one file, unreadable, as on a failing disk."""

    def spoil(place: Path) -> None:
        real = os.open

        def refuse(path: Any, *arguments: Any, **named: Any) -> int:
            if Path(path).is_relative_to(place):
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return real(path, *arguments, **named)

        monkeypatch.setattr(os, "open", refuse)

    return spoil


def test_a_rollback_skips_an_unreadable_version(
    registry: Registry, three: list[str], unreadable: Callable[[Path], None]
) -> None:
    one, two, third = three
    unreadable(registry.artifacts / two)
    switch = registry.rollback()
    assert (switch.version, switch.before) == (one, third)
    assert "cannot be read (Input/output error); the disk may be failing" in switch.skipped[two]


@pytest.mark.parametrize("name", ["manifest.json", "components"])
def test_an_unreadable_version_is_reported(
    registry: Registry, three: list[str], unreadable: Callable[[Path], None], name: str
) -> None:
    place = registry.artifacts / three[0]
    unreadable(place / name)
    with pytest.raises(ArtifactError, match=r"cannot be read \(Input/output error\)") as refused:
        registry.promote(three[0])
    assert "written" not in str(refused.value)
    assert registry.current() == three[2]


def test_an_unreadable_pointer_is_reported(
    registry: Registry, three: list[str], unreadable: Callable[[Path], None]
) -> None:
    unreadable(registry.folder / "current")
    for ask in (registry.current, registry.rollback, lambda: registry.promote(three[0])):
        with pytest.raises(ArtifactError, match=r"current: cannot be read \(Input/output error\)"):
            ask()


def test_before_the_first_training_the_error_names_the_fix(registry: Registry) -> None:
    with pytest.raises(ArtifactError, match=r"^nothing is trained yet: run `tastemaker train` "):
        registry.current()


def test_before_the_first_promotion_the_error_names_the_fix(registry: Registry) -> None:
    add(registry, 1)
    for ask in (registry.current, registry.rollback):
        with pytest.raises(
            ArtifactError, match=r"none of the trained versions serves yet.*promote"
        ):
            ask()


def test_a_pointer_of_one_line_is_read(registry: Registry) -> None:
    old, new = add(registry, 2)
    pointer(registry).write_text(f"{old}\n")
    assert registry.current() == old
    assert registry.promote(new) == Switch(new, old, {})
    assert registry.rollback().version == old


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"../elsewhere", b"a/b", b".", b"\x00", b"\xff\xfe\xfa", b"v1",
             b"20251122T120000-5c0ffee5x", "２０251122T120000-5c0ffee5".encode()],
)  # fmt: skip
def test_an_invalid_pointer_is_refused_and_can_be_repaired(registry: Registry, text: bytes) -> None:
    (version,) = add(registry, 1)
    pointer(registry).write_bytes(text)
    with pytest.raises(
        ArtifactError, match=r"is not a version; choose one with .*promote"
    ) as refused:
        registry.current()
    assert "\n" not in str(refused.value)
    assert registry.promote(version) == Switch(version, None, {})
    assert registry.current() == version


def test_a_missing_serving_version_is_reported(registry: Registry, three: list[str]) -> None:
    remove(registry, three[2])
    assert names(registry) == [three[1], three[0]]
    with pytest.raises(ArtifactError, match="the serving version is missing; go back with"):
        registry.load()
    assert registry.rollback().version == three[1]


def test_the_stamp_only_changes_with_the_serving_version(
    registry: Registry, three: list[str]
) -> None:
    seen = [registry.stamp()]
    for version in three * 3:
        registry.promote(version)
        seen.append(registry.stamp())
    assert all(left != right for left, right in pairwise(seen))
    registry.promote(three[2])
    assert registry.stamp() == seen[-1]


# --- promoting ---


def test_promoting_returns_the_version_that_served_before(registry: Registry) -> None:
    old, new = add(registry, 2)
    assert registry.promote(old) == Switch(old, None, {})
    assert registry.promote(new) == Switch(new, old, {})
    assert pointer(registry).read_text() == f"{new}\n{old}\n"


def test_promoting_the_serving_version_changes_nothing(
    registry: Registry, three: list[str]
) -> None:
    before = pointer(registry).read_text()
    assert registry.promote(three[2]) == Switch(three[2], three[2], {})
    assert pointer(registry).read_text() == before


def test_promoting_a_damaged_version_is_refused(registry: Registry, three: list[str]) -> None:
    damage(registry, three[0])
    with pytest.raises(ArtifactError, match=f"{three[0]} cannot serve: .*users.npy' is damaged"):
        registry.promote(three[0])
    assert registry.current() == three[2]


def test_promoting_a_version_that_cannot_be_loaded_is_refused(
    registry: Registry, three: list[str]
) -> None:
    version = registry.add(Described({}), NOON + 9 * HOUR)
    message = rf"{version} cannot serve: .*does not describe a recommender .*; choose another"
    with pytest.raises(ArtifactError, match=message):
        registry.promote(version)
    assert registry.current() == three[2]


def test_a_version_under_another_name_is_refused(registry: Registry, three: list[str]) -> None:
    forged = "20251122T130000-00000000"
    (registry.artifacts / three[0]).rename(registry.artifacts / forged)
    with pytest.raises(ArtifactError, match="contains another version than its name says"):
        registry.promote(forged)


def test_an_unknown_version_is_refused_with_a_suggestion(
    registry: Registry, three: list[str]
) -> None:
    with pytest.raises(UnknownIdError, match=f"no version '{three[1]}x'; did you mean '{three[1]}"):
        registry.promote(f"{three[1]}x")
    for name in ("..", "", ".building-a", f"../artifacts/{three[0]}"):
        with pytest.raises(UnknownIdError):
            registry.promote(name)


def test_the_number_of_remembered_versions_is_limited(registry: Registry) -> None:
    (version,) = add(registry, 1)
    earlier = [f"20240101T0000{second:02}-5c0ffee5" for second in range(60)]
    pointer(registry).write_text("\n".join(earlier))
    registry.promote(version)
    assert pointer(registry).read_text().split() == [version, *earlier[: MAX_VERSIONS - 1]]


def test_a_pointer_with_duplicate_lines_is_accepted(registry: Registry) -> None:
    old, new = add(registry, 2)
    pointer(registry).write_text(f" {new} \n\n{new}\nnotes\n{old}\n{old}\n")
    assert registry.current() == new
    assert registry.rollback() == Switch(old, new, {})
    with pytest.raises(ArtifactError, match="no earlier version is left"):
        registry.rollback()


# --- rolling back ---


def test_rolling_back_twice_goes_further_back(registry: Registry, three: list[str]) -> None:
    assert registry.rollback() == Switch(three[1], three[2], {})
    assert registry.rollback() == Switch(three[0], three[1], {})
    with pytest.raises(ArtifactError, match=r"no earlier version is left.*promote"):
        registry.rollback()
    assert registry.current() == three[0]


def test_after_a_rollback_a_promotion_works_and_can_be_rolled_back(
    registry: Registry, three: list[str]
) -> None:
    registry.rollback()
    assert registry.promote(three[2]) == Switch(three[2], three[1], {})
    assert registry.rollback() == Switch(three[1], three[2], {})
    assert registry.rollback().version == three[0]


def test_a_rollback_follows_the_serving_order(registry: Registry) -> None:
    first, second, third = add(registry, 3)
    for version in (second, third, first):
        registry.promote(version)
    assert [registry.rollback().version for _ in range(2)] == [third, second]


def test_a_rollback_never_returns_to_its_start(registry: Registry, three: list[str]) -> None:
    registry.promote(three[1])
    assert [registry.rollback().version for _ in range(2)] == [three[2], three[0]]
    with pytest.raises(ArtifactError, match="no earlier version is left"):
        registry.rollback()


def test_a_rollback_skips_missing_and_damaged_versions(registry: Registry) -> None:
    first, second, third, fourth = add(registry, 4)
    for version in (first, second, third, fourth):
        registry.promote(version)
    damage(registry, third)
    remove(registry, second)
    done = registry.rollback()
    assert (done.version, done.before) == (first, fourth)
    assert done.skipped.keys() == {third}
    assert "is damaged" in done.skipped[third]
    assert pointer(registry).read_text() == f"{first}\n"


def test_a_rollback_works_with_an_invalid_pointer(registry: Registry, three: list[str]) -> None:
    pointer(registry).write_text(f"???\n{three[1]}\n")
    assert registry.rollback() == Switch(three[1], None, {})


def test_a_rollback_without_a_valid_version_explains_why(registry: Registry) -> None:
    for version in (versions := add(registry, 2)):
        registry.promote(version)
    damage(registry, versions[0])
    with pytest.raises(ArtifactError, match=r"no earlier version is left.*is damaged"):
        registry.rollback()
    assert registry.current() == versions[1]


# --- pruning ---


def test_prune_keeps_the_newest(registry: Registry) -> None:
    versions = add(registry, 5)
    registry.promote(versions[4])
    removed = registry.prune(2)
    assert [version.name for version in removed] == versions[2::-1]
    assert {path.name for path in registry.artifacts.iterdir()} == set(versions[3:])


def test_prune_keeps_the_serving_and_the_previous_version(registry: Registry) -> None:
    versions = add(registry, 6)
    registry.promote(versions[2])
    registry.promote(versions[1])
    assert [version.name for version in registry.prune(1)] == [*versions[4:2:-1], versions[0]]
    assert names(registry) == [versions[5], versions[2], versions[1]]
    assert registry.rollback().version == versions[2]


def test_prune_keeps_the_version_a_rollback_would_use(registry: Registry) -> None:
    versions = add(registry, 4)
    for version in versions[:3]:
        registry.promote(version)
    damage(registry, versions[1])
    registry.prune(1)
    assert registry.rollback().version == versions[0]


def test_prune_removes_nothing_with_an_invalid_pointer(
    registry: Registry, three: list[str]
) -> None:
    pointer(registry).write_text("???")
    with pytest.raises(ArtifactError, match="is not a version"):
        registry.prune(1)
    assert names(registry) == three[::-1]


def test_prune_before_the_first_promotion_keeps_the_newest(registry: Registry) -> None:
    versions = add(registry, 3)
    registry.prune(1)
    assert names(registry) == [versions[2]]


@pytest.mark.parametrize("keep", [0, -1])
def test_prune_must_keep_at_least_one_version(
    registry: Registry, three: list[str], keep: int
) -> None:
    with pytest.raises(SettingError, match=f"'keep' must be at least 1, got {keep}"):
        registry.prune(keep)
    assert len(names(registry)) == 3


def test_a_mapped_version_is_usable_after_pruning(registry: Registry) -> None:
    old, new = add(registry, 2)
    mapped = np.load(
        registry.artifacts / old / "components" / "popular" / "users.npy", mmap_mode="r"
    )
    registry.promote(new)
    registry.prune(1)
    assert names(registry) == [new]
    assert mapped.sum() == 3


@pytest.mark.parametrize("seed", range(8))
def test_the_serving_version_is_valid_after_any_operations(registry: Registry, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    registry.promote(add(registry, 1)[0])
    for step in range(1, 60):
        deed = draw.choice(["add", "promote", "rollback", "prune", "damage"])
        known = names(registry)
        try:
            if deed == "add":
                registry.add(Tiny(step), NOON + draw.randrange(99) * HOUR)
            elif deed == "promote":
                registry.promote(draw.choice(known))
            elif deed == "rollback":
                registry.rollback()
            elif deed == "prune":
                registry.prune(draw.randint(1, 3))
            elif others := [name for name in known if name != registry.current()]:
                damage(registry, draw.choice(others))
        except ArtifactError:
            pass
        serving = registry.current()
        assert registry.promote(serving) == Switch(serving, serving, {}), (step, deed)


# --- killed trainings ---


def make_older(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then))


@pytest.fixture
def killed(registry: Registry, three: list[str]) -> Path:
    """The folder of a training that was killed while it saved its version."""
    code = """
class Killed:
    def save(self, folder):
        folder.mkdir()
        (folder / "half.npy").write_bytes(bytes(1000))
        os.kill(os.getpid(), signal.SIGKILL)

Registry(sys.argv[1]).add(Killed())
"""
    assert child(code, registry.folder).wait(30) == -signal.SIGKILL
    (left,) = (path for path in registry.artifacts.iterdir() if path.name not in three)
    return left


def test_a_killed_training_leaves_no_version(
    registry: Registry, killed: Path, three: list[str]
) -> None:
    assert killed.is_dir()
    assert names(registry) == three[::-1]


def test_files_of_a_killed_training_can_be_swept_at_once(
    registry: Registry, killed: Path, three: list[str]
) -> None:
    assert registry.leftovers() == [killed]
    assert registry.sweep() == [killed]
    assert not killed.exists()
    assert names(registry) == three[::-1]


def test_a_running_training_is_never_swept(registry: Registry, killed: Path) -> None:
    with locked(killed / "lock", ArtifactError):
        make_older(killed, 10_000)
        assert registry.leftovers() == registry.sweep() == []
    assert killed.is_dir()


def test_a_folder_without_a_process_id_is_swept_after_an_hour(
    registry: Registry, killed: Path
) -> None:
    (killed / "lock").write_bytes(b"")
    make_older(killed, 3500)
    assert registry.sweep() == []
    make_older(killed, 3700)
    assert registry.sweep() == [killed]


def test_a_recently_written_file_prevents_sweeping(registry: Registry, killed: Path) -> None:
    (killed / "lock").write_bytes(b"")
    make_older(killed, 10_000)
    os.utime(killed / "artifact" / "half.npy")
    assert registry.leftovers() == []


def test_sweeping_ignores_other_files(registry: Registry, three: list[str]) -> None:
    ours = [".20251122T120000123456-x7", "20251122T120000123456", ".building-a", ".removed-b"]
    theirs = [".git", "notes", ".nfs0001"]
    for name in ours + theirs:
        (registry.artifacts / name).mkdir()
        make_older(registry.artifacts / name, 10_000)
    assert [path.name for path in registry.sweep()] == sorted(ours)
    assert {path.name for path in registry.artifacts.iterdir()} == {*theirs, *three}


# --- several processes, and killed processes ---


def test_a_lock_timeout_names_the_holding_process(registry: Registry, three: list[str]) -> None:
    impatient = Registry(registry.folder, patience=0.1)
    with locked(registry.folder / "registry.lock", ArtifactError):
        for deed in (lambda: impatient.promote(three[0]), impatient.rollback,
                     lambda: impatient.prune(1)):  # fmt: skip
            with pytest.raises(ArtifactError, match=rf"id {os.getpid()}\) .*wait until") as refused:
                deed()
            assert "registry.lock for 0.1 s" in str(refused.value)
        assert impatient.current() == three[2]
        assert len(impatient.versions()) == 3
    assert impatient.promote(three[0]).version == three[0]


KILLED_AT_FSYNC = """
count = 0
def fsync(handle):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
Registry(sys.argv[1]).promote(sys.argv[2])
"""


@pytest.mark.parametrize(("moment", "serves"), [(1, 2), (2, 0)], ids=["written", "renamed"])
def test_a_killed_promotion_is_atomic(
    registry: Registry, three: list[str], moment: int, serves: int
) -> None:
    killed = child(KILLED_AT_FSYNC, registry.folder, three[0], moment)
    assert killed.wait(30) == -signal.SIGKILL
    assert registry.current() == three[serves]
    assert set(pointer(registry).read_text().split()) == set(three)
    assert registry.promote(three[1]).before == three[serves]  # the dead hold no lock
    assert registry.rollback().version == three[serves]


PROMOTING = """
registry = Registry(sys.argv[1])
for _ in range(int(sys.argv[2])):
    for version in sys.argv[3:]:
        registry.promote(version)
"""


@pytest.mark.parametrize("seed", range(5))
def test_the_pointer_is_valid_after_a_kill_at_any_time(
    registry: Registry, three: list[str], seed: int
) -> None:
    old, new, _ = three
    registry.promote(new)
    registry.promote(old)
    before = registry.stamp()
    promoting = child(PROMOTING, registry.folder, 10**6, new, old)
    end = None
    try:
        while end is None or time.monotonic() < end:
            assert registry.current() in (old, new)
            if end is None and registry.stamp() != before:
                end = time.monotonic() + random.Random(seed).uniform(0.01, 0.3)  # noqa: S311
            assert promoting.poll() is None
    finally:
        promoting.kill()
        promoting.wait()
    lines = pointer(registry).read_text().split()
    assert lines in ([old, new, three[2]], [new, old, three[2]])


def test_concurrent_promotions_lose_nothing(registry: Registry, tmp_path: Path) -> None:
    versions = add(registry, 40)
    at_once = 'while not Path("go").exists(): pass\n' + PROMOTING
    both = [child(at_once, registry.folder, 1, *part) for part in (versions[::2], versions[1::2])]
    time.sleep(0.5)
    (tmp_path / "go").touch()
    assert [one.wait(60) for one in both] == [0, 0]
    assert sorted(pointer(registry).read_text().split()) == versions


def test_a_version_added_during_a_prune_is_kept(registry: Registry) -> None:
    class Busy(Registry):
        def versions(self) -> list[Version]:
            known = super().versions()
            registry.add(Tiny(9), NOON + 9 * HOUR)
            return known

    versions = add(registry, 3)
    registry.promote(versions[2])
    assert [version.name for version in Busy(registry.folder).prune(1)] == versions[1::-1]
    assert len(names(registry)) == 2
