"""What a store may still take in, and the room for what is written for a while only."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tastemaker.cli.doctor.finding import Finding
from tastemaker.machine import size_text
from tastemaker.project.sections import StoreSection
from tastemaker.store.limits import free_bytes
from tastemaker.store.look import StoreLook

_NEARLY = 0.8
"""The share of a limit from which on it is worth knowing."""
_COMFORT_BYTES = 1_000_000_000
_REMOVE = "`tastemaker store events remove` and `compact`, or raise it under [store]"


def look_at_limits(path: Path, settings: StoreSection, stored: StoreLook) -> Iterator[Finding]:
    """What `[store]` allows, and what is there.

    Args:
        path: the store.
        settings: `[store]`.
        stored: what is in it.
    """
    for name, what, count, most in (
        (
            "max_events",
            f"{stored.served_in_all:,} events over HTTP of at most {settings.max_events:,}",
            *(stored.served_in_all, settings.max_events),
        ),
        (
            "max_size",
            f"{size_text(stored.used_bytes)} of at most {size_text(settings.max_size)}",
            *(stored.used_bytes, settings.max_size),
        ),
    ):
        told = f"{what} ([store] {name})"
        if count >= most:
            yield Finding("limits", "bad", f"{told}: no more are taken in", _REMOVE)
        else:
            nearly = count >= _NEARLY * most
            yield Finding("limits", "note" if nearly else "ok", told, _REMOVE * nearly)
    free, reserve = free_bytes(path, settings.reserve)
    told = (
        f"{size_text(free)} free of the {size_text(reserve)} reserved for events ([store] reserve)"
    )
    if free < reserve:
        cure = "make room; `tastemaker store compact`"
        yield Finding("limits", "note", f"{told}: answers are not logged", cure)
    else:
        yield Finding("limits", "ok", f"{size_text(reserve)} are reserved for events, and free")


def look_at_temporary_folder() -> Iterator[Finding]:
    """Where gzipped files are unpacked, and where SQLite sorts."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    told = f"{size_text(free)} free in the folder for temporary files, {folder}"
    if free < _COMFORT_BYTES:
        yield Finding("disk", "note", told, "set TMPDIR to a folder with more room")
    else:
        yield Finding("disk", "ok", told)
