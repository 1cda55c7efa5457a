from tastemaker.component import Retriever
from tastemaker.retrieval import CooccurrenceGraph, Item2Vec, Node2Vec, Propagation
from tastemaker.testing import RetrieverConformance


class TestCooccurrenceGraph(RetrieverConformance):
    def make(self) -> Retriever:
        return CooccurrenceGraph(neighbors=30)


class TestCooccurrenceGraphOfBusyUsers(RetrieverConformance):
    def make(self) -> Retriever:
        return CooccurrenceGraph(neighbors=30, max_items=12, min_users=2, activity_exponent=0.5)


class TestItem2Vec(RetrieverConformance):
    def make(self) -> Retriever:
        return Item2Vec(factors=16, epochs=20, popularity=0.0, half_life=20)


class TestNode2Vec(RetrieverConformance):
    def make(self) -> Retriever:
        return Node2Vec(factors=16, walks=5, walk_length=40, window=3, popularity=0.0)


class TestPropagation(RetrieverConformance):
    def make(self) -> Retriever:
        return Propagation(factors=8, popularity=0.0)
