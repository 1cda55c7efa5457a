"""An answer as the decision log keeps it, and a kept decision as it is told."""

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

_LOTS = 1 << 32


def sampled(recommendation_id: str, share: float) -> bool:
    """Whether all candidates of an answer are kept: of this share of the answers, by their ids."""
    return int(recommendation_id[:8], 16) < share * _LOTS


def decision_of(
    asked: RecommendationRequest, answered: Recommendations, told: dict[str, Any]
) -> Decision:
    """What the log keeps of an answer.

    Args:
        asked: the question.
        answered: the answer.
        told: the answer as the caller got it.
    """
    requests = answered.requests
    features = answered.described(0, ITEMS_WITH_FEATURES)
    grounds = answered.explanations(0, top_features=False)
    likely = _propensities(answered, len(grounds))
    give_way()
    items = [
        {
            "item_id": item["item_id"],
            "score": item["score"],
            "propensity": propensity,
            "reasons": item["reasons"],
            **(_ranks_alone(ground) if len(features) else ground),
        }
        for item, ground, propensity in zip(told["items"], grounds, likely)
    ]
    context: dict[str, Any] = {"n": asked.n, "now": format_moment(int(requests.time[0]))}
    if asked.history is not None:
        context["history"] = len(asked.history)
    if asked.exclude:
        context["exclude"] = len(asked.exclude)
    return Decision(
        told["recommendation_id"],
        times.now(),
        asked.user_id,
        requests.placement,
        answered.model_version,
        told["variant"],
        int(requests.seed[0]),
        answered.inventory.watermark,
        context,
        told["degraded"],
        answered.trace.to_list(0),
        items,
        features,
        _all_candidates(answered) if answered.trace.keep else None,
    )


def _propensities(answered: Recommendations, n: int) -> list[float]:
    """With which probability each item stands where it does, given those above it.

    1 where nothing was drawn.
    """
    drawn = answered.candidates.columns.get(PROPENSITY)
    return [1.0] * n if drawn is None else drawn.astype(float).tolist()


def _ranks_alone(ground: dict[str, Any]) -> dict[str, Any]:
    """What an item stands on without the sources' scores, which its features tell already."""
    ranks = {name: {"rank": found["rank"]} for name, found in ground["sources"].items()}
    return {**ground, "sources": ranks}


def _all_candidates(answered: Recommendations) -> list[dict[str, Any]]:
    """Every candidate in the order of the last stage before the list was made."""
    stages = [stage for stage in answered.trace.stages if stage.name in ("filter", "rank", "fill")]
    if not stages or stages[-1].candidates is None:
        return []
    found = stages[-1].candidates
    ids = answered.inventory.catalogue.items.ids(found.item)
    return [{"item_id": id_, "score": float(score)} for id_, score in zip(ids, found.score)]


def told_decision(decision: Decision, titles: dict[str, str]) -> dict[str, Any]:
    """A decision as a caller reads it.

    Args:
        decision: what the log kept.
        titles: item id → title, as far as they are known now.
    """
    features = decision.features
    items = []
    for place, item in enumerate(decision.items):
        id_ = item["item_id"]
        told = {"position": place + 1, **({"title": titles[id_]} if id_ in titles else {}), **item}
        if place < len(features):
            told["features"] = {
                name: float(value) if np.isfinite(value) else None
                for name, value in zip(features.names, features.values[place])
            }
        items.append(told)
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
