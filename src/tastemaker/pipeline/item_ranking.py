"""Ranks given items by the ranker of a placement, or by the fusion of its sources."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import Features
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Masks, Requests
from tastemaker.inventory import Inventory
from tastemaker.pipeline.latency import Deadline
from tastemaker.pipeline.pipeline import DEFAULT_N, Pipeline
from tastemaker.pipeline.recommendations import Recommendations
from tastemaker.pipeline.trace import Trace


def rank_items(
    pipeline: Pipeline,
    request: Requests,
    items: NDArray[np.int32],
    *,
    inventory: Inventory,
    exclude_seen: bool = False,
) -> Recommendations:
    """Ranks given items for one request, best first; rerankers are not applied.

    With a ranker, each item gets the score that it would have in a list: the sources are called as
    for a list, and the features of an item that no source found say so. Without a ranker, the
    sources order only these items, and their orders are fused; an item that no source knows has
    score 0 and comes last, in the given order.

    Args:
        pipeline: the pipeline of the placement.
        request: one request.
        items: int32[m], distinct indices into the catalogue.
        inventory: item data.
        exclude_seen: whether to leave out items that the request excludes; by default they are
            ranked.
    """
    excluded = request.exclude[0]
    if exclude_seen:
        items = items[~np.isin(items, excluded)]
    remaining = np.setdiff1d(excluded, items)
    adjusted, trace = replace(request, exclude=Ragged.of([remaining])), Trace()
    depth = DEFAULT_N
    if pipeline.ranking is None:
        bitmap = np.zeros((1, len(inventory.catalogue)), np.bool_)
        bitmap[0, items] = adjusted.eligible.allows(np.zeros(len(items), np.int64), items)
        adjusted = replace(adjusted, eligible=Masks(bitmap, np.zeros(1, np.int32)))
        depth = len(items)
    found = pipeline.candidates(
        adjusted, depth, inventory=inventory, trace=trace, deadline=Deadline()
    )
    found = _with_missing(found, items)
    ranked, features = _ranked(pipeline, adjusted, found, inventory, trace)
    listed = ranked.where(np.isin(ranked.item, items))
    trace.add("select", ranked.counts, listed, 0.0)
    return Recommendations(
        adjusted,
        listed,
        inventory,
        pipeline.retrievers,
        pipeline.ranking,
        features,
        trace,
        pipeline.model_version,
    )


def _ranked(
    pipeline: Pipeline, adjusted: Requests, found: Candidates, inventory: Inventory, trace: Trace
) -> tuple[Candidates, Features | None]:
    """The candidates in the ranker's order; unchanged if there is no ranker or it fails."""
    if pipeline.ranking is None:
        return found, None
    try:
        return pipeline.ranking.rank(found, adjusted, inventory, pipeline.retrievers, trace)
    except Exception as problem:
        trace.fail("rank", problem)
        return found, None


def _with_missing(found: Candidates, items: NDArray[np.int32]) -> Candidates:
    """The candidates of one request, followed by the items that no source found, in order."""
    missing = items[~np.isin(items, found.item)]
    total, sources = len(found.item) + len(missing), len(found.sources)
    return Candidates(
        np.array([0, total], np.int64),
        np.concatenate([found.item, missing]),
        np.concatenate([found.score, np.zeros(len(missing), np.float32)]),
        found.sources,
        np.concatenate([found.source_rank, np.full((len(missing), sources), -1, np.int16)]),
        np.concatenate([found.source_score, np.full((len(missing), sources), np.nan, np.float32)]),
    )
