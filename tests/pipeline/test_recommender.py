import json
import shutil
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import tastemaker
from tastemaker.artifact import _digest
from tastemaker.component import FitOptions, Retriever
from tastemaker.data.catalogue import NumberColumn, TagsColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.errors import (
    ArtifactError,
    MemoryBudgetError,
    NotFittedError,
    ProjectError,
    SettingError,
    UnknownIdError,
)
from tastemaker.evaluation import evaluate
from tastemaker.metrics import Estimate, UserBootstrap
from tastemaker.pipeline import Recommender
from tastemaker.pipeline.learning import LearningResult, learn
from tastemaker.project import Placement, Training
from tastemaker.ranking import GBM
from tastemaker.reranking import MMR, Rules
from tastemaker.retrieval import ALS, Content, ItemKNN, Popular, Trending
from tastemaker.split.by_time import by_time
from tastemaker.testing.small import small_dataset

SCHEMA = Schema(
    kinds={
        "view": EventKind(),
        "hide": EventKind(role="negative", hide_item=True),
    },
    time_unit="s",
    item_roles={"title": ColumnRole(role="text")},
)
OPTIONS = FitOptions(seed=3, threads=2)
NOW = 1_700_000_000


def frame() -> pl.DataFrame:
    """Two groups: users r… view items red…, users b… items blue…; each misses a few.

    No two items have the same users, so that no two items tie.
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
    """An answer without its id, its version and its times."""
    payload = {k: v for k, v in answer.items() if k not in ("recommendation_id", "model_version")}
    for stage in payload.get("trace", {}).get("stages", []):
        del stage["ms"]
    return payload


# --- recommendations ---


@pytest.mark.parametrize("user", ["r1", "r3", "b2", "b7"])
def test_users_get_items_that_similar_users_like(recommender: Recommender, user: str) -> None:
    color = {"r": "red", "b": "blue"}[user[0]]
    assert {item[: len(color)] for item in recommender.recommend(user, n=2).item_ids()} == {color}


@pytest.mark.parametrize("user", users())
def test_seen_items_are_not_recommended(recommender: Recommender, user: str) -> None:
    answer = recommender.recommend(user, n=1_000)
    assert not seen_by(user) & set(answer.item_ids())
    assert len(answer.item_ids()) == 16 - len(seen_by(user))


def test_an_unknown_user_is_treated_as_anonymous(recommender: Recommender) -> None:
    unknown, anonymous = recommender.recommend("who?", n=9), recommender.recommend(n=9)
    assert unknown.item_ids() == anonymous.item_ids()
    assert len(anonymous.item_ids()) == 9
    assert unknown.requests.user_id == ("who?",)
    assert anonymous.requests.user_id == (None,)


def test_a_history_gives_the_list_of_the_user_who_has_it(
    recommender: Recommender,
) -> None:
    rows = frame().filter(pl.col("user_id") == "b3").sort("timestamp")
    anonymous = recommender.recommend(history=rows["item_id"].to_list(), n=10)
    assert anonymous.item_ids() == recommender.recommend("b3", n=10).item_ids()


def test_a_given_history_replaces_the_known_one(recommender: Recommender) -> None:
    answer = recommender.recommend("r1", history=["blue0", "blue1", "blue2"], n=3)
    assert all(item.startswith("blue") for item in answer.item_ids())


def test_unknown_items_of_a_history_are_ignored(recommender: Recommender) -> None:
    plain = recommender.recommend(history=["red0", "red1"], n=5)
    odd = recommender.recommend(history=["?", "red0", "", "red1", "RED2"], n=5)
    assert odd.item_ids() == plain.item_ids()


def test_only_events_before_the_moment_count(recommender: Recommender) -> None:
    early = recommender.recommend("r1", n=16, at=NOW * 10**6)
    assert len(early.requests.history.item) == 0
    assert "red4" not in recommender.recommend("r0", n=16).item_ids()
    assert set(seen_by("r1")) <= set(recommender.recommend("r1", n=16, at=NOW * 10**6).item_ids())


@pytest.mark.parametrize("n", [0, 1, 3, 16, 5_000])
def test_a_list_has_n_items_if_there_are_enough(recommender: Recommender, n: int) -> None:
    assert len(recommender.recommend(n=n).item_ids()) == min(n, 16)


@pytest.mark.parametrize(("n", "message"), [(-1, "at least 0, got -1"), (2.5, "an integer, got")])
def test_an_invalid_n_is_reported(recommender: Recommender, n: Any, message: str) -> None:
    item = recommender.inventory.catalogue.items.id(0)
    for answer in (
        lambda: recommender.recommend(n=n),
        lambda: list(recommender.recommend_all(n=n)),
        lambda: recommender.similar(item, n=n),
        lambda: recommender.trending(n=n),
    ):
        with pytest.raises(SettingError, match=f"^'n' must be {message}"):
            answer()


def test_each_placement_uses_its_own_sources(recommender: Recommender) -> None:
    answer = recommender.recommend("r1", n=5, placement="basket")
    assert answer.candidates.sources == ("item_knn", "popularity_fallback")
    assert answer.requests.placement == "basket"
    assert recommender.recommend("r1").requests.placement == "home"


def test_an_unknown_placement_suggests_a_similar_name(recommender: Recommender) -> None:
    with pytest.raises(ProjectError, match=r"no placement 'hom'; did you mean 'home'\?"):
        recommender.recommend("r1", placement="hom")


# --- the seen policy ---


def test_with_repeats_allowed_seen_items_are_recommended() -> None:
    allowing = unfitted(view="allow").fit(dataset(), OPTIONS)
    assert set(allowing.recommend("b1", n=16).item_ids()) & seen_by("b1")
    assert allowing.recommend("b1", n=1).item_ids()[0] in {f"blue{i}" for i in range(8)}


def test_a_hidden_item_is_never_recommended() -> None:
    allowing = unfitted(view="allow", hide="allow").fit(dataset(), OPTIONS)
    found = allowing.recommend("r0", n=16).item_ids()
    assert "red1" in found
    assert "red4" not in found


def test_an_exclusion_ends_after_its_duration() -> None:
    recommender = unfitted(view="exclude for 1h").fit(dataset(), OPTIONS)
    hour = 3_600 * 10**6
    last = max(t for u, _, _, t in frame().iter_rows() if u == "b7") * 10**6
    assert not seen_by("b7") & set(recommender.recommend("b7", n=16, at=last + 1).item_ids())
    later = recommender.recommend("b7", n=16, at=last + hour).item_ids()
    assert seen_by("b7") <= set(later)


# --- events after the training ---


def grown() -> Dataset:
    """The same items with later events: user r1 views blue items, and there is a new user."""
    more = [("r1", f"blue{i}", "view", NOW + 9_000 + i) for i in range(4)]
    more += [("fresh", f"blue{i}", "view", NOW + 9_100 + i) for i in range(3)]
    return dataset(frame().vstack(pl.DataFrame(more, frame().schema, orient="row")))


def test_events_after_training_count_immediately(saved: Path) -> None:
    loaded = Recommender.load(saved).attach(grown())
    answer = loaded.recommend("r1", n=16).item_ids()
    assert not {f"blue{i}" for i in range(4)} & set(answer)
    fresh = loaded.recommend("fresh", n=3)
    assert len(fresh.requests.history.item) == 3
    assert all(item.startswith("blue") for item in fresh.item_ids())
    names = [name for batch in loaded.recommend_all(n=1) for name in batch.requests.user_id]
    assert "fresh" in names


def test_data_without_a_fitted_item_is_rejected(saved: Path) -> None:
    fewer = frame().filter(pl.col("item_id") != "red1")
    with pytest.raises(ArtifactError, match=r"the data lacks items of this artifact.*train again"):
        Recommender.load(saved).attach(Dataset.from_frames(fewer, schema=SCHEMA))


def test_later_items_are_ignored_in_histories(saved: Path) -> None:
    later = frame().with_columns(item_id=pl.lit("a-new-one"), timestamp=pl.col("timestamp") + 1)
    loaded = Recommender.load(saved).attach(dataset(pl.concat([frame(), later])))
    usual = Recommender.load(saved).attach(dataset())
    for user in ("u0", "u3"):
        assert loaded.recommend(user, n=3).item_ids() == usual.recommend(user, n=3).item_ids()


# --- all users, and similar items ---


def test_every_user_gets_the_same_list_in_a_batch(recommender: Recommender) -> None:
    lists = {
        name: (batch.item_ids(row), batch.candidates.take(np.array([row])).score.tolist())
        for batch in recommender.recommend_all(n=4)
        for row, name in enumerate(batch.requests.user_id)
    }
    assert sorted(map(str, lists)) == users()
    for user in users():
        alone = recommender.recommend(user, n=4)
        assert lists[user] == (alone.item_ids(), pytest.approx(alone.candidates.score.tolist()))


def test_similar_items_have_the_same_users(recommender: Recommender) -> None:
    name, found = recommender.similar("red3", n=20, retriever="item_knn")
    assert name == "item_knn"
    similar = recommender.inventory.catalogue.items.ids(found[0])
    assert sorted(similar) == [f"red{i}" for i in range(8) if i != 3]


def test_the_first_capable_source_finds_similar_items(recommender: Recommender) -> None:
    name, found = recommender.similar("blue0", n=3)
    assert name == "als"
    assert len(found.item) == 3
    assert "blue0" not in recommender.inventory.catalogue.items.ids(found[0])


@pytest.mark.parametrize("retriever", ["popular", "itemknn"])
def test_a_source_without_similar_items_is_rejected(
    recommender: Recommender, retriever: str
) -> None:
    with pytest.raises(ProjectError, match=f"no retriever '{retriever}' supports similar items"):
        recommender.similar("red0", retriever=retriever)


def test_an_unknown_item_is_rejected(recommender: Recommender) -> None:
    with pytest.raises(UnknownIdError, match="no item has the id 'red99'"):
        recommender.similar("red99")


# --- unfitted ---


@pytest.mark.parametrize(
    "use",
    [
        lambda r: r.recommend("r1"),
        lambda r: r.similar("red1"),
        lambda r: r.save("somewhere"),
        lambda r: next(r.recommend_all()),
    ],
)
def test_an_unfitted_recommender_is_rejected(use: Callable[[Recommender], object]) -> None:
    with pytest.raises(NotFittedError, match=r"is not fitted: call fit\(dataset\) first"):
        use(unfitted())


# --- artifacts ---


def test_a_loaded_recommender_gives_identical_answers(
    recommender: Recommender, saved: Path
) -> None:
    loaded = Recommender.load(saved).attach(dataset())
    assert loaded.version == "v1"
    for user in [*users(), "unknown"]:
        one, other = recommender.recommend(user, n=8), loaded.recommend(user, n=8)
        expected = comparable(one.to_dict(trace=True))
        assert comparable(other.to_dict(trace=True)) == expected
        assert other.to_dict()["model_version"] == "v1"


def test_a_loaded_recommender_serves_anonymous_users(saved: Path) -> None:
    loaded = Recommender.load(saved)
    assert loaded.recommend(history=["red0"], n=3).item_ids()
    assert loaded.recommend("r1", n=3).item_ids() == loaded.recommend(n=3).item_ids()
    with pytest.raises(NotFittedError):
        next(loaded.recommend_all())


def test_the_digest_depends_only_on_the_data(saved: Path, tmp_path: Path) -> None:
    unfitted().fit(dataset(), OPTIONS).save(tmp_path / "again")
    unfitted().fit(dataset(frame().head(70)), OPTIONS).save(tmp_path / "less")
    assert manifest(tmp_path / "again")["digest"] == manifest(saved)["digest"]
    assert manifest(tmp_path / "less")["digest"] != manifest(saved)["digest"]


def test_an_artifact_records_its_data_and_version(saved: Path, tmp_path: Path) -> None:
    frame().write_csv(tmp_path / "events.csv")
    data = Dataset.from_files(tmp_path / "events.csv", schema=SCHEMA)
    unfitted().fit(data, OPTIONS).save(tmp_path / "v1")
    loaded = Recommender.load(tmp_path / "v1")
    assert loaded.sources == data.sources != {}
    assert loaded.made_by == tastemaker.__version__
    assert Recommender.load(saved).sources == {}  # of frames


def test_an_artifact_without_these_records_still_loads(saved: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(saved, tmp_path / "v1"))
    signed(old, lambda content: [content["about"].pop(name) for name in ("data", "made_by")])
    loaded = Recommender.load(old)
    assert (loaded.sources, loaded.made_by) == ({}, "")


def test_an_artifact_holds_no_user_ids(tmp_path: Path) -> None:
    named = frame().with_columns(user_id="secret-" + pl.col("user_id"))
    unfitted().fit(dataset(named), OPTIONS).save(tmp_path / "v1")
    everything = b"".join(p.read_bytes() for p in (tmp_path / "v1").rglob("*") if p.is_file())
    assert b"red3" in everything
    assert b"secret" not in everything


def test_an_artifact_is_never_overwritten(recommender: Recommender, saved: Path) -> None:
    before = manifest(saved)
    with pytest.raises(ArtifactError, match="already exists"):
        recommender.save(saved)
    assert manifest(saved) == before


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def signed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a manifest and updates its digest."""
    content = manifest(folder)
    change(content)
    content["digest"] = _digest(content)
    (folder / "manifest.json").write_text(json.dumps(content))


def test_a_damaged_file_is_reported(saved: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(saved, tmp_path / "v1"))
    target = copied / "components" / "als" / "item_factors.npy"
    content = bytearray(target.read_bytes())
    content[-1] ^= 1
    target.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"'components/als/item_factors.npy' is damaged"):
        Recommender.load(copied)


def test_a_missing_file_is_reported(saved: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(saved, tmp_path / "v1"))
    (copied / "statistics" / "time.npy").unlink()
    with pytest.raises(ArtifactError, match=r"the file 'statistics/time.npy' is missing"):
        Recommender.load(copied)


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="v9: not an artifact"):
        Recommender.load(tmp_path / "v9")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.update(kind="ranker"), "holds a 'ranker', not a 'recommender'"),
        (lambda content: content.update(format=99), "format 99, this version reads 3: train again"),
        (lambda content: content.pop("about"), "does not describe a recommender"),
        (lambda content: content.update(about=[]), "does not describe a recommender"),
        (lambda content: content["about"].pop("watermark"), r"'watermark'\); train again"),
        (
            lambda content: content["about"]["components"]["als"].update(type="alien"),
            "no retriever is called 'alien'.*install the package that provides it",
        ),
        (
            lambda content: content["about"]["components"]["als"]["settings"].update(factor=3),
            "unknown setting 'factor'",
        ),
        (
            lambda content: content["about"]["placements"]["home"].update(color="red"),
            "does not describe a recommender",
        ),
        (
            lambda content: content["about"]["components"].update(
                more=content["about"]["components"]["als"]
            ),
            "the manifest lists no file 'components/more/item_factors.npy'",
        ),
    ],
)
def test_an_incompatible_manifest_is_rejected_with_the_reason(
    saved: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    copied = Path(shutil.copytree(saved, tmp_path / "v1"))
    signed(copied, change)
    with pytest.raises(ArtifactError, match=reason):
        Recommender.load(copied)


def test_a_manifest_with_a_file_outside_is_rejected(saved: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(saved, tmp_path / "v1"))
    (tmp_path / "outside.npy").write_bytes(b"data")
    entry = {"sha256": sha256(b"data").hexdigest(), "bytes": 4}
    signed(copied, lambda content: content["files"].update({"../outside.npy": entry}))
    with pytest.raises(ArtifactError, match=r"names '\.\./outside\.npy', outside its folder"):
        Recommender.load(copied)


# --- with a ranker and rerankers ---


def budgeted(source: Retriever, memory: int | None) -> Recommender:
    placement = Placement(retrievers={source.name: 5})
    return Recommender({source.name: source}, {"home": placement}, training=Training(memory=memory))


def test_the_budget_of_the_project_replaces_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tastemaker.machine.memory_bytes", lambda: 1 << 20)
    with pytest.raises(MemoryBudgetError, match="ItemKNN"):
        budgeted(ItemKNN(), None).fit(dataset())
    assert budgeted(ItemKNN(), 1 << 40).fit(dataset()).data is not None
    monkeypatch.undo()
    with pytest.raises(MemoryBudgetError, match="ItemKNN"):
        budgeted(ItemKNN(), 1 << 20).fit(dataset())


def test_the_budget_of_the_options_overrides_the_project() -> None:
    options = FitOptions(memory_budget=1 << 40)
    assert budgeted(ItemKNN(), 1 << 20).fit(dataset(), options).data is not None


def test_baselines_of_an_evaluation_respect_the_budget() -> None:
    split = by_time(dataset(), test=0.2)
    evaluation = evaluate(budgeted(Popular(), 1 << 20), split)
    assert "item_knn" not in evaluation.systems
    assert "ItemKNN" in evaluation.protocol["left_out_item_knn"]


PAST = Training(slices=2, window=0.15, requests=400, require_improvement=False)


def ranking(**more: Placement) -> Recommender:
    """A placement with two sources, a ranker and two rerankers; more placements may be added."""
    home = Placement(
        retrievers={"content": 20, "popular": 20},
        weights={"content": 1.0, "popular": 0.2},
        ranker="main",
        rerankers=("diverse", "rules"),
    )
    return Recommender(
        {"content": Content(), "popular": Popular(), "trending": Trending()},
        {"home": home, **more},
        {"main": GBM(trees=8, min_rows=5)},
        {"diverse": MMR(relevance=0.8), "rules": Rules(caps={"category": 8})},
        PAST,
    )


@cache
def ranked() -> Recommender:
    return ranking().fit(small_dataset(), OPTIONS)


@pytest.fixture(scope="module")
def ranked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranked") / "v1"
    ranked().save(folder)
    return folder


def bits(recommender: Recommender, user: str | None, n: int = 12) -> list[bytes]:
    """The bytes of a list, its scores and its predictions."""
    answer = recommender.recommend(user, n=n)
    assert answer.trace.degraded == []
    assert answer.features is not None
    found = answer.candidates
    columns = [found.columns[name].tobytes() for name in sorted(found.columns)]
    return [found.item.tobytes(), found.score.tobytes(), found.source_rank.tobytes(), *columns]


def test_loading_does_not_change_a_ranker_or_its_rerankers(ranked_folder: Path) -> None:
    loaded = Recommender.load(ranked_folder).attach(small_dataset())
    for user in [*small_dataset().users.ids(range(10)), None, "nobody"]:
        assert bits(loaded, user) == bits(ranked(), user)


def test_a_ranker_trained_twice_gives_the_same_manifest(
    ranked_folder: Path, tmp_path: Path
) -> None:
    ranking().fit(small_dataset(), OPTIONS).save(tmp_path / "again")
    again = (tmp_path / "again" / "manifest.json").read_bytes()
    assert again == (ranked_folder / "manifest.json").read_bytes()


def test_training_settings_and_results_are_saved(ranked_folder: Path) -> None:
    loaded = Recommender.load(ranked_folder)
    assert loaded.learned == ranked().learned
    assert loaded.learned["main"]["training_rows"] > 0
    assert loaded.training == PAST
    assert loaded.clone().training == PAST
    assert {n: repr(r) for n, r in loaded.rerankers.items()} == {
        n: repr(r) for n, r in ranked().rerankers.items()
    }


def test_a_damaged_ranker_is_reported(ranked_folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(ranked_folder, tmp_path / "v1"))
    target = next((copied / "rankers" / "main").glob("model_0*"))
    target.write_text(target.read_text().replace("num_leaves=", "num_leaves=1", 1))
    with pytest.raises(ArtifactError, match=r"'rankers/main/model_0.* is damaged"):
        Recommender.load(copied)


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        ({"ranker": "man"}, "no ranker is called 'man'; did you mean 'main'"),
        ({"rerankers": ("divers",)}, "no reranker is called 'divers'; did you mean 'diverse'"),
        ({"objective_weights": {"relevant": 1.0}}, "has objective_weights but no ranker"),
        (
            {"ranker": "main", "objective_weights": {"relevnt": 1.0}},
            "does not predict 'relevnt'; did you mean 'relevant'",
        ),
    ],
)
def test_a_placement_with_unknown_components_is_rejected(
    placement: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        Recommender(
            {"popular": Popular()},
            {"home": Placement(retrievers={"popular": 5}, **placement)},
            {"main": GBM()},
            {"diverse": MMR()},
        )


def test_two_placements_may_not_share_a_ranker() -> None:
    with pytest.raises(
        SettingError, match=r"'home' and 'cart' share the ranker 'main'.*one ranker for"
    ):
        ranking(cart=Placement(retrievers={"popular": 5}, ranker="main"))


def decide(monkeypatch: pytest.MonkeyPatch, *, refit: bool) -> list[LearningResult]:
    """Forces the decision about newer sources; returns the results of learning."""
    results: list[LearningResult] = []

    class ForcedBootstrap(UserBootstrap):
        def mean(self, values: NDArray[np.floating]) -> Estimate:
            return Estimate(0.0, -1.0, 1.0 if refit else -0.5)

    def learned(*arguments: Any) -> LearningResult:
        results.append(learn(*arguments))
        return results[-1]

    monkeypatch.setattr("tastemaker.pipeline.learning.UserBootstrap", ForcedBootstrap)
    monkeypatch.setattr("tastemaker.pipeline.fitting_parts.learn", learned)
    return results


@pytest.mark.parametrize("refit", [False, True])
def test_older_sources_are_kept_if_the_ranker_needs_them(
    monkeypatch: pytest.MonkeyPatch, refit: bool
) -> None:
    results = decide(monkeypatch, refit=refit)
    cart = Placement(retrievers={"trending": 5})
    unfitted = ranking(cart=cart)
    unfitted.training = unfitted.training.model_copy(update={"require_improvement": False})
    recommender = unfitted.fit(small_dataset(), OPTIONS)
    old = results[0].sources
    assert recommender.learned["main"]["refit"] == refit
    assert set(old) == (set() if refit else {"content", "popular"})
    for name, source in old.items():
        assert recommender.retrievers[name] is source
    popular = recommender.retrievers["popular"]
    assert isinstance(popular, Popular)
    whole = Popular().fit(small_dataset())
    assert np.array_equal(popular.users, whole.users) == refit
    assert recommender.recommend(n=5).trace.degraded == []
    assert recommender.recommend(n=5, placement="cart").item_ids(), "the other sources are fitted"


# --- items after training ---


def labelled_items() -> tuple[list[str], str]:
    """Three items with a common label, and the label."""
    catalogue = small_dataset().catalogue
    tags = catalogue.columns["tags"]
    assert isinstance(tags, TagsColumn)
    label = "taste2"
    code = tags.labels.index(label)
    liked = [i for i in range(len(catalogue)) if code in tags.codes[i]][:3]
    return catalogue.items.ids(liked), label


@pytest.fixture
def enlarged(ranked_folder: Path) -> Recommender:
    """The ranked recommender with a new item that has the same label."""
    enlarged = Recommender.load(ranked_folder).attach(small_dataset())
    catalogue = enlarged.inventory.catalogue
    tags = catalogue.columns["tags"]
    assert isinstance(tags, TagsColumn)
    first = catalogue.items.index(labelled_items()[0][0])
    enlarged.add_items(
        ["brand-new"],
        {
            "title": ["A new item of taste 2"],
            "tags": [tags.labels.ids(tags.codes[first])],
            "category": ["shelf0"],
        },
    )
    return enlarged


def test_a_new_item_is_recommended_for_similar_liked_items(enlarged: Recommender) -> None:
    liked, _ = labelled_items()
    answer = enlarged.recommend(history=liked, n=20)
    assert answer.trace.degraded == []
    assert "brand-new" in answer.item_ids()
    payload = answer.to_dict(trace=True)
    place = answer.item_ids().index("brand-new")
    assert payload["items"][place]["title"] == "A new item of taste 2"
    traced = payload["trace"]["items"][place]
    assert list(traced["sources"]) == ["content"]
    assert 0 < traced["predicted"]["relevant"] < 1
    assert traced["features"]
    assert payload["items"][place]["reasons"][0]["item_id"] in liked


def test_a_new_item_in_a_history_finds_similar_items(enlarged: Recommender) -> None:
    _, label = labelled_items()
    answer = enlarged.recommend(history=["brand-new"], n=5)
    assert "brand-new" not in answer.item_ids()
    tags = small_dataset().catalogue.columns["tags"]
    assert isinstance(tags, TagsColumn)
    code = tags.labels.index(label)
    first = answer.candidates[0][:3].tolist()
    assert any(code in tags.codes[item] for item in first)


def test_a_new_item_does_not_change_other_lists(enlarged: Recommender) -> None:
    for user in small_dataset().users.ids(range(10)):
        before, after = ranked().recommend(user, n=60), enlarged.recommend(user, n=60)
        assert after.trace.degraded == []
        assert set(after.item_ids()) - {"brand-new"} == set(before.item_ids())
        assert np.array_equal(after.requests.exclude.values, before.requests.exclude.values)
    assert bits(enlarged, None) == bits(ranked(), None), "content found nothing"


def test_only_the_changed_recommender_knows_a_new_item(enlarged: Recommender) -> None:
    assert enlarged.inventory.catalogue.items.index("brand-new") == 60
    assert ranked().inventory.catalogue.items.index("brand-new") == -1
    assert "brand-new" not in ranked().recommend(history=labelled_items()[0], n=60).item_ids()


def test_items_can_be_added_repeatedly(enlarged: Recommender) -> None:
    enlarged.add_items([77, "bare"])
    assert enlarged.inventory.catalogue.items.ids(range(61, 63)) == ["77", "bare"]
    answer = enlarged.recommend(history=labelled_items()[0], n=63)
    found_by = dict(zip(answer.item_ids(), answer.explanations(0, top_features=False)))
    assert list(found_by["brand-new"]["sources"]) == ["content"]
    assert list(found_by["bare"]["sources"]) == ["popularity_fallback"], "no source knows it"
    enlarged.add_items([])
    assert len(enlarged.inventory.catalogue) == 63


def test_training_data_can_be_attached_after_adding_items(enlarged: Recommender) -> None:
    enlarged.attach(small_dataset())
    assert enlarged.recommend(small_dataset().users.id(0)).item_ids()


def test_an_artifact_holds_only_the_fitted_items(
    enlarged: Recommender, ranked_folder: Path, tmp_path: Path
) -> None:
    enlarged.save(tmp_path / "v2")
    manifests = [f / "manifest.json" for f in (tmp_path / "v2", ranked_folder)]
    assert manifests[0].read_bytes() == manifests[1].read_bytes()
    loaded = Recommender.load(tmp_path / "v2").attach(small_dataset())
    size = len(loaded.inventory.catalogue)
    assert size == loaded.inventory.catalogue.n_fitted == loaded.inventory.statistics.n_items == 60
    assert {part.n_fitted for part in loaded.retrievers.values()} == {60}
    user = small_dataset().users.id(3)
    assert bits(loaded, user) == bits(ranked(), user)


KNOWN = small_dataset().catalogue.items.id(5)


@pytest.mark.parametrize(
    ("ids", "attributes", "message"),
    [
        ([KNOWN], {}, f"the item '{KNOWN}' already exists"),
        (["new", "new"], {}, "the item 'new' occurs twice"),
        (["1", 1], {}, "the item '1' occurs twice"),
        ("new", {}, "'ids' must be a list, got the text 'new'"),
        ([1.5], {}, "position 0 must be text or an integer, got the float 1.5"),
        ([""], {}, "an id must be text of at least one character"),
        (["caf\udce9"], {}, "an id must be text of at least one character"),
        (["new"], {"titel": ["x"]}, "has no column 'titel'; did you mean 'title'"),
        (["new"], {"title": "x"}, "'title' must be a list, got the text 'x'"),
        (["new"], {"title": []}, "'title' needs a list of 1 values, one for each item, got 0"),
        (["new"], {"title": ["x", "y"]}, "one for each item, got 2"),
        (["new"], {"title": [3]}, "'title' must be text, got 3"),
        (["new"], {"title": ["caf\udce9"]}, "'title' must be text"),
        (["new"], {"tags": ["taste1"]}, "'tags' must be a list of labels, got 'taste1'"),
        (["new"], {"tags": [[1.5]]}, "'tags' must be a list of labels"),
        (["new"], {"tags": [b"ab"]}, "'tags' must be a list of labels"),
        (["new"], {"tags": [{"a": 1}]}, "'tags' must be a list of labels"),
        (["new"], {"category": [1.5]}, "'category' must be one label, got 1.5"),
        (["new"], {"tags": [7]}, "'tags' must be a list of labels, got 7"),
        (["new"], {"category": [["a", "b"]]}, "'category' must be one label"),
        (["new"], {"published": ["today"]}, "'published' must be a moment"),
        (["new"], {"published": [1.5]}, "'published' must be a moment"),
        (["new"], {"published": [True]}, "'published' must be a moment"),
        (["new"], {"published": [10**30]}, "'published' must be a moment"),
    ],
)
def test_invalid_new_items_are_rejected_without_any_change(
    ids: Any, attributes: dict[str, Any], message: str
) -> None:
    before = ranked().inventory
    with pytest.raises(SettingError, match=message):
        ranked().add_items(ids, attributes)
    assert ranked().inventory is before


def priced() -> Recommender:
    """A recommender whose items have a price."""
    rows = [(f"u{i % 5}", f"i{i % 7}", i) for i in range(30)]
    items = pl.DataFrame(
        {"item_id": [f"i{i}" for i in range(7)], "price": [1.5 * i for i in range(7)]}
    )
    data = Dataset.from_frames(
        pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row"),
        items=items,
        schema=Schema(kinds={"view": EventKind()}, item_roles={"price": ColumnRole(role="number")}),
    )
    home = Placement(retrievers={"popular": 5})
    return Recommender({"popular": Popular()}, {"home": home}).fit(data)


@pytest.mark.parametrize("value", ["9.99", True, float("inf"), [1.0]])
def test_an_invalid_number_is_rejected(value: object) -> None:
    with pytest.raises(SettingError, match="'price' must be a finite number"):
        priced().add_items(["new"], {"price": [value]})


@pytest.mark.parametrize("value", [9, 9.0, np.float32(9), np.int64(9)])
def test_numbers_of_all_types_are_accepted(value: float) -> None:
    fitted = priced()
    fitted.add_items(["new", "bare"], {"price": [value, None]})
    price = fitted.inventory.catalogue.columns["price"]
    assert isinstance(price, NumberColumn)
    assert price.values[-2] == 9
    assert np.isnan(price.values[-1])


def test_items_cannot_be_added_before_training() -> None:
    with pytest.raises(NotFittedError):
        unfitted().add_items(["new"])
