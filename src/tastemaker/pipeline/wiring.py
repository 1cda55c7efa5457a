"""What a placement may name: checked when the parts are put together, not when they are asked."""

from collections.abc import Mapping

from tastemaker.component import WANTED, Ranker, Reranker, Retriever
from tastemaker.errors import SettingError, did_you_mean
from tastemaker.pipeline.sources import POPULARITY_FALLBACK
from tastemaker.project import Placement


def check_quotas(
    owner: str, retrievers: Mapping[str, Retriever], quotas: Mapping[str, int]
) -> None:
    """Refuses quotas that name an unknown source, give less than one item, or are none.

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
                f"{owner}: '{POPULARITY_FALLBACK}' is the name of the fallback; rename the "
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
    """Refuses a ranker or reranker that does not exist, and a value that nobody predicts.

    Raises:
        SettingError: names the owner and the name, with its near miss.
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
            f"{owner}: objective_weights: the ranker '{placement.ranker}' only orders, so that "
            f"{' and '.join(placement.objective_weights)} cannot be added up; use one that "
            'predicts probabilities (gbm: loss = "binary")'
        )
    predicted = rankers[placement.ranker].objectives or (WANTED,)
    for name in placement.objective_weights:
        if name not in predicted:
            raise SettingError(
                f"{owner}: objective_weights: the ranker '{placement.ranker}' predicts no '{name}'"
                f"{did_you_mean(name, predicted)}"
            )


def check_own_rankers(placements: Mapping[str, Placement]) -> None:
    """Refuses a ranker of two placements: it learns over the sources and the policy of one.

    Raises:
        SettingError: names both.
    """
    owner: dict[str, str] = {}
    for name, placement in placements.items():
        if placement.ranker is None:
            continue
        if placement.ranker in owner:
            raise SettingError(
                f"placements '{owner[placement.ranker]}' and '{name}' share the ranker "
                f"'{placement.ranker}'; declare one for each, since it learns over one placement's "
                "sources"
            )
        owner[placement.ranker] = name
