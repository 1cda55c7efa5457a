"""The ranking stage: computes features, predictions and scores, and sorts by score."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import RELEVANT, Features, Ranker, Retriever, Scores
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.features import FeatureSet
from tastemaker.inventory import Inventory
from tastemaker.pipeline.trace import Trace

PREDICTED = "predicted:"
"""The prefix of the columns that hold the predictions of an objective."""
FEATURE_ROW = "feature_row"
"""The column that holds the row of each candidate in the features."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ranker of a placement with its features and objective weights.

    Attributes:
        ranker: the ranker; if it is not fitted, the ranking stage is skipped.
        features: the features that it reads.
        value: objective → its weight; if empty, only the first objective counts.
    """

    ranker: Ranker
    features: FeatureSet
    value: Mapping[str, float] = field(default_factory=dict)

    @property
    def worth(self) -> dict[str, float]:
        """Objective → its weight, also if `value` is empty."""
        return dict(self.value) or {(self.ranker.objectives or (RELEVANT,))[0]: 1.0}

    def rank(
        self,
        found: Candidates,
        requests: Requests,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
        trace: Trace,
    ) -> tuple[Candidates, Features]:
        """Sorts the candidates by predicted value; returns them with their features.

        Ties keep the order of the previous stage. The predictions of each objective are stored in
        a separate column.
        """
        features, milliseconds = trace.timed(
            lambda: self.features.build(requests, found, inventory, sources)
        )
        trace.add("features", found.counts, found, milliseconds)
        (scores, value), milliseconds = trace.timed(lambda: self._score(requests, found, features))
        feature_row = np.arange(len(found.item))
        predicted = {
            f"{PREDICTED}{name}": scores.values[:, place] for place, name in enumerate(scores.names)
        }
        columns = {**found.columns, **predicted, FEATURE_ROW: feature_row}
        order = np.lexsort((feature_row, -value, found.rows))
        ranked = replace(found, score=value, columns=columns).entries(order, found.offsets)
        trace.add("rank", found.counts, ranked, milliseconds)
        return ranked, features

    def _score(
        self, requests: Requests, found: Candidates, features: Features
    ) -> tuple[Scores, NDArray[np.float32]]:
        scores = self.ranker.score(requests, found, features)
        return scores, scores.combined(self.worth)
