"""`doctor`: what is wrong with machine, project, data, store and model, and the cure."""

import importlib
import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from tastemaker.cli import show
from tastemaker.cli.serve import free_address, url_of
from tastemaker.cli.verbs import load_current, open_project
from tastemaker.data.times import MICROSECONDS, format_moment, now
from tastemaker.errors import TastemakerError
from tastemaker.pipeline import Recommender
from tastemaker.project import Project
from tastemaker.store import EventSource
from tastemaker.threads import available_threads

_LEAST_FREE_GB = 1.0
_OLD_DAYS = 30
_ODD = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE")
_PACKAGES = ("numpy", "scipy", "numba", "polars", "lightgbm", "sqlalchemy", "fastapi", "uvicorn")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look came to.

    Attributes:
        what: was looked at.
        verdict: fine, worth knowing, or in the way.
        told: what was found.
        cure: what to do; empty where nothing needs doing.
    """

    what: str
    verdict: Literal["ok", "note", "bad"]
    told: str
    cure: str = ""


def doctor(path: Path | None, as_json: bool) -> None:
    """Looks at everything and tells; fails where something is in the way.

    Raises:
        TastemakerError: something is bad.
    """
    findings = [*_machine()]
    try:
        project = open_project(path)
    except TastemakerError as problem:
        findings.append(Finding("project", "bad", str(problem)))
    else:
        findings.append(Finding("project", "ok", str(project.path)))
        for look in (_disk, _files, _store, _model, _port):
            findings += _safely(look, project)
    if as_json:
        show.result_json({"findings": [asdict(finding) for finding in findings]})
    else:
        show.result("\n".join(_line(finding) for finding in findings))
    bad = sum(finding.verdict == "bad" for finding in findings)
    if bad:
        raise TastemakerError(f"{bad} of {len(findings)} looks found something in the way")


def _line(finding: Finding) -> str:
    mark = {"ok": "✓", "note": "·", "bad": "✗"}[finding.verdict]
    cure = f"\n             → {finding.cure}" if finding.cure else ""
    return f"{mark} {finding.what:10} {finding.told}{cure}"


def _safely(look: Callable[[Project], Iterator[Finding]], project: Project) -> list[Finding]:
    """What a look found; what stops it is a finding as well."""
    found: list[Finding] = []
    try:
        found.extend(look(project))
    except TastemakerError as problem:
        found.append(Finding(look.__name__.removeprefix("_"), "bad", str(problem)))
    return found


def _machine() -> Iterator[Finding]:
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as problem:
            cure = (
                "install libgomp (Debian: apt install libgomp1)"
                if "libgomp" in str(problem)
                else "install tastemaker again"
            )
            yield Finding("package", "bad", f"{name} cannot be imported: {problem}", cure)
    odd = [name for name in _ODD if name in os.environ]
    if odd:
        told = f"{', '.join(odd)} is set, which can slow linear algebra several times"
        yield Finding("BLAS", "note", told, f"unset {' '.join(odd)}")
    yield Finding("machine", "ok", f"{available_threads()} processors for this process")


def _disk(project: Project) -> Iterator[Finding]:
    free = shutil.disk_usage(project.folder).free / 1e9
    told = f"{free:,.1f} GB free"
    if free < _LEAST_FREE_GB:
        cure = "make room; old versions go with `tastemaker versions prune --keep 3`"
        yield Finding("disk", "bad", told, cure)
    else:
        yield Finding("disk", "ok", told)
    if not os.access(project.folder, os.W_OK):
        yield Finding("disk", "bad", f"{project.folder} cannot be written", "change its owner")


def _files(project: Project) -> Iterator[Finding]:
    stored = EventSource(project).stored
    for table, path in project.data_files().items():
        if path.is_file():
            yield Finding(table, "ok", f"{path.name}, {path.stat().st_size / 1e6:,.1f} MB")
        elif stored:
            yield Finding(table, "note", f"{path} is gone; the store has what was imported")
        else:
            yield Finding(table, "bad", f"{path} is missing", "bring it back, or change [data]")


def _store(project: Project) -> Iterator[Finding]:
    source = EventSource(project)
    if not source.stored:
        yield Finding(
            "store", "note", "none yet: the files are read", "`tastemaker serve` makes it"
        )
        return
    changed = source.changed_files()
    with source.open_as_it_is() as store:
        problem = store.check()
        if problem:
            cure = "restore it from a copy, or move it away to start anew from the files"
            yield Finding("store", "bad", f"{source.path}: {problem}", cure)
            return
        megabytes = source.path.stat().st_size / 1e6
        yield Finding("store", "ok", f"{store.count():,} events, {megabytes:,.1f} MB, undamaged")
    if changed:
        told = f"{', '.join(changed)} changed since the import"
        yield Finding("store", "note", told, "the next train or serve takes it up")


def _model(project: Project) -> Iterator[Finding]:
    recommender = load_current(project)
    yield Finding("model", "ok", f"{recommender.version}, whole")
    if recommender.settings() != Recommender.from_project(project.path).settings():
        told = "the project file has changed since it was trained"
        yield Finding("model", "note", told, "tastemaker train")
    if list(recommender.kinds.items()) != list(project.file.events.items()):
        told = "[events.*] has changed since it was trained"
        yield Finding("model", "note", told, "tastemaker train")
    if recommender.world.clock == "absolute":
        end = recommender.world.watermark
        days = (now() - end) / MICROSECONDS["d"]
        told = f"its events end {format_moment(end)}"
        if days > _OLD_DAYS:
            told += f", {days:,.0f} days ago: what is trending and recent is little by now"
        yield Finding("model", "note" if days > _OLD_DAYS else "ok", told)
    source = EventSource(project)
    if source.stored:
        with source.open_as_it_is() as store:
            since = store.count_served(after=recommender.sequence)
        told = f"{since:,} events were served since it was trained"
        yield Finding("model", "ok", told)


def _port(project: Project) -> Iterator[Finding]:
    from tastemaker.serving.keys import KeyFile, check_listening

    server = project.file.server
    keys = KeyFile(project.state)
    check_listening(keys, server.host)
    warning = keys.warning()
    if warning:
        yield Finding("keys", "note", warning)
    serving = _served_at(f"{url_of(server.host, server.port)}/health/ready")
    if serving:
        yield Finding("port", "ok", f"{server.port}: serving {serving}")
        return
    free_address(server.host, server.port)
    yield Finding("port", "ok", f"{server.port} is free")


def _served_at(url: str) -> str | None:
    """The version one of our servers answers with; None where there is none."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own address
            return str(json.load(answer)["model_version"])
    except (OSError, ValueError, KeyError, TypeError, HTTPException):
        return None
