"""What may be wrong with a project: its disk, files, store and model, and the clock beside them.

Nothing is written, made or imported.
"""

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl

import tastemaker
from tastemaker.cli.doctor.finding import Finding, looked, refused
from tastemaker.cli.doctor.limits import look_at_limits, look_at_temporary_folder
from tastemaker.cli.doctor.port import look_at_port
from tastemaker.data.files import DataFile, table_fingerprint
from tastemaker.data.report import quarantine_file
from tastemaker.data.times import OLD_LOG_MICROSECONDS, format_duration, format_moment, now
from tastemaker.errors import ArtifactError, SettingError, StoreError
from tastemaker.machine import size_text
from tastemaker.pipeline import Recommender
from tastemaker.pipeline.project_settings import with_project_settings
from tastemaker.project import Project
from tastemaker.project.sections import Now
from tastemaker.registry import Registry
from tastemaker.registry.version import trained_at
from tastemaker.store import EventSource
from tastemaker.store.look import StoreLook
from tastemaker.store.private import open_to_others

_COMFORT_BYTES = 1_000_000_000
"""Less room than this beside what the next training needs is worth knowing."""
_MANY_SERVED = 0.1
"""Share of the events that came after the training from which on it is worth training again."""
_CLOCK_MICROSECONDS = 60_000_000
"""So far into the future two machines' clocks may well differ."""
_CHANGES_SHOWN = 3
_MEASURED: dict[Now, str] = {
    "auto": "ages are measured from there until newer events are served",
    "log": "ages are measured from there, as [server] now is 'log'",
    "clock": "ages are measured from today, as [server] now is 'clock'",
}
_TRAIN = "tastemaker train"


def look_at_project(project: Project) -> list[Finding]:
    """Everything about a project, in an order in which later looks find what they need."""
    looks = _Looks(project)
    return [
        *looked("disk", looks.disk),
        *looked("disk", look_at_temporary_folder),
        *looked("files", looks.files),
        *looked("model", looks.model),
        *looked("versions", looks.versions),
        *looked("store", looks.store),
        *looked("limits", looks.limits),
        *looked("data", looks.data),
        *looked("clock", looks.clock),
        *looked("port", lambda: look_at_port(project)),
    ]


class _Looks:
    """The looks at one project; what one of them loads, the later ones use."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.source = EventSource(project)
        self.registry = Registry(project.state)
        self.trained: Recommender | None = None
        self.stored: StoreLook | None = None
        self.latest: dict[str, int] = {}

    def disk(self) -> Iterator[Finding]:
        """Whether what serving and training write will find room."""
        fine = True
        for place, wanted in (
            (self.project.state, self.project.state.is_dir()),
            (self.source.path, self.source.stored),
        ):
            if place.exists() and not wanted:
                kind = "folder" if place == self.project.state else "file"
                yield Finding("disk", "bad", f"{place} is not a {kind}", "move it away")
                fine = False
        for place in self._written():
            if os.statvfs(place).f_flag & os.ST_RDONLY:
                told = f"{place} lies on a file system that is mounted read-only"
                yield Finding(
                    "disk", "bad", told, "mount it writable, or copy the project elsewhere"
                )
                fine = False
            elif not os.access(place, os.W_OK):
                owner = f"chown it to the user that runs Tastemaker (number {os.geteuid()})"
                yield Finding("disk", "bad", f"{place} cannot be written", owner)
                fine = False
        need = self._next_training_bytes()
        for folder in {place.stat().st_dev: place for place in self._folders()}.values():
            stats = os.statvfs(folder)
            free = stats.f_bavail * stats.f_frsize
            told = f"{size_text(free)} free in {folder}, the next training needs {size_text(need)}"
            fix = "make room; old versions go with `tastemaker versions prune --keep 3`"
            if free < need or (stats.f_files and not stats.f_favail):
                told += "" if free < need else ", and no more files can be made"
                yield Finding("disk", "bad", told, fix)
            elif free < need + _COMFORT_BYTES:
                yield Finding("disk", "note", told, fix)
            elif fine:
                yield Finding("disk", "ok", told)

    def _folders(self) -> list[Path]:
        """Where the state and the store lie, or will."""
        return [_nearest(self.project.state), _nearest(self.source.path.parent)]

    def _written(self) -> list[Path]:
        """What is there of all that is written to."""
        state = self.project.state
        inside = [state / "artifacts", self.project.quarantine, self.source.path]
        return list(dict.fromkeys([*self._folders(), *(path for path in inside if path.exists())]))

    def _next_training_bytes(self) -> int:
        """About as much as the latest version takes."""
        newest = next(iter(self.registry.versions()), None)
        return newest.bytes if newest else 0

    def files(self) -> Iterator[Finding]:
        """Whether the tables are there, and what of them could not be used."""
        for table, file in self._files():
            path = file.path
            if path.is_file() and not os.access(path, os.R_OK):
                yield Finding(table, "bad", f"{path} cannot be read", "let this user read it")
            elif path.is_file():
                yield Finding(table, "ok", f"{file.name}, {size_text(path.stat().st_size)}")
                yield from self._quarantined(table, file)
            elif self.source.stored:
                yield Finding(table, "note", f"{path} is gone; the store has what was imported")
            else:
                told = "is missing" if not path.exists() else "is not a file"
                yield Finding(table, "bad", f"{path} {told}", "bring it back, or change [data]")

    def _files(self) -> Iterator[tuple[str, DataFile]]:
        """Each file of the project's data, with its table."""
        for table, files in self.project.data_files().items():
            yield from ((table, file) for file in files)

    def _quarantined(self, table: str, file: DataFile) -> Iterator[Finding]:
        aside = quarantine_file(self.project.quarantine, file.name)
        if not aside.is_file():
            return
        try:
            counts = pl.read_csv(aside, infer_schema=False)["reason"].value_counts(sort=True)
        except pl.exceptions.PolarsError:
            yield Finding(table, "note", f"{aside} cannot be read", "tastemaker validate writes it")
            return
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.iter_rows())
        rows = counts["count"].sum()
        told = f"rows set aside at the last reading: {rows:,} ({reasons})"
        yield Finding(table, "note", told, f"see {aside}, and correct {file.name}")

    def store(self) -> Iterator[Finding]:
        """Whether the store is whole."""
        if not self.source.stored or not self.source.path.stat().st_size:
            yield Finding(
                "store", "ok", "none yet: the files are read; `tastemaker serve` makes it"
            )
            return
        learned = (self.trained.store, self.trained.sequence) if self.trained else ("", 0)
        try:
            self.stored = found = self.source.look(*learned)
        except StoreError as problem:
            fix = "restore it from a copy, or move it away to start anew from the files"
            yield Finding("store", "bad", str(problem), fix)
            return
        if found.latest is not None:
            self.latest["the latest stored event"] = found.latest
        size = size_text(self.source.path.stat().st_size)
        yield Finding("store", "ok", f"{found.events:,} events, {size}, undamaged")
        if found.unfinished:
            told = f"the import of {', '.join(found.unfinished)} was cut short, or still goes on"
            yield Finding("store", "note", told, "the next train or serve does it again")
        if found.sums_differ:
            told = "the sums by user and item are not those of the events"
            fix = "stop the server and run `tastemaker store compact`, which sums them up again"
            yield Finding("store", "bad", told, fix)
        if exposed := open_to_others(self.source.path):
            names = ", ".join(file.name for file in exposed)
            told = f"{names} can be read by other users of this machine"
            files = " ".join(shlex.quote(str(file)) for file in exposed)
            yield Finding("store", "note", told, f"chmod 600 {files}; the next serve does it too")

    def limits(self) -> Iterator[Finding]:
        """What the store may still take in."""
        if self.stored is not None:
            settings = self.project.file.store
            yield from look_at_limits(self.source.path, settings, self.stored)

    def model(self) -> Iterator[Finding]:
        """Whether the version that serves is whole, and of this project as it is today."""
        if not self.registry.versions():
            yield Finding("model", "bad", "nothing is trained yet", _TRAIN)
            return
        try:
            trained = self.registry.load()
        except ArtifactError as problem:
            told = str(problem).replace(f"{self.registry.artifacts}{os.sep}", "")
            yield refused("model", told, self._way_back())
            return
        self.trained = trained
        self.latest["the latest event trained on"] = trained.inventory.watermark
        yield Finding("model", "ok", f"{trained.version} serves, undamaged")
        if trained.made_by != tastemaker.__version__:
            made_by = trained.made_by or "of an earlier version"
            told = f"it was trained by Tastemaker {made_by}, this is {tastemaker.__version__}"
            yield Finding("model", "note", told, _TRAIN)
        for name, one in trained.left_out.items():
            yield Finding("model", "note", f"it has no source '{name}': {one.reason}")
        for note in trained.notes:
            yield Finding("model", "note", note)
        yield from self._settings(trained)
        if trained.inventory.clock == "absolute":
            age = now() - trained.inventory.watermark
            if age > OLD_LOG_MICROSECONDS:
                told = (
                    f"its events end {format_moment(trained.inventory.watermark)[:10]}, "
                    f"{format_duration(age)} ago: what is new and trending since is unknown to it; "
                    f"{_MEASURED[self.project.file.server.now]}"
                )
                yield Finding("model", "note", told, f"{_TRAIN}, with newer events")

    def _settings(self, trained: Recommender) -> Iterator[Finding]:
        """What of the project file takes effect only with the next training, or not at all."""
        try:
            _, changes = with_project_settings(trained, self.project.file)
        except SettingError as problem:
            yield Finding("model", "bad", str(problem), _TRAIN)
            return
        if changes:
            more = f" and {len(changes) - _CHANGES_SHOWN} more" * (len(changes) > _CHANGES_SHOWN)
            shown = ", ".join(changes[:_CHANGES_SHOWN]) + more
            told = f"the project file has changed since it was trained: {shown}"
            yield Finding("model", "note", told, _TRAIN)

    def _way_back(self) -> str:
        """What to do where the version that should serve cannot."""
        previous = next((v.name for v in self.registry.versions() if v.previous), None)
        back = f"tastemaker versions rollback, to {previous}; or " if previous else ""
        return f"{back}{_TRAIN}"

    def versions(self) -> Iterator[Finding]:
        """The other versions, and what killed runs left."""
        found = self.registry.versions()
        broken = [version.name for version in found if version.problem and not version.current]
        if broken:
            told = f"damaged, but not in use: {', '.join(broken)}"
            fix = "tastemaker versions prune --keep 3 removes old ones"
            yield Finding("versions", "note", told, fix)
        whole = [version.name for version in found if not version.problem]
        if self.trained is not None and whole and whole[0] > self.trained.version:
            told = f"{whole[0]} is newer than what serves"
            yield Finding("versions", "note", told, f"tastemaker versions promote {whole[0]}")
        left = len(self.registry.leftovers())
        if left:
            told = f"{left} {'folders were' if left > 1 else 'folder was'} left by runs that died"
            yield Finding("versions", "note", told, "tastemaker versions prune --keep 3")

    def data(self) -> Iterator[Finding]:
        """Whether there is more to learn from than was learned from."""
        if self.trained is None:
            return
        version, known = self.trained.version, self.trained.sources
        changed = False
        for table, files in self.project.data_files().items():
            if not all(file.path.is_file() for file in files):
                continue
            today, names = table_fingerprint(table, files), ", ".join(f.name for f in files)
            told = ""
            if known.get(table) not in (None, today):
                told = f"{names}, or how it is read, has changed since {version} was trained"
            elif known and table not in known:
                told = f"{names} is new since {version} was trained"
            elif self.stored and self.stored.imported.get(table, today) != today:
                told = f"the store has an earlier {names}"
            if told:
                changed = True
                yield Finding("data", "note", told, _TRAIN)
        if not known:
            told = f"{version} does not tell which files it was trained on"
            yield Finding("data", "note", told, f"{_TRAIN}: the next one will")
        elif not changed:
            yield Finding("data", "ok", f"the files are those {version} was trained on")
        if self.stored is not None:
            yield _served(self.stored)

    def clock(self) -> Iterator[Finding]:
        """Whether something has happened that, by this machine's clock, is yet to come."""
        if self.project.file.data.clock != "absolute":
            self.latest.clear()
        for version in self.registry.versions():
            self.latest.setdefault(f"the training of {version.name}", trained_at(version.name))
        for _, file in self._files():
            if file.path.is_file():
                changed = int(file.path.stat().st_mtime * 1e6)
                self.latest[f"the last change of {file.name}"] = changed
        what, latest = max(self.latest.items(), key=lambda told: told[1], default=("", 0))
        present = now()
        if latest > present + _CLOCK_MICROSECONDS:
            told = (
                f"{what} lies {format_duration(latest - present)} in the future: this machine's "
                f"clock ({format_moment(present)[:16]}Z) is slow, or another's was fast"
            )
            yield Finding(
                "clock", "note", told, "set the clock by NTP, and look at who sends events"
            )
        else:
            yield Finding("clock", "ok", f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC")


def _served(found: StoreLook) -> Finding:
    share = found.served / max(found.events, 1)
    told = f"events served since: {found.served:,}, {share:.1%} of all"
    if share >= _MANY_SERVED:
        return Finding("data", "note", told, f"{_TRAIN}, so that they are learned from")
    return Finding("data", "ok", told)


def _nearest(folder: Path) -> Path:
    """A folder, or where it is not there yet the one in which it would be made."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
