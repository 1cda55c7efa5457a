from tastemaker.pipeline import Recommender
from tastemaker.project import Placement, Training
from tastemaker.ranking import GBM
from tastemaker.reranking import MMR, Rules
from tastemaker.retrieval import ALS, EASE, Content, ItemKNN, Popular, Trending
from tastemaker.testing import PipelineConformance


class TestAllSources(PipelineConformance):
    def make(self) -> Recommender:
        sources = [ALS(factors=16), EASE(), ItemKNN(), Trending(half_life="30d"), Popular()]
        quotas = {"als": 20, "ease": 20, "item_knn": 10, "trending": 10, "popular": 10}
        return Recommender(
            {source.name: source for source in sources}, {"home": Placement(retrievers=quotas)}
        )


class TestOneSource(PipelineConformance):
    def make(self) -> Recommender:
        return Recommender({"popular": Popular()}, {"home": Placement(retrievers={"popular": 50})})


class TestRankerAndRerankers(PipelineConformance):
    def make(self) -> Recommender:
        quotas = {"content": 15, "item_knn": 15, "popular": 10}
        home = Placement(retrievers=quotas, ranker="main", rerankers=("diverse", "rules"))
        return Recommender(
            {"content": Content(), "item_knn": ItemKNN(), "popular": Popular()},
            {"home": home},
            {"main": GBM(trees=10, min_rows=5)},
            {"diverse": MMR(relevance=0.7), "rules": Rules(caps={"category": 7})},
            Training(slices=2, window=0.15, requests=400, require_improvement=False),
        )
