"""Candidates as they stood in the past, described by the pipeline's own functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import FUSED, Task, TrainingSet
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged, rows_of
from tastemaker.data.requests import Requests
from tastemaker.features import FeatureSet
from tastemaker.pipeline.fusion import Found, Fusion
from tastemaker.pipeline.latency import Deadline
from tastemaker.pipeline.pipeline import DEFAULT_N, REQUESTS_AT_A_TIME, Pipeline
from tastemaker.pipeline.trace import Trace


@dataclass(frozen=True, slots=True)
class Described:
    """Candidates of past requests, described, with what the sources made of them.

    Attributes:
        requests: n requests.
        candidates: of each, with their ranks in each source and the score of the fusion.
        training: the same candidates, described; the feature `FUSED` holds that score too.
        found: the same candidates with what was relevant, to measure an order by; complete only
            where none were left out.
    """

    requests: Requests
    candidates: Candidates
    training: TrainingSet
    found: Found

    def fused(self, fusion: Fusion) -> "Described":
        """The same candidates by another fusion; its score is written into their features."""
        features = self.training.features
        score = fusion.scores(self.candidates.source_rank, self.candidates.sources)
        features.values[:, features.names.index(FUSED)] = score
        return replace(self, candidates=replace(self.candidates, score=score))


def describe(
    pipeline: Pipeline,
    task: Task,
    labels: Mapping[str, Ragged],
    negatives: int | None,
    seed: int,
    capacity: Callable[[TrainingSet], None] | None = None,
) -> Described:
    """The candidates of a task's requests, described by the pipeline's own functions.

    Args:
        pipeline: its sources fitted on what was known before the task.
        task: requests and what was relevant.
        labels: objective → what was relevant in its sense, per request.
        negatives: how many candidates that were not relevant are kept of each request, at random;
            None, all of them.
        seed: of the random choice.
        capacity: is given the first of the requests, described; may refuse.
    """
    features = FeatureSet.of(task.inventory, pipeline.retrievers)
    parts: list[Described] = []
    for start in range(0, len(task), REQUESTS_AT_A_TIME):
        rows = np.arange(start, min(start + REQUESTS_AT_A_TIME, len(task)))
        parts.append(_described(pipeline, features, task, rows, labels, negatives))
        if start == 0 and capacity is not None:
            capacity(parts[0].training)
    return Described(
        task.requests,
        Candidates.concatenated([part.candidates for part in parts]),
        TrainingSet.joined([part.training for part in parts]),
        Found.joined([part.found for part in parts]),
    )


def find(pipeline: Pipeline, task: Task) -> Found:
    """What the sources find for a task's requests, and what of it was relevant; not described.

    Args:
        pipeline: its sources fitted on what was known before the task.
        task: requests and what was relevant.
    """
    parts = []
    for start in range(0, len(task), REQUESTS_AT_A_TIME):
        rows = np.arange(start, min(start + REQUESTS_AT_A_TIME, len(task)))
        found, own_lists = _candidates(pipeline, task.requests.take(rows), task)
        parts.append(_found(task, rows, found, own_lists))
    return Found.joined(parts)


def _candidates(
    pipeline: Pipeline, requests: Requests, task: Task
) -> tuple[Candidates, list[Candidates | None]]:
    """The candidates of requests, and the lists of their sources."""
    trace = Trace(keep=True)
    found = pipeline.candidates(
        requests, DEFAULT_N, inventory=task.inventory, trace=trace, deadline=Deadline()
    )
    trace.require_whole()
    lists = {stage.name: stage.candidates for stage in trace.stages}
    return found, [lists[f"retrieve:{name}"] for name in found.sources]


def _found(
    task: Task,
    rows: NDArray[np.int64],
    kept: Candidates,
    own_lists: Sequence[Candidates | None],
) -> Found:
    """Candidates of some of a task's requests with what was relevant."""
    truth = task.truth.take(rows)
    return Found(
        task.user[rows],
        kept.offsets,
        kept.source_rank,
        _hits(kept, truth),
        np.diff(truth.offsets),
        _ranks_of(truth, own_lists),
    )


def _described(
    pipeline: Pipeline,
    features: FeatureSet,
    task: Task,
    rows: NDArray[np.int64],
    labels: Mapping[str, Ragged],
    negatives: int | None,
) -> Described:
    """The candidates of some requests."""
    requests = task.requests.take(rows)
    found, own_lists = _candidates(pipeline, requests, task)
    marks = {name: _hits(found, wanted.take(rows)) for name, wanted in labels.items()}
    any_mark = np.any(list(marks.values()), axis=0)
    entries, weight = np.arange(len(found.item)), np.ones(len(found.item), np.float32)
    if negatives is not None:
        entries, weight = _sample(requests, found, any_mark, negatives)
    offsets = np.searchsorted(found.rows[entries], np.arange(len(rows) + 1))
    n_wanted = sum(len(wanted.take(rows).values) for wanted in labels.values())
    training = TrainingSet(
        offsets=offsets,
        user=task.user[rows],
        time=requests.time,
        item=found.item[entries],
        features=features.build(requests, found, task.inventory, pipeline.retrievers, entries),
        labels={name: hits[entries].astype(np.float32) for name, hits in marks.items()},
        weight=weight,
        position=np.full(len(entries), -1, np.int16),
        propensity=np.full(len(entries), np.nan, np.float32),
        notes={
            "requests": len(rows),
            "wanted": n_wanted,
            "wanted_but_not_found": n_wanted - sum(int(hits.sum()) for hits in marks.values()),
            "candidates": len(found.item),
            "candidates_kept": len(entries),
        },
    )
    kept = found.entries(entries, offsets)
    return Described(requests, kept, training, _found(task, rows, kept, own_lists))


def _ranks_of(truth: Ragged, lists: Sequence[Candidates | None]) -> NDArray[np.int16]:
    """The rank of every relevant item in each source's list, int16[relevant × S]; −1: not there."""
    ranks = np.full((len(truth.values), len(lists)), -1, np.int16)
    row = rows_of(truth.offsets)
    for place, candidates in enumerate(lists):
        if candidates is None or not len(candidates.item):
            continue
        span = np.int64(max(candidates.item.max(), truth.values.max(initial=0))) + 1
        keys = candidates.rows * span + candidates.item
        order = np.argsort(keys)
        sought = row * span + truth.values
        at = np.minimum(np.searchsorted(keys[order], sought), len(keys) - 1)
        entry = order[at]
        rank = entry - candidates.offsets[candidates.rows[entry]]
        ranks[:, place] = np.where(keys[entry] == sought, np.minimum(rank, 32_767), -1)
    return ranks


def _hits(found: Candidates, wanted: Ragged) -> NDArray[np.bool_]:
    """Whether each candidate is among the relevant items of its request."""
    span = np.int64(max(found.item.max(initial=0), wanted.values.max(initial=0))) + 1
    keys = rows_of(wanted.offsets) * span + wanted.values
    return np.isin(found.rows * span + found.item, keys)


def _sample(
    requests: Requests, found: Candidates, hit: NDArray[np.bool_], negatives: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The hits and random other candidates, ascending; and how many each stands for."""
    draw = np.empty(len(found.item))
    for row in range(len(found)):
        own = slice(found.offsets[row], found.offsets[row + 1])
        draw[own] = np.random.default_rng(requests.seed[row]).random(found.counts[row])
    draw[hit] = -1.0
    order = np.lexsort((draw, found.rows))
    hits = np.bincount(found.rows[hit], minlength=len(found))
    kept = np.minimum(found.counts, hits + negatives)
    place = np.arange(len(order)) - np.repeat(found.offsets[:-1], found.counts)
    entries = np.sort(order[place < np.repeat(kept, found.counts)])
    stands_for = (found.counts - hits) / np.maximum(kept - hits, 1)
    weight = np.where(hit[entries], 1.0, stands_for[found.rows[entries]])
    return entries, weight.astype(np.float32)
