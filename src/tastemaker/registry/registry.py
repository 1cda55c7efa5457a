"""Which trained versions there are, which one serves, and going back."""

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
from tastemaker.registry.unfinished import building, left_behind, remove
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
    """What a promotion or a rollback came to.

    Attributes:
        version: the version that serves now.
        before: the version that served until now (the same, if it served already), or None.
        skipped: earlier versions a rollback passed over → why they cannot serve. Those that are
            gone are not told.
    """

    version: str
    before: str | None
    skipped: dict[str, str]


class Registry:
    """The versions in a project's state folder.

    Versions lie in `artifacts/<version>/`; the file `current` says which one serves and which
    ones served before. Whatever changes either holds the lock file `registry.lock`; reading needs
    no lock. Killed at any moment, a change has happened or has not.

    Args:
        folder: the state folder (`.tastemaker`); made at the first `add`.
        patience: seconds to wait while another process makes a change.
    """

    def __init__(self, folder: str | Path, patience: float = PATIENCE_SECONDS) -> None:
        self.folder = Path(folder)
        self.artifacts = self.folder / "artifacts"
        self._patience = patience
        self._pointer = Pointer(self.folder / "current")

    def current(self) -> str:
        """The version that serves; reads one small file.

        Raises:
            ArtifactError: none serves yet, or the file names none. Whether the version is there
                and whole is not looked at.
        """
        serving = self._serving()
        if serving.version is None:
            raise ArtifactError(
                f"{self._pointer.path}: {serving.line[:60]!r} is no version; name one with "
                "`tastemaker versions promote VERSION`, or run `tastemaker train`"
            )
        return serving.version

    def earlier(self) -> list[str]:
        """The versions that served before and are still there, the latest first."""
        serving = self._pointer.read() or Serving("", [])
        return [version for version in serving.earlier if self._place(version).is_dir()]

    def stamp(self) -> Stamp | None:
        """Differs after every change of what serves; None before the first. One `stat`."""
        return self._pointer.stamp()

    def versions(self) -> list[Version]:
        """Every version, newest first, by what its manifest says; checksums are not verified."""
        serving = self._pointer.read() or Serving("", [])
        told = {name: self._place(name) for name in self._names()}
        previous = next((n for n in serving.earlier if n in told and _reads(told[n])), None)
        found = [
            describe(place, current=name == serving.version, previous=name == previous)
            for name, place in told.items()
        ]
        return [version for version in found if told[version.name].is_dir()]  # none removed since

    def load(self, version: str | None = None) -> "Recommender":
        """Verifies a version and maps it from disk.

        Args:
            version: by default the one that serves.

        Raises:
            ArtifactError: none serves, or the version is missing or damaged.
            UnknownIdError: there is no such version.
        """
        from tastemaker.pipeline import Recommender  # costs a second that listing need not pay

        if version is not None:
            self._require(version)
            return Recommender.load(self._place(version))
        serving = self.current()
        if not self._place(serving).is_dir():
            raise ArtifactError(
                f"{self._place(serving)}: the version that serves is gone; go back with "
                "`tastemaker versions rollback`, or run `tastemaker train`"
            )
        return Recommender.load(self._place(serving))

    def add(self, recommender: "Recommender", moment: int | None = None) -> str:
        """Saves a fitted recommender as a version; what serves stays as it is.

        The same content added for the same second is the same version, and mends it where it has
        been damaged.

        Args:
            recommender: what was fitted.
            moment: when it was trained, microseconds, UTC; by default now.

        Returns:
            The version.

        Raises:
            ArtifactError: it cannot be written, or there is a damaged one of this name, and another
                process keeps the lock.
            NotFittedError: it is not fitted.
        """
        moment = now() if moment is None else moment
        with self._writing(self.artifacts), building(self.artifacts) as fresh:
            recommender.save(fresh)
            version = version_name(moment, read_manifest(fresh, KIND)["digest"])
            self._put(fresh, version)
        return version

    def promote(self, version: str) -> Switch:
        """Makes a version the one that serves, after verifying every byte of it and loading it.

        Raises:
            ArtifactError: it is damaged or cannot be loaded, another process keeps the lock, or
                nothing can be written. What serves stays.
            UnknownIdError: there is no such version.
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
        """Goes back to the version that served before; again, and further back.

        Versions that are gone, damaged or cannot be loaded are passed over. The version gone back
        from is remembered no more, and can be promoted again.

        Raises:
            ArtifactError: nothing is trained yet, no earlier version can serve, another process
                keeps the lock, or nothing can be written. What serves stays.
        """
        self._serving()
        with self._locked():
            serving = self._serving()
            earlier = self.earlier()
            skipped: dict[str, str] = {}
            for place, version in enumerate(earlier):
                try:
                    self._verify(version)
                except ArtifactError as problem:
                    skipped[version] = str(problem)
                    continue
                with self._writing():
                    self._pointer.write(earlier[place:])
                return Switch(version, serving.version, skipped)
        reasons = "".join(f"; {problem}" for problem in skipped.values())
        raise ArtifactError(
            "no version that served before is left to go back to: choose one of `tastemaker "
            f"versions` with `tastemaker versions promote VERSION`{reasons}"
        )

    def prune(self, keep: int) -> list[Version]:
        """Removes old versions: not the newest, not the one that serves, not its predecessor.

        A process that has mapped a version goes on with it.

        Args:
            keep: how many of the newest stay, at least 1.

        Returns:
            What was removed, newest first.

        Raises:
            ArtifactError: `current` names no version, so that none may go, or another process
                keeps the lock.
            SettingError: `keep` is not an integer of at least 1.
        """
        keep = whole_number(keep, "keep", 1)
        if not self.artifacts.is_dir():
            return []
        with self._locked():
            known = self.versions()
            stay = {version.name for version in known[:keep]} | self._in_use()
            removed = [version for version in known if version.name not in stay]
            with self._writing():
                for version in removed:
                    remove(self._place(version.name))
        return removed

    def leftovers(self) -> list[Path]:
        """Folders of trainings and removals that were killed.

        Only those in which nothing has been written for an hour and whose writer is dead.
        """
        return left_behind(self.artifacts)

    def sweep(self) -> list[Path]:
        """Removes the leftovers.

        Raises:
            ArtifactError: another process keeps the lock.
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
        """Keeps others from changing anything; a refusal inside is told where it happens."""
        path = self.folder / "registry.lock"
        with ExitStack() as held:
            with self._writing():
                held.enter_context(locked(path, ArtifactError, self._patience))
            yield

    @contextmanager
    def _writing(self, place: Path | None = None) -> Iterator[None]:
        """Tells of a disk that refuses.

        Args:
            place: what to name in the place of a file in the making.
        """
        try:
            yield
        except OSError as problem:
            raise ArtifactError(
                f"{place or problem.filename}: cannot be written ({problem.strerror}), so nothing "
                f"has changed and what served still serves{fix_hint(problem)}"
            ) from None

    def _place(self, version: str) -> Path:
        return self.artifacts / version

    def _names(self) -> list[str]:
        """The versions there are, newest first."""
        if not self.artifacts.is_dir():
            return []
        found = (path for path in self.artifacts.iterdir() if is_version(path.name))
        return sorted((path.name for path in found if path.is_dir()), reverse=True)

    def _serving(self) -> Serving:
        """What `current` says.

        Raises:
            ArtifactError: there is no such file.
        """
        serving = self._pointer.read()
        if serving is not None:
            return serving
        if self._names():
            raise ArtifactError(
                "none of the trained versions serves yet: name one with `tastemaker versions "
                "promote VERSION`"
            )
        raise ArtifactError("nothing is trained yet: run `tastemaker train` first")

    def _require(self, version: str) -> None:
        """Refuses a version that is not there."""
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
        """Refuses a version that is gone, of which a byte differs, or that cannot be loaded."""
        from tastemaker.pipeline import Recommender  # as above

        place = self._place(version)
        if not place.is_dir():
            raise ArtifactError(f"{place}: this version is gone; choose another")
        try:
            read_version(place)
            Recommender.load(place)
        except ArtifactError as problem:
            raise ArtifactError(f"{version} cannot serve: {problem}; choose another") from None

    def _in_use(self) -> set[str]:
        """The version that serves and the one a rollback would go to."""
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
        """Makes a saved artifact appear under its name."""
        place = self._place(version)
        try:
            fresh.rename(place)
        except OSError as problem:
            if problem.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            with self._locked():
                if self._is_whole(version):
                    return
                remove(place)
                fresh.rename(place)
        flush(self.artifacts)


def _reads(place: Path) -> bool:
    try:
        read_version(place)
    except ArtifactError:
        return False
    return True
