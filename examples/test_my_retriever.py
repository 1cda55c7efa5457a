"""Runs the conformance suite on the example, by inheritance."""

import sys
from pathlib import Path

from tastemaker.component import Retriever
from tastemaker.testing import RetrieverConformance

sys.path.insert(0, str(Path(__file__).parent))

from my_retriever import NextItem


class TestNextItem(RetrieverConformance):
    """The example fulfils the contract of a retriever."""

    def make(self) -> Retriever:
        return NextItem()
