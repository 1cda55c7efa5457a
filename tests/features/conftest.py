"""A small inventory made by hand, and the features of one request in it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from tastemaker.component import Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import Catalogue, Column
from tastemaker.data.events import Events, Histories
from tastemaker.data.ragged import Ragged, offsets_of
from tastemaker.data.requests import Masks, Requests
from tastemaker.data.schema import EventKind
from tastemaker.data.times import MICROSECONDS
from tastemaker.data.vocabulary import Vocabulary
from tastemaker.features import Family, FeatureSet
from tastemaker.inventory import Inventory
from tastemaker.statistics import ItemStatistics

HOUR = MICROSECONDS["h"]
NOW = 20_000 * 24 * HOUR
KINDS = {"view": EventKind(), "buy": EventKind(weight=6.0), "hide": EventKind(role="negative")}
WEIGHTS = {"view": 1.0, "buy": 6.0, "hide": -1.0}

LogRow = tuple[int, float, str]  # item, hours before NOW, kind
HistoryRow = tuple[int, float, float]  # item, hours before NOW, weight


def moment(hours_ago: float) -> int:
    return NOW - round(hours_ago * HOUR)


def inventory_of(
    log: Sequence[LogRow] = (), n_items: int = 5, columns: Mapping[str, Column] | None = None
) -> Inventory:
    rows = sorted(log, key=lambda row: -row[1])
    n = len(rows)
    events = Events(
        np.array([0, n]),
        np.zeros(n, np.int32),
        np.array([item for item, _, _ in rows], np.int32),
        np.array([list(KINDS).index(kind) for _, _, kind in rows], np.int8),
        np.full(n, np.nan, np.float32),
        np.array([WEIGHTS[kind] for _, _, kind in rows], np.float32),
        np.array([moment(ago) for _, ago, _ in rows], np.int64),
    )
    catalogue = Catalogue(Vocabulary.of([f"i{i}" for i in range(n_items)]), columns or {})
    return Inventory(catalogue, ItemStatistics.of(events, n_items, KINDS), NOW, "absolute")


def requests_of(histories: Sequence[Sequence[HistoryRow]], times: Sequence[int]) -> Requests:
    rows_by_request = [sorted(history, key=lambda row: -row[1]) for history in histories]
    flat = [row for history in rows_by_request for row in history]
    history = Histories(
        offsets_of([len(row) for row in rows_by_request]),
        np.array([item for item, _, _ in flat], np.int32),
        np.zeros(len(flat), np.int8),
        np.full(len(flat), np.nan, np.float32),
        np.array([weight for _, _, weight in flat], np.float32),
        np.array([moment(ago) for _, ago, _ in flat], np.int64),
    )
    n = len(times)
    return Requests(
        np.array(times, np.int64),
        history,
        Ragged.of([[]] * n),
        Masks.everything(n),
        np.arange(n, dtype=np.uint64),
        (None,) * n,
    )


def found_of(items: Sequence[Sequence[int]]) -> Candidates:
    return Candidates.of([(row, np.zeros(len(row))) for row in items])


def described(
    family: Family,
    items: Sequence[int] = (0,),
    *,
    log: Sequence[LogRow] = (),
    history: Sequence[HistoryRow] = (),
    hours_ago: float = 0,
    columns: Mapping[str, Column] | None = None,
    sources: Mapping[str, Retriever] | None = None,
    inventory: Inventory | None = None,
) -> dict[str, list[float]]:
    """The values of each column for one request with some candidates."""
    made = inventory or inventory_of(log, columns=columns)
    requests, found = requests_of([history], [moment(hours_ago)]), found_of([items])
    features = FeatureSet([family]).build(requests, found, made, sources or {})
    return {name: features.values[:, place].tolist() for place, name in enumerate(features.names)}


@pytest.fixture
def describe() -> Callable[..., dict[str, list[float]]]:
    return described


@pytest.fixture
def make_inventory() -> Callable[..., Inventory]:
    return inventory_of


@pytest.fixture
def make_requests() -> Callable[..., Requests]:
    return requests_of


@pytest.fixture
def make_found() -> Callable[..., Candidates]:
    return found_of


@pytest.fixture
def now() -> int:
    return NOW
