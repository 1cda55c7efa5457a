"""The answer to a batch of requests: lists, where each item came from, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np

from tastemaker.component import Contributes, Features, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.giving_way import give_way
from tastemaker.inventory import Inventory
from tastemaker.pipeline.ranking import DESCRIBED, PREDICTED, Ranking
from tastemaker.pipeline.reasons import reasons_of
from tastemaker.pipeline.trace import Trace
from tastemaker.printable import printable

STRONGEST = 5
"""Features told of each item in a trace."""


@dataclass(frozen=True, slots=True)
class Recommendations:
    """What a pipeline answers.

    Attributes:
        requests: n requests.
        candidates: the list of each, best first, with its sources.
        world: what the items are.
        retrievers: the sources by name, asked for reasons.
        ranking: how they were ranked; None where no ranker is wired.
        features: what the ranker was told; None where nothing was ranked.
        trace: what each stage did, and what was left out.
        model_version: the artifact that answered; empty for one that was never saved.
    """

    requests: Requests
    candidates: Candidates
    inventory: Inventory
    retrievers: Mapping[str, Retriever]
    ranking: Ranking | None = None
    features: Features | None = None
    trace: Trace = field(default_factory=Trace)
    model_version: str = ""

    def __len__(self) -> int:
        return len(self.candidates)

    def item_ids(self, row: int = 0) -> list[str]:
        """The external ids of one list, best first."""
        return self.inventory.catalogue.items.ids(self.candidates[row])

    def to_dict(
        self, row: int = 0, *, trace: bool = False, recommendation_id: str | None = None
    ) -> dict[str, Any]:
        """One answer in the shape that programs rely on (`recommendation_id`, `items`, …).

        Args:
            row: the request.
            trace: whether to add the stages, and for each item its rank and score per source,
                what was predicted, and the features that spoke loudest.
            recommendation_id: what the answer is known by; by default a new one.
        """
        reasons = self.reasons(row)
        items = []
        for entry, index in enumerate(self.candidates[row]):
            give_way()
            title = self.inventory.catalogue.title(int(index))
            items.append(
                {
                    "item_id": self.inventory.catalogue.items.id(int(index)),
                    **({"title": title} if title else {}),
                    "score": float(self.candidates.score[self.candidates.offsets[row] + entry]),
                    "reasons": reasons[entry],
                }
            )
        answer: dict[str, Any] = {
            "recommendation_id": recommendation_id or uuid4().hex,
            "model_version": self.model_version,
            "variant": "default",
            "degraded": [left_out.to_dict() for left_out in self.trace.degraded],
            "items": items,
        }
        if trace:
            answer["trace"] = {
                "stages": self.trace.to_list(row),
                "items": [
                    {"item_id": item["item_id"], **told}
                    for item, told in zip(items, self.explanations(row))
                ],
            }
        return answer

    def reasons(self, row: int) -> list[list[dict[str, Any]]]:
        """Why each item of a list is there, strongest reason first; see `reasons_of`."""
        one = np.array([row])
        return reasons_of(
            self.requests.take(one), self.candidates.take(one), self.inventory, self.retrievers
        )

    def explanations(self, row: int, *, top_features: bool = True) -> list[dict[str, Any]]:
        """For each item of a list: sources, predictions, strongest features.

        Args:
            row: the request.
            top_features: whether to find out which features moved the score most, the dear part.
        """
        shown = self.candidates.take(np.array([row]))
        spoke = self._spoke(shown) if top_features else None
        grounds = []
        for entry in range(len(shown.item)):
            give_way()
            ground: dict[str, Any] = {"sources": _sources(shown, entry)}
            if self.features is not None:
                ground["predicted"] = {
                    name.removeprefix(PREDICTED): _finite(column[entry])
                    for name, column in shown.columns.items()
                    if name.startswith(PREDICTED)
                }
                if spoke is not None:
                    ground["features"] = spoke[entry]
            grounds.append(ground)
        return grounds

    def described(self, row: int, most: int) -> Features:
        """What the ranker was told of the first items of a list; no rows where nothing was ranked.

        Items that a reranker has put in have NaN throughout.
        """
        if self.features is None:
            return Features((), np.empty((0, 0), np.float32))
        shown = self.candidates.take(np.array([row])).head(most)
        values = np.full((len(shown.item), len(self.features.names)), np.nan, np.float32)
        place = shown.columns[DESCRIBED]
        values[place >= 0] = self.features.values[place[place >= 0]]
        return Features(self.features.names, values)

    def _spoke(self, shown: Candidates) -> list[list[dict[str, Any]]]:
        """The features that moved each item's score most, strongest first."""
        ranking, features = self.ranking, self.features
        if features is None or ranking is None or not isinstance(ranking.ranker, Contributes):
            return [[] for _ in shown.item]
        described = shown.columns[DESCRIBED]
        known = np.flatnonzero(described >= 0)  # not so for items a reranker has put in
        told = Features(features.names, features.values[described[known]])
        total = sum(
            worth * ranking.ranker.contributions(told, objective)
            for objective, worth in ranking.worth.items()
        )
        spoke: list[list[dict[str, Any]]] = [[] for _ in shown.item]
        for entry, adds, values in zip(known, np.asarray(total), told.values):
            give_way()
            for column in np.argsort(-np.abs(adds), kind="stable")[:STRONGEST]:
                if adds[column]:
                    name = features.names[column]
                    spoke[entry].append(
                        {
                            "feature": name,
                            "text": ranking.features.meanings[name],
                            "value": _finite(values[column]),
                            "weight": round(float(adds[column]), 4),
                        }
                    )
        return spoke

    def __str__(self) -> str:
        lines = []
        for row in range(len(self)):
            who = self.requests.user_id[row]
            lines.append(f"for user {who}:" if who else "for a stranger:")
            for rank, item in enumerate(self.to_dict(row)["items"], start=1):
                why = item["reasons"][0]["text"] if item["reasons"] else ""
                lines.append(f"{rank:3}. {item.get('title', item['item_id'])}  — {why}")
        lines += [f"left out: {told.stage}: {told.reason}" for told in self.trace.degraded]
        return "\n".join(map(printable, lines))


def ranked_dict(answer: Recommendations, trace: bool = False) -> dict[str, Any]:
    """The answer to a ranking of given items: as `to_dict`, without what only a list has."""
    told = answer.to_dict(trace=trace)
    return {name: told[name] for name in told if name not in ("recommendation_id", "variant")}


def _sources(shown: Candidates, entry: int) -> dict[str, Any]:
    """Rank and score of an item in each source that found it."""
    return {
        name: {
            "rank": int(shown.source_rank[entry, place]) + 1,
            "score": float(shown.source_score[entry, place]),
        }
        for place, name in enumerate(shown.sources)
        if shown.source_rank[entry, place] >= 0
    }


def _finite(value: np.floating) -> float | None:
    """A number as JSON has it; None where there is none."""
    return float(value) if np.isfinite(value) else None
