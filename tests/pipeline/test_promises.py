"""Behaviour of a recommender that depends on several packages."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import tastemaker as tm
from tastemaker.data.schema import EventKind, Schema
from tastemaker.errors import ArtifactError, SettingError
from tastemaker.pipeline import Pipeline, Recommender
from tastemaker.project import Placement
from tastemaker.retrieval import Popular

KINDS = {"view": EventKind(), "dislike": EventKind(role="negative", hide_item=True)}
START = 1_600_000_000


def shop(kinds: dict[str, EventKind] = KINDS) -> tm.Dataset:
    """Every user views most of ten items; user u dislikes item u % 10."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(30):
        for step, item in enumerate(random.permutation(10)[:4]):
            if item != user % 10:
                rows.append((f"u{user}", f"i{item}", "view", START + 100 * user + step))
        rows.append((f"u{user}", f"i{user % 10}", "dislike", START + 100 * user + 50))
    frame = pl.DataFrame(rows, ["user_id", "item_id", "event_type", "timestamp"], orient="row")
    return tm.Dataset.from_frames(frame, schema=Schema(kinds=kinds))


def recommender(seen: dict[str, str] | None = None) -> Recommender:
    placement = Placement(retrievers={"popular": 10}, seen=seen or {})
    return Recommender({"popular": Popular()}, {"home": placement})


def test_hidden_items_stay_hidden_with_any_given_history() -> None:
    fitted = recommender({"view": "allow"}).fit(shop())
    for user in range(30):
        answer = fitted.recommend(f"u{user}", history=[f"i{(user + 1) % 10}"], n=10)
        assert f"i{user % 10}" not in answer.item_ids()


def test_with_repeats_allowed_a_given_history_is_recommended() -> None:
    assert "i1" not in recommender().fit(shop()).recommend(history=["i1"], n=10).item_ids()
    repeats = recommender({"view": "allow"}).fit(shop())
    assert "i1" in repeats.recommend(history=["i1"], n=10).item_ids()


def test_data_with_other_event_types_is_rejected() -> None:
    fitted = recommender().fit(shop())
    added = {"impression": EventKind(role="exposure"), **KINDS}
    with pytest.raises(ArtifactError, match=r"events.*train again"):
        fitted.attach(shop(added))
    swapped = dict(reversed(KINDS.items()))
    with pytest.raises(ArtifactError, match=r"events.*train again"):
        fitted.attach(shop(swapped))


def test_a_split_with_another_seen_policy_is_rejected() -> None:
    data = shop()
    models = recommender({"view": "allow"})
    with pytest.raises(SettingError, match=r"seen=.*'view': 'allow'"):
        tm.evaluate(models, tm.split.by_time(data, test=0.3))
    found = tm.evaluate(models, tm.split.by_time(data, test=0.3, seen={"view": "allow"}))
    assert "pipeline" in found.systems


@pytest.mark.parametrize("quota", [0, -3])
def test_a_quota_below_one_is_rejected(quota: int) -> None:
    with pytest.raises(SettingError, match=f"'popular' must be at least 1, got {quota}"):
        Pipeline({"popular": Popular()}, {"popular": quota})


def test_a_missing_or_unknown_source_is_rejected() -> None:
    with pytest.raises(SettingError, match="at least one retriever"):
        Pipeline({"popular": Popular()}, {})
    with pytest.raises(SettingError, match="did you mean 'popular'"):
        Recommender({"popular": Popular()}, {"home": Placement(retrievers={"populer": 5})})
    with pytest.raises(SettingError, match="at least one placement"):
        Recommender({"popular": Popular()}, {})


def test_ids_may_be_integers() -> None:
    rows = {"user_id": [1, 1, 2, 2], "item_id": [7, 8, 7, 9], "timestamp": [1, 2, 3, 4]}
    fitted = recommender().fit(tm.Dataset.from_frames(pl.DataFrame(rows)))
    assert fitted.recommend(1).item_ids() == fitted.recommend("1").item_ids() == ["9"]
    assert fitted.recommend(history=[7]).item_ids() == ["8", "9"]
    with pytest.raises(SettingError, match="text or an integer"):
        fitted.recommend(1.5)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="'history' must be a list, got the text"):
        fitted.recommend(history="7,8")


def test_histories_are_limited_to_the_cap() -> None:
    n = 6_000
    heavy = pl.DataFrame(
        {
            "user_id": ["heavy"] * n + [f"u{i}" for i in range(100)],
            "item_id": [f"i{i % 40}" for i in range(n + 100)],
            "timestamp": [START + i for i in range(n + 100)],
        }
    )
    data = tm.Dataset.from_frames(heavy)
    users = np.zeros(n, np.int64)
    requests = data.requests(users, data.events.time[:n], cap=20)
    assert requests.history.counts.max() == 20
    assert len(requests.history.item) <= 20 * n
    last = replace(requests).take(np.array([n - 1]))
    assert last.history.item.tolist() == data.events.item[n - 21 : n - 1].tolist()
    assert len(last.exclude[0]) == 40
