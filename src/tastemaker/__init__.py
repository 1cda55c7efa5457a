"""Tastemaker: explained recommendations from an event log.

    import tastemaker as tm

    data = tm.Dataset.from_frames(events, items=items)
    split = tm.split.by_time(data, test="30d")
    print(tm.evaluate([tm.Popular(), tm.EASE()], split))

Every name is loaded on first use, so importing the package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tastemaker import split as split
    from tastemaker.component import FitOptions as FitOptions
    from tastemaker.data.dataset import Dataset as Dataset
    from tastemaker.data.sample import load_sample as load_sample
    from tastemaker.data.schema import Schema as Schema
    from tastemaker.errors import TastemakerError as TastemakerError
    from tastemaker.evaluation import Evaluation as Evaluation
    from tastemaker.evaluation import evaluate as evaluate
    from tastemaker.pipeline import Pipeline as Pipeline
    from tastemaker.pipeline import Recommender as Recommender
    from tastemaker.ranking import GBM as GBM
    from tastemaker.reranking import MMR as MMR
    from tastemaker.reranking import Explore as Explore
    from tastemaker.reranking import Rules as Rules
    from tastemaker.retrieval import ALS as ALS
    from tastemaker.retrieval import BSPM as BSPM
    from tastemaker.retrieval import EASE as EASE
    from tastemaker.retrieval import SLIM as SLIM
    from tastemaker.retrieval import BoughtTogether as BoughtTogether
    from tastemaker.retrieval import Complements as Complements
    from tastemaker.retrieval import Content as Content
    from tastemaker.retrieval import CooccurrenceGraph as CooccurrenceGraph
    from tastemaker.retrieval import FeatureEASE as FeatureEASE
    from tastemaker.retrieval import GraphFilter as GraphFilter
    from tastemaker.retrieval import Item2Vec as Item2Vec
    from tastemaker.retrieval import ItemKNN as ItemKNN
    from tastemaker.retrieval import NewItems as NewItems
    from tastemaker.retrieval import Node2Vec as Node2Vec
    from tastemaker.retrieval import P3Alpha as P3Alpha
    from tastemaker.retrieval import Popular as Popular
    from tastemaker.retrieval import Propagation as Propagation
    from tastemaker.retrieval import RP3Beta as RP3Beta
    from tastemaker.retrieval import SequentialRules as SequentialRules
    from tastemaker.retrieval import SessionKNN as SessionKNN
    from tastemaker.retrieval import SparseEASE as SparseEASE
    from tastemaker.retrieval import Swing as Swing
    from tastemaker.retrieval import Trending as Trending
    from tastemaker.retrieval import UserKNN as UserKNN

__version__ = "0.1.0"

_MODULES = {
    "BSPM": "retrieval",
    "FeatureEASE": "retrieval",
    "GraphFilter": "retrieval",
    "SLIM": "retrieval",
    "SparseEASE": "retrieval",
    "ALS": "retrieval",
    "BoughtTogether": "retrieval",
    "Complements": "retrieval",
    "Content": "retrieval",
    "CooccurrenceGraph": "retrieval",
    "Dataset": "data.dataset",
    "EASE": "retrieval",
    "Evaluation": "evaluation",
    "Explore": "reranking",
    "FitOptions": "component",
    "GBM": "ranking",
    "Item2Vec": "retrieval",
    "ItemKNN": "retrieval",
    "MMR": "reranking",
    "NewItems": "retrieval",
    "Node2Vec": "retrieval",
    "P3Alpha": "retrieval",
    "Pipeline": "pipeline",
    "Popular": "retrieval",
    "Propagation": "retrieval",
    "RP3Beta": "retrieval",
    "Recommender": "pipeline",
    "Rules": "reranking",
    "Schema": "data.schema",
    "SequentialRules": "retrieval",
    "SessionKNN": "retrieval",
    "Swing": "retrieval",
    "TastemakerError": "errors",
    "Trending": "retrieval",
    "UserKNN": "retrieval",
    "evaluate": "evaluation",
    "load_sample": "data.sample",
}

__all__ = [*sorted(_MODULES), "__version__", "split"]


def __getattr__(name: str) -> Any:
    if name == "split":
        return import_module("tastemaker.split")
    if name not in _MODULES:
        raise AttributeError(f"module 'tastemaker' has no attribute '{name}'")
    return getattr(import_module(f"tastemaker.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
