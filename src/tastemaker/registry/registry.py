"""The registry of trained versions: list, promote, roll back and prune."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tastemaker.artifact import read_manifest
from tastemaker.data.arguments import whole_number
from tastemaker.data.times import now
from tastemaker.disk import fix_hint, flush
from tastemaker.errors import ArtifactError, UnknownIdError, did_you_mean
from tastemaker.lock import locked
from tastemaker.registry.pointer import Pointer, Serving, Stamp
from tastemaker.registry.unfinished import building, leftover_folders, remove
from tastemaker.registry.version import (
    KIND,
    Version,
    describe,
    is_version,
    read_version,
    version_name,
)

if TYPE_CHECKING:
    from tastemaker.pipeline import Recommender

PATIENCE_SECONDS = 30.0
_SUGGESTED = 20


@dataclass(frozen=True, slots=True)
class Switch:
    """The result of a promotion or a rollback.

    Attributes:
        version: the version that serves now.
        before: the version that served before (the same one if nothing changed), or None.
        skipped: earlier versions that a rollback skipped → why they cannot serve. Missing versions
            are not listed.
    """

    version: str
    before: str | None
    skipped: dict[str, str]


class Registry:
    """The versions in the state folder of a project.

    Versions are stored in `artifacts/<version>/`; the file `current` contains the serving version
    and the earlier ones. Changes hold the lock file `registry.lock`; reading needs no lock. Each
    change is atomic, even if the process is killed.

    Args:
        folder: the state folder (`.tastemaker`); created by the first `add`.
        patience: seconds to wait for a change by another process.
    """

    def __init__(self, folder: str | Path, patience: float = PATIENCE_SECONDS) -> None:
        self.folder = Path(folder)
        self.artifacts = self.folder / "artifacts"
        self._patience = patience
        self._pointer = Pointer(self.folder / "current")

    def current(self) -> str:
        """The serving version. Reads one small file and does not verify the version.

        Raises:
            ArtifactError: no version serves yet, or the file does not contain a version.
        """
        serving = self._serving()
        if serving.version is None:
            raise ArtifactError(
                f"{self._pointer.path}: {serving.line[:60]!r} is not a version; choose one with "
                "`tastemaker versions promote VERSION`, or run `tastemaker train`"
            )
        return serving.version

    def earlier(self) -> list[str]:
        """The versions that served before and still exist, latest first."""
        serving = self._pointer.read() or Serving("", [])
        return [version for version in serving.earlier if self._folder(version).is_dir()]

    def stamp(self) -> Stamp | None:
        """A value that changes with the serving version; None before the first. One `stat`."""
        return self._pointer.stamp()

    def versions(self) -> list[Version]:
        """All versions, newest first, from their manifests; checksums are not verified."""
        serving = self._pointer.read() or Serving("", [])
        folders = {name: self._folder(name) for name in self._names()}
        previous = next(
            (name for name in serving.earlier if name in folders and _has_manifest(folders[name])),
            None,
        )
        found = [
            describe(folder, current=name == serving.version, previous=name == previous)
            for name, folder in folders.items()
        ]
        return [version for version in found if folders[version.name].is_dir()]  # not removed since

    def load(self, version: str | None = None) -> "Recommender":
        """Verifies a version and maps it from disk.

        Args:
            version: the version; by default the serving one.

        Raises:
            ArtifactError: no version serves, or the version is missing or damaged.
            UnknownIdError: the version does not exist.
        """
        from tastemaker.pipeline import Recommender  # takes a second, which listing avoids

        if version is not None:
            self._require(version)
            return Recommender.load(self._folder(version))
        serving = self.current()
        if not self._folder(serving).is_dir():
            raise ArtifactError(
                f"{self._folder(serving)}: the serving version is missing; go back with "
                "`tastemaker versions rollback`, or run `tastemaker train`"
            )
        return Recommender.load(self._folder(serving))

    def add(self, recommender: "Recommender", moment: int | None = None) -> str:
        """Saves a fitted recommender as a version. The serving version does not change.

        Adding the same content with the same second gives the same version, and repairs it if it is
        damaged.

        Args:
            recommender: the fitted recommender.
            moment: the time of its training, microseconds, UTC; by default now.

        Returns:
            The name of the version.

        Raises:
            ArtifactError: it cannot be written, or another process holds the lock while a damaged
                version of this name must be replaced.
            NotFittedError: the recommender is not fitted.
        """
        moment = now() if moment is None else moment
        with self._writing(self.artifacts), building(self.artifacts) as fresh:
            recommender.save(fresh)
            version = version_name(moment, read_manifest(fresh, KIND)["digest"])
            self._put(fresh, version)
        return version

    def promote(self, version: str) -> Switch:
        """Verifies every byte of a version, loads it, and makes it the serving version.

        Raises:
            ArtifactError: it is damaged or cannot be loaded, another process holds the lock, or the
                pointer cannot be written. The serving version does not change.
            UnknownIdError: the version does not exist.
        """
        self._require(version)
        with self._locked():
            self._verify(version)
            serving = self._pointer.read() or Serving("", [])
            if serving.line != version:
                before = [serving.version] if serving.version else []
                earlier = [name for name in before + serving.earlier if name != version]
                with self._writing():
                    self._pointer.write([version, *earlier])
        return Switch(version, serving.version, {})

    def rollback(self) -> Switch:
        """Goes back to the version that served before. Repeated calls go further back.

        Versions that are missing, damaged or cannot be loaded are skipped. The current version is
        removed from the history and can be promoted again.

        Raises:
            ArtifactError: nothing is trained yet, no earlier version can serve, another process
                holds the lock, or the pointer cannot be written. The serving version does not
                change.
        """
        self._serving()
        with self._locked():
            serving = self._serving()
            earlier = self.earlier()
            skipped: dict[str, str] = {}
            for index, version in enumerate(earlier):
                try:
                    self._verify(version)
                except ArtifactError as error:
                    skipped[version] = str(error)
                    continue
                with self._writing():
                    self._pointer.write(earlier[index:])
                return Switch(version, serving.version, skipped)
        reasons = "".join(f"; {error}" for error in skipped.values())
        raise ArtifactError(
            "no earlier version is left to go back to: choose one of `tastemaker versions` with "
            f"`tastemaker versions promote VERSION`{reasons}"
        )

    def prune(self, keep: int) -> list[Version]:
        """Removes old versions, but never the serving one and the one a rollback would go to.

        A process that has mapped a removed version can continue to use it.

        Args:
            keep: how many of the newest versions to keep, at least 1.

        Returns:
            The removed versions, newest first.

        Raises:
            ArtifactError: `current` does not contain a version, so that none can be removed, or
                another process holds the lock.
            SettingError: `keep` is not an integer of at least 1.
        """
        keep = whole_number(keep, "keep", 1)
        if not self.artifacts.is_dir():
            return []
        with self._locked():
            known = self.versions()
            kept = {version.name for version in known[:keep]} | self._in_use()
            removed = [version for version in known if version.name not in kept]
            with self._writing():
                for version in removed:
                    remove(self._folder(version.name))
        return removed

    def leftovers(self) -> list[Path]:
        """Folders of killed trainings and removals.

        Folders without a process id are listed an hour after their last change.
        """
        return leftover_folders(self.artifacts)

    def sweep(self) -> list[Path]:
        """Removes the leftovers.

        Raises:
            ArtifactError: another process holds the lock.
        """
        if not self.leftovers():
            return []
        with self._locked():
            removed = self.leftovers()
            with self._writing():
                for path in removed:
                    shutil.rmtree(path)
        return removed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Excludes changes by other processes."""
        path = self.folder / "registry.lock"
        with ExitStack() as held:
            with self._writing():
                held.enter_context(locked(path, ArtifactError, self._patience))
            yield

    @contextmanager
    def _writing(self, path: Path | None = None) -> Iterator[None]:
        """Reports an error of the disk as ArtifactError.

        Args:
            path: the path for the message, instead of the path of a temporary file.
        """
        try:
            yield
        except OSError as error:
            raise ArtifactError(
                f"{path or error.filename}: cannot be written ({error.strerror}), so nothing "
                f"has changed and the serving version stays{fix_hint(error)}"
            ) from None

    def _folder(self, version: str) -> Path:
        return self.artifacts / version

    def _names(self) -> list[str]:
        """The names of all versions, newest first."""
        if not self.artifacts.is_dir():
            return []
        found = (path for path in self.artifacts.iterdir() if is_version(path.name))
        return sorted((path.name for path in found if path.is_dir()), reverse=True)

    def _serving(self) -> Serving:
        """The content of `current`.

        Raises:
            ArtifactError: the file does not exist.
        """
        serving = self._pointer.read()
        if serving is not None:
            return serving
        if self._names():
            raise ArtifactError(
                "none of the trained versions serves yet: choose one with `tastemaker versions "
                "promote VERSION`"
            )
        raise ArtifactError("nothing is trained yet: run `tastemaker train` first")

    def _require(self, version: str) -> None:
        """Checks that a version exists."""
        names = self._names()
        if version in names:
            return
        hint = did_you_mean(version, names[:_SUGGESTED])
        raise UnknownIdError(
            f"no version '{version}'{hint}"
            if names
            else f"no version '{version}': nothing is trained yet, run `tastemaker train` first"
        )

    def _verify(self, version: str) -> None:
        """Checks that a version exists, has correct checksums and can be loaded."""
        from tastemaker.pipeline import Recommender  # as above

        folder = self._folder(version)
        if not folder.is_dir():
            raise ArtifactError(f"{folder}: this version is missing; choose another")
        try:
            read_version(folder)
            Recommender.load(folder)
        except ArtifactError as error:
            raise ArtifactError(f"{version} cannot serve: {error}; choose another") from None

    def _in_use(self) -> set[str]:
        """The serving version and the one a rollback would go to."""
        serving = self._pointer.read()
        if serving is None:
            return set()
        previous = next((name for name in serving.earlier if self._is_whole(name)), None)
        return {self.current(), *([previous] if previous else [])}

    def _is_whole(self, version: str) -> bool:
        try:
            self._verify(version)
        except ArtifactError:
            return False
        return True

    def _put(self, fresh: Path, version: str) -> None:
        """Moves a saved artifact to its final name."""
        folder = self._folder(version)
        try:
            fresh.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            with self._locked():
                if self._is_whole(version):
                    return
                remove(folder)
                fresh.rename(folder)
        flush(self.artifacts)


def _has_manifest(folder: Path) -> bool:
    try:
        read_version(folder)
    except ArtifactError:
        return False
    return True
