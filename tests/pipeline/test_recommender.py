import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tastemaker.artifact import _digest
from tastemaker.component import FitOptions
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.errors import ArtifactError, NotFittedError, ProjectError, UnknownIdError
from tastemaker.pipeline import Recommender
from tastemaker.project import Placement
from tastemaker.retrieval import ALS, ItemKNN, Popular, Trending

SCHEMA = Schema(
    kinds={
        "view": EventKind(),
        "hide": EventKind(role="negative", blocks=True),
    },
    time_unit="s",
    item_roles={"title": ColumnRole(role="text")},
)
OPTIONS = FitOptions(seed=3, threads=2)
NOW = 1_700_000_000


def frame() -> pl.DataFrame:
    """Two tastes: users r… like the items red…, users b… the items blue…; each misses a few.

    No two items are liked by the same users, so that no two are equally good for anyone.
    """
    random = np.random.default_rng(0)
    rows = [
        (f"{taste[0]}{user}", f"{taste}{item}", "view", NOW + 97 * user + item)
        for taste in ("red", "blue")
        for user in range(8)
        for item in range(8)
        if random.random() < 0.7
    ]
    rows.append(("r0", "red4", "hide", NOW + 5_000))
    return pl.DataFrame(rows, ["user_id", "item_id", "event_type", "timestamp"], orient="row")


def dataset(events: pl.DataFrame | None = None) -> Dataset:
    names = [f"{taste}{item}" for taste in ("red", "blue") for item in range(8)]
    items = pl.DataFrame({"item_id": names, "title": [name.capitalize() for name in names]})
    return Dataset.from_frames(frame() if events is None else events, items=items, schema=SCHEMA)


def unfitted(**seen: str) -> Recommender:
    sources = [ALS(factors=8, iterations=3), ItemKNN(), Trending(), Popular()]
    quotas = {"als": 10, "item_knn": 10, "trending": 5, "popular": 5}
    return Recommender(
        {source.name: source for source in sources},
        {
            "home": Placement(retrievers=quotas, seen=seen),
            "basket": Placement(retrievers={"item_knn": 5}),
        },
    )


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return unfitted().fit(dataset(), OPTIONS)


@pytest.fixture(scope="module")
def saved(recommender: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "v1"
    recommender.save(folder)
    return folder


def seen_by(user: str) -> set[str]:
    return set(frame().filter(pl.col("user_id") == user)["item_id"])


def users() -> list[str]:
    return sorted(set(frame()["user_id"]))


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what differs on purpose: its own id, the version, the milliseconds."""
    told = {k: v for k, v in answer.items() if k not in ("recommendation_id", "model_version")}
    for stage in told.get("trace", {}).get("stages", []):
        del stage["ms"]
    return told


# --- who is answered with what ---


@pytest.mark.parametrize("user", ["r1", "r3", "b2", "b7"])
def test_a_user_is_recommended_what_others_of_the_same_taste_like(
    recommender: Recommender, user: str
) -> None:
    color = {"r": "red", "b": "blue"}[user[0]]
    assert {item[: len(color)] for item in recommender.recommend(user, n=2).item_ids()} == {color}


@pytest.mark.parametrize("user", users())
def test_nothing_seen_comes_back(recommender: Recommender, user: str) -> None:
    answer = recommender.recommend(user, n=1_000)
    assert not seen_by(user) & set(answer.item_ids())
    assert len(answer.item_ids()) == 16 - len(seen_by(user))


def test_an_unknown_user_is_answered_like_a_stranger(recommender: Recommender) -> None:
    unknown, stranger = recommender.recommend("who?", n=9), recommender.recommend(n=9)
    assert unknown.item_ids() == stranger.item_ids()
    assert len(stranger.item_ids()) == 9
    assert unknown.requests.user_id == ("who?",)
    assert stranger.requests.user_id == (None,)


def test_a_stranger_with_the_history_of_a_user_is_answered_like_that_user(
    recommender: Recommender,
) -> None:
    rows = frame().filter(pl.col("user_id") == "b3").sort("timestamp")
    stranger = recommender.recommend(history=rows["item_id"].to_list(), n=10)
    assert stranger.item_ids() == recommender.recommend("b3", n=10).item_ids()


def test_a_history_that_is_told_counts_instead_of_the_known_one(recommender: Recommender) -> None:
    answer = recommender.recommend("r1", history=["blue0", "blue1", "blue2"], n=3)
    assert all(item.startswith("blue") for item in answer.item_ids())


def test_items_nobody_knows_are_left_out_of_a_history(recommender: Recommender) -> None:
    plain = recommender.recommend(history=["red0", "red1"], n=5)
    odd = recommender.recommend(history=["?", "red0", "", "red1", "RED2"], n=5)
    assert odd.item_ids() == plain.item_ids()


def test_only_what_happened_before_the_moment_counts(recommender: Recommender) -> None:
    early = recommender.recommend("r1", n=16, at=NOW * 10**6)
    assert len(early.requests.history.item) == 0
    assert "red4" not in recommender.recommend("r0", n=16).item_ids()
    assert set(seen_by("r1")) <= set(recommender.recommend("r1", n=16, at=NOW * 10**6).item_ids())


@pytest.mark.parametrize("n", [0, 1, 3, 16, 5_000])
def test_a_list_has_n_items_as_far_as_there_are_any(recommender: Recommender, n: int) -> None:
    assert len(recommender.recommend(n=n).item_ids()) == min(n, 16)


def test_a_negative_n_is_refused(recommender: Recommender) -> None:
    with pytest.raises(ValueError, match="'n' must not be negative, got -1"):
        recommender.recommend(n=-1)


def test_each_placement_asks_its_own_sources(recommender: Recommender) -> None:
    answer = recommender.recommend("r1", n=5, placement="basket")
    assert answer.candidates.sources == ("item_knn",)
    assert answer.requests.placement == "basket"
    assert recommender.recommend("r1").requests.placement == "home"


def test_an_unknown_placement_is_named_with_its_near_miss(recommender: Recommender) -> None:
    with pytest.raises(ProjectError, match=r"no placement 'hom'; did you mean 'home'\?"):
        recommender.recommend("r1", placement="hom")


# --- the seen policy ---


def test_where_repeats_are_allowed_seen_items_come_back() -> None:
    allowing = unfitted(view="allow").fit(dataset(), OPTIONS)
    assert set(allowing.recommend("b1", n=16).item_ids()) & seen_by("b1")
    assert allowing.recommend("b1", n=1).item_ids()[0] in {f"blue{i}" for i in range(8)}


def test_a_blocked_item_never_comes_back_whatever_the_policy() -> None:
    allowing = unfitted(view="allow", hide="allow").fit(dataset(), OPTIONS)
    found = allowing.recommend("r0", n=16).item_ids()
    assert "red1" in found
    assert "red4" not in found


def test_exclusion_for_a_time_ends_with_it() -> None:
    recommender = unfitted(view="exclude for 1h").fit(dataset(), OPTIONS)
    hour = 3_600 * 10**6
    last = max(t for u, _, _, t in frame().iter_rows() if u == "b7") * 10**6
    assert not seen_by("b7") & set(recommender.recommend("b7", n=16, at=last + 1).item_ids())
    later = recommender.recommend("b7", n=16, at=last + hour).item_ids()
    assert seen_by("b7") <= set(later)


# --- events after the training ---


def grown() -> Dataset:
    """The same items; user r1 went on to view blue things, and a new user came."""
    more = [("r1", f"blue{i}", "view", NOW + 9_000 + i) for i in range(4)]
    more += [("fresh", f"blue{i}", "view", NOW + 9_100 + i) for i in range(3)]
    return dataset(frame().vstack(pl.DataFrame(more, frame().schema, orient="row")))


def test_what_a_user_did_since_the_training_counts_at_once(saved: Path) -> None:
    loaded = Recommender.load(saved).attach(grown())
    answer = loaded.recommend("r1", n=16).item_ids()
    assert not {f"blue{i}" for i in range(4)} & set(answer)
    fresh = loaded.recommend("fresh", n=3)
    assert len(fresh.requests.history.item) == 3
    assert all(item.startswith("blue") for item in fresh.item_ids())
    everybody = [name for batch in loaded.recommend_all(n=1) for name in batch.requests.user_id]
    assert "fresh" in everybody


def test_data_with_other_items_is_refused(saved: Path) -> None:
    other = dataset(frame().with_columns(item_id=pl.col("item_id").str.replace("red", "green")))
    with pytest.raises(ArtifactError, match=r"the data's items are not those.*train again"):
        Recommender.load(saved).attach(other)


# --- everybody, and similar items ---


def test_everybody_gets_the_list_they_would_get_alone(recommender: Recommender) -> None:
    lists = {
        name: (batch.item_ids(row), batch.candidates.take(np.array([row])).score.tolist())
        for batch in recommender.recommend_all(n=4)
        for row, name in enumerate(batch.requests.user_id)
    }
    assert sorted(map(str, lists)) == users()
    for user in users():
        alone = recommender.recommend(user, n=4)
        assert lists[user] == (alone.item_ids(), pytest.approx(alone.candidates.score.tolist()))


def test_similar_items_are_of_the_same_taste(recommender: Recommender) -> None:
    name, found = recommender.similar("red3", n=20, retriever="item_knn")
    assert name == "item_knn"
    similar = recommender.world.catalogue.items.ids(found[0])
    assert sorted(similar) == [f"red{i}" for i in range(8) if i != 3]


def test_the_first_source_that_can_names_similar_items(recommender: Recommender) -> None:
    name, found = recommender.similar("blue0", n=3)
    assert name == "als"
    assert len(found.item) == 3
    assert "blue0" not in recommender.world.catalogue.items.ids(found[0])


@pytest.mark.parametrize("retriever", ["popular", "itemknn"])
def test_a_source_that_cannot_name_similar_items_is_refused(
    recommender: Recommender, retriever: str
) -> None:
    with pytest.raises(ProjectError, match=f"no retriever '{retriever}' can name similar items"):
        recommender.similar("red0", retriever=retriever)


def test_an_unknown_item_has_nothing_similar(recommender: Recommender) -> None:
    with pytest.raises(UnknownIdError, match="no item has the id 'red99'"):
        recommender.similar("red99")


# --- before anything is fitted ---


@pytest.mark.parametrize(
    "use",
    [
        lambda r: r.recommend("r1"),
        lambda r: r.similar("red1"),
        lambda r: r.save("somewhere"),
        lambda r: next(r.recommend_all()),
    ],
)
def test_nothing_works_before_it_is_fitted(use: Callable[[Recommender], object]) -> None:
    with pytest.raises(NotFittedError, match=r"is not fitted: call fit\(dataset\) first"):
        use(unfitted())


# --- artifacts ---


def test_saved_and_loaded_answers_are_identical(recommender: Recommender, saved: Path) -> None:
    loaded = Recommender.load(saved).attach(dataset())
    assert loaded.version == "v1"
    for user in [*users(), "unknown"]:
        one, other = recommender.recommend(user, n=8), loaded.recommend(user, n=8)
        told = comparable(one.to_dict(trace=True))
        assert comparable(other.to_dict(trace=True)) == told
        assert other.to_dict()["model_version"] == "v1"


def test_a_loaded_recommender_serves_strangers_without_any_data(saved: Path) -> None:
    loaded = Recommender.load(saved)
    assert loaded.recommend(history=["red0"], n=3).item_ids()
    assert loaded.recommend("r1", n=3).item_ids() == loaded.recommend(n=3).item_ids()
    with pytest.raises(NotFittedError):
        next(loaded.recommend_all())


def test_training_twice_gives_one_digest_and_other_data_another(
    saved: Path, tmp_path: Path
) -> None:
    unfitted().fit(dataset(), OPTIONS).save(tmp_path / "again")
    unfitted().fit(dataset(frame().head(70)), OPTIONS).save(tmp_path / "less")
    assert manifest(tmp_path / "again")["digest"] == manifest(saved)["digest"]
    assert manifest(tmp_path / "less")["digest"] != manifest(saved)["digest"]


def test_an_artifact_holds_no_user_ids(tmp_path: Path) -> None:
    named = frame().with_columns(user_id="secret-" + pl.col("user_id"))
    unfitted().fit(dataset(named), OPTIONS).save(tmp_path / "v1")
    everything = b"".join(p.read_bytes() for p in (tmp_path / "v1").rglob("*") if p.is_file())
    assert b"red3" in everything
    assert b"secret" not in everything


def test_an_artifact_is_never_overwritten(recommender: Recommender, saved: Path) -> None:
    before = manifest(saved)
    with pytest.raises(ArtifactError, match="exists already"):
        recommender.save(saved)
    assert manifest(saved) == before


def manifest(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return told


def signed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a manifest so that its own digest is right again, as a forger would."""
    told = manifest(folder)
    change(told)
    told["digest"] = _digest(told)
    (folder / "manifest.json").write_text(json.dumps(told))


def test_a_damaged_file_is_named(saved: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(saved, tmp_path / "v1"))
    target = copied / "components" / "als" / "item_factors.npy"
    content = bytearray(target.read_bytes())
    content[-1] ^= 1
    target.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"'components/als/item_factors.npy' is damaged"):
        Recommender.load(copied)


def test_a_missing_file_is_named(saved: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(saved, tmp_path / "v1"))
    (copied / "statistics" / "time.npy").unlink()
    with pytest.raises(ArtifactError, match=r"the file 'statistics/time.npy' is missing"):
        Recommender.load(copied)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="v9: not an artifact"):
        Recommender.load(tmp_path / "v9")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda told: told.update(kind="ranker"), "holds a 'ranker', not a 'recommender'"),
        (lambda told: told.update(format=99), "format 99, this version reads 1: train again"),
        (lambda told: told.pop("about"), "does not describe a recommender"),
        (lambda told: told.update(about=[]), "does not describe a recommender"),
        (lambda told: told["about"].pop("watermark"), r"'watermark'\); train again"),
        (
            lambda told: told["about"]["components"]["als"].update(use="alien"),
            "no retriever is called 'alien'.*install the package that provides it",
        ),
        (
            lambda told: told["about"]["components"]["als"]["settings"].update(factor=3),
            "unknown setting 'factor'",
        ),
        (
            lambda told: told["about"]["placements"]["home"].update(color="red"),
            "does not describe a recommender",
        ),
        (
            lambda told: told["about"]["components"].update(
                more=told["about"]["components"]["als"]
            ),
            "the manifest lists no file 'components/more/item_factors.npy'",
        ),
    ],
)
def test_a_manifest_of_another_making_is_refused_with_the_reason(
    saved: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    copied = Path(shutil.copytree(saved, tmp_path / "v1"))
    signed(copied, change)
    with pytest.raises(ArtifactError, match=reason):
        Recommender.load(copied)


def test_a_manifest_that_names_a_file_outside_is_refused(saved: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(saved, tmp_path / "v1"))
    (tmp_path / "outside.npy").write_bytes(b"data")
    described = {"sha256": sha256(b"data").hexdigest(), "bytes": 4}
    signed(copied, lambda told: told["files"].update({"../outside.npy": described}))
    with pytest.raises(ArtifactError, match=r"names '\.\./outside\.npy', outside its folder"):
        Recommender.load(copied)
