"""Metrics of lists: per request, over all requests with intervals, and by segment."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tastemaker import metrics
from tastemaker.component import Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.item_similarity import attribute_columns, attribute_similarity
from tastemaker.data.ragged import Ragged, offsets_of, rows_of
from tastemaker.evaluation.report import Segment
from tastemaker.metrics import Estimate, UserBootstrap

_REQUESTS_AT_A_TIME = 2_048

PER_REQUEST = {
    "ndcg": metrics.ndcg,
    "recall": metrics.recall,
    "recall_min": metrics.recall_min,
    "precision": metrics.precision,
    "map": metrics.average_precision,
    "mrr": metrics.reciprocal_rank,
    "hit_rate": metrics.hit_rate,
}


def per_request(lists: Candidates, task: Task, k: int) -> NDArray[np.float64]:
    """The metrics of PER_REQUEST for each request, float64[requests × metrics]; in batches."""
    parts = []
    for start in range(0, len(task), _REQUESTS_AT_A_TIME):
        rows = np.arange(start, min(start + _REQUESTS_AT_A_TIME, len(task)))
        entries = slice(task.truth.offsets[rows[0]], task.truth.offsets[rows[-1] + 1])
        found, truth = lists.take(rows), task.truth.take(rows)
        gains, ideal = metrics.gains_of(found, truth, task.gain[entries], k)
        parts.append(np.stack([m(gains, ideal) for m in PER_REQUEST.values()], axis=1))
    return np.concatenate(parts)


def measure(
    lists: Mapping[str, Candidates],
    values: Mapping[str, NDArray[np.float64]],
    task: Task,
    k: int,
    popularity: NDArray[np.floating],
    seed: int,
) -> dict[str, dict[str, Estimate]]:
    """System → metric → estimate: ranking metrics, novelty, diversity, coverage, Gini.

    Args:
        lists: system → the top k of every request.
        values: system → [requests × metrics of PER_REQUEST].
        task: the requests and their relevant items.
        k: the length of the lists.
        popularity: [items], how many users liked each item before the window.
        seed: the seed of the resamples.
    """
    bootstrap = UserBootstrap(task.user, seed)
    n_items = len(task.inventory.catalogue)
    measured = {}
    for name, found in lists.items():
        novelty = metrics.novelty(found.offsets, found.item, popularity)
        columns = {"novelty": novelty}
        if attribute_columns(task.inventory.catalogue):
            columns["diversity"] = metrics.intra_list_diversity(
                found.offsets, found.item, partial(attribute_similarity, task.inventory.catalogue)
            )
        estimates = dict(
            zip(
                [*PER_REQUEST, *columns],
                bootstrap.means(np.column_stack([values[name], *columns.values()])),
            )
        )
        for label, statistic in (("coverage", metrics.coverage), ("gini", metrics.gini)):
            estimates[label] = bootstrap.of_lists(found.rows, found.item, n_items, statistic)
        measured[name] = {f"{metric}@{k}": value for metric, value in estimates.items()}
    return measured


def gains(
    values: Mapping[str, NDArray[np.float64]], systems: Sequence[str], task: Task, seed: int
) -> dict[str, dict[str, Estimate]]:
    """The NDCG of each system minus that of each of its parts, paired, with intervals over users.

    Args:
        values: system → [requests × metrics of PER_REQUEST]; a system comes after its parts.
        systems: the systems to compare with all systems before them.
        task: the task of the requests.
        seed: the seed of the resamples.
    """
    column = list(PER_REQUEST).index("ndcg")
    names, bootstrap = list(values), UserBootstrap(task.user, seed)
    found = {}
    for system in systems:
        parts = names[: names.index(system)]
        differences = [values[system][:, column] - values[name][:, column] for name in parts]
        found[system] = dict(zip(parts, bootstrap.means(np.column_stack(differences))))
    return found


def measure_slices(
    lists: Mapping[str, Candidates],
    values: Mapping[str, NDArray[np.float64]],
    task: Task,
    k: int,
    is_fitted: NDArray[np.bool_],
    seed: int,
) -> dict[str, Segment]:
    """The metrics of PER_REQUEST by length of history, for new and known users, and for new items.

    The slice `new items` measures how well the lists find relevant items without any event before
    the window: its truth contains only these items.
    """
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
    slices = {
        label: _slice({name: v[mask] for name, v in values.items()}, task.user[mask], k, seed)
        for label, mask in masks.items()
        if mask.any()
    }
    rows, new_task = _new_items_only(task, is_fitted)
    if len(rows):
        new = {name: per_request(found.take(rows), new_task, k) for name, found in lists.items()}
        slices["new items"] = _slice(new, new_task.user, k, seed)
    return slices


def _new_items_only(task: Task, is_fitted: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Task]:
    """The requests with a relevant new item, and a task with only new items as relevant."""
    new = np.flatnonzero(~is_fitted[task.truth.values])
    row = rows_of(task.truth.offsets)[new]
    rows, counts = np.unique(row, return_counts=True)
    new_task = replace(
        task,
        requests=task.requests.take(rows),
        truth=Ragged(offsets_of(counts), task.truth.values[new]),
        gain=task.gain[new],
        user=task.user[rows],
        known_user=task.known_user[rows],
    )
    return rows, new_task


def _slice(
    values: Mapping[str, NDArray[np.float64]], user: NDArray[np.int32], k: int, seed: int
) -> Segment:
    """The metrics of some requests."""
    names = [f"{metric}@{k}" for metric in PER_REQUEST]
    bootstrap = UserBootstrap(user, seed)
    estimates = bootstrap.means(np.column_stack(list(values.values())))
    per_system = [estimates[i : i + len(names)] for i in range(0, len(estimates), len(names))]
    return Segment(
        users=bootstrap.users,
        requests=len(user),
        systems={name: dict(zip(names, e)) for name, e in zip(values, per_system)},
    )
