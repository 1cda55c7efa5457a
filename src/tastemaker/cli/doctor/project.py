"""Checks a project: its disk, files, store and model, and the system clock.

The checks are read-only: they write no files and import no events.
"""

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl

import tastemaker
from tastemaker.cli.doctor.finding import Finding, failure, run_check
from tastemaker.cli.doctor.limits import check_limits, check_temporary_folder
from tastemaker.cli.doctor.port import check_port
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
"""Free space beyond the needs of the next training, below which it is reported."""
_MANY_SERVED = 0.1
"""Share of events since the last training from which to recommend a new training."""
_CLOCK_MICROSECONDS = 60_000_000
"""Tolerated difference between the clocks of two machines."""
_CHANGES_SHOWN = 3
_MEASURED: dict[Now, str] = {
    "auto": "ages are measured from there until newer events arrive",
    "log": "ages are measured from there, because [server] now is 'log'",
    "clock": "ages are measured from today, because [server] now is 'clock'",
}
_TRAIN = "tastemaker train"


def check_project(project: Project) -> list[Finding]:
    """Runs all checks of a project, in the order in which they depend on each other."""
    checks = _ProjectChecks(project)
    return [
        *run_check("disk", checks.disk),
        *run_check("disk", check_temporary_folder),
        *run_check("files", checks.files),
        *run_check("model", checks.model),
        *run_check("versions", checks.versions),
        *run_check("store", checks.store),
        *run_check("limits", checks.limits),
        *run_check("data", checks.data),
        *run_check("clock", checks.clock),
        *run_check("port", lambda: check_port(project)),
    ]


class _ProjectChecks:
    """The checks of one project; later checks use what earlier ones load."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.source = EventSource(project)
        self.registry = Registry(project.state)
        self.trained: Recommender | None = None
        self.stored: StoreLook | None = None
        self.latest: dict[str, int] = {}

    def disk(self) -> Iterator[Finding]:
        """Checks that serving and training can write, with enough free space."""
        fine = True
        for place, is_right_kind in (
            (self.project.state, self.project.state.is_dir()),
            (self.source.path, self.source.stored),
        ):
            if place.exists() and not is_right_kind:
                kind = "folder" if place == self.project.state else "file"
                yield Finding("disk", "bad", f"{place} is not a {kind}", "move it to another place")
                fine = False
        for place in self._written():
            if os.statvfs(place).f_flag & os.ST_RDONLY:
                message = f"{place} is on a file system that is mounted read-only"
                yield Finding(
                    "disk", "bad", message, "mount it writable, or copy the project elsewhere"
                )
                fine = False
            elif not os.access(place, os.W_OK):
                owner = f"chown it to the user that runs Tastemaker (number {os.geteuid()})"
                yield Finding("disk", "bad", f"{place} is not writable", owner)
                fine = False
        need = self._next_training_bytes()
        for folder in {place.stat().st_dev: place for place in self._folders()}.values():
            stats = os.statvfs(folder)
            free = stats.f_bavail * stats.f_frsize
            message = (
                f"{size_text(free)} free in {folder}, the next training needs {size_text(need)}"
            )
            fix = "free disk space; `tastemaker versions prune --keep 3` removes old versions"
            if free < need or (stats.f_files and not stats.f_favail):
                message += "" if free < need else ", and no more files can be created"
                yield Finding("disk", "bad", message, fix)
            elif free < need + _COMFORT_BYTES:
                yield Finding("disk", "note", message, fix)
            elif fine:
                yield Finding("disk", "ok", message)

    def _folders(self) -> list[Path]:
        """The current or future folders of the state and the store."""
        return [_nearest(self.project.state), _nearest(self.source.path.parent)]

    def _written(self) -> list[Path]:
        """The existing files and folders that serving and training write to."""
        state = self.project.state
        inside = [state / "artifacts", self.project.quarantine, self.source.path]
        return list(dict.fromkeys([*self._folders(), *(path for path in inside if path.exists())]))

    def _next_training_bytes(self) -> int:
        """The approximate size of the next version: the size of the latest one."""
        newest = next(iter(self.registry.versions()), None)
        return newest.bytes if newest else 0

    def files(self) -> Iterator[Finding]:
        """Checks that the tables can be read, and reports their unusable rows."""
        for table, file in self._files():
            path = file.path
            if path.is_file() and not os.access(path, os.R_OK):
                yield Finding(
                    table, "bad", f"{path} cannot be read", "make it readable for this user"
                )
            elif path.is_file():
                yield Finding(table, "ok", f"{file.name}, {size_text(path.stat().st_size)}")
                yield from self._quarantined(table, file)
            elif self.source.stored:
                yield Finding(
                    table, "note", f"{path} is missing; the store has the imported events"
                )
            else:
                message = "is missing" if not path.exists() else "is not a file"
                yield Finding(table, "bad", f"{path} {message}", "restore it, or change [data]")

    def _files(self) -> Iterator[tuple[str, DataFile]]:
        """Yields each data file of the project, with its table."""
        for table, files in self.project.data_files().items():
            yield from ((table, file) for file in files)

    def _quarantined(self, table: str, file: DataFile) -> Iterator[Finding]:
        rejected = quarantine_file(self.project.quarantine, file.name)
        if not rejected.is_file():
            return
        try:
            counts = pl.read_csv(rejected, infer_schema=False)["reason"].value_counts(sort=True)
        except pl.exceptions.PolarsError:
            yield Finding(
                table, "note", f"{rejected} cannot be read", "tastemaker validate writes it again"
            )
            return
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.iter_rows())
        rows = counts["count"].sum()
        message = f"unusable rows when it was last read: {rows:,} ({reasons})"
        yield Finding(table, "note", message, f"see {rejected}, and correct {file.name}")

    def store(self) -> Iterator[Finding]:
        """Checks that the store is undamaged."""
        if not self.source.stored or not self.source.path.stat().st_size:
            yield Finding(
                "store",
                "ok",
                "none yet: events are read from the files; `tastemaker serve` creates it",
            )
            return
        learned = (self.trained.store, self.trained.sequence) if self.trained else ("", 0)
        try:
            self.stored = found = self.source.look(*learned)
        except StoreError as problem:
            fix = "restore it from a copy, or move it away to start again from the files"
            yield Finding("store", "bad", str(problem), fix)
            return
        if found.latest is not None:
            self.latest["the latest stored event"] = found.latest
        size = size_text(self.source.path.stat().st_size)
        yield Finding("store", "ok", f"{found.events:,} events, {size}, undamaged")
        if found.unfinished:
            message = (
                f"the import of {', '.join(found.unfinished)} was interrupted, or is still running"
            )
            yield Finding("store", "note", message, "the next train or serve repeats it")
        if found.sums_differ:
            message = "the sums by user and item do not match the events"
            fix = "stop the server and run `tastemaker store compact`, which computes them again"
            yield Finding("store", "bad", message, fix)
        if exposed := open_to_others(self.source.path):
            names = ", ".join(file.name for file in exposed)
            message = f"{names} can be read by other users of this machine"
            files = " ".join(shlex.quote(str(file)) for file in exposed)
            yield Finding(
                "store", "note", message, f"chmod 600 {files}; the next serve does it too"
            )

    def limits(self) -> Iterator[Finding]:
        """Checks the limits of the store."""
        if self.stored is not None:
            settings = self.project.file.store
            yield from check_limits(self.source.path, settings, self.stored)

    def model(self) -> Iterator[Finding]:
        """Checks that the current version is undamaged and fits the project file and the data."""
        if not self.registry.versions():
            yield Finding("model", "bad", "nothing is trained yet", _TRAIN)
            return
        try:
            trained = self.registry.load()
        except ArtifactError as problem:
            message = str(problem).replace(f"{self.registry.artifacts}{os.sep}", "")
            yield failure("model", message, self._way_back())
            return
        self.trained = trained
        self.latest["the latest event trained on"] = trained.inventory.watermark
        yield Finding("model", "ok", f"{trained.version} serves, undamaged")
        if trained.made_by != tastemaker.__version__:
            made_by = trained.made_by or "of an earlier version"
            message = f"it was trained by Tastemaker {made_by}, this is {tastemaker.__version__}"
            yield Finding("model", "note", message, _TRAIN)
        for name, one in trained.left_out.items():
            yield Finding("model", "note", f"it has no source '{name}': {one.reason}")
        for note in trained.notes:
            yield Finding("model", "note", note)
        yield from self._settings(trained)
        if trained.inventory.clock == "absolute":
            age = now() - trained.inventory.watermark
            if age > OLD_LOG_MICROSECONDS:
                message = (
                    f"its events end on {format_moment(trained.inventory.watermark)[:10]}, "
                    f"{format_duration(age)} ago: it does not know later items and trends; "
                    f"{_MEASURED[self.project.file.server.now]}"
                )
                yield Finding("model", "note", message, f"{_TRAIN}, with newer events")

    def _settings(self, trained: Recommender) -> Iterator[Finding]:
        """Reports settings of the project file that need another training."""
        try:
            _, changes = with_project_settings(trained, self.project.file)
        except SettingError as problem:
            yield Finding("model", "bad", str(problem), _TRAIN)
            return
        if changes:
            more = f" and {len(changes) - _CHANGES_SHOWN} more" * (len(changes) > _CHANGES_SHOWN)
            shown = ", ".join(changes[:_CHANGES_SHOWN]) + more
            message = f"the project file has changed since it was trained: {shown}"
            yield Finding("model", "note", message, _TRAIN)

    def _way_back(self) -> str:
        """The fix if the current version cannot serve."""
        previous = next((v.name for v in self.registry.versions() if v.previous), None)
        back = f"tastemaker versions rollback, to {previous}; or " if previous else ""
        return f"{back}{_TRAIN}"

    def versions(self) -> Iterator[Finding]:
        """Checks the other versions, and the folders left by killed runs."""
        found = self.registry.versions()
        broken = [version.name for version in found if version.problem and not version.current]
        if broken:
            message = f"damaged, but not in use: {', '.join(broken)}"
            fix = "tastemaker versions prune --keep 3 removes old ones"
            yield Finding("versions", "note", message, fix)
        whole = [version.name for version in found if not version.problem]
        if self.trained is not None and whole and whole[0] > self.trained.version:
            message = f"{whole[0]} is newer than the version that serves"
            yield Finding("versions", "note", message, f"tastemaker versions promote {whole[0]}")
        left = len(self.registry.leftovers())
        if left:
            message = f"{left} {'folders were' if left > 1 else 'folder was'} left by killed runs"
            yield Finding("versions", "note", message, "tastemaker versions prune --keep 3")

    def data(self) -> Iterator[Finding]:
        """Checks whether the data has changed since the training."""
        if self.trained is None:
            return
        version, known = self.trained.version, self.trained.sources
        changed = False
        for table, files in self.project.data_files().items():
            if not all(file.path.is_file() for file in files):
                continue
            today, names = table_fingerprint(table, files), ", ".join(f.name for f in files)
            message = ""
            if known.get(table) not in (None, today):
                message = f"{names}, or its read settings, changed since {version} was trained"
            elif known and table not in known:
                message = f"{names} is new since {version} was trained"
            elif self.stored and self.stored.imported.get(table, today) != today:
                message = f"the store has an earlier version of {names}"
            if message:
                changed = True
                yield Finding("data", "note", message, _TRAIN)
        if not known:
            message = f"{version} does not record its training files"
            yield Finding("data", "note", message, f"{_TRAIN}: the next version will")
        elif not changed:
            yield Finding("data", "ok", f"the files are the ones {version} was trained on")
        if self.stored is not None:
            yield _served(self.stored)

    def clock(self) -> Iterator[Finding]:
        """Checks for events, versions and files with times in the future."""
        if self.project.file.data.clock != "absolute":
            self.latest.clear()
        for version in self.registry.versions():
            self.latest.setdefault(f"the training of {version.name}", trained_at(version.name))
        for _, file in self._files():
            if file.path.is_file():
                changed = int(file.path.stat().st_mtime * 1e6)
                self.latest[f"the last change of {file.name}"] = changed
        what, latest = max(self.latest.items(), key=lambda pair: pair[1], default=("", 0))
        present = now()
        if latest > present + _CLOCK_MICROSECONDS:
            message = (
                f"{what} is {format_duration(latest - present)} in the future: this machine's "
                f"clock ({format_moment(present)[:16]}Z) is slow, or another's was fast"
            )
            yield Finding(
                "clock",
                "note",
                message,
                "set the clock with NTP, and check the clients that send events",
            )
        else:
            yield Finding("clock", "ok", f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC")


def _served(found: StoreLook) -> Finding:
    share = found.served / max(found.events, 1)
    message = f"events received since the training: {found.served:,}, {share:.1%} of all"
    if share >= _MANY_SERVED:
        return Finding("data", "note", message, f"{_TRAIN}, to learn from them")
    return Finding("data", "ok", message)


def _nearest(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
