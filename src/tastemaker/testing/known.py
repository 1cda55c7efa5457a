"""Data sets whose right recommendation is known by construction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.inventory import Inventory

_SCHEMA = Schema(
    kinds={"like": EventKind()}, time_unit="us", item_roles={"group": ColumnRole(role="category")}
)
_START = 1_600_000_000_000_000


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A log, requests of anonymous users, and the items that must come first for each.

    Attributes:
        dataset: the log to fit on.
        requests: requests of users outside the data, with histories of five or more events.
        right: the item indices that may come first, for each request.
        inventory: the items with their statistics.
    """

    dataset: Dataset
    requests: Requests
    right: list[set[int]]
    inventory: Inventory


def checkerboard(size: int = 50) -> KnownAnswer:
    """Even users like all even items and odd users all odd items, except the item of their number.

    That item is the only one of the same parity that the user has not seen: it must come first.
    """
    likes = [[i for i in range(u % 2, size, 2) if i != u] for u in range(size)]
    groups = [("even", "odd")[item % 2] for item in range(size)]
    return _known(likes, histories=likes, right=[{u} for u in range(size)], groups=groups)


def planted_tastes(tastes: int = 4, items: int = 12, users: int = 25, seed: int = 0) -> KnownAnswer:
    """Equally large tastes; every user likes two thirds of one taste and one item of another.

    A user who liked five items of a taste must get another item of that taste first.
    """
    random = np.random.default_rng(seed)
    likes = []
    for user in range(tastes * users):
        taste = user % tastes
        own = taste * items + random.permutation(items)[: 2 * items // 3]
        other = (taste + 1 + random.integers(tastes - 1)) % tastes * items
        likes.append([*own.tolist(), int(other + random.integers(items))])
    histories = [list(range(taste * items, taste * items + 5)) for taste in range(tastes)]
    right = [set(range(taste * items + 5, (taste + 1) * items)) for taste in range(tastes)]
    return _known(
        likes, histories, right, [f"taste {item // items}" for item in range(tastes * items)]
    )


def blockbuster(fans: int = 15, others: int = 150, items: int = 10, seed: int = 1) -> KnownAnswer:
    """A small group of users beside a large one, and two items that every user likes.

    A user who liked five items of the small group must get another of its items first, although
    every item of the large group is many times as popular.
    """
    random = np.random.default_rng(seed)
    likes = []
    for user in range(fans + others):
        first_item = 0 if user < fans else items
        own = first_item + random.permutation(items)[:7]
        likes.append([*own.tolist(), 2 * items, 2 * items + 1])
    histories = [[2 * items, 2 * items + 1, 0, 1, 2, 3, 4]]
    groups = ["small group"] * items + ["large group"] * items + ["blockbuster"] * 2
    return _known(likes, histories, [set(range(5, items))], groups)


def _known(
    likes: Sequence[Sequence[int]],
    histories: Sequence[Sequence[int]],
    right: Sequence[set[int]],
    groups: Sequence[str],
) -> KnownAnswer:
    """A data set in which item i has index i, because its id sorts like i; likes are shuffled.

    The category of an item is its group, so content-based models can find the answer as well.
    """
    random = np.random.default_rng(len(likes))
    orders = [random.permutation(np.asarray(items)) for items in likes]
    rows = [(u, int(i), t) for u, items in enumerate(orders) for t, i in enumerate(items)]
    log = pl.DataFrame(
        {
            "user_id": [f"user-{u:04}" for u, _, _ in rows],
            "item_id": [f"item-{i:04}" for _, i, _ in rows],
            "timestamp": [_START + 1_000_000 * t for _, _, t in rows],
        }
    )
    items = pl.DataFrame({"item_id": [f"item-{i:04}" for i in range(len(groups))], "group": groups})
    dataset = Dataset.from_frames(log, items=items, schema=_SCHEMA)
    requests = Requests.of(list(histories), time=dataset.end)
    return KnownAnswer(dataset, requests, list(right), Inventory.of(dataset))
