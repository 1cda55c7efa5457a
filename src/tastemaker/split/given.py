"""A published split: the train and test files of a paper."""

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.catalogue import Catalogue
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Events
from tastemaker.data.frames import as_polars
from tastemaker.data.propose import propose_schema
from tastemaker.data.ragged import offsets_of, sorted_distinct
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.vocabulary import Vocabulary
from tastemaker.errors import DataError
from tastemaker.split.by_time import Split
from tastemaker.split.pairs import (
    codes_of,
    contained,
    draw_per_user,
    liked_pairs,
    pairs_task,
    protocol_of,
    require_shares,
    without,
)


def given(
    train: Any,
    test: Any,
    *,
    validation: Any = 0.1,
    schema: Schema | None = None,
    seed: int = 0,
) -> Split:
    """Uses a published split: train pairs are the histories, test pairs the relevant items.

    Each user with pairs on both sides makes one request. No clock is required. Tune on the
    validation task, for which models are fitted on `train` without the validation pairs. For the
    test, they are fitted on `train` with these pairs, whether or not `train` contains them.

    Args:
        train: a Dataset, or a frame (Polars, pandas, Arrow) of user–item pairs.
        test: the same for the test; test pairs that are also in train are left out and counted.
        validation: the pairs for tuning in the same form, or the share of each user's train pairs
            to draw.
        schema: the meaning of the columns of frames; by default proposed from `train`.
        seed: the seed of the validation pairs, if `validation` is a share.

    Returns:
        A split whose parts share the indices of users and items.

    Raises:
        DataError: the tables have different event types, or no user in test has a history.
        SettingError: the share is not between 0 and 1, or the seed is not an integer of at least 0.

    Example:
        >>> import polars as pl
        >>> train = pl.DataFrame({"user_id": ["a", "a", "b", "b"], "item_id": ["x", "y", "x", "z"]})
        >>> test = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["z", "y"]})
        >>> split = given(train, test, validation=0.5)
        >>> split.test.requests.user_id, split.test.notes["relevant"]
        (('a', 'b'), 2)
    """
    if schema is None and not isinstance(train, Dataset):
        schema = propose_schema(as_polars(train, "train"))
    tables = {"train": train, "test": test}
    is_share = isinstance(validation, Real)
    if is_share:
        require_shares({"validation": validation})
    else:
        tables["validation"] = validation
    named = {name: _dataset(table, name, schema) for name, table in tables.items()}
    parts = dict(zip(named, _with_common_indices(named)))
    learned, n_items = parts["train"], len(parts["train"].catalogue)
    if is_share:
        shares = {"validation": validation}
        (validation_pairs,) = draw_per_user(liked_pairs(learned), n_items, shares, seed)
        held_out = validation_pairs
        how = f"{validation:g} of each user's train pairs, at random (seed {seed})"
        before_test = learned
    else:
        validation_pairs, how = liked_pairs(parts["validation"]), "given"
        held_out = sorted_distinct(codes_of(parts["validation"]))
        before_test = _join(learned, parts["validation"])
    train_alone = without(before_test, held_out)
    seen = SeenPolicy.of(learned.kinds)
    return Split(
        train_alone,
        pairs_task(train_alone, validation_pairs, name="validation", seen=seen),
        before_test,
        pairs_task(before_test, liked_pairs(parts["test"]), name="test", seen=seen),
        seen,
        protocol_of("given", held_out=f"test: given; validation: {how}"),
    )


def _dataset(table: Any, name: str, schema: Schema | None) -> Dataset:
    """A table as a data set."""
    if isinstance(table, Dataset):
        return table
    frame = as_polars(table, name)
    return Dataset.from_frames(frame, schema=schema or propose_schema(frame))


def _with_common_indices(named: dict[str, Dataset]) -> list[Dataset]:
    """The data sets with common indices; new users and items come after those of train."""
    first = named["train"]
    users, catalogue = first.users, first.catalogue
    for name, data in named.items():
        # Events refer to their kind by position, so the order of the kinds must be equal too.
        if list(data.kinds.items()) != list(first.kinds.items()) or data.clock != first.clock:
            raise DataError(
                f"{name} has the event types {', '.join(data.kinds)} and clock '{data.clock}', "
                f"train {', '.join(first.kinds)} and '{first.clock}'; pass one 'schema' for all"
            )
        users = users.extended(_unknown(users, data.users))
        catalogue = catalogue.extended(_unknown(catalogue.items, data.catalogue.items))
    whole = Catalogue(catalogue.items, catalogue.columns)
    return [
        Dataset(whole, users, _reindex(data, users, whole.items), first.kinds, first.clock)
        for data in named.values()
    ]


def _unknown(known: Vocabulary, more: Vocabulary) -> list[str]:
    """The ids of `more` that are not in `known`."""
    ids = more.ids(range(len(more)))
    return [id_ for id_, index in zip(ids, known.indices(ids)) if index < 0]


def _reindex(data: Dataset, users: Vocabulary, items: Vocabulary) -> Events:
    """The events of a data set with other indices."""
    user = users.indices(data.users.ids(range(len(data.users))))
    item = items.indices(data.catalogue.items.ids(range(len(data.catalogue))))
    log = data.events
    renamed = replace(log, user=user[log.user], item=item[log.item])
    order = np.argsort(renamed.user, kind="stable")
    return _sort(_columns(renamed), order, len(users), data.kinds)


def _join(train: Dataset, validation: Dataset) -> Dataset:
    """Train with the validation events of pairs that train does not have."""
    pairs = sorted_distinct(codes_of(train))
    more = validation.where(~contained(codes_of(validation), pairs)).events
    if train.clock == "ordinal":  # positions of two files: validation comes after train
        more = replace(more, time=more.time + train.end)
    columns = _columns(train.events), _columns(more)
    columns_of_both = [np.concatenate([ours, theirs]) for ours, theirs in zip(*columns)]
    order = np.lexsort((columns_of_both[-1], columns_of_both[0]))
    events = _sort(columns_of_both, order, len(train.users), train.kinds)
    return Dataset(train.catalogue, train.users, events, train.kinds, train.clock, train.profiles)


def _columns(events: Events) -> list[NDArray[Any]]:
    """The columns user, item, kind, value and time of the events."""
    return [events.user, events.item, events.kind, events.value, events.time]


def _sort(
    columns: list[NDArray[Any]],
    order: NDArray[np.intp],
    n_users: int,
    kinds: Mapping[str, EventKind],
) -> Events:
    """The events of these columns in an order by user and time."""
    user, item, kind, value, time = (column[order] for column in columns)
    offsets = offsets_of(np.bincount(user, minlength=n_users))
    return Events.of(offsets, user, item, kind, value, time, kinds)
