from tastemaker.component import Ranker
from tastemaker.ranking import GBM
from tastemaker.testing import RankerConformance


class TestGBM(RankerConformance):
    def make(self) -> Ranker:
        return GBM(trees=40)


class TestGBMThatOnlyOrders(RankerConformance):
    def make(self) -> Ranker:
        return GBM(trees=40, loss="lambdarank")


class TestGBMOfWideTrees(RankerConformance):
    """More than 64 leaves: a tree's leaves take several words."""

    def make(self) -> Ranker:
        return GBM(trees=20, leaves=200, min_rows=2)
