"""Data whose right recommendation is known by construction, before any real data."""

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
    """A log, requests of strangers, and what must come first for each of them.

    Attributes:
        dataset: what to fit on.
        requests: of people who are not in the data, with histories of five or more events.
        right: the items that may come first, per request, as indices.
        world: what is known of the items.
    """

    dataset: Dataset
    requests: Requests
    right: list[set[int]]
    inventory: Inventory


def checkerboard(size: int = 50) -> KnownAnswer:
    """Even users like even items, odd users odd ones, all but the item of their own number.

    That item is the only one of their colour they have not seen: it must come first.
    """
    likes = [[i for i in range(u % 2, size, 2) if i != u] for u in range(size)]
    groups = [("even", "odd")[item % 2] for item in range(size)]
    return _known(likes, asked=likes, right=[{u} for u in range(size)], groups=groups)


def planted_tastes(tastes: int = 4, items: int = 12, users: int = 25, seed: int = 0) -> KnownAnswer:
    """As many equal tastes; every user likes two thirds of one taste and one item of another.

    Whoever liked five items of a taste must first be given another item of it.
    """
    random = np.random.default_rng(seed)
    likes = []
    for user in range(tastes * users):
        taste = user % tastes
        own = taste * items + random.permutation(items)[: 2 * items // 3]
        foreign = (taste + 1 + random.integers(tastes - 1)) % tastes * items
        likes.append([*own.tolist(), int(foreign + random.integers(items))])
    asked = [list(range(taste * items, taste * items + 5)) for taste in range(tastes)]
    right = [set(range(taste * items + 5, (taste + 1) * items)) for taste in range(tastes)]
    return _known(likes, asked, right, [f"taste {item // items}" for item in range(tastes * items)])


def blockbuster(fans: int = 15, others: int = 150, items: int = 10, seed: int = 1) -> KnownAnswer:
    """A small circle beside a large one, and two items that everybody likes.

    Whoever liked five items of the small circle must first be given another of its items, though
    every item of the large circle is many times as popular.
    """
    random = np.random.default_rng(seed)
    likes = []
    for user in range(fans + others):
        circle = 0 if user < fans else items
        own = circle + random.permutation(items)[:7]
        likes.append([*own.tolist(), 2 * items, 2 * items + 1])
    asked = [[2 * items, 2 * items + 1, 0, 1, 2, 3, 4]]
    groups = ["small circle"] * items + ["large circle"] * items + ["everybody's"] * 2
    return _known(likes, asked, [set(range(5, items))], groups)


def _known(
    likes: Sequence[Sequence[int]],
    asked: Sequence[Sequence[int]],
    right: Sequence[set[int]],
    groups: Sequence[str],
) -> KnownAnswer:
    """Item i gets an id that sorts as i does, so that its index is i; likes come in any order.

    Its category is its group, so that the answer can also be known by what items are about.
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
    requests = Requests.of(list(asked), time=dataset.end)
    return KnownAnswer(dataset, requests, list(right), Inventory.of(dataset))
