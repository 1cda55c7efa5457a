"""`demo`: the whole workflow on the bundled MovieLens extract, in the user's cache folder."""

import json
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tastemaker.cli import show, verbs
from tastemaker.cli.serve import free_or_any, serve
from tastemaker.data import times
from tastemaker.data.sample import sample_bytes
from tastemaker.disk import make_new_folders_private, read_text, refusal, replacing
from tastemaker.errors import ArtifactError
from tastemaker.pipeline import Recommender
from tastemaker.project import Project, load_project
from tastemaker.project.project import FILE_NAME
from tastemaker.project.project_text import project_text
from tastemaker.project.propose import propose_project

_SHOWN_USERS = ("42", "564", "671")
_ANONYMOUS_HISTORY = ("2571", "1196", "260")
"""The Matrix and two Star Wars films, liked by an anonymous user."""
_EXPLORATION = """
[retrievers.new_items]
type = "new_items"

[rerankers.fresh]
type = "explore"
"""
_WEEK_SECONDS = 7 * 86_400
_BUTTON_EVENTS = """
[events.like]  # from the buttons on the page
weight = 1.0

[events.dislike]
role = "negative"  # a sign of dislike
hide_item = true  # never show the film to this user again
"""


@dataclass(frozen=True, slots=True)
class Page:
    """How to serve the page of the demo."""

    port: int
    browser: bool


def demo(fresh: bool, page: Page | None, as_json: bool) -> None:
    """Runs the demo: prepares, trains, evaluates, recommends and serves; reuses earlier results.

    Args:
        fresh: whether to start over.
        page: how to serve; None stops after the evaluation.
        as_json: whether to print the result as JSON and stop.
    """
    folder = demo_folder()
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    start = time.monotonic()
    project = prepare(folder, ends=times.now())
    data = verbs.read_events(project)
    prepared_at = time.monotonic()
    recommender = _current_or_trained(project, data)
    trained_at = time.monotonic()
    report, table = _evaluation(project, data, recommender.version)
    evaluated_at = time.monotonic()
    answers = [recommender.recommend(user, n=5) for user in _SHOWN_USERS]
    answers.append(recommender.recommend(history=_ANONYMOUS_HISTORY, n=5))
    seconds = {
        "prepare": prepared_at - start,
        "train": trained_at - prepared_at,
        "evaluate": evaluated_at - trained_at,
    }
    if as_json:
        payload: dict[str, Any] = {
            "evaluation": report,
            "recommendations": [
                {"user_id": answer.requests.user_id[0], **answer.to_dict()} for answer in answers
            ],
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "peak_mb": verbs.peak_megabytes(),
        }
        show.result_json(payload)
        return
    parts = [str(answer) for answer in answers[:-1]]
    parts.append(
        "for an anonymous user who liked The Matrix and Star Wars:\n"
        + str(answers[-1]).split("\n", 1)[1]
    )
    show.result("\n\n".join([*parts, table]))
    spent = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    show.say(f"{spent}; peak memory {verbs.peak_megabytes():,} MB; the project is in {folder}")
    if page is not None:
        host = project.file.server.host
        serve(project, port=free_or_any(host, page.port), browser=page.browser and _has_screen())


def demo_folder() -> Path:
    """Returns the folder of the demo project: in the user's cache folder if it is writable.

    Otherwise it is in a private folder for temporary files, and a message reports that.

    Raises:
        OSError: no folder is writable.
    """
    try:
        preferred = _user_cache() / "tastemaker" / "demo"
        preferred.mkdir(parents=True, exist_ok=True)
        problem = refusal(preferred)
        if problem is None:
            return preferred
        reason = f"{preferred} is not writable ({problem.strerror})"
    except OSError as problem:
        reason = f"{problem.filename} cannot be created ({problem.strerror})"
    except RuntimeError:
        reason = "the user has no home folder"
    folder = _private_temporary_folder() / "demo"
    folder.mkdir(exist_ok=True)
    show.say(f"{reason}: the demo uses {folder} instead")
    return folder


def _user_cache() -> Path:
    """Returns the user's cache folder, which may not exist; relative paths are ignored.

    Raises:
        RuntimeError: the user has no home folder.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return folder if folder.is_absolute() else Path.home() / ".cache"


def _private_temporary_folder() -> Path:
    """A private folder, the same in every run unless another user has taken its name."""
    folder = Path(tempfile.gettempdir()) / f"tastemaker-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="tastemaker-"))


def prepare(folder: Path, ends: int | None = None) -> Project:
    """Writes the sample and a project file for it, as `init` would, unless they exist.

    Args:
        folder: the folder for both.
        ends: a time, microseconds; the ratings are moved by whole weeks so that they end just
            before it, and the file declares the events of the page's buttons. By default, the
            sample stays as published.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    events, items = folder / "events.parquet", folder / "items.parquet"
    if not events.exists():
        for table in (items, events):
            table.write_bytes(sample_bytes(table.name))
        if ends is not None:
            _move_to(events, ends)
    if not path.exists():
        text = project_text(propose_project({"events": [events], "items": [items]}), folder)
        if ends is not None:
            before, sources, after = text.partition("\n[retrievers.")
            text = _with_exploration(before + _BUTTON_EVENTS + sources + after)
        path.write_text(text, encoding="utf-8")
    return load_project(path)


def _with_exploration(text: str) -> str:
    """The project file with new items as a source, and occasionally in a list.

    Items that visitors add are then found at once.
    """
    head, placement, rest = text.partition("\n[placements.home]\n")
    first, listed, more = rest.partition("retrievers = [")
    names, end, after = more.partition("]\n")
    added = f'{listed}{names}, "new_items"{end}rerankers = ["fresh"]\n'
    return f"{head}{_EXPLORATION}{placement}{first}{added}{after}"


def _move_to(path: Path, ends: int) -> None:
    """Moves all ratings by the same number of weeks, which keeps hours and weekdays."""
    events = pl.read_parquet(path)
    last = int(events["timestamp"].to_numpy().max())
    weeks = (ends // 1_000_000 - last) // _WEEK_SECONDS
    events.with_columns(pl.col("timestamp") + weeks * _WEEK_SECONDS).write_parquet(path)
    show.say(
        f"the ratings of the sample end in 2016; they are moved by {weeks:,} weeks, to end within "
        "the last seven days"
    )


def _evaluation(project: Project, data: Any, version: str) -> tuple[dict[str, Any], str]:
    """The evaluation of a version, as JSON and as a table; computed once."""
    path = project.state / "runs" / f"{version}.json"
    if path.is_file():
        result = json.loads(read_text(path))
        return result["evaluation"], result["table"]
    evaluation = verbs.evaluate_project(project, data, 10)
    result = {"evaluation": evaluation.to_dict(), "table": str(evaluation)}
    make_new_folders_private(path.parent)
    with replacing(path) as part:
        part.write_text(json.dumps(result), encoding="utf-8")
    return result["evaluation"], result["table"]


def _has_screen() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) or os.name == "nt"


def _current_or_trained(project: Project, data: Any) -> Recommender:
    """The current version if it fits the project file and the data, otherwise a new one."""
    try:
        recommender = verbs.load_current(project).attach(data)
        configured = Recommender.from_project(project.path)
        if recommender.settings() == configured.settings():
            return recommender
    except ArtifactError as problem:
        if (project.state / "current").exists():
            show.say(f"{problem}; training again")
    verbs.train_project(project, data)
    return verbs.load_current(project).attach(data)
