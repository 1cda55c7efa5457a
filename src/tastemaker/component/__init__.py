"""The contracts: what each part is asked, what it answers, what it declares. Read this first.

Requests and Inventory in, Candidates through, Recommendations out. A model is a function of a
request, never of a user index; everything is a batch, and one request is a batch of one.

    component   settings stored, options given: what every part shares
    retriever   finds candidates                    (Requests, Inventory) → Candidates
    ranker      scores them by their features       (Candidates, Features) → Scores
    training_set  what a ranker learns from
    reranker    makes a list of them                (Candidates, n) → Reranked
    task        what is asked and what was wanted, for evaluation
"""

from tastemaker.component.component import Component, FitOptions
from tastemaker.component.ranker import (
    WANTED,
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
    "WANTED",
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
