"""Neighbourhood models: items liked together, similar users, and similar sessions."""

from tastemaker.retrieval.neighbors.baskets import BoughtTogether
from tastemaker.retrieval.neighbors.complements import Complements
from tastemaker.retrieval.neighbors.item_knn import ItemKNN
from tastemaker.retrieval.neighbors.sequential_rules import SequentialRules
from tastemaker.retrieval.neighbors.sessions import SessionKNN
from tastemaker.retrieval.neighbors.swing import Swing
from tastemaker.retrieval.neighbors.user_knn import UserKNN
from tastemaker.retrieval.neighbors.walks import P3Alpha, RP3Beta

__all__ = [
    "BoughtTogether",
    "Complements",
    "ItemKNN",
    "P3Alpha",
    "RP3Beta",
    "SequentialRules",
    "SessionKNN",
    "Swing",
    "UserKNN",
]
