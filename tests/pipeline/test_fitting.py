"""A source that exceeds the memory budget is left out, and this is reported."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tastemaker.component import FitOptions
from tastemaker.data.clean import Cleaned
from tastemaker.data.dataset import Dataset
from tastemaker.data.report import ReadReport
from tastemaker.data.schema import EventKind, Schema
from tastemaker.errors import MemoryBudgetError, TooManyItemsError
from tastemaker.pipeline import Recommender
from tastemaker.pipeline.project_settings import with_project_settings
from tastemaker.project import Placement, load_project
from tastemaker.reranking import MMR
from tastemaker.retrieval import EASE, Popular
from tastemaker.testing.small import small_dataset

PLACEMENT = Placement(retrievers={"ease": 10, "popular": 10}, weights={"ease": 1, "popular": 1})


def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryBudgetError("EASE needs 9 GB beside 1 GB", "EASE needs 9 GB; take SparseEASE")

    monkeypatch.setattr(EASE, "fit", refuse)


def test_a_source_that_exceeds_the_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Recommender({"ease": EASE(), "popular": Popular()}, {"home": PLACEMENT})
    short_of_memory(monkeypatch)
    whole.fit(small_dataset())
    assert list(whole.retrievers) == list(whole.placements["home"].retrievers) == ["popular"]
    assert whole.left_out["ease"].reason == "EASE needs 9 GB; take SparseEASE"
    assert len(whole.recommend(n=3).item_ids()) == 3
    monkeypatch.undo()
    whole.fit(small_dataset())  # the memory is sufficient now
    assert list(whole.retrievers) == ["ease", "popular"]
    assert not whole.left_out


def test_a_fusion_is_learned_without_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = Placement(retrievers=("ease", "popular"))
    whole = Recommender({"ease": EASE(), "popular": Popular()}, {"home": placement})
    short_of_memory(monkeypatch)
    assert list(whole.fit(small_dataset()).left_out) == ["ease"]
    assert whole.clone().placements["home"].retrievers == ("ease", "popular")


def test_the_only_source_of_a_placement_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    placements = {"home": PLACEMENT, "more": Placement(retrievers={"ease": 5})}
    short_of_memory(monkeypatch)
    with pytest.raises(MemoryBudgetError, match="needs 9 GB beside"):
        Recommender({"ease": EASE(), "popular": Popular()}, placements).fit(small_dataset())


def test_a_source_that_a_reranker_uses_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = PLACEMENT.model_copy(update={"rerankers": ("diverse",)})
    parts = {"ease": EASE(), "popular": Popular()}
    whole = Recommender(parts, {"home": placement}, rerankers={"diverse": MMR(space="ease")})
    short_of_memory(monkeypatch)
    with pytest.raises(MemoryBudgetError, match="the reranker 'diverse' uses it"):
        whole.fit(small_dataset(), FitOptions())


def with_invented_items(bots: int, **settings: object) -> Dataset:
    """Ten described items, and twenty undescribed ones, all with the same users."""
    pairs = [(f"u{n % 7}", f"i{n % 10}") for n in range(70)]
    pairs += [(f"bot{bot}", f"invented-{n}") for bot in range(bots) for n in range(20)]
    events = pl.DataFrame(pairs, ["user_id", "item_id"], orient="row")
    events = events.with_columns(timestamp=1_700_000_000 + pl.int_range(pl.len()))
    items = pl.DataFrame({"item_id": [f"i{n}" for n in range(10)]})
    defaults = {"min_item_users": 2, "kinds": {"view": EventKind()}, "default_kind": "view"}
    schema = Schema.model_validate({**defaults, **settings})
    return Dataset.from_frames(events, items=items, schema=schema)


def room_for(most_items: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lets EASE reject more items; the list records the sizes that were tried."""
    fit, tried = EASE.fit, list[int]()

    def limited(self: EASE, dataset: Dataset, *more: Any, **other: Any) -> EASE:
        tried.append(len(dataset.catalogue))
        if tried[-1] > most_items:
            raise MemoryBudgetError("EASE needs too much")
        return fit(self, dataset, *more, **other)

    monkeypatch.setattr(EASE, "fit", limited)
    return tried


@pytest.mark.parametrize("bots", [2, 5])
def test_undescribed_items_are_left_out_before_a_source(
    monkeypatch: pytest.MonkeyPatch, bots: int
) -> None:
    data = with_invented_items(bots)
    assert len(data.catalogue) == 30
    tried = room_for(10, monkeypatch)
    fitted = Recommender({"ease": EASE(), "popular": Popular()}, {"home": PLACEMENT}).fit(data)
    assert tried == [30, 10, 10]
    assert not fitted.left_out
    assert "'ease' exceeds the memory budget" in fitted.notes[0]
    assert (
        "20 items without a row in the item table and with fewer than "
        f"{8 if bots > 4 else 4} users" in (fitted.notes[0])
    )
    shown = fitted.recommend("bot1", n=30).item_ids()
    assert shown
    assert not [id_ for id_ in shown if id_.startswith("invented")]


def test_undescribed_items_stay_if_that_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = room_for(5, monkeypatch)
    whole = Recommender({"ease": EASE(), "popular": Popular()}, {"home": PLACEMENT})
    whole.fit(with_invented_items(2))
    assert list(whole.left_out) == ["ease"]
    assert len(whole.inventory.catalogue) == 30
    assert tried == [30, 10]


def test_a_source_is_left_out_before_items_kept_by_a_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room_for(10, monkeypatch)
    whole = Recommender({"ease": EASE(), "popular": Popular()}, {"home": PLACEMENT})
    assert list(whole.fit(with_invented_items(2, min_item_users=1)).left_out) == ["ease"]
    alone = Recommender({"ease": EASE()}, {"home": Placement(retrievers={"ease": 5})})
    with pytest.raises(MemoryBudgetError):
        alone.fit(with_invented_items(2, min_item_users=1))


def test_items_of_files_stay_if_no_table_describes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = [(f"u{n % 7}", f"i{n % 10}", False) for n in range(70)]
    pairs += [(f"bot{bot}", f"invented-{n}", True) for bot in range(3) for n in range(20)]
    log = pl.DataFrame(pairs, ["user_id", "item_id", "served"], orient="row").with_columns(
        kind=pl.lit(0, pl.Int8), value=pl.lit(None, pl.Float32), time=pl.int_range(pl.len())
    )
    schema = Schema(kinds={"view": EventKind()}, min_item_users=None)
    tried = room_for(10, monkeypatch)
    for served, sizes in ((True, [30, 10, 10]), (False, [30])):
        tables = {"events": log if served else log.drop("served")}
        data = Dataset.from_cleaned(Cleaned(tables, (ReadReport("log", 1, 1),)), schema)
        whole = Recommender({"ease": EASE(), "popular": Popular()}, {"home": PLACEMENT}).fit(data)
        assert tried == sizes
        assert ("ease" in whole.left_out) is not served
        tried.clear()


def test_a_fixed_catalogue_raises_with_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    room_for(10, monkeypatch)
    whole = Recommender({"ease": EASE(), "popular": Popular()}, {"home": PLACEMENT})
    data = with_invented_items(2)
    with pytest.raises(TooManyItemsError) as refused:
        whole.fit(data.before(data.end), keep_items=True)  # as an evaluation does
    assert (refused.value.source, refused.value.min_item_users) == ("ease", 4)


def test_a_saved_version_records_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        '[data]\nevents = "e.csv"\n[events.view]\n[retrievers.ease]\ntype = "ease"\n'
        '[retrievers.popular]\ntype = "popular"\n[placements.home]\n'
        "retrievers = { ease = 10, popular = 10 }\n"
    )
    (tmp_path / "tastemaker.toml").write_text(text)
    file = load_project(tmp_path / "tastemaker.toml").file
    short_of_memory(monkeypatch)
    Recommender.from_file(file).fit(small_dataset()).save(tmp_path / "v1")
    loaded = Recommender.load(tmp_path / "v1")
    assert loaded.left_out["ease"].reason.endswith("take SparseEASE")
    changes = "".join(with_project_settings(loaded, file)[1])
    assert "ease" not in changes
    changed = file.model_copy(
        update={"retrievers": {**file.retrievers, "ease": file.retrievers["popular"]}}
    )
    assert "ease" in "".join(with_project_settings(loaded, changed)[1])
