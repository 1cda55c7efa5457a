from tastemaker.component import Retriever
from tastemaker.retrieval import ALS, EASE, Content, ItemKNN, Newcomers, Popular, Trending
from tastemaker.testing import RetrieverConformance


class TestPopular(RetrieverConformance):
    def make(self) -> Retriever:
        return Popular()


class TestTrending(RetrieverConformance):
    def make(self) -> Retriever:
        return Trending(half_life="30d")


class TestItemKNN(RetrieverConformance):
    def make(self) -> Retriever:
        return ItemKNN(neighbors=30)


class TestEASE(RetrieverConformance):
    def make(self) -> Retriever:
        return EASE(regularization=20.0)


class TestALS(RetrieverConformance):
    def make(self) -> Retriever:
        return ALS(factors=16)


class TestALSWithLogConfidence(RetrieverConformance):
    def make(self) -> Retriever:
        return ALS(factors=16, confidence="log", frequency_scaling=0.0, regularization=1.0)


class TestContent(RetrieverConformance):
    def make(self) -> Retriever:
        return Content()


class TestContentWithoutPopularity(RetrieverConformance):
    def make(self) -> Retriever:
        return Content(popularity=0.0, profile_terms=5)


class TestNewcomers(RetrieverConformance):
    def make(self) -> Newcomers:
        return Newcomers(young="36500d", affinity=0.0, known=0.0)
