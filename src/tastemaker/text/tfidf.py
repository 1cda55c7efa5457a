"""TF-IDF: texts as sparse vectors in which rare words have more weight than common ones."""

import re
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Self
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.config import Settings
from tastemaker.data.ragged import offsets_of, rows_of
from tastemaker.data.vocabulary import Vocabulary

_WORD = re.compile(r"[^\W_]+")


class TfidfSettings(Settings):
    """Settings for the terms of a `TfidfEncoder`."""

    min_documents: int = Field(2, ge=1)
    """A word becomes a term if it occurs in at least this many texts."""
    max_share: float = Field(0.5, gt=0, le=1)
    """A word in more than this share of the texts is ignored, as it carries no information."""
    max_terms: int = Field(50_000, ge=1)
    """Maximum number of terms to keep: those that occur in the most texts."""


class TfidfEncoder:
    """Sublinear tf–idf vectors of length 1 (Salton & Buckley 1988).

    The weight of a term is (1 + ln tf) · idf, idf = 1 + ln((1 + texts) / (1 + texts with the
    term)). Words are runs of letters and digits in lower case: years and numbers are words.

    Attributes:
        terms: the terms, in alphabetical order.
        idf: float32[terms].

    Cost: microseconds per text.

    >>> encoder = TfidfEncoder.of(["Alien (1979)", "Aliens (1986)", "Alien 3", "Up", "Big"])
    >>> encoder.terms.ids(range(len(encoder)))
    ['alien']
    """

    def __init__(self, terms: Vocabulary, idf: NDArray[np.float32]) -> None:
        self.terms = terms
        self.idf = idf

    @classmethod
    def of(cls, texts: Iterable[str], settings: TfidfSettings | None = None) -> Self:
        """An encoder fitted on texts; empty texts are ignored."""
        chosen = settings or TfidfSettings()
        words, counts = _count_words(texts)
        n_texts = int((np.diff(counts.indptr) > 0).sum())
        frequency = np.bincount(counts.indices, minlength=len(words))
        usable = (frequency >= chosen.min_documents) & (frequency <= chosen.max_share * n_texts)
        common_first = sorted(
            np.flatnonzero(usable).tolist(), key=lambda place: (-frequency[place], words[place])
        )
        kept = sorted(common_first[: chosen.max_terms], key=lambda place: words[place])
        terms = Vocabulary.of([words[place] for place in kept])
        return cls(terms, smooth_idf(frequency[np.array(kept, np.int64)], n_texts))

    def __len__(self) -> int:
        return len(self.terms)

    def transform(self, texts: Iterable[str]) -> csr_array:
        """The vectors of texts, float32[texts × terms], columns sorted.

        Unknown words are ignored; a text without any known word is a row of zeros.
        """
        words, counts = _count_words(texts)
        term = self.terms.indices(words)[counts.indices]
        known = term >= 0
        row = rows_of(counts.indptr.astype(np.int64))[known]
        order = np.lexsort((term[known], row))
        row, term = row[order], term[known][order]
        weight = (1 + np.log(counts.data[known][order])) * self.idf[term]
        n_texts = counts.shape[0]
        length = np.sqrt(np.bincount(row, weights=weight * weight, minlength=n_texts))
        offsets = offsets_of(np.bincount(row, minlength=n_texts))
        values = (weight / length[row]).astype(np.float32)
        return csr_array((values, term, offsets), shape=(n_texts, len(self)))

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the terms and their weights."""
        self.terms.save(writer.child("terms"))
        writer.array("idf", self.idf)

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Memory-maps the terms and their weights."""
        return cls(Vocabulary.load(reader.child("terms")), reader.array("idf"))


def smooth_idf(frequency: NDArray[np.integer], n: int) -> NDArray[np.float32]:
    """1 + ln((1 + n) / (1 + frequency)), float32: terms in few of n rows have more weight."""
    return (1 + np.log((1 + n) / (1 + frequency))).astype(np.float32)


def _words(text: str) -> list[str]:
    """The words of a text, after compatibility normalization (½ as 1⁄2, ﬁ as fi)."""
    plain = text if text.isascii() else normalize("NFKC", text)
    return _WORD.findall(plain.lower())


def _count_words(texts: Iterable[str]) -> tuple[list[str], csr_array]:
    """The distinct words in order of appearance, and the count of each in each text."""
    places: dict[str, int] = {}
    lengths, found, times = [], array("q"), array("d")  # arrays of numbers take less than lists
    for text in texts:
        words = Counter(_words(text))
        lengths.append(len(words))
        found.extend(places.setdefault(word, len(places)) for word in words)
        times.extend(words.values())
    shape = (len(lengths), max(len(places), 1))
    counts = csr_array((np.array(times), np.array(found), offsets_of(lengths)), shape=shape)
    counts.sort_indices()
    return list(places), counts
