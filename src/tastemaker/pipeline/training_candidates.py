"""Candidates of past requests with their features, computed by the pipeline's own functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import FUSED, Task, TrainingSet
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged, rows_of
from tastemaker.data.requests import Requests
from tastemaker.features import FeatureSet
from tastemaker.pipeline.fusion import Fusion, FusionData
from tastemaker.pipeline.latency import Deadline
from tastemaker.pipeline.pipeline import DEFAULT_N, REQUESTS_AT_A_TIME, Pipeline
from tastemaker.pipeline.trace import Trace


@dataclass(frozen=True, slots=True)
class TrainingCandidates:
    """Candidates of past requests with features, labels and source ranks.

    Attributes:
        requests: n requests.
        candidates: the candidates of each request, with their rank in each source and the score of
            the fusion.
        training: the features and labels of the candidates; the feature `FUSED` holds the score of
            the fusion too.
        fusion_data: the relevance of the candidates, to evaluate an order; complete only if no
            candidates were left out.
    """

    requests: Requests
    candidates: Candidates
    training: TrainingSet
    fusion_data: FusionData

    def fused(self, fusion: Fusion) -> "TrainingCandidates":
        """The same candidates with the scores of another fusion, also in their features."""
        features = self.training.features
        score = fusion.scores(self.candidates.source_rank, self.candidates.sources)
        features.values[:, features.names.index(FUSED)] = score
        return replace(self, candidates=replace(self.candidates, score=score))


def training_candidates(
    pipeline: Pipeline,
    task: Task,
    labels: Mapping[str, Ragged],
    negatives: int | None,
    seed: int,
    check_capacity: Callable[[TrainingSet], None] | None = None,
) -> TrainingCandidates:
    """The candidates of a task's requests with their features and labels.

    Args:
        pipeline: the pipeline; its sources are fitted on the events before the task.
        task: requests and their relevant items.
        labels: objective → the items that are relevant to it, per request.
        negatives: how many random candidates that were not relevant to keep per request; None
            keeps all.
        seed: the seed of the random choice.
        check_capacity: called with the training set of the first requests; may raise.
    """
    features = FeatureSet.of(task.inventory, pipeline.retrievers)
    parts: list[TrainingCandidates] = []
    for start in range(0, len(task), REQUESTS_AT_A_TIME):
        rows = np.arange(start, min(start + REQUESTS_AT_A_TIME, len(task)))
        parts.append(_with_features(pipeline, features, task, rows, labels, negatives))
        if start == 0 and check_capacity is not None:
            check_capacity(parts[0].training)
    return TrainingCandidates(
        task.requests,
        Candidates.concatenated([part.candidates for part in parts]),
        TrainingSet.joined([part.training for part in parts]),
        FusionData.joined([part.fusion_data for part in parts]),
    )


def fusion_data(pipeline: Pipeline, task: Task) -> FusionData:
    """The candidates of a task's requests and their relevance, without features.

    Args:
        pipeline: the pipeline; its sources are fitted on the events before the task.
        task: requests and their relevant items.
    """
    parts = []
    for start in range(0, len(task), REQUESTS_AT_A_TIME):
        rows = np.arange(start, min(start + REQUESTS_AT_A_TIME, len(task)))
        found, source_lists = _candidates(pipeline, task.requests.take(rows), task)
        parts.append(_fusion_data(task, rows, found, source_lists))
    return FusionData.joined(parts)


def _candidates(
    pipeline: Pipeline, requests: Requests, task: Task
) -> tuple[Candidates, list[Candidates | None]]:
    """The merged candidates of requests, and the list of each source."""
    trace = Trace(keep=True)
    found = pipeline.candidates(
        requests, DEFAULT_N, inventory=task.inventory, trace=trace, deadline=Deadline()
    )
    trace.require_whole()
    lists = {stage.name: stage.candidates for stage in trace.stages}
    return found, [lists[f"retrieve:{name}"] for name in found.sources]


def _fusion_data(
    task: Task,
    rows: NDArray[np.int64],
    kept: Candidates,
    source_lists: Sequence[Candidates | None],
) -> FusionData:
    """The candidates of some of a task's requests with their relevance."""
    truth = task.truth.take(rows)
    return FusionData(
        task.user[rows],
        kept.offsets,
        kept.source_rank,
        _hits(kept, truth),
        np.diff(truth.offsets),
        _ranks_of(truth, source_lists),
    )


def _with_features(
    pipeline: Pipeline,
    features: FeatureSet,
    task: Task,
    rows: NDArray[np.int64],
    labels: Mapping[str, Ragged],
    negatives: int | None,
) -> TrainingCandidates:
    """The candidates of some requests with their features and labels."""
    requests = task.requests.take(rows)
    found, source_lists = _candidates(pipeline, requests, task)
    hits = {name: _hits(found, relevant.take(rows)) for name, relevant in labels.items()}
    any_hit = np.any(list(hits.values()), axis=0)
    entries, weight = np.arange(len(found.item)), np.ones(len(found.item), np.float32)
    if negatives is not None:
        entries, weight = _sample(requests, found, any_hit, negatives)
    offsets = np.searchsorted(found.rows[entries], np.arange(len(rows) + 1))
    n_relevant = sum(len(relevant.take(rows).values) for relevant in labels.values())
    training = TrainingSet(
        offsets=offsets,
        user=task.user[rows],
        time=requests.time,
        item=found.item[entries],
        features=features.build(requests, found, task.inventory, pipeline.retrievers, entries),
        labels={name: is_hit[entries].astype(np.float32) for name, is_hit in hits.items()},
        weight=weight,
        position=np.full(len(entries), -1, np.int16),
        propensity=np.full(len(entries), np.nan, np.float32),
        notes={
            "requests": len(rows),
            "relevant": n_relevant,
            "relevant_not_found": n_relevant - sum(int(is_hit.sum()) for is_hit in hits.values()),
            "candidates": len(found.item),
            "candidates_kept": len(entries),
        },
    )
    kept = found.entries(entries, offsets)
    data = _fusion_data(task, rows, kept, source_lists)
    return TrainingCandidates(requests, kept, training, data)


def _ranks_of(truth: Ragged, lists: Sequence[Candidates | None]) -> NDArray[np.int16]:
    """The rank of each relevant item in each source's list, int16[relevant × S]; −1 if absent."""
    ranks = np.full((len(truth.values), len(lists)), -1, np.int16)
    row = rows_of(truth.offsets)
    for place, candidates in enumerate(lists):
        if candidates is None or not len(candidates.item):
            continue
        span = np.int64(max(candidates.item.max(), truth.values.max(initial=0))) + 1
        keys = candidates.rows * span + candidates.item
        order = np.argsort(keys)
        relevant = row * span + truth.values
        at = np.minimum(np.searchsorted(keys[order], relevant), len(keys) - 1)
        entry = order[at]
        rank = entry - candidates.offsets[candidates.rows[entry]]
        ranks[:, place] = np.where(keys[entry] == relevant, np.minimum(rank, 32_767), -1)
    return ranks


def _hits(found: Candidates, relevant: Ragged) -> NDArray[np.bool_]:
    """Whether each candidate is a relevant item of its request."""
    span = np.int64(max(found.item.max(initial=0), relevant.values.max(initial=0))) + 1
    keys = rows_of(relevant.offsets) * span + relevant.values
    return np.isin(found.rows * span + found.item, keys)


def _sample(
    requests: Requests, found: Candidates, hit: NDArray[np.bool_], negatives: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """All hits and a random sample of the other candidates, ascending, and their weights."""
    draw = np.empty(len(found.item))
    for row in range(len(found)):
        span = slice(found.offsets[row], found.offsets[row + 1])
        draw[span] = np.random.default_rng(requests.seed[row]).random(found.counts[row])
    draw[hit] = -1.0
    order = np.lexsort((draw, found.rows))
    hits = np.bincount(found.rows[hit], minlength=len(found))
    kept = np.minimum(found.counts, hits + negatives)
    place = np.arange(len(order)) - np.repeat(found.offsets[:-1], found.counts)
    entries = np.sort(order[place < np.repeat(kept, found.counts)])
    negative_weight = (found.counts - hits) / np.maximum(kept - hits, 1)
    weight = np.where(hit[entries], 1.0, negative_weight[found.rows[entries]])
    return entries, weight.astype(np.float32)
