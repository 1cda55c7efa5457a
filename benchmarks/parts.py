"""PARTS: whether the pipeline that `init` proposes is ever worse than one of its own sources."""

import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.data import fingerprint, kept, prepare, raw, synthetic
from benchmarks.harness import Options, Result, isolated, peak_mb
from benchmarks.trend_world import write_trend_world
from tastemaker.component import FitOptions
from tastemaker.evaluation import evaluate
from tastemaker.pipeline import Recommender
from tastemaker.project import load_project
from tastemaker.project.find_files import find_tables
from tastemaker.project.project import FILE_NAME
from tastemaker.project.project_text import project_text
from tastemaker.project.propose import propose_project

ID = "PARTS"
WHAT = "the pipeline as init proposes it against each of its sources, on eight data sets"
DATA = (
    "ml-1m-timed",
    "kuairand-sample",
    "ml-latest-small",
    "amazon-musical-instruments",
    "hetrec-lastfm-2k",
    "sample",
    "synthetic",
    "trends",
)
PEERS = ()
MINUTES = 25.0
_METRIC, _PIPELINE = "ndcg@10", "pipeline"
_STAGES = ("merged", "ranked", _PIPELINE)
_TEST = {"ml-1m-timed": 0.2}
"""The share of the events to test on, if it differs from the proposal of `init`."""


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one data set.

    Attributes:
        best: the source that is best on the test itself.
        tested: the evaluation, as figures.
        text: the evaluation, for people.
        project: the project file that `init` proposes.
        digest: of the data.
        seconds: of everything.
        peak_mb: of the process.
    """

    best: str
    tested: dict[str, Any]
    text: str
    project: str
    digest: str
    seconds: float
    peak_mb: float


def run(options: Options) -> Result:
    """Evaluates every data set in a separate process."""
    names = ("sample", "trends") if options.quick else DATA
    found = {name: isolated(measure, name, options.seed) for name in names}
    ours, single, low, high = {}, {}, {}, {}
    for name, case in found.items():
        gain = case.tested["gains"][_PIPELINE][case.best]
        ours[name] = case.tested["systems"][_PIPELINE][_METRIC]["value"]
        single[name] = case.tested["systems"][case.best][_METRIC]["value"]
        low[name], high[name] = gain["low"], gain["high"]
    below = [name for name in found if high[name] < 0]
    min_score = [name for name in found if low[name] > 0]
    lines = [
        f"{name:28} {ours[name]:.4f} against {single[name]:.4f} by {case.best}: "
        f"{ours[name] - single[name]:+.4f} [{low[name]:+.4f}, {high[name]:+.4f}]"
        for name, case in found.items()
    ]
    return Result(
        ID,
        ours=ours,
        peer=single,
        ratio={name: ours[name] / single[name] for name in found}
        | {f"{name}: low end of the gain": value for name, value in low.items()}
        | {f"{name}: high end of the gain": value for name, value in high.items()},
        must={"significantly below": 0.0},
        met=not below and len(min_score) > len(found) / 2,
        seconds=sum(case.seconds for case in found.values()),
        peak_mb=max(case.peak_mb for case in found.values()),
        notes="NDCG@10 in the test; ours = the pipeline as `init` proposes it, peer = the one of "
        "its sources that is best on the test itself; the bar is that no 95 % interval, paired "
        f"over users, lies below 0, and most above\n{len(min_score)} above, {len(below)} below\n"
        + "\n".join([*lines, *(f"== {name}\n{case.text}" for name, case in found.items())]),
        data={name: case.digest for name, case in found.items()},
        runs={
            name: {"best": case.best, "project": case.project, "test": case.tested}
            for name, case in found.items()
        },
    )


def measure(name: str, seed: int) -> Found:
    """Proposes a project, fits it on the events before the test, and evaluates it once."""
    begun = perf_counter()
    with tempfile.TemporaryDirectory() as home:
        folder = _folder(name, Path(home) / "data")
        path = Path(home) / FILE_NAME
        proposed = propose_project(find_tables(folder))
        text, data = project_text(proposed, folder), proposed.require_data()
        path.write_text(text, encoding="utf-8")
        project = load_project(path)
        recommender = Recommender.from_project(path)
        digest = fingerprint(folder)
    if name in _TEST:
        section = project.file.split.model_copy(update={"test": _TEST[name]})
        project.file = project.file.model_copy(update={"split": section})
        window = {"window": _TEST[name]}
        recommender.training = recommender.training.model_copy(update=window)
    placement = next(iter(project.file.placements.values()))
    split = project.split(data, placement)
    tested = evaluate(recommender, split, options=FitOptions(seed=seed))
    systems = tested.to_dict()["systems"]
    sources = [system for system in systems if system not in _STAGES]
    best = max(sources, key=lambda system: systems[system][_METRIC]["value"])
    return Found(
        best,
        tested.to_dict(),
        str(tested),
        text,
        digest,
        perf_counter() - begun,
        peak_mb(),
    )


def _folder(name: str, own: Path) -> Path:
    """The data of a set; `own` is a folder for copies."""
    if name == "synthetic":
        return synthetic(users=5_000, items=3_000, events=300_000, tastes=30, days=120, seed=7)
    if name == "trends":
        return kept("trends", write_trend_world)
    if name == "sample":
        own.mkdir()
        for table in ("events", "items"):
            content = (files("tastemaker.data.sample") / f"{table}.parquet").read_bytes()
            (own / f"{table}.parquet").write_bytes(content)
        return own
    if name in ("amazon-musical-instruments", "hetrec-lastfm-2k"):
        return raw(name, own)
    return prepare(name)
