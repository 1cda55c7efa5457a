"""Fits systems on the past, asks them at the moments of a task, and measures their lists."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from tastemaker import metrics
from tastemaker.component import FitOptions, Retriever, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import SettingError
from tastemaker.evaluation.report import BASELINE, Evaluation, Slice
from tastemaker.metrics import Estimate, UserBootstrap
from tastemaker.pipeline import Pipeline, Recommender
from tastemaker.project.project import RESERVED
from tastemaker.retrieval import ItemKNN, Popular, Trending
from tastemaker.split import Split
from tastemaker.world import World

MERGED, RANKED, PIPELINE = RESERVED
_REQUESTS_AT_A_TIME = 2_048

System = Callable[[Requests, int, World], Candidates]
Models = Recommender | Mapping[str, Retriever] | Sequence[Retriever] | Retriever

PER_REQUEST = {
    "ndcg": metrics.ndcg,
    "recall": metrics.recall,
    "recall_min": metrics.recall_min,
    "precision": metrics.precision,
    "map": metrics.average_precision,
    "mrr": metrics.reciprocal_rank,
    "hit_rate": metrics.hit_rate,
}


def evaluate(
    models: Models,
    split: Split,
    *,
    k: int = 10,
    on: str = "test",
    options: FitOptions = FitOptions(),
) -> Evaluation:
    """Fits a copy of each model on what was known before a window, and measures it inside.

    Popular, Trending (where the clock is absolute) and ItemKNN always stand in the table.

    Args:
        models: retrievers, alone, listed or named; or a recommender, whose retrievers are
            measured alone and, as `pipeline`, together as its first placement wires them.
        split: where the past ends and what was wanted after.
        k: the length of the lists.
        on: the window; `validation` to choose settings by, `test` for the final figure.
        options: seed, threads, memory budget, progress.

    Returns:
        Metrics with 95 % intervals over users, as a table and as figures.

    Raises:
        SettingError: `on` is no window, `k` below 1, a model is no retriever, or the split was
            made with another seen policy than the recommender's first placement.
    """
    if on not in ("test", "validation"):
        raise SettingError(f"'on' must be 'test' or 'validation', got {on!r}")
    if k < 1:
        raise SettingError(f"'k' must be at least 1, got {k}")
    task, known = (
        (split.test, split.before_test) if on == "test" else (split.validation, split.train)
    )
    retrievers, wiring = _named(models), models if isinstance(models, Recommender) else None
    if wiring is not None:
        _require_same_policy(wiring, split, known)
    started = perf_counter()
    systems: dict[str, System] = {
        name: baseline.fit(known, options).retrieve
        for name, baseline in _baselines(retrievers, known).items()
    }
    if wiring is not None:
        fitted = wiring.clone().fit(known, options)
        systems |= {name: part.retrieve for name, part in fitted.retrievers.items()}
        systems |= _roads(fitted.pipeline())
    else:
        for name, retriever in retrievers.items():
            systems[name] = retriever.clone().fit(known, options).retrieve
    popularity = known.interactions(reduce="binary").sum(axis=0).astype(np.float64)
    lists = {name: _lists(name, s, task, k, options) for name, s in systems.items()}
    values = {name: _per_request(found, task, k) for name, found in lists.items()}
    return Evaluation(
        protocol={
            **split.protocol,
            "window": on,
            "from": split.protocol[f"{on}_from"],
            "until": split.protocol[f"{on}_until"],
            "fitted_events": len(known.events),
            "k": k,
            **task.notes,
        },
        k=k,
        users=len(np.unique(task.user)),
        requests=len(task),
        seconds=perf_counter() - started,
        systems=_measure(lists, values, task, k, popularity, options.seed),
        slices=_measure_slices(values, task, k, options.seed),
    )


def _roads(pipeline: Pipeline) -> dict[str, System]:
    """The sources merged, then ranked, then as the list that is shown; as far as these differ."""
    roads = {}
    if pipeline.ranking is not None or pipeline.rerankers:
        roads[MERGED] = pipeline.plain()
    if pipeline.ranking is not None and pipeline.rerankers:
        roads[RANKED] = pipeline.plain(ranking=True)
    roads[PIPELINE] = pipeline
    return {name: _asked(road) for name, road in roads.items()}


def _asked(pipeline: Pipeline) -> System:
    """A pipeline as a system; an answer from which something was left out is no measurement."""

    def ask(requests: Requests, n: int, world: World) -> Candidates:
        answer = pipeline.recommend(requests, n, world=world)
        answer.trace.require_whole()
        return answer.candidates

    return ask


def _require_same_policy(wiring: Recommender, split: Split, known: Dataset) -> None:
    """The split must leave out what the placement will not show, and nothing else."""
    name, placement = next(iter(wiring.placements.items()))
    wanted = SeenPolicy.of(known.kinds, placement.seen)
    if not np.array_equal(wanted.window, split.seen.window):
        raise SettingError(
            f"the split was made with another seen policy than placement '{name}' has: pass "
            f"seen={placement.seen} to by_time"
        )


def _named(models: Models) -> dict[str, Retriever]:
    if isinstance(models, Recommender):
        return dict(models.retrievers)
    if isinstance(models, Mapping):
        return dict(models)
    listed = [models] if isinstance(models, Retriever) else models
    named: dict[str, Retriever] = {}
    for model in listed:
        if not isinstance(model, Retriever):
            raise SettingError(f"expected a retriever such as tm.ALS(), got {model!r}")
        same = sum(other.name == model.name for other in named.values())
        named[f"{model.name}_{same + 1}" if same else model.name] = model
    return named


def _baselines(given: Mapping[str, Retriever], known: Dataset) -> dict[str, Retriever]:
    """The baselines that the caller did not bring under their own names."""
    wanted: list[type[Retriever]] = [Popular, ItemKNN]
    if known.clock == "absolute":
        wanted.insert(1, Trending)
    missing = [kind for kind in wanted if type(given.get(kind.name)) is not kind]
    return {k.name if k.name not in given else f"{k.name}{BASELINE}": k() for k in missing}


def _lists(name: str, system: System, task: Task, k: int, options: FitOptions) -> Candidates:
    """The top k of every request, asked for a few thousand at a time."""
    starts = range(0, len(task), _REQUESTS_AT_A_TIME)
    parts = [
        system(task.requests.take(slice(start, start + _REQUESTS_AT_A_TIME)), k, task.world).head(k)
        for start in options.progress.track(starts, f"evaluate: {name}", len(starts))
    ]
    return _concatenated(parts)


def _concatenated(parts: Iterable[Candidates]) -> Candidates:
    rows = [
        (part.item[a:b], part.score[a:b])
        for part in parts
        for a, b in zip(part.offsets[:-1], part.offsets[1:])
    ]
    return Candidates.of(rows)


def _per_request(lists: Candidates, task: Task, k: int) -> NDArray[np.float64]:
    """[requests × metrics of PER_REQUEST]; a few thousand at a time, as wide as their truth is."""
    parts = []
    for start in range(0, len(task), _REQUESTS_AT_A_TIME):
        rows = np.arange(start, min(start + _REQUESTS_AT_A_TIME, len(task)))
        entries = slice(task.truth.offsets[rows[0]], task.truth.offsets[rows[-1] + 1])
        found, truth = lists.take(rows), task.truth.take(rows)
        gains, ideal = metrics.gains_of(found, truth, task.gain[entries], k)
        parts.append(np.stack([m(gains, ideal) for m in PER_REQUEST.values()], axis=1))
    return np.concatenate(parts)


def _measure(
    lists: Mapping[str, Candidates],
    values: Mapping[str, NDArray[np.float64]],
    task: Task,
    k: int,
    popularity: NDArray[np.floating],
    seed: int,
) -> dict[str, dict[str, Estimate]]:
    bootstrap = UserBootstrap(task.user, seed)
    n_items = len(task.world.catalogue)
    measured = {}
    for name, found in lists.items():
        novelty = metrics.novelty(found.offsets, found.item, popularity)
        columns = np.column_stack([values[name], novelty])
        estimates = dict(zip([*PER_REQUEST, "novelty"], bootstrap.means(columns)))
        for label, statistic in (("coverage", metrics.coverage), ("gini", metrics.gini)):
            estimates[label] = bootstrap.of_lists(found.rows, found.item, n_items, statistic)
        measured[name] = {f"{metric}@{k}": value for metric, value in estimates.items()}
    return measured


def _measure_slices(
    values: Mapping[str, NDArray[np.float64]], task: Task, k: int, seed: int
) -> dict[str, Slice]:
    """The same figures by length of history, and for users with and without training data."""
    length = task.requests.history.counts
    masks = {
        "history 0": length == 0,
        "history 1-4": (length >= 1) & (length < 5),
        "history 5-19": (length >= 5) & (length < 20),
        "history 20-99": (length >= 20) & (length < 100),
        "history 100+": length >= 100,
        "known users": task.known_user,
        "new users": ~task.known_user & (length > 0),
        "new users, no history": ~task.known_user & (length == 0),
    }
    names = [f"{metric}@{k}" for metric in PER_REQUEST]
    slices = {}
    for label, mask in masks.items():
        if not mask.any():
            continue
        bootstrap = UserBootstrap(task.user[mask], seed)
        estimates = bootstrap.means(np.column_stack([v[mask] for v in values.values()]))
        per_system = [estimates[i : i + len(names)] for i in range(0, len(estimates), len(names))]
        slices[label] = Slice(
            users=bootstrap.users,
            requests=int(mask.sum()),
            systems={name: dict(zip(names, e)) for name, e in zip(values, per_system)},
        )
    return slices
