"""User attributes over HTTP: read from the store for known users, none for unknown users."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tastemaker.data import times
from tastemaker.project import load_project
from tastemaker.serving import RecommendationRequest, Service
from tests.serving.conftest import train, wait_until

PROJECT = """
[data]
events = "events.csv"
items = "items.csv"
users = "users.csv"
[data.defaults]
event_type = "click"
[items.roles]
genre = { role = "category" }
[users.roles]
age = { role = "number" }
country = { role = "category" }
likes = { role = "tags", separator = "|" }
[events.click]
[retrievers.popular]
type = "popular"
[rankers.main]
type = "gbm"
trees = 20
[training]
slices = 2
window = 0.2
require_improvement = false
[placements.home]
retrievers = { popular = 40 }
ranker = "main"
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users of a country click items of one genre. `silent` has attributes and no events."""
    folder, drawn = tmp_path_factory.mktemp("profiles"), np.random.default_rng(1)
    events, users = ["user_id,item_id,timestamp"], ["user_id,age,country,likes"]
    for user in range(300):
        country = user % 2
        users.append(f"u{user},{20 + user},{'de' if country else 'fr'},g{country}|jazz")
        for step in range(3):
            item = 2 * int(drawn.integers(15)) + country
            events.append(f"u{user},i{item},{1_760_000_000 + 3_600 * user + step}")
    users.append("silent,,de,g1")
    items = ["item_id,genre", *(f"i{item},g{item % 2}" for item in range(30))]
    for name, rows in (("events", events), ("users", users), ("items", items)):
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    (folder / "tastemaker.toml").write_text(PROJECT)
    train(folder)
    return folder


def features(service: Service, user: str | None) -> dict[str, float]:
    """The user features of the ranker for the first item."""
    snapshot = service.snapshot
    request = RecommendationRequest(user).request(
        snapshot, service.store.history(user or ""), times.now()
    )
    answer = snapshot.recommender.answer(snapshot.with_profile(request, service.store), 5)
    result = answer.described(0, 1)
    values = dict(zip(result.names, result.values[0].tolist()))
    return {name: value for name, value in values.items() if name.startswith("profile_")}


def test_attributes_come_from_the_store_to_the_ranker(shop: Path) -> None:
    project = load_project(shop / "tastemaker.toml")
    with Service(project) as service:
        wait_until(lambda: service.status()["status"] == "ready")
        data = project.read()
        for user in ("u0", "u7", "silent"):
            own = data.requests(data.users.indices([user]), [times.now()])
            answer = service.snapshot.recommender.answer(own, 5).described(0, 1)
            values = dict(zip(answer.names, answer.values[0].tolist()))
            for name, value in features(service, user).items():
                assert value == values[name] or value != value != values[name]  # NaN equals NaN
        assert features(service, "u7")["profile_age"] == 27.0
        assert features(service, "silent")["profile_country_is_de"] == 1.0
        for unknown in ("nobody", None):
            assert all(value != value for value in features(service, unknown).values())


def test_a_user_without_events_is_answered_by_attributes(shop: Path) -> None:
    with Service(load_project(shop / "tastemaker.toml")) as service:
        wait_until(lambda: service.status()["status"] == "ready")

        def genres(result: dict[str, Any]) -> set[int]:
            return {int(item["item_id"][1:]) % 2 for item in result["items"]}

        assert genres(service.recommend(RecommendationRequest("silent", n=8))) == {1}
        ranked = service.rank(RecommendationRequest("silent"), ["i0", "i1", "i2", "i3"])
        assert [int(i["item_id"][1:]) % 2 for i in ranked["items"]] == [1, 1, 0, 0]
