"""Retrievers: models that find candidates for a request."""

from tastemaker.retrieval.als import ALS
from tastemaker.retrieval.content import Content
from tastemaker.retrieval.graph import CooccurrenceGraph, Item2Vec, Node2Vec, Propagation
from tastemaker.retrieval.linear import BSPM, EASE, SLIM, FeatureEASE, GraphFilter, SparseEASE
from tastemaker.retrieval.neighbors import (
    BoughtTogether,
    Complements,
    ItemKNN,
    P3Alpha,
    RP3Beta,
    SequentialRules,
    SessionKNN,
    Swing,
    UserKNN,
)
from tastemaker.retrieval.new_items import NewItems
from tastemaker.retrieval.popular import Popular
from tastemaker.retrieval.trending import Trending

__all__ = [
    "ALS",
    "BSPM",
    "EASE",
    "SLIM",
    "BoughtTogether",
    "Complements",
    "Content",
    "CooccurrenceGraph",
    "FeatureEASE",
    "GraphFilter",
    "Item2Vec",
    "ItemKNN",
    "NewItems",
    "Node2Vec",
    "P3Alpha",
    "Popular",
    "Propagation",
    "RP3Beta",
    "SequentialRules",
    "SessionKNN",
    "SparseEASE",
    "Swing",
    "Trending",
    "UserKNN",
]
