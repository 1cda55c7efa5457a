"""Names of components → classes; ours, and those of installed packages by entry point.

A package offers its own under the entry-point group `tastemaker.retrievers`.
"""

from importlib import import_module
from importlib.metadata import entry_points

from tastemaker.component import Retriever
from tastemaker.errors import ProjectError, near_miss

ENTRY_POINTS = "tastemaker.retrievers"

_OURS = {
    "als": "tastemaker.retrieval.als:ALS",
    "ease": "tastemaker.retrieval.ease:EASE",
    "item_knn": "tastemaker.retrieval.item_knn:ItemKNN",
    "popular": "tastemaker.retrieval.popular:Popular",
    "trending": "tastemaker.retrieval.trending:Trending",
}


def component_class(name: str) -> type[Retriever]:
    """The class registered under a name.

    Raises:
        ProjectError: nothing is registered under it (names the near miss), or what is there
            cannot be used.
    """
    if name in _OURS:
        module, _, attribute = _OURS[name].partition(":")
        loaded: type[Retriever] = getattr(import_module(module), attribute)
        return loaded
    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in others:
        raise ProjectError(f"no retriever is called '{name}'{near_miss(name, {*_OURS, *others})}")
    where = f"the retriever '{name}' ({others[name].value})"
    try:
        found = others[name].load()
    except (ImportError, AttributeError) as problem:
        raise ProjectError(f"{where} cannot be loaded: {problem}") from None
    if not (isinstance(found, type) and issubclass(found, Retriever)):
        raise ProjectError(f"{where} is not a Retriever")
    if getattr(found, "name", None) != name:
        told = getattr(found, "name", None)
        raise ProjectError(f"{where} must declare name = '{name}', its class says {told!r}")
    return found
