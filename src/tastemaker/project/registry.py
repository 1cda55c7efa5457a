"""Component name → class, for our components and those of installed packages.

A package registers its components under the entry-point groups `tastemaker.retrievers`,
`tastemaker.rankers` and `tastemaker.rerankers`.
"""

from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeVar

from tastemaker.component import Component, Ranker, Reranker, Retriever
from tastemaker.errors import ProjectError, did_you_mean

ComponentT = TypeVar("ComponentT", bound=Component)

_OURS: dict[type[Component], dict[str, str]] = {
    Retriever: {
        "als": "tastemaker.retrieval.als:ALS",
        "bought_together": "tastemaker.retrieval.neighbors:BoughtTogether",
        "complements": "tastemaker.retrieval.neighbors:Complements",
        "bspm": "tastemaker.retrieval.linear:BSPM",
        "content": "tastemaker.retrieval.content:Content",
        "cooccurrence_graph": "tastemaker.retrieval.graph:CooccurrenceGraph",
        "ease": "tastemaker.retrieval.linear:EASE",
        "feature_ease": "tastemaker.retrieval.linear:FeatureEASE",
        "graph_filter": "tastemaker.retrieval.linear:GraphFilter",
        "item2vec": "tastemaker.retrieval.graph:Item2Vec",
        "item_knn": "tastemaker.retrieval.neighbors:ItemKNN",
        "new_items": "tastemaker.retrieval.new_items:NewItems",
        "node2vec": "tastemaker.retrieval.graph:Node2Vec",
        "p3_alpha": "tastemaker.retrieval.neighbors:P3Alpha",
        "popular": "tastemaker.retrieval.popular:Popular",
        "propagation": "tastemaker.retrieval.graph:Propagation",
        "rp3_beta": "tastemaker.retrieval.neighbors:RP3Beta",
        "sequential_rules": "tastemaker.retrieval.neighbors:SequentialRules",
        "session_knn": "tastemaker.retrieval.neighbors:SessionKNN",
        "swing": "tastemaker.retrieval.neighbors:Swing",
        "slim": "tastemaker.retrieval.linear:SLIM",
        "sparse_ease": "tastemaker.retrieval.linear:SparseEASE",
        "trending": "tastemaker.retrieval.trending:Trending",
        "user_knn": "tastemaker.retrieval.neighbors:UserKNN",
    },
    Ranker: {
        "gbm": "tastemaker.ranking.gbm:GBM",
    },
    Reranker: {
        "explore": "tastemaker.reranking.explore:Explore",
        "mmr": "tastemaker.reranking.mmr:MMR",
        "rules": "tastemaker.reranking.rules:Rules",
    },
}


def our_names(part: type[Component]) -> tuple[str, ...]:
    """Returns the names of the components that come with Tastemaker.

    Args:
        part: `Retriever`, `Ranker` or `Reranker`.
    """
    return tuple(_OURS[part])


def component_class(name: str, part: type[ComponentT]) -> type[ComponentT]:
    """Returns the class registered under a name.

    Args:
        name: the name in a project file.
        part: the required base class: `Retriever`, `Ranker` or `Reranker`.

    Raises:
        ProjectError: nothing is registered under the name (the message suggests a similar one),
            or the registered object cannot be used.
    """
    kind = part.__name__.lower()
    if name in _OURS[part]:
        module, _, attribute = _OURS[part][name].partition(":")
        loaded: type[ComponentT] = getattr(import_module(module), attribute)
        return loaded
    others = {point.name: point for point in entry_points(group=f"tastemaker.{kind}s")}
    if name not in others:
        hint = did_you_mean(name, {*_OURS[part], *others})
        raise ProjectError(f"no {kind} is called '{name}'{hint}")
    where = f"the {kind} '{name}' ({others[name].value})"
    try:
        found = others[name].load()
    except (ImportError, AttributeError) as problem:
        raise ProjectError(f"{where} cannot be loaded: {problem}") from None
    if not (isinstance(found, type) and issubclass(found, part)):
        raise ProjectError(f"{where} is not a {part.__name__}")
    if getattr(found, "name", None) != name:
        declared = getattr(found, "name", None)
        raise ProjectError(f"{where} must declare name = '{name}', but its class has {declared!r}")
    return found
