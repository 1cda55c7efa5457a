"""Reasons for recommended items: an item of the history, and the source that found the item.

The wording depends on the event type: "because you bought …" after a purchase.
"""

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import Explains, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.event_verbs import verb_of
from tastemaker.data.requests import Requests
from tastemaker.data.titles import display_title
from tastemaker.giving_way import give_way
from tastemaker.inventory import Inventory
from tastemaker.retrieval import Popular

_LOG = logging.getLogger(__name__)
LONGEST_TITLE_IN_REASON = 200
"""The most characters of a title in a reason."""
_CHOSE = "chose"
_UNFOUND = np.iinfo(np.int16).max


def reasons_of(
    request: Requests, shown: Candidates, inventory: Inventory, retrievers: Mapping[str, Retriever]
) -> list[list[dict[str, Any]]]:
    """The reasons of each item of one list, strongest first.

    The first reason is the liked item that supports the item most, according to the source that
    ranked it highest among those that can explain. The last reason is the source that ranked it
    highest.

    Args:
        request: one request.
        shown: its list.
        inventory: item data.
        retrievers: name → source.
    """
    why: list[list[dict[str, Any]]] = [[] for _ in shown.item]
    if not shown.sources:
        return why
    ranks = np.where(shown.source_rank < 0, _UNFOUND, shown.source_rank)
    for entry, reason in _because_of_history(request, shown, ranks, inventory, retrievers).items():
        why[entry].append(reason)
    for entry, place in enumerate(ranks.argmin(axis=1).tolist()):
        give_way()
        rank = int(ranks[entry, place])
        if rank != _UNFOUND:
            name = shown.sources[place]
            # the popularity fallback is not a retriever of the project
            because = retrievers.get(name, Popular).reason_text
            text = f"{because} ({name}, rank {rank + 1})"
            why[entry].append({"kind": "source", "text": text, "source": name})
    return why


def _because_of_history(
    request: Requests,
    shown: Candidates,
    ranks: NDArray[np.int16],
    inventory: Inventory,
    retrievers: Mapping[str, Retriever],
) -> dict[int, dict[str, Any]]:
    """Entry → the liked item that supports it; each source explains the items it ranked best."""
    explaining = [
        place
        for place, name in enumerate(shown.sources)
        if name in retrievers and _explains(type(retrievers[name]))
    ]
    found: dict[int, dict[str, Any]] = {}
    if not explaining or not len(shown.item):
        return found
    verbs = _verbs(request, inventory)
    own_ranks = ranks[:, explaining]
    preferred = np.argsort(own_ranks, axis=1, kind="stable")
    for turn in range(len(explaining)):  # the source that ranked it highest may not explain it
        for choice, place in enumerate(explaining):
            entries = [
                entry
                for entry in np.flatnonzero(preferred[:, turn] == choice).tolist()
                if entry not in found and own_ranks[entry, choice] != _UNFOUND
            ]
            if entries:
                give_way()
                name = shown.sources[place]
                found |= _explained(
                    name, request, shown, np.array(entries), inventory, retrievers, verbs
                )
    return found


def _explained(
    name: str,
    request: Requests,
    shown: Candidates,
    entries: NDArray[np.int64],
    inventory: Inventory,
    retrievers: Mapping[str, Retriever],
    verbs: Mapping[int, str],
) -> dict[int, dict[str, Any]]:
    """Entry → the reason that one source gives for it."""
    retriever = cast(Explains, retrievers[name])
    some = shown.entries(entries, np.array([0, len(entries)]))
    try:
        liked, share = retriever.explain(request, some)
    except Exception:  # an answer without this reason is better than no answer
        _LOG.exception("the source '%s' failed to explain its candidates", name)
        return {}
    reasons = {}
    for entry, item, weight in zip(entries.tolist(), liked.tolist(), share.tolist()):
        give_way()
        if item >= 0:
            item_id = inventory.catalogue.items.id(item)
            title = display_title(
                inventory.catalogue.title(item, LONGEST_TITLE_IN_REASON) or item_id
            )
            reasons[entry] = {
                "kind": "because_you_liked",
                "text": f"because you {verbs.get(item, _CHOSE)} {title}",
                "source": name,
                "item_id": item_id,
                "weight": round(weight, 4),
            }
    return reasons


def _verbs(request: Requests, inventory: Inventory) -> dict[int, str]:
    """Item of the history → the verb of the user's event with the largest weight."""
    history, names = request.history, inventory.statistics.kinds
    liked = np.flatnonzero(history.weight > 0)
    strongest_first = liked[np.argsort(-history.weight[liked], kind="stable")]
    items, first = np.unique(history.item[strongest_first], return_index=True)
    kinds = history.kind[strongest_first[first]]
    return {
        item: verb_of(names[kind]) if kind < len(names) else _CHOSE
        for item, kind in zip(items.tolist(), kinds.tolist())
    }


@lru_cache(maxsize=256)
def _explains(kind: type) -> bool:
    """Whether retrievers of a class can explain; cached, because protocol checks are slow."""
    return issubclass(kind, Explains)
