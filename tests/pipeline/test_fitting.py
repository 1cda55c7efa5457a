"""A source that does not fit into the memory is left out, and everything says so."""

from pathlib import Path

import pytest

from tastemaker.component import FitOptions
from tastemaker.errors import MemoryBudgetError
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


def test_a_source_without_room_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Recommender({"ease": EASE(), "popular": Popular()}, {"home": PLACEMENT})
    short_of_memory(monkeypatch)
    whole.fit(small_dataset())
    assert list(whole.retrievers) == list(whole.placements["home"].retrievers) == ["popular"]
    assert whole.left_out["ease"].reason == "EASE needs 9 GB; take SparseEASE"
    assert len(whole.recommend(n=3).item_ids()) == 3
    monkeypatch.undo()
    whole.fit(small_dataset())  # there is room now
    assert list(whole.retrievers) == ["ease", "popular"]
    assert not whole.left_out


def test_a_learned_fusion_goes_on_without_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = Placement(retrievers=("ease", "popular"))
    whole = Recommender({"ease": EASE(), "popular": Popular()}, {"home": placement})
    short_of_memory(monkeypatch)
    assert list(whole.fit(small_dataset()).left_out) == ["ease"]
    assert whole.clone().placements["home"].retrievers == ("ease", "popular")


def test_the_only_source_of_a_placement_stays_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    placements = {"home": PLACEMENT, "more": Placement(retrievers={"ease": 5})}
    short_of_memory(monkeypatch)
    with pytest.raises(MemoryBudgetError, match="needs 9 GB beside"):
        Recommender({"ease": EASE(), "popular": Popular()}, placements).fit(small_dataset())


def test_a_source_that_a_reranker_uses_stays_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = PLACEMENT.model_copy(update={"rerankers": ("diverse",)})
    parts = {"ease": EASE(), "popular": Popular()}
    whole = Recommender(parts, {"home": placement}, rerankers={"diverse": MMR(space="ease")})
    short_of_memory(monkeypatch)
    with pytest.raises(MemoryBudgetError, match="the reranker 'diverse' uses it"):
        whole.fit(small_dataset(), FitOptions())


def test_a_saved_version_tells_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        '[data]\nevents = "e.csv"\n[events.view]\n[retrievers.ease]\nuse = "ease"\n'
        '[retrievers.popular]\nuse = "popular"\n[placements.home]\n'
        "retrievers = { ease = 10, popular = 10 }\n"
    )
    (tmp_path / "tastemaker.toml").write_text(text)
    file = load_project(tmp_path / "tastemaker.toml").file
    short_of_memory(monkeypatch)
    Recommender.from_file(file).fit(small_dataset()).save(tmp_path / "v1")
    loaded = Recommender.load(tmp_path / "v1")
    assert loaded.left_out["ease"].reason.endswith("take SparseEASE")
    told = "".join(with_project_settings(loaded, file)[1])
    assert "ease" not in told
    changed = file.model_copy(
        update={"retrievers": {**file.retrievers, "ease": file.retrievers["popular"]}}
    )
    assert "ease" in "".join(with_project_settings(loaded, changed)[1])
