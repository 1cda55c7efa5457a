"""Conformance test suites to inherit, and data sets with known answers. Requires pytest.

from tastemaker.testing import RetrieverConformance

class TestMyRetriever(RetrieverConformance):
    def make(self):
        return MyRetriever()
"""

import pytest

pytest.register_assert_rewrite(
    "tastemaker.testing.abilities",
    "tastemaker.testing.index",
    "tastemaker.testing.pipeline",
    "tastemaker.testing.ranker",
    "tastemaker.testing.reranker",
    "tastemaker.testing.retriever",
    "tastemaker.testing.small",
)

from tastemaker.testing.index import IndexConformance
from tastemaker.testing.known import KnownAnswer, blockbuster, checkerboard, planted_tastes
from tastemaker.testing.parity import feature_differences
from tastemaker.testing.pipeline import PipelineConformance
from tastemaker.testing.ranker import RankerConformance
from tastemaker.testing.reranker import RerankerConformance
from tastemaker.testing.retriever import RetrieverConformance

__all__ = [
    "IndexConformance",
    "KnownAnswer",
    "PipelineConformance",
    "RankerConformance",
    "RerankerConformance",
    "RetrieverConformance",
    "blockbuster",
    "checkerboard",
    "feature_differences",
    "planted_tastes",
]
