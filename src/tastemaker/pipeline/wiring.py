"""Checks of the names in a placement, made when a recommender is constructed."""

from collections.abc import Mapping

from tastemaker.component import RELEVANT, Ranker, Reranker, Retriever
from tastemaker.errors import SettingError, did_you_mean
from tastemaker.pipeline.sources import POPULARITY_FALLBACK
from tastemaker.project import Placement


def check_quotas(
    owner: str, retrievers: Mapping[str, Retriever], quotas: Mapping[str, int]
) -> None:
    """Raises if there are no quotas, or one names an unknown source or is below 1.

    Raises:
        SettingError: names the owner, the source and the value.
    """
    if not quotas:
        raise SettingError(f"{owner}: needs at least one retriever")
    for source, quota in quotas.items():
        if source not in retrievers:
            hint = did_you_mean(source, retrievers)
            raise SettingError(f"{owner}: no retriever is called '{source}'{hint}")
        if source == POPULARITY_FALLBACK:
            raise SettingError(
                f"{owner}: '{POPULARITY_FALLBACK}' is reserved for the fallback; rename the "
                "retriever"
            )
        if quota < 1:
            raise SettingError(f"{owner}: the quota of '{source}' must be at least 1, got {quota}")


def check_stages(
    owner: str,
    placement: Placement,
    rankers: Mapping[str, Ranker],
    rerankers: Mapping[str, Reranker],
) -> None:
    """Raises if a ranker or reranker does not exist, or the ranker does not predict an objective.

    Raises:
        SettingError: names the owner and the wrong name, and suggests a similar one.
    """
    for name in placement.rerankers:
        if name not in rerankers:
            hint = did_you_mean(name, rerankers)
            raise SettingError(f"{owner}: no reranker is called '{name}'{hint}")
    if placement.ranker is None:
        if placement.objective_weights:
            raise SettingError(
                f"{owner}: has objective_weights but no ranker to predict its objectives"
            )
        return
    if placement.ranker not in rankers:
        hint = did_you_mean(placement.ranker, rankers)
        raise SettingError(f"{owner}: no ranker is called '{placement.ranker}'{hint}")
    if len(placement.objective_weights) > 1 and rankers[placement.ranker].kind == "order":
        raise SettingError(
            f"{owner}: objective_weights: the ranker '{placement.ranker}' only predicts an order, "
            f"so {' and '.join(placement.objective_weights)} cannot be added up; use one that "
            'predicts probabilities (gbm: loss = "binary")'
        )
    predicted = rankers[placement.ranker].objectives or (RELEVANT,)
    for name in placement.objective_weights:
        if name not in predicted:
            raise SettingError(
                f"{owner}: objective_weights: the ranker '{placement.ranker}' does not predict "
                f"'{name}'{did_you_mean(name, predicted)}"
            )


def check_own_rankers(placements: Mapping[str, Placement]) -> None:
    """Raises if two placements share a ranker: it learns from the sources and policy of one.

    Raises:
        SettingError: names both placements.
    """
    owner: dict[str, str] = {}
    for name, placement in placements.items():
        if placement.ranker is None:
            continue
        if placement.ranker in owner:
            raise SettingError(
                f"placements '{owner[placement.ranker]}' and '{name}' share the ranker "
                f"'{placement.ranker}'; declare one ranker for each, because a ranker learns from "
                "the sources of one placement"
            )
        owner[placement.ranker] = name
