"""Models of who or what stands near: items liked together, users alike, sessions alike."""

from tastemaker.retrieval.neighbors.item_knn import ItemKNN

__all__ = ["ItemKNN"]
