"""User attributes as features: known answers, missing values, equality in serving."""

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tastemaker.component import FitOptions
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.profiles import MOST_LABELS, ProfileSchema
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.features import FeatureSet, Pairs
from tastemaker.features.profile import Profile
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Pipeline, Recommender
from tastemaker.pipeline.point_in_time import travel
from tastemaker.project import Placement, Training
from tastemaker.ranking import GBM
from tastemaker.retrieval import Popular
from tastemaker.testing import feature_differences

START = datetime(2024, 1, 1, tzinfo=UTC)
COUNTRIES = ("de", "fr")
SCHEMA = Schema(
    kinds={"view": EventKind()},
    default_kind="view",
    item_roles={"genre": ColumnRole(role="tags", separator="|")},
    user_roles={
        "age": ColumnRole(role="number"),
        "joined": ColumnRole(role="time"),
        "country": ColumnRole(role="category"),
        "likes": ColumnRole(role="tags", separator="|"),
    },
)


@cache
def data() -> Dataset:
    """Users of a country see films of one genre; a fifth of them is not in the user table."""
    rows, users, drawn = [], [], np.random.default_rng(1)
    for user in range(300):
        country = user % 2
        for step in range(3):
            item = 2 * int(drawn.integers(20)) + country
            at = START + timedelta(hours=user, minutes=step)
            rows.append((f"u{user}", f"i{item}", at))
        if user % 5:
            age, joined = (None, None) if user % 7 == 0 else (20.0 + user, START)
            likes = "" if user % 3 == 0 else f"g{country}|opera"
            users.append((f"u{user}", age, joined, COUNTRIES[country], likes))
    users.append(("never", 5.0, START, "de", "g0"))
    events = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    items = pl.DataFrame(
        {"item_id": [f"i{i}" for i in range(40)], "genre": [f"g{i % 2}" for i in range(40)]}
    )
    names = ["user_id", "age", "joined", "country", "likes"]
    table = pl.DataFrame(users, names, orient="row")
    return Dataset.from_frames(events, items=items, users=table, schema=SCHEMA)


def described(requests: Requests, items: list[int]) -> dict[str, list[float]]:
    """The values of the items of all requests, by feature name."""
    inventory = Inventory.of(data())
    family = Profile(inventory.profiles)
    found = Candidates.of([(items, np.zeros(len(items)))] * len(requests))
    pairs = Pairs.of(requests, found, inventory, {})
    out = np.empty((len(pairs.item), len(family.columns)), np.float32)
    family.write(pairs, out)
    return {name: out[:, i].tolist() for i, name in enumerate(family.columns)}


def request(*users: str) -> Requests:
    rows = data().users.indices(users)
    return data().requests(rows, np.full(len(users), data().end))


def test_a_known_user_has_the_features_of_the_table() -> None:
    i0, i1 = data().catalogue.items.indices(["i0", "i1"]).tolist()
    result = described(request("u1"), [i0, i1])
    hours = (data().end - int(START.timestamp() * 1e6)) / 3.6e9
    assert result["profile_age"] == [21.0, 21.0]
    assert result["profile_joined_age"] == pytest.approx([np.log1p(hours)] * 2)
    assert result["profile_country_is_fr"] == [1.0, 1.0]
    assert result["profile_country_is_de"] == [0.0, 0.0]
    assert result["profile_likes_is_opera"] == [1.0, 1.0]
    assert result["catalogue_genre_is_g1"] == [0.0, 1.0]
    assert result["profile_likes_in_genre"] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("user", "column"),
    [("u0", "profile_age"), ("u0", "profile_country_is_de"), ("u0", "profile_likes_in_genre"),
     ("u7", "profile_age"), ("u7", "profile_joined_age"), ("u3", "profile_likes_is_opera")],
)  # fmt: skip
def test_unknown_user_attributes_are_missing(user: str, column: str) -> None:
    assert np.isnan(described(request(user), [0])[column]).all()


def test_without_a_profile_all_user_features_are_missing() -> None:
    result = described(Requests.of([[]], time=data().end), [0])
    assert all(np.isnan(v).all() for name, v in result.items() if name.startswith("profile_"))
    assert not np.isnan(result["catalogue_genre_is_g0"]).any()


def test_attributes_stay_with_their_requests() -> None:
    requests = request("u1", "u0", "u2")
    alone = described(requests.take(np.array([2])), [0])
    assert alone == described(request("u2"), [0])


def test_only_the_most_frequent_labels_have_columns() -> None:
    labels = [f"c{i:02}" for i in range(30)]
    users = pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(91)],
            "country": [*labels, *labels, *labels[:20], *labels[:10], "once"],
        }
    )
    events = pl.DataFrame({"user_id": ["u0"], "item_id": ["a"], "timestamp": [START]})
    schema = SCHEMA.model_copy(
        update={"item_roles": {}, "user_roles": {"country": ColumnRole(role="category")}}
    )
    known = Dataset.from_frames(events, users=users, schema=schema)
    result = ProfileSchema.of(known.profiles, known.catalogue).labels["country"]
    assert result == tuple(labels[:MOST_LABELS])


def test_a_profile_schema_survives_serialization() -> None:
    schema = Inventory.of(data()).profiles
    assert ProfileSchema.from_dict(schema.to_dict()) == schema


def test_user_attributes_are_equal_in_training_and_serving() -> None:
    sources = {"popular": Popular()}
    *_, window = travel(
        data(),
        lambda fitted: Pipeline(fitted, {"popular": 30}),
        sources,
        Training(slices=2, window=0.2, requests=300, negatives=20),
        SeenPolicy.of(data().kinds),
        options=FitOptions(threads=1),
    )
    features = FeatureSet.of(window.task.inventory, window.sources)
    assert "profile_country_is_de" in features.names
    assert not feature_differences(
        window.training,
        Pipeline(window.sources, {"popular": 30}),
        data(),
        features,
        eligible=window.task.requests.eligible,
    )


@cache
def ranked() -> Recommender:
    recommender = Recommender(
        {"popular": Popular()},
        {"home": Placement(retrievers={"popular": 40}, ranker="main")},
        {"main": GBM(trees=30)},
        training=Training(slices=2, window=0.2, requests=500, require_improvement=False),
    )
    return recommender.fit(data(), FitOptions(threads=1))


def test_a_ranker_learns_the_taste_of_a_group_of_users() -> None:
    """The user `never` has no events, so only attributes show the taste for even items."""
    shown = ranked().recommend("never", n=10).item_ids()
    assert all(int(item[1:]) % 2 == 0 for item in shown)


def test_a_saved_version_contains_the_columns_and_no_user(tmp_path: Path) -> None:
    ranked().save(tmp_path / "v1")
    written = b"".join(p.read_bytes() for p in (tmp_path / "v1").rglob("*") if p.is_file())
    assert b"profile_country_is_de" in written
    assert b"never" not in written
    loaded = Recommender.load(tmp_path / "v1")
    alone = loaded.recommend("never", n=10).item_ids()
    assert alone == ranked().recommend("nobody", n=10).item_ids()  # no data, no attributes
    loaded.attach(data())
    answer, before = loaded.recommend("never", n=10), ranked().recommend("never", n=10)
    assert answer.candidates.score.tobytes() == before.candidates.score.tobytes()
