import pytest

from tastemaker.component import Retriever
from tastemaker.data.requests import Requests
from tastemaker.errors import DataError
from tastemaker.retrieval import (
    BoughtTogether,
    Complements,
    ItemKNN,
    RP3Beta,
    SequentialRules,
    SessionKNN,
    Swing,
    UserKNN,
)
from tastemaker.testing import RetrieverConformance
from tastemaker.testing.small import OPTIONS, degenerate_dataset, known_answer


class TestItemKNNByBM25(RetrieverConformance):
    def make(self) -> Retriever:
        return ItemKNN(neighbors=30, similarity="bm25", normalization="sum")


class TestItemKNNByPearson(RetrieverConformance):
    def make(self) -> Retriever:
        return ItemKNN(neighbors=30, similarity="pearson")


class TestItemKNNByJaccard(RetrieverConformance):
    def make(self) -> Retriever:
        return ItemKNN(neighbors=30, similarity="jaccard", min_common=2, shrinkage=0.0)


class TestRP3Beta(RetrieverConformance):
    def make(self) -> Retriever:
        return RP3Beta(neighbors=30)


class TestUserKNN(RetrieverConformance):
    def make(self) -> Retriever:
        return UserKNN(neighbors=20)


class TestUserKNNByBM25(RetrieverConformance):
    def make(self) -> Retriever:
        return UserKNN(neighbors=20, similarity="bm25", min_common=2)


class TestSwing(RetrieverConformance):
    def make(self) -> Retriever:
        return Swing(neighbors=30, max_users=40, max_items=40)


class TestBoughtTogether(RetrieverConformance):
    def make(self) -> Retriever:
        return BoughtTogether(neighbors=30, min_support=1)


class TestBoughtTogetherByLift(RetrieverConformance):
    def make(self) -> Retriever:
        return BoughtTogether(neighbors=30, measure="lift", session_gap="1d")


class TestVSkNN(RetrieverConformance):
    def make(self) -> Retriever:
        return SessionKNN(neighbors=30, sample=500)


class TestSTAN(RetrieverConformance):
    def make(self) -> Retriever:
        return SessionKNN(method="stan", neighbors=30, session_gap="1d")


class TestSequentialRules(RetrieverConformance):
    def make(self) -> Retriever:
        return SequentialRules(neighbors=30)


class TestComplements(RetrieverConformance):
    """The rows with known answers have one category each: their complements are in others."""

    def make(self) -> Retriever:
        return Complements(neighbors=30, shrinkage=0.0)

    @pytest.mark.parametrize("log", ["one user", "one item", "nothing liked"])
    def test_a_degenerate_log_is_handled(self, log: str) -> None:
        with pytest.raises(DataError, match="role 'category'"):
            self.make().fit(degenerate_dataset(log), OPTIONS)

    @pytest.mark.parametrize("known", ["planted tastes", "blockbuster"])
    def test_an_anonymous_user_gets_the_right_item_first(self, known: str) -> None:
        answer = known_answer(known)
        fitted = self.make().fit(answer.dataset, OPTIONS)
        found = fitted.retrieve(answer.requests, 5, answer.inventory)
        assert len(found.item)
        for row, right in enumerate(answer.right):
            assert not set(found[row].tolist()) & right

    def test_disliked_tastes_are_not_recommended(self, fitted: Retriever) -> None:
        liked = Requests.of([[3, 5]], weights=[[1.0, -1.0]])
        plain = Requests.of([[3]], exclude=[[3, 5]])
        inventory = known_answer("planted tastes").inventory
        one, other = (fitted.retrieve(requests, 10_000, inventory) for requests in (liked, plain))
        assert len(one.item)
        assert set(one.item.tolist()) <= set(other.item.tolist())
