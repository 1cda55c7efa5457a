import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.errors import SettingError
from tastemaker.text import TfidfEncoder, TfidfSettings, smooth_idf

TEXTS = ["Alien (1979)", "Alien 3", "The Thing", "The Fly (1979)", "Amélie", ""]
ALL_WORDS = TfidfSettings(min_documents=1, max_share=1.0)


def by_hand(texts: list[str], fitted_on: list[str]) -> NDArray[np.float64]:
    """The slow twin: a matrix over the sorted words, from the formula."""

    def words(text: str) -> list[str]:
        return text.lower().replace("(", " ").replace(")", " ").split()

    terms = sorted({word for text in fitted_on for word in words(text)})
    n = sum(bool(words(text)) for text in fitted_on)
    table = np.zeros((len(texts), len(terms)))
    for row, text in enumerate(texts):
        for place, term in enumerate(terms):
            count = words(text).count(term)
            frequency = sum(term in words(other) for other in fitted_on)
            if count:
                table[row, place] = (1 + np.log(count)) * (1 + np.log((1 + n) / (1 + frequency)))
    length = np.linalg.norm(table, axis=1, keepdims=True)
    return table / np.where(length > 0, length, 1)


def test_the_vectors_are_those_of_the_formula() -> None:
    encoder = TfidfEncoder.of(TEXTS, ALL_WORDS)
    later = [*TEXTS, "the the the alien", "nobody knows 3"]
    found = encoder.transform(later).toarray()
    np.testing.assert_allclose(found, by_hand(later, TEXTS), rtol=1e-6, atol=1e-7)


def test_words_are_lower_case_letters_and_digits_of_any_script() -> None:
    encoder = TfidfEncoder.of(["Ночь_и_День, 1984!", "L'été: 2001—ﬁn"], ALL_WORDS)
    terms = encoder.terms.ids(range(len(encoder)))
    assert terms == sorted(["ночь", "и", "день", "1984", "l", "été", "2001", "fin"])


def test_rare_and_ubiquitous_words_are_not_terms() -> None:
    texts = ["a b c", "a b d", "a e f", "a g h"]
    encoder = TfidfEncoder.of(texts, TfidfSettings(min_documents=2, max_share=0.5))
    assert encoder.terms.ids(range(len(encoder))) == ["b"]


def test_the_most_common_words_are_kept_above_the_limit() -> None:
    texts = ["x", "y z", "y z", "z"]
    settings = TfidfSettings(min_documents=1, max_share=1.0, max_terms=2)
    assert TfidfEncoder.of(texts, settings).terms.ids([0, 1]) == ["y", "z"]


def test_a_rare_word_weighs_more() -> None:
    found = TfidfEncoder.of(TEXTS, ALL_WORDS).transform(["alien 3"]).toarray()[0]
    alien, three = sorted(found[found > 0])
    assert alien < three


@pytest.mark.parametrize("text", ["", "   ", "?!", "nobody knows"])
def test_a_text_without_known_words_is_a_row_of_zeros(text: str) -> None:
    found = TfidfEncoder.of(TEXTS, ALL_WORDS).transform([text])
    assert found.shape[0] == 1
    assert found.dtype == np.float32
    assert not found.toarray().any()


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_nothing_to_learn_from_gives_no_terms(texts: list[str]) -> None:
    encoder = TfidfEncoder.of(texts)
    assert len(encoder) == 0
    assert encoder.transform(["alien"]).shape == (1, 0)


def test_a_text_is_encoded_the_same_alone_and_in_a_batch() -> None:
    encoder = TfidfEncoder.of(TEXTS, ALL_WORDS)
    together = encoder.transform(TEXTS).toarray()
    for row, text in enumerate(TEXTS):
        assert np.array_equal(encoder.transform([text]).toarray()[0], together[row])


def test_a_saved_encoder_encodes_the_same(tmp_path: Path) -> None:
    encoder = TfidfEncoder.of(TEXTS, ALL_WORDS)
    with create_artifact(tmp_path / "encoder", "test", {}) as writer:
        encoder.save(writer)
    loaded = TfidfEncoder.load(open_artifact(tmp_path / "encoder", "test")[0])
    assert np.array_equal(loaded.transform(TEXTS).toarray(), encoder.transform(TEXTS).toarray())


def test_rarity_falls_with_frequency() -> None:
    idf = smooth_idf(np.array([0, 1, 5, 10]), 10)
    assert idf.dtype == np.float32
    assert (np.diff(idf) < 0).all()
    assert idf[-1] == 1


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(SettingError, match="max_share"):
        TfidfSettings.checked({"max_share": 1.5}, owner="TfidfEncoder")


@pytest.mark.slow
def test_a_hundred_thousand_titles_are_encoded() -> None:
    random = np.random.default_rng(0)
    words = [f"word{place}" for place in range(20_000)]
    rows = random.zipf(1.3, (100_000, 4)) % len(words)
    texts = [" ".join(words[place] for place in row) for row in rows.tolist()]
    encoded = TfidfEncoder.of(texts).transform(texts)
    assert encoded.shape[0] == len(texts)
    assert (np.diff(encoded.indptr) > 0).mean() > 0.9


def test_repeated_words_take_no_additional_memory() -> None:
    texts = ["x y " * 20_000] * 25
    tracemalloc.start()
    TfidfEncoder.of(texts, TfidfSettings(max_share=1.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20, "a million words, forty thousand at a time"
