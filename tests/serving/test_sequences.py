"""Whatever is asked of a server in whatever order, its promises hold."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tastemaker.registry import Registry
from tests.serving.conftest import GENRES, PER_GENRE, item, train, wait_until, without_network

FITTED = tuple(item(g, place) for g in range(len(GENRES)) for place in range(PER_GENRE))
LATER = tuple(f"{genre.lower()}-new-{place}" for genre in GENRES[:2] for place in range(2))
USERS = ("user-0", "user-1", "visitor-0", "visitor-1")
WIDE = {"item_knn = 20, content = 20, popular = 5": "item_knn = 60, content = 60, popular = 60"}
counts = st.sampled_from([1, 5, 12, 60])


class Sequences(RuleBasedStateMachine):
    """A served project, and beside it what was sent."""

    trained: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.folder = Path(self.opened.enter_context(tempfile.TemporaryDirectory())) / "films"
        shutil.copytree(self.trained, self.folder)
        self.client = self.opened.enter_context(without_network(self.folder))
        self.put: set[str] = set()
        self.clicked: set[str] = set()
        self.sent: dict[str, set[str]] = {user: set() for user in USERS}
        for line in (self.folder / "events.csv").read_text().splitlines()[1:]:
            user, id_, _ = line.split(",")
            self.clicked.add(id_)
            if user in self.sent:
                self.sent[user].add(id_)

    def teardown(self) -> None:
        self.opened.close()

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

    @rule(user=st.sampled_from([*USERS, "nobody"]), n=counts)
    def recommend(self, user: str, n: int) -> None:
        away = self.sent.get(user, set())
        self.check(self.asked(user_id=user, n=n), n, away)

    @rule(history=st.lists(st.sampled_from([*FITTED, *LATER]), max_size=3), n=counts)
    def recommend_history(self, history: list[str], n: int) -> None:
        self.check(self.asked(history=history, n=n), n, set(history))

    @rule(user=st.sampled_from(USERS))
    def recommend_by_url(self, user: str) -> None:
        self.put_item(FITTED[0])  # when it returns, all events count
        answer = self.client.get("/v1/recommendations", params={"user_id": user, "n": 5}).json()
        assert items_of(answer) == items_of(self.asked(user_id=user, n=5))

    @rule(id_=st.sampled_from([*FITTED[:4], *LATER]))
    def similar(self, id_: str) -> None:
        answer = self.client.get(f"/v1/items/{id_}/similar?n=5")
        known = id_ in FITTED or id_ in self.put
        if not known:  # it may have had events, and a training since
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

    def check(self, answer: dict[str, Any], n: int, away: set[str]) -> None:
        shown = items_of(answer)
        assert answer["degraded"] == []
        assert len(set(shown)) == len(shown) <= n
        possible = {*FITTED, *self.put, *(id_ for sent in self.sent.values() for id_ in sent)}
        assert set(shown) <= possible - away
        assert len(shown) >= min(n, len(self.clicked - away))  # what `popular` has learned


def items_of(answer: dict[str, Any]) -> list[str]:
    return [entry["item_id"] for entry in answer["items"]]


def test_promises_hold_whatever_the_order(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "films"))
    path = folder / "tastemaker.toml"
    for old, new in WIDE.items():
        path.write_text(path.read_text().replace(old, new))
    train(folder)
    monkeypatch.setattr(Sequences, "trained", folder, raising=False)
    run_state_machine_as_test(
        Sequences,
        settings=settings(  # to shrink takes minutes
            max_examples=6, stateful_step_count=15, phases=[Phase.explicit, Phase.generate]
        ),
    )
