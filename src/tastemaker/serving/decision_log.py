"""Converts a response to its entry in the decision log, and an entry to JSON."""

from typing import Any

import numpy as np

from tastemaker.component import PROPENSITY
from tastemaker.data import times
from tastemaker.data.times import format_moment
from tastemaker.giving_way import give_way
from tastemaker.pipeline import Recommendations
from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.store import Decision
from tastemaker.store.decision import ITEMS_WITH_FEATURES

_HASH_RANGE = 1 << 32


def sampled(recommendation_id: str, share: float) -> bool:
    """Whether a response is among the share of responses, by id, that keep all candidates."""
    return int(recommendation_id[:8], 16) < share * _HASH_RANGE


def decision_of(
    request: RecommendationRequest, result: Recommendations, response: dict[str, Any]
) -> Decision:
    """The log entry of a response.

    Args:
        request: the parameters of the request.
        result: the recommendations.
        response: the response body.
    """
    requests = result.requests
    features = result.described(0, ITEMS_WITH_FEATURES)
    evidence = result.explanations(0, top_features=False)
    propensities = _propensities(result, len(evidence))
    give_way()
    items = [
        {
            "item_id": item["item_id"],
            "score": item["score"],
            "propensity": propensity,
            "reasons": item["reasons"],
            **(_ranks_only(item_evidence) if len(features) else item_evidence),
        }
        for item, item_evidence, propensity in zip(response["items"], evidence, propensities)
    ]
    context: dict[str, Any] = {"n": request.n, "now": format_moment(int(requests.time[0]))}
    if request.history is not None:
        context["history"] = len(request.history)
    if request.exclude:
        context["exclude"] = len(request.exclude)
    return Decision(
        response["recommendation_id"],
        times.now(),
        request.user_id,
        requests.placement,
        result.model_version,
        response["variant"],
        int(requests.seed[0]),
        result.inventory.watermark,
        context,
        response["degraded"],
        result.trace.to_list(0),
        items,
        features,
        _all_candidates(result) if result.trace.keep else None,
    )


def _propensities(result: Recommendations, n: int) -> list[float]:
    """The probability of each item at its position, given the items above it.

    1 if no item was drawn at random.
    """
    drawn = result.candidates.columns.get(PROPENSITY)
    return [1.0] * n if drawn is None else drawn.astype(float).tolist()


def _ranks_only(item_evidence: dict[str, Any]) -> dict[str, Any]:
    """The evidence for an item without the sources' scores, which its features include."""
    ranks = {name: {"rank": found["rank"]} for name, found in item_evidence["sources"].items()}
    return {**item_evidence, "sources": ranks}


def _all_candidates(result: Recommendations) -> list[dict[str, Any]]:
    """All candidates, in the order of the last stage before reranking."""
    stages = [stage for stage in result.trace.stages if stage.name in ("filter", "rank", "fill")]
    if not stages or stages[-1].candidates is None:
        return []
    found = stages[-1].candidates
    ids = result.inventory.catalogue.items.ids(found.item)
    return [{"item_id": id_, "score": float(score)} for id_, score in zip(ids, found.score)]


def decision_dict(decision: Decision, titles: dict[str, str]) -> dict[str, Any]:
    """A logged decision as a response body.

    Args:
        decision: the log entry.
        titles: item id → title, for items whose title is known now.
    """
    features = decision.features
    items = []
    for place, item in enumerate(decision.items):
        id_ = item["item_id"]
        entry = {"position": place + 1, **({"title": titles[id_]} if id_ in titles else {}), **item}
        if place < len(features):
            entry["features"] = {
                name: float(value) if np.isfinite(value) else None
                for name, value in zip(features.names, features.values[place])
            }
        items.append(entry)
    return {
        "recommendation_id": decision.recommendation_id,
        "time": format_moment(decision.time),
        "user_id": decision.user_id,
        "placement": decision.placement,
        "model_version": decision.model_version,
        "variant": decision.variant,
        "seed": decision.seed,
        "watermark": format_moment(decision.watermark),
        "context": decision.context,
        "degraded": decision.degraded,
        "items": items,
        "trace": {"stages": decision.stages},
        **({} if decision.candidates is None else {"candidates": decision.candidates}),
    }
