"""`Content` on data with a known answer, and its kernels against slow twins."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import SettingError
from tastemaker.inventory import Inventory
from tastemaker.retrieval import Content
from tastemaker.retrieval.content import _relative
from tastemaker.retrieval.content_vectors import SparseRows

MOVIES = {
    "alien": ("Alien (1979)", "Horror|Space", "film"),
    "aliens": ("Aliens (1986)", "Action|Horror|Space", "film"),
    "amelie": ("Amélie (2001)", "Comedy|Romance", "film"),
    "big": ("Big (1988)", "Comedy", "film"),
    "solaris": ("Solaris (1972)", "Drama|Space", "film"),
}
NAMES = list(MOVIES)
SCHEMA = Schema(
    kinds={"like": EventKind()},
    time_unit="us",
    item_roles={
        "title": ColumnRole(role="text"),
        "genres": ColumnRole(role="tags", separator="|"),
        "form": ColumnRole(role="category"),
    },
)
DAY = 86_400_000_000
START = 1_600_000_000_000_000
EVERY_WORD: dict[str, Any] = {"min_documents": 1, "max_share": 1.0}


def log(*likes: str) -> Dataset:
    """The five movies; each like is by another user, one minute after the previous one."""
    events = pl.DataFrame(
        {
            "user_id": [f"user {place}" for place in range(len(likes))],
            "item_id": likes,
            "timestamp": [START + 60_000_000 * place for place in range(len(likes))],
        }
    )
    titles, genres, forms = zip(*MOVIES.values())
    items = {"item_id": NAMES, "title": titles, "genres": genres, "form": forms}
    return Dataset.from_frames(events, items=pl.DataFrame(items), schema=SCHEMA)


def places(*names: str) -> list[int]:
    return [NAMES.index(name) for name in names]


def requests_liking(dataset: Dataset, *liked: str, weights: list[float] | None = None) -> Requests:
    rows = [weights] if weights else None
    return Requests.of([places(*liked)], time=dataset.end + DAY, weights=rows)


def names(found: NDArray[np.int32]) -> list[str]:
    return [NAMES[item] for item in found]


@pytest.fixture
def movies() -> Dataset:
    return log("alien", "big", "amelie")


def test_the_movie_most_like_the_liked_one_comes_first(movies: Dataset) -> None:
    found = (
        Content(popularity=0.0)
        .fit(movies)
        .retrieve(requests_liking(movies, "alien"), 5, Inventory.of(movies))
    )
    assert names(found[0])[:2] == ["aliens", "solaris"]
    assert len(found[0]) == 4  # they share the form with the rest


def test_without_shared_content_nothing_is_found(movies: Dataset) -> None:
    content = Content(category_weight=0.0).fit(movies)
    assert names(content.retrieve(requests_liking(movies, "big"), 5, Inventory.of(movies))[0]) == [
        "amelie"
    ]


def test_popularity_breaks_ties_between_similar_movies() -> None:
    dataset = log("amelie", *["big"] * 3, "solaris")
    requests = replace(
        requests_liking(dataset, "alien"), exclude=Ragged.of([places("alien", "aliens")])
    )
    settings = {"text_weight": 0.0, "tags_weight": 0.0}
    found = Content(**settings).fit(dataset).retrieve(requests, 5, Inventory.of(dataset))
    assert names(found[0]) == ["big", "solaris", "amelie"]  # the later like counts a little more
    indifferent = Content(popularity=0.0, **settings).fit(dataset)
    found = indifferent.retrieve(requests, 5, Inventory.of(dataset))
    assert names(found[0]) == ["amelie", "big", "solaris"]


def test_later_likes_change_no_result() -> None:
    early, late = log("amelie"), log("amelie", *["solaris"] * 20)
    requests = replace(requests_liking(early, "alien"), time=np.array([early.end], np.int64))
    content = Content().fit(early)
    one = content.retrieve(requests, 5, Inventory.of(early))
    two = content.retrieve(requests, 5, Inventory.of(late))
    assert np.array_equal(one.score, two.score)


def test_an_item_without_events_counts_as_average() -> None:
    factor = _relative(np.array([0, 1, 3, 8], np.float32))
    np.testing.assert_allclose(factor, [1, 5 / 8, 7 / 8, 12 / 8])
    assert (_relative(np.zeros(3, np.float32)) == 1).all()


def test_similar_items_do_not_depend_on_popularity() -> None:
    dataset = log("amelie", *["big"] * 30, *["solaris"] * 30)
    inventory = Inventory.of(dataset).with_items(["twin"], {"title": ["Aliens (1986)"]})
    content = Content(category_weight=0.0).fit(dataset).with_items(inventory.catalogue)
    alien = np.array([places("alien")[0]], np.int32)
    found = content.similar(alien, 5, inventory)
    cosines = content.similarity(np.repeat(alien, len(found.item)), found.item)
    np.testing.assert_allclose(found.score, cosines, rtol=1e-6)
    unlogged = content.similar(alien, 5, Inventory.of(log("amelie")).with_items(["twin"], {}))
    assert np.array_equal(found.item, unlogged.item)
    assert np.array_equal(found.score, unlogged.score)


def test_a_new_item_with_the_same_content_is_the_most_similar() -> None:
    dataset = log(*["aliens"] * 50, "amelie")
    title, genres, form = MOVIES["alien"]
    known = {"title": [title], "genres": [genres.split("|")], "form": [[form]]}
    inventory = Inventory.of(dataset).with_items(["twin"], known)
    content = Content().fit(dataset).with_items(inventory.catalogue)
    found = content.similar(np.array(places("alien"), np.int32), 5, inventory)
    assert found[0][0] == len(MOVIES)


def test_a_new_movie_is_found_by_title_and_genres_alone(movies: Dataset) -> None:
    inventory = Inventory.of(movies).with_items(
        ["alien3", "nothing"],
        {"title": ["Alien 3 (1992)", None], "genres": [["Horror", "Space", "Prison"], None]},
    )
    content = Content(min_documents=1).fit(movies).with_items(inventory.catalogue)
    found = content.retrieve(requests_liking(movies, "alien"), 5, inventory)[0]
    assert found[0] == 5  # it has the words and genres, but no events
    assert 6 not in found


def test_an_added_item_is_encoded_as_a_fitted_one(movies: Dataset) -> None:
    title, genres, form = MOVIES["aliens"]
    known = {"title": [title], "genres": [genres.split("|")], "form": [[form]]}
    inventory = Inventory.of(movies).with_items(["twin"], known)
    content = Content(**EVERY_WORD).fit(movies).with_items(inventory.catalogue)
    twin = content.rows.take(np.array(places("aliens")))
    assert np.array_equal(content.added.terms, twin.terms)
    assert np.array_equal(content.added.weights, twin.weights)
    found = content.retrieve(requests_liking(movies, "alien", "big"), 5, Inventory.of(movies))
    score = dict(zip(found[0].tolist(), found.score.tolist()))
    assert score[5] == score[NAMES.index("aliens")]


def test_extending_twice_equals_extending_once(movies: Dataset) -> None:
    first = Inventory.of(movies).with_items(["x"], {"title": ["Alien Big"]})
    second = first.with_items(["y"], {"genres": [["Space"]]})
    content = Content(**EVERY_WORD).fit(movies)
    once = content.with_items(second.catalogue)
    twice = content.with_items(first.catalogue).with_items(second.catalogue)
    assert once.n_items == twice.n_items == 7
    assert all(np.array_equal(a, b) for a, b in zip(once.added, twice.added))
    assert once.rows is content.rows


def test_the_profile_has_the_labels_of_the_history(movies: Dataset) -> None:
    content = Content(text_weight=0.0, category_weight=0.0).fit(movies)
    labels = movies.catalogue.columns["genres"].labels  # type: ignore[union-attr]
    profile = content.profiles(requests_liking(movies, "alien", "amelie"))
    assert {labels.id(int(term)) for term in profile.terms} == {
        *("Horror", "Space", "Comedy", "Romance")
    }
    assert (np.diff(profile.terms) > 0).all()


def test_later_events_weigh_more(movies: Dataset) -> None:
    content = Content(half_life=1.0, popularity=0.0).fit(movies)
    inventory = Inventory.of(movies)
    space = names(content.retrieve(requests_liking(movies, "big", "alien"), 1, inventory)[0])
    comedy = names(content.retrieve(requests_liking(movies, "alien", "big"), 1, inventory)[0])
    assert (space, comedy) == (["aliens"], ["amelie"])


def test_disliked_content_lowers_scores(movies: Dataset) -> None:
    history = requests_liking(movies, "solaris", "big", weights=[1.0, -1.0])
    content = Content(dislike_weight=1.0, half_life=1_000.0, category_weight=0.0).fit(movies)
    found = names(content.retrieve(history, 5, Inventory.of(movies))[0])
    assert found == ["alien", "aliens"] or found == ["aliens", "alien"]
    assert content.profiles(history).weights.min() < 0


def test_a_reason_shares_content_with_its_candidate(movies: Dataset) -> None:
    content = Content(category_weight=0.0).fit(movies)
    requests = requests_liking(movies, "alien", "big")
    found = content.retrieve(requests, 5, Inventory.of(movies))
    reason, share = content.explain(requests, found)
    reasons = dict(zip(names(found.item), names(reason)))
    assert reasons == {"aliens": "alien", "solaris": "alien", "amelie": "big"}
    assert (share == 1).all()


def test_items_without_attributes_are_not_found() -> None:
    frame = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1, 2]})
    dataset = Dataset.from_frames(frame, schema=Schema(kinds={"like": EventKind()}))
    content = Content().fit(dataset)
    assert content.retrieve(Requests.of([[0]], time=3), 5, Inventory.of(dataset)).counts[0] == 0
    assert not content.similarity(np.array([0], np.int32), np.array([0], np.int32)).any()


def test_an_invalid_period_is_refused() -> None:
    with pytest.raises(SettingError, match="popularity_half_life"):
        Content(popularity_half_life="soon")


def test_a_loaded_content_extends_too(movies: Dataset, tmp_path: Path) -> None:
    content = Content().fit(movies)
    with create_artifact(tmp_path / "content", "test", {}) as writer:
        content.save(writer)
    loaded = Content().load(open_artifact(tmp_path / "content", "test")[0])
    inventory = Inventory.of(movies).with_items(["new"], {"genres": [["Space"]]})
    one, two = content.with_items(inventory.catalogue), loaded.with_items(inventory.catalogue)
    assert all(np.array_equal(a, b) for a, b in zip(one.added, two.added))


# -- twins ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many() -> Dataset:
    return SyntheticWorld(users=40, items=80, events=900, tastes=5, seed=3).dataset()


def dense(rows: SparseRows, width: int) -> NDArray[np.float64]:
    return rows.matrix(width).toarray().astype(np.float64)


def requests_of(dataset: Dataset) -> Requests:
    histories = [[1, 5, 9], [], [0, 2, -1, 2, 80, 2, 500], list(range(0, 80, 3)), [80, 81]]
    weights = [[1.0, 6.0, -1.0], [], [1.0, 1.0, 3.0, -1.0, 2.0, 6.0, 1.0], [1.0] * 27, [1.0, 2.0]]
    return Requests.of(histories, time=dataset.end, weights=weights, exclude=[[]] * 5)


def profile_by_hand(
    content: Content, requests: Requests, dislike_weight: float
) -> NDArray[np.float64]:
    """The slow twin: adds whole vectors event by event."""
    width, config = content.encoder.width, content.config
    vectors = np.vstack([dense(content.rows, width), dense(content.added, width)])
    profiles = np.zeros((len(requests), width))
    for row in range(len(requests)):
        start, stop = requests.history.offsets[row : row + 2]
        events = [
            (item, weight)
            for item, weight in zip(
                requests.history.item[start:stop].tolist(),
                requests.history.weight[start:stop].tolist(),
            )
            if 0 <= item < len(vectors)
        ]
        for age, (item, weight) in enumerate(reversed(events)):
            sign = 1 if weight > 0 else -dislike_weight
            event_weight = sign * np.log2(1 + abs(weight)) * 0.5 ** (age / config.half_life)
            profiles[row] += event_weight * vectors[item]
    return profiles


@pytest.mark.parametrize("terms", [3, 1_000])
def test_scores_equal_profile_times_vector_times_popularity(many: Dataset, terms: int) -> None:
    title = many.catalogue.title(7)
    inventory = Inventory.of(many).with_items(
        ["a", "b"], {"title": [title, None], "tags": [["taste1"]] * 2}
    )
    content = Content(profile_terms=terms, half_life=3.0, **EVERY_WORD).fit(many)
    content = content.with_items(inventory.catalogue)
    requests, width = requests_of(many), content.encoder.width
    profiles = profile_by_hand(content, requests, content.config.dislike_weight)
    likes = profile_by_hand(content, requests, 0.0)
    found = dense(content.profiles(requests), width)
    for row in range(len(requests)):
        kept = np.argsort(-likes[row], kind="stable")[:terms]
        kept = kept[likes[row, kept] > 0]
        against = np.setdiff1d(np.flatnonzero(profiles[row] < 0), kept)
        against = against[np.argsort(profiles[row, against], kind="stable")[:terms]]
        left_out = np.setdiff1d(np.arange(width), np.concatenate([kept, against]))
        profiles[row, left_out] = 0
    if terms == 1_000:
        np.testing.assert_allclose(found, profiles, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        np.sort(np.abs(found)), np.sort(np.abs(profiles)), rtol=1e-5, atol=1e-6
    )
    tick = DAY
    popularity = inventory.statistics.decayed(many.end // tick * tick, 180 * DAY)
    factor = _relative(popularity) ** content.config.popularity
    vectors = np.vstack([dense(content.rows, width), dense(content.added, width)])
    expected = (found @ vectors.T) * factor
    lists = content.retrieve(requests, 100, inventory)
    for row in range(len(requests)):
        start, stop = lists.offsets[row : row + 2]
        np.testing.assert_allclose(
            lists.score[start:stop], expected[row, lists[row]], rtol=1e-4, atol=1e-6
        )
        assert len(lists[row]) == (expected[row] > 1e-6).sum()


def test_similarity_is_the_cosine(many: Dataset) -> None:
    inventory = Inventory.of(many).with_items(["a"], {"tags": [["taste1", "style2"]]})
    content = Content(**EVERY_WORD).fit(many).with_items(inventory.catalogue)
    width = content.encoder.width
    vectors = np.vstack([dense(content.rows, width), dense(content.added, width)])
    left, right = np.divmod(np.arange(81 * 81), 81)
    found = content.similarity(left.astype(np.int32), right.astype(np.int32)).reshape(81, 81)
    np.testing.assert_allclose(found, vectors @ vectors.T, rtol=1e-5, atol=1e-6)
    assert found[80].any()
