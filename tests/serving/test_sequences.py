"""Invariants hold for any order of requests."""

import json
import re
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tastemaker.cli import answers
from tastemaker.registry import Registry
from tests.serving.conftest import GENRES, PER_GENRE, item, train, wait_until, without_network

FITTED = tuple(item(g, place) for g in range(len(GENRES)) for place in range(PER_GENRE))
LATER = tuple(f"{genre.lower()}-new-{place}" for genre in GENRES[:2] for place in range(2))
USERS = ("user-0", "user-1", "visitor-0", "visitor-1")
WIDE = {"item_knn = 20, content = 20, popular = 5": "item_knn = 60, content = 60, popular = 60"}
LEARNED = """
[rankers.main]
type = "gbm"
trees = 3
[rerankers.house]
type = "rules"
caps = { genres = 3 }
blocked = []
[training]
slices = 2
window = 0.2
requests = 50
require_improvement = false
[placements.learned]
retrievers = ["item_knn", "content", "popular"]
ranker = "main"
rerankers = ["house"]
[users.roles]
favorite = { role = "category" }
[server]
now = "log"
"""
PLACES = ("home", "learned")
places = st.sampled_from(PLACES)
counts = st.sampled_from([1, 5, 12, 60])


class Sequences(RuleBasedStateMachine):
    """A served project and a record of what was sent."""

    trained: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.folder = Path(self.opened.enter_context(tempfile.TemporaryDirectory())) / "films"
        shutil.copytree(self.trained, self.folder)
        self.client = self.opened.enter_context(without_network(self.folder))
        self.put: set[str] = set()
        self.blocked: set[str] = set()
        self.now = "log"
        self.clicked: set[str] = set()
        self.sent: dict[str, set[str]] = {user: set() for user in USERS}
        for line in (self.folder / "events.csv").read_text().splitlines()[1:]:
            user, id_, _ = line.split(",")
            self.clicked.add(id_)
            if user in self.sent:
                self.sent[user].add(id_)

    def teardown(self) -> None:
        self.opened.close()

    @initialize(first=st.lists(st.sampled_from(FITTED), min_size=8, max_size=8, unique=True))
    def begin(self, first: list[str]) -> None:
        self.events(USERS[0], first, "dislike")
        self.events(USERS[2], first, "click")

    @rule(
        user=st.sampled_from(USERS),
        liked=st.lists(st.sampled_from([*FITTED, *LATER]), min_size=1, max_size=3),
        kind=st.sampled_from(["click", "dislike"]),
    )
    def events(self, user: str, liked: list[str], kind: str) -> None:
        batch = [{"user_id": user, "item_id": id_, "event_type": kind} for id_ in liked]
        answer = self.client.post("/v1/events", json={"events": batch})
        assert answer.json() == {"accepted": len(liked), "duplicates": 0, "rejected": []}
        self.sent[user].update(liked)
        if self.now == "log":
            self.every_list_is_the_one_of_the_command_line("home")

    @rule(id_=st.sampled_from([*LATER, FITTED[0]]))
    def put_item(self, id_: str) -> None:
        attributes = {"title": f"Night {id_}", "genres": [id_.split("-")[0].title()]}
        answer = self.client.put(f"/v1/items/{id_}", json=attributes)
        assert answer.status_code in (200, 201)
        assert (answer.status_code == 201) == (id_ in LATER and id_ not in self.put)
        self.put |= {id_} & set(LATER)

    @rule()
    def promote_a_new_version(self) -> None:
        version = train(self.folder, promote=False)
        Registry(self.folder / ".tastemaker").promote(version)
        wait_until(lambda: self.ready()["model_version"] == version)

    @rule(
        blocked=st.sets(st.sampled_from([*FITTED, *LATER]), max_size=3),
        now=st.sampled_from(["log", "log", "auto", "clock"]),
    )
    def edit_the_project_file(self, blocked: set[str], now: str) -> None:
        path = self.folder / "tastemaker.toml"
        text = re.sub(
            r"(?m)^blocked = .*$", f"blocked = {json.dumps(sorted(blocked))}", path.read_text()
        )
        path.write_text(re.sub(r"(?m)^now = .*$", f'now = "{now}"', text))
        self.promote_a_new_version()
        self.blocked, self.now = blocked, now
        assert not {"note", "problem"} & {*self.ready()}
        for place in PLACES:
            self.recommend(USERS[0], 12, place)

    @rule(user=st.sampled_from([*USERS, "nobody"]), n=counts, place=places)
    def recommend(self, user: str, n: int, place: str) -> None:
        away = self.sent.get(user, set())
        self.check(self.asked(user_id=user, n=n, placement=place), n, away, place)

    @rule(history=st.lists(st.sampled_from([*FITTED, *LATER]), max_size=3), n=counts, place=places)
    def recommend_history(self, history: list[str], n: int, place: str) -> None:
        self.check(self.asked(history=history, n=n, placement=place), n, set(history), place)

    @rule(user=st.sampled_from(USERS))
    def recommend_by_url(self, user: str) -> None:
        self.put_item(FITTED[0])  # when it returns, all events count
        answer = self.client.get("/v1/recommendations", params={"user_id": user, "n": 5}).json()
        assert items_of(answer) == items_of(self.asked(user_id=user, n=5))

    @precondition(lambda self: self.now == "log")  # otherwise the time follows the clock
    @rule(place=places)
    def every_list_is_the_one_of_the_command_line(self, place: str) -> None:
        self.put_item(FITTED[0])  # when it returns, all events count
        output = self.folder / "all.csv"
        question = answers.RecommendOptions(None, None, 12, place)
        answers.recommend_all(self.folder / "tastemaker.toml", question, output, as_json=False)
        lists: dict[str, list[str]] = {}
        for row in output.read_text().splitlines()[1:]:
            user, _, id_, _ = row.split(",")
            lists.setdefault(user, []).append(id_)
        for user in USERS:
            if user in lists or self.sent[user]:
                assert lists[user] == items_of(self.asked(user_id=user, n=12, placement=place))

    @rule(id_=st.sampled_from([*FITTED[:4], *LATER]))
    def similar(self, id_: str) -> None:
        answer = self.client.get(f"/v1/items/{id_}/similar?n=5")
        known = id_ in FITTED or id_ in self.put
        if not known:  # it can have had events and a training since
            assert answer.status_code in (200, 404)
            return
        shown = [entry["item_id"] for entry in answer.json()["items"]]
        assert len(set(shown)) == len(shown) == 5
        assert id_ not in shown
        assert shown[0].split("-")[0] == id_.split("-")[0]

    @rule()
    def trending(self) -> None:
        shown = [entry["item_id"] for entry in self.client.get("/v1/trending?n=9").json()["items"]]
        assert len(set(shown)) == len(shown) == 9

    def ready(self) -> dict[str, Any]:
        answer = self.client.get("/health/ready")
        assert answer.status_code == 200
        return dict(answer.json())

    def asked(self, **question: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/recommendations", json=question)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def check(self, answer: dict[str, Any], n: int, away: set[str], place: str) -> None:
        shown = items_of(answer)
        away = away | self.blocked if place == "learned" else away
        assert answer["degraded"] == []
        assert len(set(shown)) == len(shown) <= n
        possible = {*FITTED, *self.put, *(id_ for sent in self.sent.values() for id_ in sent)}
        assert set(shown) <= possible - away
        assert len(shown) >= min(n, len(self.clicked - away))  # what `popular` has learned


def items_of(answer: dict[str, Any]) -> list[str]:
    return [entry["item_id"] for entry in answer["items"]]


def test_invariants_hold_for_any_order(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "films"))
    path = folder / "tastemaker.toml"
    for old, new in WIDE.items():
        path.write_text(path.read_text().replace(old, new))
    path.write_text(
        path.read_text().replace(
            'items = "items.csv"', 'items = "items.csv"\nusers = "users.csv"', 1
        )
        + LEARNED
    )
    users = [f"user-{user},{GENRES[user % len(GENRES)]}" for user in range(40)]
    (folder / "users.csv").write_text("\n".join(["user_id,favorite", *users]) + "\n")
    train(folder)
    monkeypatch.setattr(Sequences, "trained", folder, raising=False)
    run_state_machine_as_test(
        Sequences,
        settings=settings(  # shrinking takes minutes
            max_examples=3, stateful_step_count=15, phases=[Phase.explicit, Phase.generate]
        ),
    )
