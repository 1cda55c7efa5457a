"""`versions`: lists, promotes, rolls back and prunes trained versions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tastemaker.cli import show, verbs
from tastemaker.data.times import format_moment
from tastemaker.machine import size_text
from tastemaker.registry import Registry, Switch, Version

_HEAD = ("", "version", "trained", "MB", "ranker", "")

_FINGERPRINT_DIGITS = 12
"""Digits of a fingerprint to print: enough to distinguish two files."""


@dataclass(frozen=True, slots=True)
class Options:
    """The project, and the output format."""

    project: Path | None
    as_json: bool

    def within(self, outer: "Options") -> "Options":
        """Adds the options before the subcommand: `versions --json rollback`."""
        return Options(self.project or outer.project, self.as_json or outer.as_json)


def versions(options: Options) -> None:
    """Lists all versions, newest first."""
    registry = _registry(options)
    found = registry.versions()
    if options.as_json:
        named = {
            "current": next((version.name for version in found if version.current), None),
            "previous": next((version.name for version in found if version.previous), None),
        }
        show.result_json({**named, "versions": [_to_dict(version) for version in found]})
    elif found:
        show.result_lines(_table([_HEAD, *(_row(version) for version in found)]))
        for version in found:
            for name, reason in version.left_out.items():
                show.say(f"{version.name} has no source '{name}': {reason}")
            for note in version.notes:
                show.say(f"{version.name}: {note}")
    else:
        show.say("nothing is trained yet: run `tastemaker train` first")
    verbs.report_leftovers(registry)


def promote(options: Options, version: str) -> None:
    """Makes a version the current one."""
    _show_switch(_registry(options).promote(version), options)


def rollback(options: Options) -> None:
    """Returns to the version that served before."""
    _show_switch(_registry(options).rollback(), options)


def prune(options: Options, keep: int) -> None:
    """Removes old versions, and folders left behind by killed runs."""
    registry = _registry(options)
    removed = registry.prune(keep)
    left = registry.sweep()
    kept = registry.versions()
    freed = sum(version.bytes for version in removed)
    if options.as_json:
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
        show.say(f"removed {len(left)} folders left behind by killed runs")


def _registry(options: Options) -> Registry:
    return Registry(verbs.open_project(options.project).state)


def _show_switch(switch: Switch, options: Options) -> None:
    for problem in switch.skipped.values():
        show.say(f"skipped: {problem}")
    if options.as_json:
        show.result_json(
            {"version": switch.version, "before": switch.before, "skipped": switch.skipped}
        )
    elif switch.before == switch.version:
        show.result(f"{switch.version} already serves")
    elif switch.before is None:
        show.result(f"{switch.version} now serves")
    else:
        show.result(f"{switch.version} now serves, instead of {switch.before}")


def _to_dict(version: Version) -> dict[str, Any]:
    return {
        "version": version.name,
        "trained": format_moment(version.trained),
        "bytes": version.bytes,
        "current": version.current,
        "previous": version.previous,
        "problem": version.problem,
        "sources": list(version.sources),
        "rankers": {name: use.to_dict() for name, use in version.rankers.items()},
        "data": {
            table: fingerprint[:_FINGERPRINT_DIGITS] for table, fingerprint in version.data.items()
        },
        "left_out": version.left_out,
        "notes": list(version.notes),
    }


def _row(version: Version) -> tuple[str, ...]:
    used = (f"{name}: {use}" for name, use in version.rankers.items())
    served = "serves" if version.current else "rollback target" if version.previous else ""
    return (
        "*" if version.current else "",
        version.name,
        format_moment(version.trained),
        f"{version.bytes / 1e6:,.2f}",
        ", ".join(used) or "none",
        f"cannot serve: {version.problem}" if version.problem else served,
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines with aligned columns; the megabytes are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    right = _HEAD.index("MB")
    return [
        "  ".join(
            cell.rjust(width) if place == right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
