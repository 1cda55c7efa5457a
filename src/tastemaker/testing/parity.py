"""Checks that features are equal in training and in serving, bit for bit.

Use it to test a family of features. It names the columns that read the future or depend on the
other rows of the batch.
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
    """The differences between training features and served features, one line per column.

    Every request is built again, alone, from `data.before(moment)` and the inventory of that
    moment. The same sources find its candidates. Values must be equal bit for bit, and missing
    values must be missing on both sides.

    Args:
        training: the point-in-time training data of past requests.
        pipeline: the placement's pipeline with the sources that `training` was made with.
        data: the whole log.
        features: the feature set that made the columns of `training`.
        seen: the placement's seen policy.
        requests: the requests of `training` to compare; by default all.
        eligible: the eligible items of each request of `training`; by default all. The task of a
            window does not contain items that appear after the window.

    Returns:
        One line per column that differs, with its name and the number of differing values, and one
        line beginning with `candidates` if serving did not find a training row. Empty if both
        agree.

    Raises:
        Exception: a source raised it.
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
        request, inventory, found = _serve_alone(pipeline, data, user, moment, seen, items)
        served = features.build(request, found, inventory, pipeline.retrievers)
        place = {item: entry for entry, item in enumerate(found.item.tolist())}
        pairs = [(r, place[i]) for r, i in zip(rows, training.item[rows].tolist()) if i in place]
        learned, shown = np.array(pairs, np.int64).reshape(-1, 2).T
        differing += _unequal(training.features.values[learned], served.values[shown]).sum(axis=0)
        compared, missing = compared + len(pairs), missing + len(rows) - len(pairs)
    differences = [
        f"{name}: {count} of {compared} values differ"
        for name, count in zip(features.names, differing)
        if count
    ]
    if missing:
        differences.insert(0, f"candidates: {missing} of training were not found in serving")
    return differences


def _serve_alone(
    pipeline: Pipeline,
    data: Dataset,
    user: NDArray[np.integer],
    moment: int,
    seen: SeenPolicy | None,
    eligible: Masks | None,
) -> tuple[Requests, Inventory, Candidates]:
    """One user's request, the inventory and the candidates, from the data before a moment."""
    known = data.before(moment)
    request = known.requests(user, np.array([moment], np.int64), seen=seen)
    request = request if eligible is None else replace(request, eligible=eligible)
    inventory, trace = Inventory.of(known), Trace()
    found = pipeline.candidates(
        request, DEFAULT_N, inventory=inventory, trace=trace, deadline=Deadline()
    )
    trace.require_whole()
    return request, inventory, found


def _unequal(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where two arrays differ in any bit; NaN equals NaN."""
    differs: NDArray[np.bool_] = one.view(np.int32) != other.view(np.int32)
    return differs & ~(np.isnan(one) & np.isnan(other))
