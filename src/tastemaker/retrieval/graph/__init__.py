"""Retrievers on item graphs: co-occurrence, propagation, and embeddings from walks."""

from tastemaker.retrieval.graph.cooccurrence_graph import CooccurrenceGraph
from tastemaker.retrieval.graph.item2vec import Item2Vec
from tastemaker.retrieval.graph.node2vec import Node2Vec
from tastemaker.retrieval.graph.propagation import Propagation

__all__ = ["CooccurrenceGraph", "Item2Vec", "Node2Vec", "Propagation"]
