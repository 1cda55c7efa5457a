"""Complements: items of related categories that are bought in addition to an item."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.sparse import csr_array

from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.catalogue import Catalogue, CategoryColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.times import parse_duration
from tastemaker.errors import DataError, did_you_mean
from tastemaker.index.heap import best_first, keep
from tastemaker.retrieval.item_item import ItemItem
from tastemaker.retrieval.item_rows import learned_rows
from tastemaker.retrieval.neighbors.visits import visits_of
from tastemaker.retrieval.opinions import DislikeSettings


class ComplementsConfig(DislikeSettings):
    """Settings of `Complements`."""

    neighbors: int = Field(100, ge=1)
    """Maximum number of complements per item."""
    category: str | None = None
    """The column with the category of an item; by default the first category column."""
    related: int = Field(10, ge=1)
    """Number of other categories related to each: those that most of its buyers also buy from."""
    kinds: tuple[str, ...] = ()
    """The kinds of event that count, such as purchases; by default all positive kinds."""
    time_scale: str = "1d"
    """A pair of events counts half after this time: a number and s, m, h, d or w."""
    steps: int = Field(100, ge=1)
    """Maximum number of the user's next events to pair with an event."""
    shrinkage: float = Field(5.0, ge=0)
    """Added to the denominator: shrinks the weights of pairs with few users towards zero."""

    @field_validator("time_scale")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        parse_duration(value, "time_scale")
        return value


class Complements(ItemItem):
    """Surprise, without its clusters (Yang, Zhu, Zhao, Wang, Zhou, Ma & Zhu 2020, §3.2).

    Item j is a complement of i if it is bought together with i or later, and its category is
    related to the category of i, but different. The weight is larger the more often and the sooner
    this happens:

        w(i, j) = Σ over users of 1/(1 + (t_uj − t_ui)/time_scale) / (√(n_i n_j) + shrinkage)

    with n the number of users of an item; repeated purchases add every such pair of events. The
    categories related to c are those d ≠ c with the highest share of c's buyers, n(c, d)/n(c). An
    item without a category has no complements. A candidate scores Σ over the history of weight × w.

    Attributes:
        weights: float32[items × items]; row i has the complements of i.

    Cost: `fit` takes events × steps; a request, history × neighbors.

    Raises:
        ClockError: from `fit`, if the data has no absolute times.
        DataError: from `fit`, if the catalogue does not have the category column.

    Example:
        >>> Complements(kinds=("purchase",))
        Complements(kinds=('purchase',))
    """

    name = "complements"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    requires_timestamps: ClassVar = "absolute"
    reason_text: ClassVar[str] = "goes with what you have"
    config: ComplementsConfig

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by counting pairs of subsequent purchases across related categories."""
        dataset.require_clock("Complements")
        category, n_categories = _categories(dataset.catalogue, self.config.category)
        visits = visits_of(dataset, None, self.config.kinds)
        n_items, neighbors = len(dataset.catalogue), self.config.neighbors
        options.require_memory(
            16 * n_items * min(neighbors, n_items) + 48 * len(visits.item) + 17 * n_categories**2,
            f"Complements on {n_items:,} items of {n_categories:,} categories",
            "lower 'neighbors', or name a coarser 'category'",
        )
        users = visits.binary(n_items)
        counts = np.bincount(users.indices, minlength=n_items).astype(np.float32)
        related = _related(users, category, n_categories, self.config.related)
        last = visits.ends()
        place, offsets = visits.places(n_items)
        scale = float(parse_duration(self.config.time_scale, "time_scale"))

        def learn(
            items: NDArray[np.int32],
            near: NDArray[np.int32],
            strength: NDArray[np.float32],
            found: NDArray[np.int64],
        ) -> None:
            _complements(
                *(items, offsets, place, visits.item, visits.time, last, self.config.steps),
                *(scale, category, related, counts, np.float32(self.config.shrinkage)),
                *(near, strength, found),
            )

        every = np.arange(n_items, dtype=np.int32)
        label = "Complements: pairs"
        self.weights = learned_rows(learn, every, np.diff(offsets), neighbors, options, label)
        self.n_fitted = n_items
        return self


def _categories(catalogue: Catalogue, name: str | None) -> tuple[NDArray[np.int32], int]:
    """The category of each item, −1 if it has none, int32[items]; and the number of categories."""
    columns = {n: c for n, c in catalogue.columns.items() if isinstance(c, CategoryColumn)}
    fix = "give a column of the items the role 'category' under [items.roles]"
    if name is None and not columns:
        raise DataError(f"Complements needs a category for each item: {fix}")
    if name is not None and name not in columns:
        hint = did_you_mean(name, columns)
        raise DataError(f"Complements: the catalogue has no category column '{name}'{hint}; {fix}")
    column = columns[name] if name is not None else next(iter(columns.values()))
    codes = np.full(len(column.codes), -1, np.int32)
    has = column.codes.counts > 0
    codes[has] = column.codes.values[column.codes.offsets[:-1][has]]
    return codes, len(column.labels)


def _related(
    users: csr_array, category: NDArray[np.int32], n_categories: int, most: int
) -> NDArray[np.bool_]:
    """Whether the second category is related to the first, bool[categories × categories]."""
    known = np.flatnonzero(category >= 0)
    entries = (np.ones(len(known), np.float32), (known, category[known]))
    buys = users @ csr_array(entries, shape=(len(category), n_categories))
    buys.data[:] = 1
    together = (buys.T @ buys).toarray()
    np.fill_diagonal(together, 0)
    # The share n(c, d)/n(c) orders the categories d as n(c, d) does.
    order = np.argsort(-together, axis=1, kind="stable")[:, :most]
    related = np.zeros(together.shape, np.bool_)
    np.put_along_axis(related, order, values=True, axis=1)
    related &= together > 0
    return related


@kernel
def _complements(  # type: ignore[no-untyped-def]
    items, offsets, place, item, time, last, steps, scale, category, related, counts, shrinkage,
    near, strength, found,
):  # fmt: skip
    """Writes the strongest complements of each of `items`, strongest first.

    Items with the same timestamp were bought together, regardless of their order.
    """
    n_items = len(offsets) - 1
    row = np.zeros(n_items, np.float64)
    touched = np.empty(n_items, np.int32)
    for at in range(len(items)):
        one, together = items[at], 0
        for entry in range(offsets[one], offsets[one + 1]):
            if category[one] < 0:
                break
            here = place[entry]
            first = here
            while first > 0 and last[first - 1] == last[here] and time[first - 1] == time[here]:
                first -= 1
            for later in range(first, min(here + 1 + steps, last[here])):
                other = item[later]
                if category[other] < 0 or not related[category[one], category[other]]:
                    continue
                if row[other] == 0:
                    touched[together] = other
                    together += 1
                row[other] += 1.0 / (1.0 + (time[later] - time[here]) / scale)
        kept = 0
        for other in touched[:together]:
            under = np.sqrt(counts[one] * counts[other]) + shrinkage
            score = np.float32(row[other] / under)
            kept = keep(score, other, near[at], strength[at], kept)
            row[other] = 0
        best_first(near[at], strength[at], kept)
        found[at] = kept
