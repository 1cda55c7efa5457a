"""The whole conformance suite for the example, by inheritance."""

import sys
from pathlib import Path

from tastemaker.component import Retriever
from tastemaker.testing import RetrieverConformance

sys.path.insert(0, str(Path(__file__).parent))

from my_retriever import NextItem  # noqa: E402


class TestNextItem(RetrieverConformance):
    def make(self) -> Retriever:
        return NextItem()
