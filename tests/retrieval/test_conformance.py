from collections.abc import Iterator
from functools import partial

import pytest

from tastemaker.component import Retriever
from tastemaker.index import ApproximateIndex, IndexSettings, QuantizedIndex
from tastemaker.retrieval import ALS, EASE, Content, ItemKNN, NewItems, Popular, Trending
from tastemaker.testing import RetrieverConformance
from tastemaker.testing.small import small_dataset


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
        return ALS(factors=16, confidence="log", frequency_scaling=0.0, regularization=2.0)


class TestALSThroughBytes(RetrieverConformance):
    def make(self) -> Retriever:
        return ALS(factors=16, index="int8")

    def test_the_index_is_quantized(self, fitted: ALS) -> None:
        assert isinstance(fitted.index, QuantizedIndex)


class TestALSThroughCells(RetrieverConformance):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def cells_for_few_items(cls) -> Iterator[None]:
        few = partial(IndexSettings, smallest=0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tastemaker.retrieval.als.IndexSettings", few)
            yield

    def make(self) -> Retriever:
        return ALS(factors=16, index="approximate")

    def test_the_index_is_approximate(self, fitted: ALS) -> None:
        assert isinstance(fitted.index, ApproximateIndex)


def test_als_searches_few_items_exactly() -> None:
    fitted = ALS(factors=4, iterations=1, index="approximate").fit(small_dataset())
    assert (fitted.index.kind, fitted.index.recall) == ("exact", 1)


class TestContent(RetrieverConformance):
    def make(self) -> Retriever:
        return Content()


class TestContentWithoutPopularity(RetrieverConformance):
    def make(self) -> Retriever:
        return Content(popularity=0.0, profile_terms=5)


class TestNewcomers(RetrieverConformance):
    def make(self) -> NewItems:
        return NewItems(max_age="36500d", affinity=0.0, known=0.0)
