"""The selection of an index, loading, and the error if faiss is missing."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.errors import ArtifactError, LibraryError, SettingError
from tastemaker.index import (
    ApproximateIndex,
    CosineIndex,
    IndexSettings,
    ProductIndex,
    QuantizedIndex,
    build_index,
    load_index,
)
from tastemaker.testing.index import clustered, nobody, reopened


@pytest.mark.parametrize(
    ("kind", "smallest", "expected"),
    [
        ("exact", 0, ProductIndex),
        ("int8", 0, QuantizedIndex),
        ("approximate", 3_001, ProductIndex),
        ("approximate", 3_000, ApproximateIndex),
    ],
)
def test_the_settings_choose_the_index(kind: str, smallest: int, expected: type) -> None:
    settings = IndexSettings.checked({"kind": kind, "smallest": smallest}, owner="index")
    assert type(build_index(clustered(3_000, 1), settings)) is expected


def test_vectors_without_clusters_are_searched_exactly() -> None:
    vectors = np.random.default_rng(1).normal(size=(3_000, 64)).astype(np.float32)
    index = build_index(vectors, IndexSettings(kind="approximate", smallest=0))
    assert type(index) is QuantizedIndex
    assert index.recall == 1


def test_more_recall_reads_more_cells() -> None:
    breadths = [
        ApproximateIndex.of(clustered(3_000, 1), queries=clustered(300, 2), recall=recall).breadth
        for recall in (0.5, 1.0)
    ]
    assert breadths[0][0] < breadths[1][0]


def test_an_item_that_is_not_finite_is_never_found() -> None:
    vectors = clustered(500, 1)
    vectors[[3, 7]] = [[np.nan], [np.inf]]
    index = ApproximateIndex.of(vectors).added(np.full((1, vectors.shape[1]), np.nan, np.float32))
    found = index.top_n(clustered(3, 2), nobody(3), 501)
    assert index.size == 501
    assert not np.isin([3, 500], found.item).any()
    assert (found.counts >= 498).all()


@pytest.mark.parametrize("shape", [(0, 4), (5, 0)])
def test_empty_vectors_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must have at least one item and one factor"):
        ApproximateIndex.of(np.zeros(shape, np.float32))


@pytest.mark.parametrize("kind", ["exact", "int8", "approximate"])
def test_a_request_that_is_not_finite_finds_nothing(kind: str) -> None:
    settings = IndexSettings.checked({"kind": kind, "smallest": 0}, owner="index")
    queries = np.full((1, 64), np.inf, np.float32)
    index = build_index(np.ones((100, 64), np.float32), settings)
    assert not index.top_n(queries, nobody(1), 5).counts.any()


def test_an_unknown_kind_names_the_valid_kinds() -> None:
    with pytest.raises(SettingError, match="'exact', 'int8' or 'approximate'"):
        IndexSettings.checked({"kind": "exakt"}, owner="index")


@pytest.mark.parametrize("kind", ["exact", "int8", "approximate"])
def test_cosines_do_not_depend_on_lengths(kind: str, tmp_path: Path) -> None:
    settings = IndexSettings.checked(
        {"kind": kind, "metric": "cosine", "smallest": 0}, owner="index"
    )
    vectors, queries = clustered(3_000, 1), clustered(10, 4)
    vectors[5] = 0
    index = build_index(vectors, settings)
    assert isinstance(index, CosineIndex)
    longer = np.random.default_rng(2).uniform(0.1, 9, (3_000, 1)).astype(np.float32)
    found = index.top_n(queries, nobody(10), 50)
    other = build_index(vectors * longer, settings).top_n(3 * queries, nobody(10), 50)
    np.testing.assert_allclose(found.score, other.score, atol=1e-5)
    unit = vectors / np.maximum(1e-9, np.linalg.norm(vectors, axis=1, keepdims=True))
    cosines = (unit @ (queries / np.linalg.norm(queries, axis=1, keepdims=True)).T).T
    np.testing.assert_allclose(found.score, cosines[found.rows, found.item], atol=1e-5)
    if index.recall == 1:
        np.testing.assert_allclose(
            np.sort(cosines)[:, -50:][:, ::-1].ravel(), found.score, atol=1e-5
        )
    loaded = reopened(index, tmp_path / "index")
    assert np.array_equal(loaded.top_n(queries, nobody(10), 50).item, found.item)
    added = loaded.added(100 * queries[:1])
    assert added.top_n(queries, nobody(10), 1)[0].tolist() == [3_000]


def test_without_faiss_the_error_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert build_index(clustered(100, 1), IndexSettings(kind="approximate")).recall == 1
    with pytest.raises(LibraryError, match=r"faiss cannot be loaded .*tastemaker\[ann\]"):
        build_index(clustered(100, 1), IndexSettings(kind="approximate", smallest=0))


def test_an_artifact_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with create_artifact(tmp_path / "index", "index", {}) as writer:
        writer.json("about", {"kind": "aproximate"})
    with pytest.raises(ArtifactError, match="did you mean 'approximate'"):
        load_index(open_artifact(tmp_path / "index", "index")[0])


def test_loaded_cells_are_searched_in_place(tmp_path: Path) -> None:
    index = ApproximateIndex.of(clustered(3_000, 1))
    with create_artifact(tmp_path / "index", "index", {}) as writer:
        index.save(writer)
    loaded = load_index(open_artifact(tmp_path / "index", "index")[0])
    assert isinstance(loaded, ApproximateIndex)
    before = loaded.top_n(clustered(3, 4), nobody(3), 10)
    assert len(before.item) == 30
    loaded.cells[len(loaded.cells) // 5 :] = 0  # copy-on-write: the file is unchanged
    after = loaded.top_n(clustered(3, 4), nobody(3), 10)
    assert not np.array_equal(after.item, before.item)
