import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from tastemaker.artifact import (
    FORMAT,
    ArtifactReader,
    ArtifactWriter,
    create_artifact,
    open_artifact,
    read_manifest,
)
from tastemaker.errors import ArtifactError

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    with create_artifact(tmp_path / "v1", "recommender", {"seed": 7}) as writer:
        writer.array("numbers", NUMBERS)
        writer.json("settings", {"b": 1, "a": "é"})
        writer.child("deep").child("er").array("ones", np.ones(3, np.int8))
    return tmp_path / "v1"


def opened(folder: Path) -> ArtifactReader:
    return open_artifact(folder, "recommender")[0]


def rewrite_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_everything_comes_back_as_it_was_written(saved: Path) -> None:
    reader, manifest = open_artifact(saved, "recommender")
    np.testing.assert_array_equal(reader.array("numbers"), NUMBERS)
    assert reader.array("numbers").dtype == np.float32
    assert reader.json("settings") == {"b": 1, "a": "é"}
    assert reader.child("deep").child("er").array("ones").tolist() == [1, 1, 1]
    assert manifest["about"] == {"seed": 7}
    assert manifest["format"] == FORMAT


def test_changes_to_mapped_arrays_never_reach_the_file(saved: Path) -> None:
    numbers = opened(saved).array("numbers")
    assert isinstance(numbers.base, np.memmap)
    numbers[0, 0] = 99
    assert opened(saved).array("numbers")[0, 0] == NUMBERS[0, 0]


def test_a_sparse_matrix_comes_back(tmp_path: Path) -> None:
    matrix = csr_array(np.array([[0, 1, 0], [2, 0, 3]], np.float32))
    with create_artifact(tmp_path / "v", "model", {}) as writer:
        writer.sparse("weights", matrix)
    loaded = open_artifact(tmp_path / "v", "model")[0].sparse("weights")
    np.testing.assert_array_equal(loaded.toarray(), matrix.toarray())
    assert loaded.dtype == np.float32


@pytest.mark.parametrize(
    "required",
    [
        {"dtype": np.float64},
        {"shape": (3, 2)},
        {"shape": (None,)},
        {"dtype": np.int32, "shape": (2, 3), "below": 5},
    ],
)
def test_an_array_of_another_dtype_or_shape_is_rejected(tmp_path: Path, required: Any) -> None:
    with create_artifact(tmp_path / "v", "model", {}) as writer:
        writer.array("items", np.arange(6, dtype=np.int32).reshape(2, 3))
    reader = open_artifact(tmp_path / "v", "model")[0]
    assert reader.array("items", np.int32, (None, 3), below=6).shape == (2, 3)
    with pytest.raises(ArtifactError, match="train again"):
        reader.array("items", **required)


@pytest.mark.parametrize("offsets", [[], [0, 3, 2, 4], [1, 2, 3, 4], [0, 1, 2, 5], [0, 2, 4]])
def test_invalid_offsets_are_rejected(tmp_path: Path, offsets: list[int]) -> None:
    with create_artifact(tmp_path / "v", "model", {}) as writer:
        writer.array("good", np.array([0, 2, 2, 4]))
        writer.array("bad", np.array(offsets, np.int64))
    reader = open_artifact(tmp_path / "v", "model")[0]
    assert reader.offsets("good", 3, 4).tolist() == [0, 2, 2, 4]
    with pytest.raises(ArtifactError, match="train again"):
        reader.offsets("bad", 3, 4)


def test_a_sparse_matrix_with_non_finite_values_is_rejected(tmp_path: Path) -> None:
    matrix = csr_array(np.array([[0, np.nan], [1, 0]], np.float32))
    with create_artifact(tmp_path / "v", "model", {}) as writer:
        writer.sparse("weights", matrix)
    with pytest.raises(ArtifactError, match="not all of its values are finite"):
        open_artifact(tmp_path / "v", "model")[0].sparse("weights")


def test_a_sparse_matrix_with_invalid_offsets_is_rejected(tmp_path: Path) -> None:
    matrix = csr_array(np.eye(3, dtype=np.float32))
    matrix.indptr[:] = [0, 2**31 - 1, 1, 0]
    with create_artifact(tmp_path / "v", "model", {}) as writer:
        writer.sparse("weights", matrix)
    with pytest.raises(ArtifactError, match="not a sparse matrix"):
        open_artifact(tmp_path / "v", "model")[0].sparse("weights")


def test_a_text_comes_back_as_it_was(tmp_path: Path) -> None:
    text = "tree\r\nverdure: é\n\n"
    with create_artifact(tmp_path / "v", "model", {}) as writer:
        writer.text("trees", text)
    reader = open_artifact(tmp_path / "v", "model")[0]
    assert reader.text("trees") == text
    assert reader.has("trees.txt")
    with pytest.raises(ArtifactError, match=r"the manifest lists no file 'leaves\.txt'"):
        reader.text("leaves")


def test_a_text_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    with create_artifact(tmp_path / "v", "model", {}) as writer:
        (writer._folder / "trees.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match=r"trees\.txt: not UTF-8"):
        open_artifact(tmp_path / "v", "model")[0].text("trees")


def test_equal_contents_have_equal_manifests(saved: Path, tmp_path: Path) -> None:
    with create_artifact(tmp_path / "v2", "recommender", {"seed": 7}) as writer:
        writer.child("deep").child("er").array("ones", np.ones(3, np.int8))
        writer.json("settings", {"b": 1, "a": "é"})
        writer.array("numbers", np.asfortranarray(NUMBERS))
    first, second = (p.joinpath("manifest.json").read_bytes() for p in (saved, tmp_path / "v2"))
    assert first == second


def test_a_reader_knows_which_files_exist(saved: Path) -> None:
    reader = opened(saved)
    assert reader.has("numbers.npy")
    assert not reader.has("letters.npy")
    assert reader.child("deep").child("er").has("ones.npy")
    with pytest.raises(ArtifactError, match=r"the manifest lists no file 'letters\.npy'"):
        reader.array("letters")


def test_nothing_appears_when_writing_fails(tmp_path: Path) -> None:
    def write_half() -> None:
        with create_artifact(tmp_path / "v", "model", {}) as writer:
            writer.array("numbers", NUMBERS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_visible_before_everything_is_written(tmp_path: Path) -> None:
    with create_artifact(tmp_path / "v", "model", {}) as writer:
        writer.array("numbers", NUMBERS)
        assert not (tmp_path / "v").exists()
    assert (tmp_path / "v").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_an_existing_folder_is_never_overwritten(saved: Path) -> None:
    def write_again() -> None:
        with create_artifact(saved, "recommender", {}):
            pass

    with pytest.raises(ArtifactError, match="v1 already exists: choose another folder"):
        write_again()
    assert opened(saved).has("numbers.npy")


def test_objects_are_never_pickled(tmp_path: Path) -> None:
    writer = ArtifactWriter(tmp_path / "w")
    with pytest.raises(ValueError, match="pickle"):
        writer.array("objects", np.array([{"a": 1}], object))


def test_a_pickled_array_is_never_loaded(tmp_path: Path) -> None:
    with create_artifact(tmp_path / "v", "model", {}) as writer:
        np.save(tmp_path / "evil.npy", np.array([{"a": 1}], object), allow_pickle=True)
        folder = writer._folder
        (tmp_path / "evil.npy").rename(folder / "evil.npy")
    with pytest.raises(ArtifactError, match=r"evil\.npy: not a NumPy array"):
        open_artifact(tmp_path / "v", "model")[0].array("evil")


def test_a_damaged_file_is_named(saved: Path) -> None:
    path = saved / "numbers.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"'numbers\.npy' is damaged \(its checksum differs\)"):
        opened(saved)


def test_a_truncated_file_is_named(saved: Path) -> None:
    path = saved / "numbers.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ArtifactError, match=r"'numbers\.npy' is damaged"):
        opened(saved)


def test_a_missing_file_is_named(saved: Path) -> None:
    (saved / "deep" / "er" / "ones.npy").unlink()
    with pytest.raises(ArtifactError, match=r"the file 'deep/er/ones\.npy' is missing"):
        opened(saved)


def test_an_unlisted_file_cannot_be_read(saved: Path) -> None:
    np.save(saved / "added.npy", NUMBERS)
    with pytest.raises(ArtifactError, match=r"lists no file 'added\.npy'"):
        opened(saved).array("added")


def test_a_link_out_of_the_folder_is_refused(saved: Path) -> None:
    inside, outside = saved / "numbers.npy", saved.parent / "numbers.npy"
    inside.rename(outside)
    inside.symlink_to(outside)
    with pytest.raises(ArtifactError, match=r"names 'numbers\.npy', outside its folder"):
        opened(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(about={"seed": 8}), r"is damaged \(its digest differs\)"),
        (lambda m: m.update(format=99), "format 99, this version reads 3: train again"),
        (lambda m: m.update(kind="model"), "holds a 'model', not a 'recommender'"),
        (lambda m: m.pop("digest"), "is not a Tastemaker manifest"),
    ],
)
def test_a_foreign_or_damaged_manifest_gives_the_reason(
    saved: Path, change: Callable[[dict], object], message: str
) -> None:
    rewrite_manifest(saved, change)
    with pytest.raises(ArtifactError, match=message):
        opened(saved)


@pytest.mark.parametrize("text", ["", "{", "\x00\x01"])
def test_an_unreadable_manifest_is_reported(saved: Path, text: str) -> None:
    (saved / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        read_manifest(saved, "recommender")


@pytest.mark.parametrize("text", ["[]", "3", "{}"])
def test_another_programs_manifest_is_refused(saved: Path, text: str) -> None:
    (saved / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="is not a Tastemaker manifest"):
        read_manifest(saved, "recommender")


def test_a_folder_without_a_manifest_is_not_an_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not an artifact \(no manifest\.json\)"):
        opened(tmp_path)


def test_a_file_is_not_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "v").write_text("")
    with pytest.raises(ArtifactError, match="not an artifact"):
        opened(tmp_path / "v")
