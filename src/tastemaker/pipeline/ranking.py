"""The ranking stage: features, predictions, one score for each candidate, the order by it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import WANTED, Features, Ranker, Retriever, Scores
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.features import FeatureSet
from tastemaker.inventory import Inventory
from tastemaker.pipeline.trace import Trace

PREDICTED = "predicted:"
"""Begins the name of a column that holds an objective's prediction."""
DESCRIBED = "described"
"""The column that says which row of the features describes a candidate."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """How a placement ranks.

    Attributes:
        ranker: a ranker; where it is not fitted, answers go without.
        features: what it is told of each candidate.
        value: what each objective is worth; empty, the first alone counts.
    """

    ranker: Ranker
    features: FeatureSet
    value: Mapping[str, float] = field(default_factory=dict)

    @property
    def worth(self) -> dict[str, float]:
        """Objective → what it is worth, spelled out."""
        return dict(self.value) or {(self.ranker.objectives or (WANTED,))[0]: 1.0}

    def rank(
        self,
        found: Candidates,
        requests: Requests,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
        trace: Trace,
    ) -> tuple[Candidates, Features]:
        """The candidates by predicted value, and the features they were ranked by.

        The order of the stage before decides between equals. Each objective's prediction stands
        in a column of its own.
        """
        features, milliseconds = trace.timed(
            lambda: self.features.build(requests, found, inventory, sources)
        )
        trace.add("features", found.counts, found, milliseconds)
        (scores, value), milliseconds = trace.timed(lambda: self._score(requests, found, features))
        described = np.arange(len(found.item))
        predicted = {
            f"{PREDICTED}{name}": scores.values[:, place] for place, name in enumerate(scores.names)
        }
        columns = {**found.columns, **predicted, DESCRIBED: described}
        order = np.lexsort((described, -value, found.rows))
        ranked = replace(found, score=value, columns=columns).entries(order, found.offsets)
        trace.add("rank", found.counts, ranked, milliseconds)
        return ranked, features

    def _score(
        self, requests: Requests, found: Candidates, features: Features
    ) -> tuple[Scores, NDArray[np.float32]]:
        scores = self.ranker.score(requests, found, features)
        return scores, scores.combined(self.worth)
