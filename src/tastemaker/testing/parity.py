"""Whether features are the same in training and in serving, to the last bit.

For whoever writes a family of features: one that reads the future, or depends on what else stands
in the batch, is found out here by the name of its column.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import TrainingSet
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Masks, Requests
from tastemaker.data.seen import SeenPolicy
from tastemaker.features import FeatureSet
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Pipeline
from tastemaker.pipeline.latency import Deadline
from tastemaker.pipeline.pipeline import DEFAULT_N
from tastemaker.pipeline.trace import Trace


def feature_differences(
    training: TrainingSet,
    pipeline: Pipeline,
    data: Dataset,
    features: FeatureSet,
    *,
    seen: SeenPolicy | None = None,
    requests: Sequence[int] | None = None,
    eligible: Masks | None = None,
) -> list[str]:
    """How training features differ from those served, one request at a time, at their moments.

    Every request is made anew from `data.before(moment)` alone, with a world that reaches no
    further, its candidates are found by the same sources and described by themselves. Values must
    be equal to the last bit, missing ones missing on both sides.

    Args:
        training: what time travel made of past requests.
        pipeline: the placement's road around the sources that `training` was made with.
        data: the whole log.
        features: what the columns of `training` were made by.
        seen: the placement's seen policy.
        requests: which requests of `training` to compare; by default all.
        eligible: the items each request of `training` could be answered with; by default every
            one. Items that came after a window are not among those of its task.

    Returns:
        A line for each column that differs, named first, with the number of values that do; a
        line beginning with `candidates` if a training row was not found in serving. Nothing where
        both agree.

    Raises:
        Exception: what a source raised.
    """
    chosen = range(len(training.offsets) - 1) if requests is None else requests
    if features.names != training.features.names:
        return [f"names: {training.features.names} in training, {features.names} in serving"]
    differing = np.zeros(len(features.names), np.int64)
    compared, missing = 0, 0
    for row in chosen:
        rows = np.arange(training.offsets[row], training.offsets[row + 1])
        moment, user = int(training.time[row]), training.user[row : row + 1]
        items = None if eligible is None else eligible.take(np.array([row]))
        asked, inventory, found = _served_alone(pipeline, data, user, moment, seen, items)
        served = features.build(asked, found, inventory, pipeline.retrievers)
        place = {item: entry for entry, item in enumerate(found.item.tolist())}
        pairs = [(r, place[i]) for r, i in zip(rows, training.item[rows].tolist()) if i in place]
        learned, shown = np.array(pairs, np.int64).reshape(-1, 2).T
        differing += _unequal(training.features.values[learned], served.values[shown]).sum(axis=0)
        compared, missing = compared + len(pairs), missing + len(rows) - len(pairs)
    told = [
        f"{name}: {count} of {compared} values differ"
        for name, count in zip(features.names, differing)
        if count
    ]
    if missing:
        told.insert(0, f"candidates: {missing} of training were not found in serving")
    return told


def _served_alone(
    pipeline: Pipeline,
    data: Dataset,
    user: NDArray[np.integer],
    moment: int,
    seen: SeenPolicy | None,
    eligible: Masks | None,
) -> tuple[Requests, Inventory, Candidates]:
    """One user's request, the world and the candidates, from what was known before a moment."""
    known = data.before(moment)
    asked = known.requests(user, np.array([moment], np.int64), seen=seen)
    asked = asked if eligible is None else replace(asked, eligible=eligible)
    inventory, trace = Inventory.of(known), Trace()
    found = pipeline.candidates(
        asked, DEFAULT_N, inventory=inventory, trace=trace, deadline=Deadline()
    )
    trace.require_whole()
    return asked, inventory, found


def _unequal(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where two arrays differ in any bit; NaN equals NaN."""
    differs: NDArray[np.bool_] = one.view(np.int32) != other.view(np.int32)
    return differs & ~(np.isnan(one) & np.isnan(other))
