"""A recommender keeps its invariants under any sequence of operations."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tastemaker.component import FitOptions
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import EventKind, Schema
from tastemaker.pipeline import Recommendations, Recommender
from tastemaker.project import Placement, Training
from tastemaker.ranking import GBM
from tastemaker.reranking import Rules
from tastemaker.retrieval import Content, ItemKNN, Popular, Trending

GENRES = ("red", "blue")
FITTED = tuple(f"{genre}-{place}" for genre in GENRES for place in range(8))
LATER = tuple(f"{genre}-new-{place}" for genre in GENRES for place in range(2))
USERS = tuple(f"u{number}" for number in range(6))
FRESH = ("v0", "v1")
SCHEMA = Schema(
    kinds={"like": EventKind(), "hide": EventKind(role="negative", hide_item=True)},
    item_roles={"genre": {"role": "category"}},  # type: ignore[dict-item]
    user_roles={"favorite": {"role": "category"}},  # type: ignore[dict-item]
)
BLOCKED = {"red-1", "blue-2", "red-new-0"}
PLACES = ("home", "again", "learned")
START = 1_700_000_000_000_000
HOUR = 3_600_000_000
Event = tuple[str, str, str, int]
ALL = 60
items = st.sampled_from(FITTED)
counts = st.sampled_from([0, 1, 5, 11, 60])


def genre_of(item: str) -> str:
    return item.split("-")[0]


def dataset(log: list[Event], extra: tuple[str, ...]) -> Dataset:
    ids = [*FITTED, *extra]
    columns = ("user_id", "item_id", "event_type", "timestamp")
    events = pl.DataFrame(log, schema=columns, orient="row")
    table = pl.DataFrame({"item_id": ids, "genre": [genre_of(item) for item in ids]})
    profiles = {"user_id": USERS, "favorite": [GENRES[number % 2] for number in range(len(USERS))]}
    return Dataset.from_frames(events, items=table, users=pl.DataFrame(profiles), schema=SCHEMA)


def recommender() -> Recommender:
    sources = {"knn": ItemKNN(), "content": Content(), "trending": Trending(), "popular": Popular()}
    home = Placement(retrievers=dict.fromkeys(sources, ALL))
    again = Placement(retrievers={"popular": ALL, "trending": ALL}, seen={"like": "allow"})
    learned = Placement(
        retrievers=("knn", "content", "popular"), ranker="main", rerankers=("house",)
    )
    return Recommender(
        sources,
        {"home": home, "again": again, "learned": learned},
        {"main": GBM(trees=3)},
        {"house": Rules(blocked=sorted(BLOCKED), caps={"genre": 3})},
        Training(slices=2, window=0.2, requests=50, require_improvement=False),
    )


class Sequences(RuleBasedStateMachine):
    """A recommender, and a model of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.saved = 0
        self.log: list[Event] = []
        self.described: tuple[str, ...] = ()
        self.attached: list[Event] = []
        self.added: tuple[str, ...] = ()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize()
    def start(self) -> None:
        for number, user in enumerate(USERS):
            genre = GENRES[number % 2]
            for step in range(4):
                self.happens(user, f"{genre}-{(number + step) % 7}", "like")
        self.fit()
        assert self.recommender.learned["main"]["enabled"]

    def happens(self, user: str, item: str, kind: str) -> None:
        self.log.append((user, item, kind, START + len(self.log) * HOUR))

    @rule()
    def fit(self) -> None:
        self.recommender = recommender().fit(
            dataset(self.log, self.described), FitOptions(threads=1)
        )
        self.attached, self.fitted = [*self.log], (*FITTED, *self.described)
        self.liked = {item for _, item, kind, _ in self.log if kind == "like"}
        self.added = ()

    @rule(item=st.sampled_from(LATER))
    def add_item(self, item: str) -> None:
        if item not in (*self.fitted, *self.added):
            self.recommender.add_items([item], {"genre": [genre_of(item)]})
            self.added = (*self.added, item)
            self.recommend_all(ALL)

    @rule(
        user=st.sampled_from([*USERS[:2], *FRESH]),
        item=st.one_of(st.sampled_from(LATER), st.sampled_from(FITTED)),
        kind=st.sampled_from(["like", "like", "hide"]),
    )
    def event(self, user: str, item: str, kind: str) -> None:
        self.happens(user, item, kind)
        if item in LATER and item not in self.described:
            self.described = (*self.described, item)

    @rule()
    def attach(self) -> None:
        self.recommender.attach(dataset(self.log, self.described))
        self.attached = [*self.log]
        self.recommend_all(ALL)

    @rule(
        order=st.permutations(["add_item", "event", "attach"]),
        user=st.sampled_from(USERS[:2]),
        item=st.sampled_from(LATER),
    )
    def like_a_new_item(self, order: list[str], user: str, item: str) -> None:
        arguments = {"add_item": (item,), "event": (user, item, "like"), "attach": ()}
        for name in order:
            getattr(self, name)(*arguments[name])

    @rule()
    def save_and_load(self) -> None:
        folder = self.folder / str(self.saved)
        self.saved += 1
        before = self.answers()
        self.recommender.save(folder)
        data = self.recommender._attached
        assert data is not None
        self.recommender = Recommender.load(folder).attach(data)
        for item in self.added:  # not part of an artifact
            self.recommender.add_items([item], {"genre": [genre_of(item)]})
        assert self.answers() == before

    @rule(user=st.sampled_from([*USERS, *FRESH, "nobody"]), n=counts, place=st.sampled_from(PLACES))
    def recommend(self, user: str, n: int, place: str) -> None:
        answer = self.recommender.recommend(user, n=n, placement=place)
        assert not answer.trace.degraded
        self.check(answer.item_ids(), n, self.away(user, place))

    @rule(
        history=st.lists(st.sampled_from([*FITTED, *LATER, "unknown"]), max_size=4),
        n=counts,
        place=st.sampled_from(["home", "learned"]),
    )
    def recommend_history(self, history: list[str], n: int, place: str) -> None:
        answer = self.recommender.recommend(history=history, n=n, placement=place)
        self.check(answer.item_ids(), n, {*history, *self.blocked(place)})

    @rule(n=st.sampled_from([0, 1, 5]), place=st.sampled_from(PLACES))
    def recommend_every(self, n: int, place: str) -> None:
        self.recommend_all(n, place)

    def recommend_all(self, n: int, place: str = "home") -> None:
        found: dict[str | None, list[Any]] = {}
        for batch in self.recommender.recommend_all(n=n, placement=place):
            lists = as_lists(batch)
            found |= dict(zip(batch.requests.user_id, lists))
        assert set(found) == {*USERS, *(user for user, *_ in self.attached)}
        for user, shown in found.items():
            assert shown == self.answer(user_id=user, n=n, placement=place)
            self.check([item for item, _ in shown], n, self.away(str(user), place))

    @precondition(lambda self: self.added)
    @rule(place=st.integers(0, 5))
    def similar(self, place: int) -> None:
        item = self.added[place % len(self.added)]
        source, found = self.recommender.similar(item, n=3)
        assert source == "content"
        ids = self.recommender.inventory.catalogue.items.ids(found.item)
        assert item not in ids
        assert {genre_of(one) for one in ids} == {genre_of(item)}

    @invariant()
    def trending_names_known_items_once(self) -> None:
        if hasattr(self, "recommender"):
            _, found = self.recommender.trending(n=5)
            assert len(set(found.item.tolist())) == len(found.item) == 5

    def answer(self, **question: Any) -> list[tuple[str, float]]:
        (shown,) = as_lists(self.recommender.recommend(**question))
        return shown

    def answers(self) -> list[Any]:
        users = (*USERS[:3], FRESH[0])
        return [self.answer(user_id=user, placement=place) for user in users for place in PLACES]

    def blocked(self, place: str) -> set[str]:
        return BLOCKED if place == "learned" else set()

    def away(self, user: str, place: str) -> set[str]:
        mine = [(item, kind) for who, item, kind, _ in self.attached if who == user]
        seen = {item for item, kind in mine if kind == "hide" or place != "again"}
        return seen | self.blocked(place)

    def check(self, shown: list[str], n: int, away: set[str]) -> None:
        known = {*self.fitted, *self.added}
        assert len(set(shown)) == len(shown) <= n
        assert set(shown) <= known - away
        assert len(shown) >= min(n, len((self.liked & set(self.fitted)) - away))


def as_lists(answer: Recommendations) -> list[list[tuple[str, float]]]:
    """The items and scores of every list of a batch."""
    shown, lists = answer.candidates, [list[tuple[str, float]]() for _ in answer.requests.user_id]
    ids = answer.inventory.catalogue.items.ids(shown.item)
    for row, id_, score in zip(shown.rows, ids, shown.score):
        lists[row].append((id_, float(score)))
    return lists


TestSequences = Sequences.TestCase
TestSequences.settings = settings(
    max_examples=8, stateful_step_count=15, phases=[Phase.explicit, Phase.generate]
)
