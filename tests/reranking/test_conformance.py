from collections.abc import Mapping
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import Reranker, Retriever
from tastemaker.reranking import MMR, Rules
from tastemaker.retrieval import ALS, Popular
from tastemaker.testing import RerankerConformance
from tastemaker.testing.small import small_dataset


class DistanceSimilarity(Popular):
    """The similarity of two items decreases with the distance of their indices."""

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        known = (left >= 0) & (right >= 0) & (left < 60) & (right < 60)
        return np.where(known, 1 - np.abs(left - right) / 60, 0).astype(np.float32)


class TestMMR(RerankerConformance):
    def make(self) -> Reranker:
        return MMR()


class TestMMROfFew(RerankerConformance):
    def make(self) -> Reranker:
        return MMR(relevance=0.0, depth=5)


class TestMMRThatKeepsTheOrder(RerankerConformance):
    def make(self) -> Reranker:
        return MMR(relevance=1.0)


class TestMMRBySource(RerankerConformance):
    def make(self) -> Reranker:
        return MMR(relevance=0.3, space="line")

    def sources(self) -> Mapping[str, Retriever]:
        return {"popular": Popular(), "line": DistanceSimilarity()}


@cache
def fitted_als() -> ALS:
    return ALS(factors=8).fit(small_dataset())


class TestMMRByALS(RerankerConformance):
    def make(self) -> Reranker:
        return MMR(relevance=0.5, space="als")

    def sources(self) -> Mapping[str, Retriever]:
        return {"als": fitted_als()}


class TestNoRules(RerankerConformance):
    def make(self) -> Reranker:
        return Rules()


class TestCaps(RerankerConformance):
    def make(self) -> Reranker:
        return Rules(caps={"category": 2, "tags": 3})


class TestEveryRule(RerankerConformance):
    adds: ClassVar = ("i11", "i12", "i13")
    removes: ClassVar = ("i20", "i21", "no such item")

    def make(self) -> Reranker:
        pinned = [("i11", 2), ("i12", 1), ("i13", 30), ("i20", 3), ("nothing", 4)]
        return Rules(
            blocked=self.removes,
            blocked_labels={"category": ["no such label"]},
            caps={"category": 1},
            pinned=[{"item_id": item, "position": place} for item, place in pinned],
        )
