"""The answer to a batch of requests: lists with the sources of and reasons for each item."""

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
from tastemaker.pipeline.ranking import FEATURE_ROW, PREDICTED, Ranking
from tastemaker.pipeline.reasons import reasons_of
from tastemaker.pipeline.trace import Trace
from tastemaker.printable import printable

STRONGEST = 5
"""The number of features that a trace lists for each item."""


@dataclass(frozen=True, slots=True)
class Recommendations:
    """The answer of a pipeline to a batch of requests.

    Attributes:
        requests: n requests.
        candidates: the list of each request, best first, with its sources.
        inventory: item data.
        retrievers: name → source; they explain the items.
        ranking: how the candidates were ranked; None without a ranker.
        features: the features that the ranker read; None if nothing was ranked.
        trace: what each stage did, and which stages were skipped.
        model_version: the name of the artifact that answered; empty if it was never saved.
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
        """The answer to one request as JSON (`recommendation_id`, `items`, …).

        Args:
            row: the request.
            trace: whether to add the stages, and for each item its rank and score per source, its
                predictions, and the features that changed its score most.
            recommendation_id: the id of the answer; by default a new one.
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
            "degraded": [one.to_dict() for one in self.trace.degraded],
            "items": items,
        }
        if trace:
            answer["trace"] = {
                "stages": self.trace.to_list(row),
                "items": [
                    {"item_id": item["item_id"], **explanation}
                    for item, explanation in zip(items, self.explanations(row))
                ],
            }
        return answer

    def reasons(self, row: int) -> list[list[dict[str, Any]]]:
        """The reasons for each item of a list, strongest first; see `reasons_of`."""
        one = np.array([row])
        return reasons_of(
            self.requests.take(one), self.candidates.take(one), self.inventory, self.retrievers
        )

    def explanations(self, row: int, *, top_features: bool = True) -> list[dict[str, Any]]:
        """For each item of a list: its sources, predictions and strongest features.

        Args:
            row: the request.
            top_features: whether to compute the features that changed the score most, which is
                the most expensive part.
        """
        shown = self.candidates.take(np.array([row]))
        strongest = self._strongest_features(shown) if top_features else None
        explanations = []
        for entry in range(len(shown.item)):
            give_way()
            explanation: dict[str, Any] = {"sources": _sources(shown, entry)}
            if self.features is not None:
                explanation["predicted"] = {
                    name.removeprefix(PREDICTED): _finite(column[entry])
                    for name, column in shown.columns.items()
                    if name.startswith(PREDICTED)
                }
                if strongest is not None:
                    explanation["features"] = strongest[entry]
            explanations.append(explanation)
        return explanations

    def described(self, row: int, most: int) -> Features:
        """The ranker's features of the first items of a list; no rows if nothing was ranked.

        Items that a reranker has added have only NaN.
        """
        if self.features is None:
            return Features((), np.empty((0, 0), np.float32))
        shown = self.candidates.take(np.array([row])).head(most)
        values = np.full((len(shown.item), len(self.features.names)), np.nan, np.float32)
        place = shown.columns[FEATURE_ROW]
        values[place >= 0] = self.features.values[place[place >= 0]]
        return Features(self.features.names, values)

    def _strongest_features(self, shown: Candidates) -> list[list[dict[str, Any]]]:
        """The features that changed each item's score most, strongest first."""
        ranking, features = self.ranking, self.features
        if features is None or ranking is None or not isinstance(ranking.ranker, Contributes):
            return [[] for _ in shown.item]
        feature_row = shown.columns[FEATURE_ROW]
        known = np.flatnonzero(feature_row >= 0)  # negative for items that a reranker has added
        ranked = Features(features.names, features.values[feature_row[known]])
        total = sum(
            weight * ranking.ranker.contributions(ranked, objective)
            for objective, weight in ranking.worth.items()
        )
        strongest: list[list[dict[str, Any]]] = [[] for _ in shown.item]
        for entry, adds, values in zip(known, np.asarray(total), ranked.values):
            give_way()
            for column in np.argsort(-np.abs(adds), kind="stable")[:STRONGEST]:
                if adds[column]:
                    name = features.names[column]
                    strongest[entry].append(
                        {
                            "feature": name,
                            "text": ranking.features.meanings[name],
                            "value": _finite(values[column]),
                            "weight": round(float(adds[column]), 4),
                        }
                    )
        return strongest

    def __str__(self) -> str:
        lines = []
        for row in range(len(self)):
            who = self.requests.user_id[row]
            lines.append(f"for user {who}:" if who else "for an anonymous user:")
            for rank, item in enumerate(self.to_dict(row)["items"], start=1):
                why = item["reasons"][0]["text"] if item["reasons"] else ""
                lines.append(f"{rank:3}. {item.get('title', item['item_id'])}  — {why}")
        lines += [f"skipped: {one.stage}: {one.reason}" for one in self.trace.degraded]
        return "\n".join(map(printable, lines))


def ranked_dict(answer: Recommendations, trace: bool = False) -> dict[str, Any]:
    """The answer to a ranking of given items as JSON: `to_dict` without the keys of a list."""
    payload = answer.to_dict(trace=trace)
    return {k: payload[k] for k in payload if k not in ("recommendation_id", "variant")}


def _sources(shown: Candidates, entry: int) -> dict[str, Any]:
    """The rank and score of an item in each source that found it."""
    return {
        name: {
            "rank": int(shown.source_rank[entry, place]) + 1,
            "score": float(shown.source_score[entry, place]),
        }
        for place, name in enumerate(shown.sources)
        if shown.source_rank[entry, place] >= 0
    }


def _finite(value: np.floating) -> float | None:
    """The number as JSON; None if it is not finite."""
    return float(value) if np.isfinite(value) else None
