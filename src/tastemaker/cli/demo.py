"""`demo`: the whole road on the bundled MovieLens extract, kept in the user's cache folder."""

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

USERS_SHOWN = ("42", "564", "671")
STRANGER = ("2571", "1196", "260")
"""The Matrix and two of Star Wars, liked by someone who was never in the data."""
_EXPLORATION = """
[retrievers.new_items]
type = "new_items"

[rerankers.fresh]
type = "explore"
"""
_WEEK_SECONDS = 7 * 86_400
_ACTS = """
[events.like]  # what the page's buttons say
weight = 1.0

[events.dislike]
role = "negative"  # kept apart from what is liked
hide_item = true  # never show the film to this user again
"""


@dataclass(frozen=True, slots=True)
class Page:
    """Where the demo's page is to be served."""

    port: int
    browser: bool


def demo(fresh: bool, page: Page | None, as_json: bool) -> None:
    """Prepares, trains, evaluates, recommends, serves; a second run reuses what it finds.

    Args:
        fresh: whether to start over.
        page: where to serve; None stops after the report.
        as_json: whether to tell the result as JSON, and stop.
    """
    folder = demo_folder()
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    begun = time.monotonic()
    project = prepare(folder, ends=times.now())
    data = verbs.read_events(project)
    prepared = time.monotonic()
    recommender = _current_or_trained(project, data)
    trained = time.monotonic()
    report, table = _evaluation(project, data, recommender.version)
    evaluated = time.monotonic()
    answers = [recommender.recommend(user, n=5) for user in USERS_SHOWN]
    answers.append(recommender.recommend(history=STRANGER, n=5))
    seconds = {
        "prepare": prepared - begun,
        "train": trained - prepared,
        "evaluate": evaluated - trained,
    }
    if as_json:
        told: dict[str, Any] = {
            "evaluation": report,
            "recommendations": [
                {"user_id": answer.requests.user_id[0], **answer.to_dict()} for answer in answers
            ],
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "peak_mb": verbs.peak_megabytes(),
        }
        show.result_json(told)
        return
    parts = [str(answer) for answer in answers[:-1]]
    parts.append(
        "for a stranger who liked The Matrix and Star Wars:\n" + str(answers[-1]).split("\n", 1)[1]
    )
    show.result("\n\n".join([*parts, table]))
    spent = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    show.say(f"{spent}; peak memory {verbs.peak_megabytes():,} MB; the project is in {folder}")
    if page is not None:
        host = project.file.server.host
        serve(project, port=free_or_any(host, page.port), browser=page.browser and _has_screen())


def demo_folder() -> Path:
    """Where the demo keeps its project: in the user's cache folder if it can be written.

    Otherwise in a folder for temporary files that belongs to the user alone; one line says so.

    Raises:
        OSError: no folder can be written.
    """
    try:
        wanted = _user_cache() / "tastemaker" / "demo"
        wanted.mkdir(parents=True, exist_ok=True)
        problem = refusal(wanted)
        if problem is None:
            return wanted
        reason = f"{wanted} cannot be written ({problem.strerror})"
    except OSError as problem:
        reason = f"{problem.filename} cannot be made ({problem.strerror})"
    except RuntimeError:
        reason = "the user has no home folder"
    folder = _private_temporary_folder() / "demo"
    folder.mkdir(exist_ok=True)
    show.say(f"{reason}: the demo uses {folder} instead")
    return folder


def _user_cache() -> Path:
    """The user's cache folder, whether or not it exists; a relative setting does not count.

    Raises:
        RuntimeError: the user has no home folder.
    """
    wanted = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return wanted if wanted.is_absolute() else Path.home() / ".cache"


def _private_temporary_folder() -> Path:
    """The same one in every run, unless another user has taken its name."""
    folder = Path(tempfile.gettempdir()) / f"tastemaker-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="tastemaker-"))


def prepare(folder: Path, ends: int | None = None) -> Project:
    """Writes the sample and a project file for it, as `init` would, where there is none yet.

    Args:
        folder: where.
        ends: a moment, microseconds; the ratings are moved by whole weeks so that they end just
            before it, and the file declares what the page's buttons say. By default everything
            stays as it was published.
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
            text = _with_exploration(before + _ACTS + sources + after)
        path.write_text(text, encoding="utf-8")
    return load_project(path)


def _with_exploration(text: str) -> str:
    """The project file with new items as a source and now and then in a list, as `init` describes
    it: what visitors add is found at once.
    """
    head, placement, rest = text.partition("\n[placements.home]\n")
    first, listed, more = rest.partition("retrievers = [")
    names, end, after = more.partition("]\n")
    added = f'{listed}{names}, "new_items"{end}rerankers = ["fresh"]\n'
    return f"{head}{_EXPLORATION}{placement}{first}{added}{after}"


def _move_to(path: Path, ends: int) -> None:
    """Moves every rating by the same number of weeks, so that hours and weekdays stay."""
    events = pl.read_parquet(path)
    last = int(events["timestamp"].to_numpy().max())
    weeks = (ends // 1_000_000 - last) // _WEEK_SECONDS
    events.with_columns(pl.col("timestamp") + weeks * _WEEK_SECONDS).write_parquet(path)
    show.say(
        f"the sample's ratings end in 2016; all are moved by {weeks:,} weeks, to end within the "
        "last seven days"
    )


def _evaluation(project: Project, data: Any, version: str) -> tuple[dict[str, Any], str]:
    """The figures of a version, as JSON and as a table; measured once."""
    kept = project.state / "runs" / f"{version}.json"
    if kept.is_file():
        told = json.loads(read_text(kept))
        return told["evaluation"], told["table"]
    evaluation = verbs.evaluate_project(project, data, 10)
    told = {"evaluation": evaluation.to_dict(), "table": str(evaluation)}
    make_new_folders_private(kept.parent)
    with replacing(kept) as part:
        part.write_text(json.dumps(told), encoding="utf-8")
    return told["evaluation"], told["table"]


def _has_screen() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) or os.name == "nt"


def _current_or_trained(project: Project, data: Any) -> Recommender:
    """The current artifact where it still fits the project file and the data, or a new one."""
    try:
        recommender = verbs.load_current(project).attach(data)
        wanted = Recommender.from_project(project.path)
        if recommender.settings() == wanted.settings():
            return recommender
    except ArtifactError as problem:
        if (project.state / "current").exists():
            show.say(f"{problem}; training again")
    verbs.train_project(project, data)
    return verbs.load_current(project).attach(data)
