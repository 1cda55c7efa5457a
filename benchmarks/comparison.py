"""Comparison of models on one split of pairs: ours and other libraries', on the same files.

A `Candidate` is one implementation with the settings to try. `tune` evaluates them on the
validation pairs and saves the results in `tuned/`. A target reads the best settings from there and
uses only these on the test pairs. All models are evaluated by the same metric code.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import track
from scipy.sparse import save_npz

import tastemaker.retrieval
from benchmarks._twin import lists, rp3_beta
from benchmarks.data import PROJECT, prepare, synthetic
from benchmarks.harness import isolated, peak_mb
from tastemaker.component import FitOptions, Retriever, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import offsets_of
from tastemaker.evaluation.measure import PER_REQUEST, per_request
from tastemaker.metrics import UserBootstrap
from tastemaker.split import Split, given, holdout
from tastemaker.threads import available_threads

TUNED = PROJECT / "benchmarks" / "tuned"
OURS = "tastemaker"
TWIN = "twin"
"""The reference if no peer implements a model: a few lines of SciPy."""
_REQUESTS_AT_A_TIME = 256

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One implementation of a model.

    Attributes:
        library: `tastemaker`, or the peer library.
        model: the name of its class there.
        grids: setting → the values to try, every combination of each grid; one value each is no
            choice.
    """

    library: str
    model: str
    grids: tuple[Mapping[str, Sequence[Any]], ...] = ({},)

    @property
    def name(self) -> str:
        return f"{self.library} {self.model}"

    @classmethod
    def of(cls, library: str, model: str, *grids: Mapping[str, Sequence[Any]]) -> "Candidate":
        """An implementation with the settings to try."""
        return cls(library, model, grids or ({},))

    def combinations(self) -> list[Settings]:
        """Every combination of the grids."""
        return [dict(zip(grid, row)) for grid in self.grids for row in product(*grid.values())]


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one candidate with one choice of settings.

    Attributes:
        settings: with which.
        figures: metric → mean over users.
        interval: metric → its 95 % interval over users.
        seconds: of fitting alone, kernels compiled before.
        peak_mb: of the process.
        compiling: seconds of a first fit on next to nothing; 0 for a peer.
        version: a peer's package and version.
    """

    settings: Settings
    figures: dict[str, float]
    interval: dict[str, tuple[float, float]]
    seconds: float
    peak_mb: float
    compiling: float = 0.0
    version: str = ""


def gowalla() -> Split:
    """The LightGCN split of Gowalla with a tenth of its train pairs to tune on."""
    folder = prepare("gowalla-lightgcn")
    train, valid, test = (
        pl.read_csv(folder / f"{name}.csv", infer_schema=False)
        for name in ("train", "valid", "test")
    )
    return given(train, test, validation=valid)


def ml_1m() -> Split:
    """ml-1m as pairs, its 5-core, 80/20 at random per user; a tenth of all pairs to tune on."""
    pairs = pl.read_csv(prepare("ml-1m") / "events.csv", infer_schema=False)
    data = Dataset.from_frames(pairs)
    return holdout(data, test=0.2, validation=0.1, min_user=5, min_item=5, seed=0)


def speed_set(quick: bool, seed: int) -> Split:
    """The data of the speed targets as pairs, Zipf items in 40 tastes; 2,000 users are tested."""
    size = {"users": 50_000, "items": 20_000, "events": 5_000_000}
    if quick:
        size = {"users": 5_000, "items": 2_000, "events": 300_000}
    inventory = synthetic(**size, tastes=40, days=180, new_items=0.0, drift=0.0, seed=seed)
    liked = pl.col("event_type") != "dislike"
    pairs = pl.scan_parquet(inventory / "events.parquet").filter(liked).select("user_id", "item_id")
    split = holdout(Dataset.from_frames(pairs.collect()), test=0.1, validation=0.05, seed=seed)
    return replace(split, test=_of_users(split.test, 2_000, seed))


def _of_users(task: Task, count: int, seed: int) -> Task:
    """The same task for some of its users."""
    drawn = np.random.default_rng(seed).permutation(len(task))[:count]
    rows = np.sort(drawn)
    truth = task.truth.take(rows)
    return replace(
        task,
        requests=task.requests.take(rows),
        truth=truth,
        gain=np.ones(len(truth.values), np.float32),
        user=task.user[rows],
        known_user=task.known_user[rows],
    )


def in_turn(
    pieces: Mapping[str, tuple[Candidate, Settings]],
    load: Callable[[], Split],
    k: int,
    runs: int,
    python: Path | None,
) -> dict[str, list[Trial]]:
    """Fits candidates in turn, so that noise of the machine affects all of them.

    Args:
        pieces: name → what to fit and with which settings; a peer's only where `python` is given.
        load: makes the split.
        k: the length of the lists.
        runs: how often each.
        python: the peers' interpreter.
    """
    included = {n: p for n, p in pieces.items() if p[0].library == OURS or python is not None}
    found: dict[str, list[Trial]] = {name: [] for name in included}
    for _ in track(range(runs), "fitting", console=Console(stderr=True), transient=True):
        for name, (candidate, settings) in included.items():
            found[name].append(trial(candidate, settings, load, "test", k, python=python))
    return found


def trial(
    candidate: Candidate,
    settings: Settings,
    load: Callable[[], Split],
    on: str,
    k: int,
    *,
    python: Path | None = None,
    memory_budget: int | None = None,
) -> Trial:
    """Fits a candidate and measures its lists, in a separate process.

    Args:
        candidate: what to fit.
        settings: with which.
        load: a module's function that makes the split.
        on: `validation` or `test`.
        k: the length of the lists.
        python: the peers' interpreter, where the candidate is a peer's.
        memory_budget: bytes our models may hold; by default as the machine allows.
    """
    if candidate.library == OURS:
        return isolated(_own_trial, candidate, settings, load, on, k, memory_budget)
    if candidate.library == TWIN:
        return isolated(_twin_trial, settings, load, on, k)
    if python is None:
        raise ValueError(f"{candidate.name} needs the peers' environment: --with-peers")
    return isolated(_peer_trial, candidate, settings, load, on, k, python)


def _own_trial(
    candidate: Candidate,
    settings: Settings,
    load: Callable[[], Split],
    on: str,
    k: int,
    memory_budget: int | None,
) -> Trial:
    split = load()
    task, known = _window(split, on)
    options = FitOptions(memory_budget=memory_budget)
    kind: type[Retriever] = getattr(tastemaker.retrieval, candidate.model)
    begin = time.perf_counter()
    kind(**settings).fit(_small(known), options)
    compiling = time.perf_counter() - begin
    begin = time.perf_counter()
    fitted = kind(**settings).fit(known, options)
    seconds = time.perf_counter() - begin
    judged = _judged(lists_for_all(fitted, task, k), task, k, settings, seconds, peak_mb())
    return replace(judged, compiling=compiling)


def lists_for_all(fitted: Retriever, task: Task, n: int) -> Candidates:
    """The best n items of every request, a few hundred requests at a time per processor."""

    def retrieve(start: int) -> Candidates:
        rows = slice(start, start + _REQUESTS_AT_A_TIME)
        return fitted.retrieve(task.requests.take(rows), n, task.inventory)

    with ThreadPoolExecutor(available_threads()) as pool:
        parts = list(pool.map(retrieve, range(0, len(task), _REQUESTS_AT_A_TIME)))
    return Candidates(
        offsets_of(np.concatenate([part.counts for part in parts])),
        np.concatenate([part.item for part in parts]),
        np.concatenate([part.score for part in parts]),
    )


def _twin_trial(settings: Settings, load: Callable[[], Split], on: str, k: int) -> Trial:
    task, known = _window(load(), on)
    likes = known.interactions(reduce="binary")
    begin = time.perf_counter()
    weights = rp3_beta(likes, **settings)
    seconds = time.perf_counter() - begin
    measured = {"seconds": seconds, "peak_mb": peak_mb()}
    return judged_lists(lists(likes, weights, task.user, k), task, k, settings, measured)


def _peer_trial(
    candidate: Candidate,
    settings: Settings,
    load: Callable[[], Split],
    on: str,
    k: int,
    python: Path,
) -> Trial:
    task, known = _window(load(), on)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        save_npz(folder / "train.npz", known.interactions(reduce="binary"))
        np.save(folder / "users.npy", task.user)
        measured = run_peer(python, candidate, settings, folder, k)
        lists = np.load(folder / "lists.npy")
    return judged_lists(lists, task, k, settings, measured)


def run_peer(
    python: Path, candidate: Candidate, settings: Settings, folder: Path, k: int | None = None
) -> dict[str, Any]:
    """Runs a peer on `train.npz` of a folder; with `k`, writes `lists.npy` for `users.npy`.

    Returns:
        The result: seconds to fit, seconds to make the lists, peak memory in MB, version.
    """
    job: dict[str, Any] = {
        "library": candidate.library,
        "model": candidate.model,
        "settings": settings,
        "train": str(folder / "train.npz"),
        "threads": available_threads(),
        "seed": 0,
    }
    if k is not None:
        lists, users = str(folder / "lists.npy"), str(folder / "users.npy")
        job |= {"k": k, "lists": lists, "users": users}
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    environment = {n: v for n, v in os.environ.items() if n not in ("PYTHONPATH", "PYTHONHOME")}
    if candidate.library == "implicit" or candidate.model.startswith("Implicit"):
        environment["OPENBLAS_NUM_THREADS"] = "1"
    script = Path(__file__).with_name("_peers.py")
    run = subprocess.run(
        [python, script, path], env=environment, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise RuntimeError(f"{candidate.name} {settings}: {run.stderr[-2_000:]}")
    measured: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return measured


def judged_lists(
    lists: Any, task: Task, k: int, settings: Settings, measured: Mapping[str, Any]
) -> Trial:
    """The metrics of a peer's lists, int32[users × k] with −1 after the end."""
    rows = [(row[row >= 0], np.arange(len(row), 0, -1)[row >= 0]) for row in lists]
    found = Candidates.of(rows)
    judged = _judged(found, task, k, settings, measured["seconds"], measured["peak_mb"])
    return replace(judged, version=measured.get("version", ""))


def tune(
    id_: str,
    candidates: Iterable[Candidate],
    load: Callable[[], Split],
    k: int,
    metric: str,
    *,
    python: Path | None = None,
    memory_budget: int | None = None,
) -> None:
    """Evaluates every combination on the validation pairs and saves the results for the target.

    Args:
        id_: the target.
        candidates: which to tune; others keep what they have.
        load: makes the split.
        k: the length of the lists.
        metric: by which to choose, such as `ndcg`.
        python: the peers' interpreter.
        memory_budget: bytes our models may hold.
    """
    for candidate in candidates:
        tried = []
        for settings in candidate.combinations():
            result = trial(
                candidate,
                settings,
                load,
                "validation",
                k,
                python=python,
                memory_budget=memory_budget,
            )
            figure = round(result.figures[f"{metric}@{k}"], 5)
            tried.append({"settings": settings, "validation": figure})
            sys.stderr.write(
                f"{candidate.name} {settings}: {metric}@{k} {figure:.5f} ({result.seconds:.1f} s)\n"
            )
            _keep(id_, candidate, sorted(tried, key=lambda entry: -entry["validation"]))


def best_settings(id_: str, candidate: Candidate) -> Settings:
    """The best settings on the validation pairs, or the only settings of a candidate.

    Raises:
        LookupError: not all of its settings were tried.
    """
    grid = candidate.combinations()
    if len(grid) == 1:
        return grid[0]
    tried = [entry["settings"] for entry in _kept(id_).get(candidate.name, [])]
    lacking = sum(settings not in tried for settings in grid)
    if lacking:  # the best of an incomplete grid would be an unfair comparison
        raise LookupError(
            f"{candidate.name}: {lacking} of {len(grid)} settings were not tried: python -m "
            f"benchmarks.{id_.lower()} --tune '{candidate.name}'"
        )
    best: Settings = next(settings for settings in tried if settings in grid)
    return best


def keep_blend(
    id_: str, shares: Mapping[str, int], validation: float, alone: Mapping[str, float]
) -> None:
    """Saves the shares of a blend, its validation metric, and that of each part alone."""
    TUNED.mkdir(exist_ok=True)
    blend = {"shares": dict(shares), "validation": round(validation, 5)}
    blend["alone"] = {name: round(value, 5) for name, value in alone.items()}
    (TUNED / f"{id_}-blend.json").write_text(json.dumps(blend, ensure_ascii=False, indent=1) + "\n")


def kept_blend(id_: str) -> dict[str, int]:
    """The shares that `keep_blend` saved.

    Raises:
        LookupError: no blend was tuned.
    """
    path = TUNED / f"{id_}-blend.json"
    if not path.exists():
        raise LookupError(f"no blend was found: python -m benchmarks.{id_.lower()} --blend")
    shares: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))["shares"]
    return shares


def _kept(id_: str) -> dict[str, list[dict[str, Any]]]:
    path = TUNED / f"{id_}.json"
    found: dict[str, list[dict[str, Any]]] = {}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
    return found


def _keep(id_: str, candidate: Candidate, tried: list[dict[str, Any]]) -> None:
    """Writes the trials, best first, one per line."""
    TUNED.mkdir(exist_ok=True)
    kept = dict(sorted((_kept(id_) | {candidate.name: tried}).items()))
    parts = [
        f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, entries)) + "\n ]"
        for name, entries in kept.items()
    ]
    text = "{\n" + ",\n".join(parts) + "\n}\n"
    (TUNED / f"{id_}.json").write_text(text, encoding="utf-8")


def _window(split: Split, on: str) -> tuple[Task, Dataset]:
    return (split.test, split.before_test) if on == "test" else (split.validation, split.train)


def _small(data: Dataset) -> Dataset:
    """A small data set of a few users and items, on which kernels are compiled."""
    items = np.arange(min(64, len(data.catalogue)), dtype=np.int32)
    ids = data.catalogue.items.ids(items)
    frame = pl.DataFrame({"user_id": [f"u{n % 7}" for n in items], "item_id": ids})
    return Dataset.from_frames(frame)


def _judged(
    found: Candidates,
    task: Task,
    k: int,
    settings: Settings,
    seconds: float,
    peak: float,
) -> Trial:
    values = per_request(found, task, k)
    estimates = UserBootstrap(task.user, 0).means(values)
    named = dict(zip((f"{metric}@{k}" for metric in PER_REQUEST), estimates))
    return Trial(
        settings,
        {name: estimate.value for name, estimate in named.items()},
        {name: (estimate.low, estimate.high) for name, estimate in named.items()},
        seconds,
        peak,
    )
