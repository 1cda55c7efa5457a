from tastemaker.component import Retriever
from tastemaker.retrieval import ItemKNN
from tastemaker.testing import RetrieverConformance


class TestItemKNNByBM25(RetrieverConformance):
    def make(self) -> Retriever:
        return ItemKNN(neighbors=30, similarity="bm25", normalization="sum")


class TestItemKNNByPearson(RetrieverConformance):
    def make(self) -> Retriever:
        return ItemKNN(neighbors=30, similarity="pearson")


class TestItemKNNByJaccard(RetrieverConformance):
    def make(self) -> Retriever:
        return ItemKNN(neighbors=30, similarity="jaccard", min_common=2, shrinkage=0.0)
