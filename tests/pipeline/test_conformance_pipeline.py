from tastemaker.pipeline import Recommender
from tastemaker.project import Placement
from tastemaker.retrieval import ALS, EASE, ItemKNN, Popular, Trending
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
