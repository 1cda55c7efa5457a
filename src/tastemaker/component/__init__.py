"""The interfaces of components: their inputs, outputs and capabilities. Read this first.

A pipeline takes Requests and an Inventory, passes on Candidates, and returns Recommendations. A
model is a function of a request, never of a user index. All calls take batches; one request is a
batch of one.

    component   the base class: settings and fit options
    retriever   finds candidates                    (Requests, Inventory) → Candidates
    ranker      scores candidates by features       (Candidates, Features) → Scores
    training_set  the data that a ranker learns from
    reranker    arranges candidates in a list       (Candidates, n) → Reranked
    task        requests and their relevant items, for evaluation
"""

from tastemaker.component.component import Component, FitOptions
from tastemaker.component.ranker import (
    RELEVANT,
    Contributes,
    Ranker,
    ScoreKind,
    Scores,
)
from tastemaker.component.reranker import PROPENSITY, Reranked, Reranker
from tastemaker.component.retriever import (
    NO_ITEMS,
    Capabilities,
    Explains,
    Incremental,
    ItemSimilarity,
    Retriever,
    ScoresItems,
    SimilarItems,
    SupportsNewItems,
)
from tastemaker.component.task import Task
from tastemaker.component.training_set import FUSED, Features, TrainingSet

__all__ = [
    "FUSED",
    "NO_ITEMS",
    "PROPENSITY",
    "RELEVANT",
    "Capabilities",
    "Component",
    "Contributes",
    "Explains",
    "Features",
    "FitOptions",
    "Incremental",
    "ItemSimilarity",
    "Ranker",
    "Reranked",
    "Reranker",
    "Retriever",
    "ScoreKind",
    "Scores",
    "ScoresItems",
    "SimilarItems",
    "SupportsNewItems",
    "Task",
    "TrainingSet",
]
