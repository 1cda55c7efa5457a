from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.data.arguments import id_text
from tastemaker.data.vocabulary import Texts, Vocabulary

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(id_text)
"""Ids as in tables: 1.0 is written as 1."""
distinct = st.lists(texts, unique=True, max_size=40)


def saved_and_loaded(vocabulary: Vocabulary, folder: Path) -> Vocabulary:
    with create_artifact(folder, "vocabulary", {}) as writer:
        vocabulary.save(writer)
    return Vocabulary.load(open_artifact(folder, "vocabulary")[0])


@given(distinct)
def test_ids_and_indices_are_a_round_trip(ids: list[str]) -> None:
    vocabulary = Vocabulary.of(ids)
    assert len(vocabulary) == len(ids)
    assert vocabulary.ids(range(len(ids))) == ids
    assert vocabulary.indices(ids).tolist() == list(range(len(ids)))
    assert [vocabulary.index(id_) for id_ in ids] == list(range(len(ids)))


@given(distinct, st.lists(st.text(max_size=12), max_size=40))
def test_an_unknown_id_is_minus_one(ids: list[str], queries: list[str]) -> None:
    vocabulary = Vocabulary.of(ids)
    plain = map(id_text, queries)
    expected = [ids.index(id_) if id_ in ids else -1 for id_ in plain]
    assert vocabulary.indices(queries).tolist() == expected
    assert [vocabulary.index(id_) for id_ in queries] == expected


@pytest.mark.parametrize("pair", [("plumless", "buckeroo"), ("codding", "gnu")])
def test_ids_with_equal_hashes_are_distinguished(pair: tuple[str, str]) -> None:
    first, second = pair
    assert crc32(first.encode()) == crc32(second.encode())
    both = Vocabulary.of(["a", first, "b", second])
    assert both.indices([second, first]).tolist() == [3, 1]
    assert Vocabulary.of([first]).index(second) == -1


@pytest.mark.parametrize(
    "id_", ["", " ", "01", "é", "e\u0301", "日本", "👩‍👩‍👧", "\u200b", "a\nb", "\x00", "x" * 5000]
)
def test_unusual_ids_are_supported(id_: str) -> None:
    vocabulary = Vocabulary.of(["1", id_, "z"])
    assert vocabulary.index(id_) == 1
    assert vocabulary.id(1) == id_


def test_similar_looking_ids_are_different() -> None:
    vocabulary = Vocabulary.of(["1", "é"])
    assert vocabulary.indices(["01", "1.5", " 1", "e\u0301"]).tolist() == [-1, -1, -1, -1]


def test_a_lone_surrogate_is_an_unknown_id() -> None:
    assert Vocabulary.of(["a"]).index("\ud800") == -1


def test_an_empty_vocabulary_knows_nothing() -> None:
    empty = Vocabulary.of([])
    assert len(empty) == 0
    assert empty.index("a") == -1
    assert empty.indices([]).dtype == np.int32


def test_an_id_given_twice_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="distinct, got 'b' more than once"):
        Vocabulary.of(["a", "b", "c", "b"])


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_outside_is_an_error(index: int) -> None:
    with pytest.raises(IndexError, match=f"index {index} is outside a vocabulary of 2 ids"):
        Vocabulary.of(["a", "b"]).id(index)


@given(distinct, distinct)
def test_extending_keeps_every_index(ids: list[str], more: list[str]) -> None:
    new = [id_ for id_ in more if id_ not in ids]
    vocabulary = Vocabulary.of(ids)
    extended = vocabulary.extended(new)
    assert extended.ids(range(len(extended))) == ids + new
    assert extended.indices(ids + new).tolist() == list(range(len(extended)))
    assert len(vocabulary) == len(ids)


@pytest.mark.parametrize("more", [["c", "a"], ["c", "c"]])
def test_extending_by_a_known_or_doubled_id_is_refused(more: list[str]) -> None:
    with pytest.raises(ValueError, match="new and distinct"):
        Vocabulary.of(["a", "b"]).extended(more)


def test_a_loaded_vocabulary_equals_the_saved_one(tmp_path: Path) -> None:
    ids = ["plumless", "é", "", "buckeroo", "10", "日本"]
    vocabulary = Vocabulary.of(ids)
    loaded = saved_and_loaded(vocabulary, tmp_path / "v")
    assert loaded.ids(range(len(ids))) == ids
    assert loaded.indices([*ids, "?"]).tolist() == [0, 1, 2, 3, 4, 5, -1]
    assert loaded.digest == vocabulary.digest
    assert loaded.extended(["new"]).index("new") == len(ids)


def test_an_empty_vocabulary_can_be_saved(tmp_path: Path) -> None:
    assert len(saved_and_loaded(Vocabulary.of([]), tmp_path / "v")) == 0


def test_the_digest_depends_on_order_and_boundaries() -> None:
    ids = [["a", "b"], ["b", "a"], ["ab"], ["", "ab"], ["a", "b", ""]]
    assert len({Vocabulary.of(some).digest for some in ids}) == len(ids)
    assert Vocabulary.of(["a", "b"]).digest == Vocabulary.of(["a"]).extended(["b"]).digest


@given(st.lists(texts), st.lists(texts))
def test_texts_are_packed_and_joined_without_loss(first: list[str], second: list[str]) -> None:
    joined = Texts.of(first).joined(Texts.of(second))
    assert [joined[i] for i in range(len(joined))] == first + second


def test_ids_can_be_added_in_several_steps() -> None:
    ids = [f"id-{n}" for n in range(300)]
    grown = Vocabulary.of(ids[:7])
    for first in range(7, 300, 41):
        grown = grown.extended(ids[first : first + 41])
    whole = Vocabulary.of(ids)
    assert grown.indices(ids).tolist() == list(range(300))
    assert grown.digest == whole.digest
    assert grown._hashes.tolist() == whole._hashes.tolist()
    assert grown._order.tolist() == whole._order.tolist()
