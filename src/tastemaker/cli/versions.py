"""`versions`: what was trained, what serves, and going back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tastemaker.cli import show, verbs
from tastemaker.data.times import format_moment
from tastemaker.machine import size_text
from tastemaker.registry import Registry, Switch, Version

_HEAD = ("", "version", "trained", "MB", "ranker", "")

_SHOWN = 12
"""Digits of a fingerprint: enough to tell two files apart."""


@dataclass(frozen=True, slots=True)
class About:
    """Which project, and how to tell the result."""

    project: Path | None
    as_json: bool

    def within(self, outer: "About") -> "About":
        """With what was said before the inner verb: `versions --json rollback`."""
        return About(self.project or outer.project, self.as_json or outer.as_json)


def versions(about: About) -> None:
    """Lists every version, newest first."""
    registry = _registry(about)
    found = registry.versions()
    if about.as_json:
        named = {
            "current": next((version.name for version in found if version.current), None),
            "previous": next((version.name for version in found if version.previous), None),
        }
        show.result_json({**named, "versions": [_told(version) for version in found]})
    elif found:
        show.result_lines(_table([_HEAD, *(_row(version) for version in found)]))
        for version in found:
            for name, reason in version.left_out.items():
                show.say(f"{version.name} has no source '{name}': {reason}")
            for note in version.notes:
                show.say(f"{version.name}: {note}")
    else:
        show.say("nothing is trained yet: run `tastemaker train` first")
    verbs.tell_leftovers(registry)


def promote(about: About, version: str) -> None:
    """Makes a version the one that serves."""
    _tell(_registry(about).promote(version), about)


def rollback(about: About) -> None:
    """Goes back to the version that served before."""
    _tell(_registry(about).rollback(), about)


def prune(about: About, keep: int) -> None:
    """Removes old versions, and what killed runs left behind."""
    registry = _registry(about)
    removed = registry.prune(keep)
    left = registry.sweep()
    kept = registry.versions()
    freed = sum(version.bytes for version in removed)
    if about.as_json:
        show.result_json(
            {
                "removed": [version.name for version in removed],
                "kept": [version.name for version in kept],
                "bytes": freed,
                "leftovers": [path.name for path in left],
            }
        )
        return
    show.result(f"removed {len(removed)} versions ({size_text(freed)}), kept {len(kept)}")
    if left:
        show.say(f"removed {len(left)} folders left behind by runs that were killed")


def _registry(about: About) -> Registry:
    return Registry(verbs.open_project(about.project).state)


def _tell(done: Switch, about: About) -> None:
    for problem in done.skipped.values():
        show.say(f"passed over: {problem}")
    if about.as_json:
        show.result_json({"version": done.version, "before": done.before, "skipped": done.skipped})
    elif done.before == done.version:
        show.result(f"{done.version} serves already")
    elif done.before is None:
        show.result(f"{done.version} serves now")
    else:
        show.result(f"{done.version} serves now, in place of {done.before}")


def _told(version: Version) -> dict[str, Any]:
    return {
        "version": version.name,
        "trained": format_moment(version.trained),
        "bytes": version.bytes,
        "current": version.current,
        "previous": version.previous,
        "problem": version.problem,
        "sources": list(version.sources),
        "rankers": {name: use.to_dict() for name, use in version.rankers.items()},
        "data": {table: print_[:_SHOWN] for table, print_ in version.data.items()},
        "left_out": version.left_out,
        "notes": list(version.notes),
    }


def _row(version: Version) -> tuple[str, ...]:
    used = (f"{name}: {use}" for name, use in version.rankers.items())
    served = "serves" if version.current else "rollback goes here" if version.previous else ""
    return (
        "*" if version.current else "",
        version.name,
        format_moment(version.trained),
        f"{version.bytes / 1e6:,.2f}",
        ", ".join(used) or "none",
        f"cannot serve: {version.problem}" if version.problem else served,
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as what is in them; the megabytes flush right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    right = _HEAD.index("MB")
    return [
        "  ".join(
            cell.rjust(width) if place == right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
