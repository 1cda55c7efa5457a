"""`demo`: the whole road on the bundled MovieLens extract, kept in the user's cache folder."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

from tastemaker.cli import show, verbs
from tastemaker.data.sample import SHA256, sample_bytes
from tastemaker.errors import ArtifactError
from tastemaker.pipeline import Recommender
from tastemaker.project import Project, load_project
from tastemaker.project.project import FILE_NAME
from tastemaker.project.propose import propose_project

USERS_SHOWN = ("42", "564", "671")
STRANGER = ("2571", "1196", "260")
"""The Matrix and two of Star Wars, liked by someone who was never in the data."""


def demo(fresh: bool, as_json: bool) -> None:
    """Prepares, trains, evaluates, recommends; a second run reuses what it finds."""
    folder = demo_folder()
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    begun = time.monotonic()
    project = prepare(folder)
    data = project.read()
    prepared = time.monotonic()
    recommender = _current_or_trained(project, data)
    trained = time.monotonic()
    evaluation = verbs.evaluate_project(project, data, 10)
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
            "evaluation": evaluation.to_dict(),
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
    show.result("\n\n".join([*parts, str(evaluation)]))
    spent = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    show.say(f"{spent}; peak memory {verbs.peak_megabytes():,} MB; the project is in {folder}")


def demo_folder() -> Path:
    """Where the demo keeps its project."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tastemaker" / "demo"


def prepare(folder: Path) -> Project:
    """Writes the sample and a project file for it, as `init` would, where there is none yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SHA256:
        (folder / name).write_bytes(sample_bytes(name))
    path = folder / FILE_NAME
    if not path.exists():
        tables = {"events": folder / "events.parquet", "items": folder / "items.parquet"}
        path.write_text(propose_project(folder, tables)[0], encoding="utf-8")
    return load_project(path)


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
