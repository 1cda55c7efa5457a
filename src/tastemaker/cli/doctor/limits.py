"""Checks the limits of the store, and the free space for temporary files."""

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
"""The share of a limit from which it is reported."""
_COMFORT_BYTES = 1_000_000_000
_REMOVE = "`tastemaker store events remove` and `compact`, or raise it under [store]"


def check_limits(path: Path, settings: StoreSection, stored: StoreLook) -> Iterator[Finding]:
    """Checks the content of the store against the limits in `[store]`.

    Args:
        path: the store.
        settings: `[store]`.
        stored: its content.
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
        text = f"{what} ([store] {name})"
        if count >= most:
            yield Finding("limits", "bad", f"{text}: no more are accepted", _REMOVE)
        else:
            nearly = count >= _NEARLY * most
            yield Finding("limits", "note" if nearly else "ok", text, _REMOVE * nearly)
    free, reserve = free_bytes(path, settings.reserve)
    text = (
        f"{size_text(free)} free of the {size_text(reserve)} reserved for events ([store] reserve)"
    )
    if free < reserve:
        fix = "free disk space; `tastemaker store compact`"
        yield Finding("limits", "note", f"{text}: decisions are not logged", fix)
    else:
        yield Finding("limits", "ok", f"{size_text(reserve)} reserved for events, and free")


def check_temporary_folder() -> Iterator[Finding]:
    """Checks the folder where gzipped files are unpacked and where SQLite sorts."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    text = f"{size_text(free)} free in the folder for temporary files, {folder}"
    if free < _COMFORT_BYTES:
        yield Finding("disk", "note", text, "set TMPDIR to a folder with more free space")
    else:
        yield Finding("disk", "ok", text)
