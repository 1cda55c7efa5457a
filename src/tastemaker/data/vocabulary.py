"""External ids (text) ↔ indices (int32), in three flat arrays that can be mapped from disk.

Ids occur only at the boundary of the package: internally, everything is an index, and an unknown
id is −1.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.data.arguments import id_text, ids_text
from tastemaker.data.ragged import offsets_of, offsets_with_rows, ranges, with_rows


class Texts:
    """Immutable strings in two arrays: UTF-8 bytes uint8[total] and offsets int64[n + 1]."""

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self._data = data
        self._offsets = offsets

    @classmethod
    def of(cls, strings: Iterable[str]) -> "Texts":
        """The strings, packed in the given order."""
        encoded = [string.encode() for string in strings]
        return cls(
            np.frombuffer(b"".join(encoded), np.uint8), offsets_of([len(e) for e in encoded])
        )

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> str:
        return self.encoded(index).decode()

    def start(self, index: int, length: int) -> str:
        """The first characters of one string; the rest of a long string is not read."""
        first, end = int(self._offsets[index]), int(self._offsets[index + 1])
        some = self._data[first : min(end, first + 4 * length)].tobytes()
        return some.decode(errors="ignore")[:length]

    def encoded(self, index: int) -> bytes:
        """The UTF-8 bytes of one string."""
        return self._data[self._offsets[index] : self._offsets[index + 1]].tobytes()

    def joined(self, more: "Texts") -> "Texts":
        """These strings followed by `more`."""
        return Texts(
            np.concatenate([self._data, more._data]),
            np.concatenate([self._offsets, more._offsets[1:] + self._offsets[-1]]),
        )

    def take(self, rows: NDArray[np.int64]) -> "Texts":
        """The given strings, in the given order."""
        counts = self._offsets[rows + 1] - self._offsets[rows]
        return Texts(self._data[ranges(self._offsets[rows], counts)], offsets_of(counts))

    def with_rows(self, rows: NDArray[np.int64], new: "Texts") -> "Texts":
        """These strings with those at `rows`, ascending and distinct, replaced."""
        return Texts(
            with_rows(self._offsets, self._data, rows, new._offsets, new._data),
            offsets_with_rows(self._offsets, rows, new._offsets),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the strings and their order."""
        digest = hashlib.sha256(np.ascontiguousarray(self._offsets).data)
        digest.update(np.ascontiguousarray(self._data).data)
        return digest.hexdigest()

    def save(self, writer: ArtifactWriter) -> None:
        """Saves both arrays."""
        writer.array("bytes", self._data)
        writer.array("offsets", self._offsets)

    @classmethod
    def load(cls, reader: ArtifactReader) -> "Texts":
        """Maps both arrays from disk."""
        return cls(reader.array("bytes"), reader.array("offsets"))


class Vocabulary:
    """Distinct ids, each with its index; the given order is kept.

    A lookup is a binary search in sorted CRC-32 hashes, then a comparison of bytes. It takes about
    a microsecond, on arrays that several processes can share.

    >>> items = Vocabulary.of(["10", "7"])
    >>> items.index("7"), items.index("007"), items.id(0)
    (1, -1, '10')
    """

    def __init__(self, texts: Texts, hashes: NDArray[np.uint32], order: NDArray[np.int32]) -> None:
        self._texts = texts
        self._hashes = hashes
        self._order = order

    @classmethod
    def of(cls, ids: Sequence[str]) -> "Vocabulary":
        """A vocabulary of `ids`, which must be distinct.

        Raises:
            ValueError: an id occurs twice.
        """
        vocabulary = cls._over(Texts.of(ids))
        if len(set(ids)) != len(ids):
            twice = next(id_ for place, id_ in enumerate(ids) if vocabulary.index(id_) != place)
            raise ValueError(f"ids must be distinct, got '{twice}' more than once")
        return vocabulary

    @classmethod
    def _over(cls, texts: Texts) -> "Vocabulary":
        hashes = np.fromiter(
            (crc32(texts.encoded(i)) for i in range(len(texts))), np.uint32, len(texts)
        )
        order = np.argsort(hashes, kind="stable").astype(np.int32)
        return cls(texts, hashes[order], order)

    def __len__(self) -> int:
        return len(self._texts)

    def id(self, index: int) -> str:
        """The id at an index.

        Raises:
            IndexError: the index does not exist.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside a vocabulary of {len(self)} ids")
        return self._texts[index]

    def ids(self, indices: Iterable[int]) -> list[str]:
        """The ids at several indices."""
        return [self.id(int(index)) for index in indices]

    def index(self, id_: Any) -> int:
        """The index of an id, or −1 if it is unknown.

        Args:
            id_: text, an integer or a whole float, from Python or a frame.

        Raises:
            SettingError: `id_` is not a valid id.
        """
        encoded = id_text(id_).encode(errors="surrogatepass")
        place = int(np.searchsorted(self._hashes, np.uint32(crc32(encoded))))
        return self._match(encoded, place)

    def indices(self, ids: Any) -> NDArray[np.int32]:
        """The indices of several ids, int32[n]; −1 where unknown.

        Args:
            ids: a list, array or series of ids; see `index`.

        Raises:
            SettingError: one of them is not a valid id.
        """
        encoded = [id_.encode(errors="surrogatepass") for id_ in ids_text(ids, "ids")]
        hashes = np.fromiter(map(crc32, encoded), np.uint32, len(encoded))
        places = np.searchsorted(self._hashes, hashes).tolist()
        return np.fromiter(map(self._match, encoded, places), np.int32, len(encoded))

    def _match(self, encoded: bytes, place: int) -> int:
        """The index whose bytes equal `encoded` among the equal hashes from `place` on."""
        first = place
        while place < len(self._hashes) and self._hashes[place] == self._hashes[first]:
            index = int(self._order[place])
            if self._texts.encoded(index) == encoded:
                return index
            place += 1
        return -1

    def extended(self, ids: Sequence[str]) -> "Vocabulary":
        """A vocabulary with `ids` appended; existing indices do not change."""
        known = [id_ for id_ in ids if self.index(id_) >= 0]
        if known or len(set(ids)) != len(ids):
            raise ValueError(f"ids to add must be new and distinct, got {known or list(ids)}")
        more = Vocabulary._over(Texts.of(ids))
        # after existing ids with the same hash, so that equal hashes are ordered by index
        places = np.searchsorted(self._hashes, more._hashes, side="right")
        order = (more._order + len(self)).astype(np.int32)
        return Vocabulary(
            self._texts.joined(more._texts),
            np.insert(self._hashes, places, more._hashes),
            np.insert(self._order, places, order),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the ids and their order; equal vocabularies have equal digests."""
        return self._texts.digest

    def save(self, writer: ArtifactWriter) -> None:
        """Saves its arrays."""
        self._texts.save(writer)
        writer.array("hashes", self._hashes)
        writer.array("order", self._order)

    @classmethod
    def load(cls, reader: ArtifactReader) -> "Vocabulary":
        """Maps its arrays from disk."""
        return cls(Texts.load(reader), reader.array("hashes"), reader.array("order"))
