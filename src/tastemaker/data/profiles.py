"""User profiles: the user table's columns that requests carry, and their most frequent labels.

A fitted version stores only this description, not the users. The values come with the request, from
attached data or from a store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tastemaker.data.additions import fitting_cell
from tastemaker.data.catalogue import COLUMN_TYPES, Catalogue, Column, TagsColumn

ROLES = ("number", "time", "category", "tags")
"""The roles of user columns that are used for features."""
MOST_LABELS = 12
"""The number of most frequent labels of a column that are distinguished."""
_FEWEST_USERS = 2


@dataclass(frozen=True, slots=True)
class ProfileSchema:
    """The user table's columns that are used for features; empty without a user table.

    Attributes:
        roles: user column → number, time, category or tags.
        labels: user column of labels → its most frequent labels that at least two users have.
        item_labels: item column of labels → its most frequent labels, for which the preferences of
            user groups are learned.
        matched: (user column, item column) pairs that have labels in common.
    """

    roles: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    item_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    matched: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, profiles: Mapping[str, Column], catalogue: Catalogue) -> "ProfileSchema":
        """The description of a user table's columns, given the catalogue's columns."""
        used = {name: column for name, column in profiles.items() if column.role in ROLES}
        if not used:
            return cls()
        of_users = {n: c for n, c in used.items() if isinstance(c, TagsColumn)}
        of_items = {n: c for n, c in catalogue.columns.items() if isinstance(c, TagsColumn)}
        return cls(
            {name: column.role for name, column in used.items()},
            {name: _frequent(column) for name, column in of_users.items()},
            {name: _frequent(column) for name, column in of_items.items()},
            tuple(
                (user, item)
                for user, mine in of_users.items()
                for item, theirs in of_items.items()
                if (theirs.labels.indices(mine.labels.ids(range(len(mine.labels)))) >= 0).any()
            ),
        )

    def __bool__(self) -> bool:
        return bool(self.roles)

    def columns(self, attributes: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
        """Users' attributes, one mapping per user, as columns.

        Values that are absent or do not fit their column are missing.
        """
        return {
            name: COLUMN_TYPES[role].of(
                [fitting_cell(name, role, user.get(name)) for user in attributes]
            )
            for name, role in self.roles.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The description as a JSON-compatible dict."""
        return {
            "roles": dict(self.roles),
            "labels": {name: list(labels) for name, labels in self.labels.items()},
            "item_labels": {name: list(labels) for name, labels in self.item_labels.items()},
            "matched": [list(pair) for pair in self.matched],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "ProfileSchema":
        """The description from the result of `to_dict`."""
        return cls(
            {name: str(role) for name, role in stored["roles"].items()},
            {name: tuple(labels) for name, labels in stored["labels"].items()},
            {name: tuple(labels) for name, labels in stored["item_labels"].items()},
            tuple((user, item) for user, item in stored["matched"]),
        )


def _frequent(column: TagsColumn) -> tuple[str, ...]:
    """The most frequent labels; equally frequent ones in alphabetical order."""
    counts = np.bincount(column.codes.values, minlength=len(column.labels))
    known = np.flatnonzero(counts >= _FEWEST_USERS).tolist()
    named = sorted((-int(counts[code]), column.labels.id(code)) for code in known)
    return tuple(label for _, label in named[:MOST_LABELS])
