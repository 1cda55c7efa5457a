from tastemaker.component import Retriever
from tastemaker.retrieval import BSPM, SLIM, FeatureEASE, GraphFilter, SparseEASE
from tastemaker.testing import RetrieverConformance


class TestGraphFilter(RetrieverConformance):
    def make(self) -> Retriever:
        return GraphFilter(factors=8)


class TestBSPM(RetrieverConformance):
    def make(self) -> Retriever:
        return BSPM(factors=8, passes=20)


class TestBSPMWithLateMerge(RetrieverConformance):
    def make(self) -> Retriever:
        return BSPM(factors=8, solver="euler", sharpening=0.8, merge="late")


class TestSLIM(RetrieverConformance):
    def make(self) -> Retriever:
        return SLIM(l1=0.5)


class TestSLIMWithNegativeWeights(RetrieverConformance):
    def make(self) -> Retriever:
        return SLIM(l1=0.5, l2=5.0, positive=False)


class TestSparseEASE(RetrieverConformance):
    def make(self) -> Retriever:
        return SparseEASE(neighbors=20, regularization=10.0)


class TestFeatureEASE(RetrieverConformance):
    def make(self) -> Retriever:
        return FeatureEASE(regularization=20.0)
