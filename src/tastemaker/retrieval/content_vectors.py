"""Encode catalogue rows as sparse vectors, with a block of terms for each column."""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.data.catalogue import (
    Catalogue,
    CategoryColumn,
    Column,
    TagsColumn,
    TextColumn,
    VectorColumn,
)
from tastemaker.data.ragged import offsets_of, offsets_with_rows, ranges, with_rows
from tastemaker.text import TfidfEncoder, TfidfSettings, smooth_idf


class ContentSettings(TfidfSettings):
    """Settings of item vectors: the weight of each kind of column."""

    text_weight: float = Field(1.0, ge=0)
    """Weight of a text column; 0 ignores it."""
    tags_weight: float = Field(1.0, ge=0)
    """Weight of a column of tags; 0 ignores it."""
    category_weight: float = Field(1.0, ge=0)
    """Weight of a column of categories; 0 ignores it."""
    vector_weight: float = Field(1.0, ge=0)
    """Weight of a column of vectors; 0 ignores it."""


class SparseRows(NamedTuple):
    """Sparse rows, in the layout that the kernels use.

    Attributes:
        offsets: int64[rows + 1].
        terms: int32[n], ascending within a row.
        weights: float32[n].
    """

    offsets: NDArray[np.int64]
    terms: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, matrix: csr_array) -> Self:
        """The rows of a matrix with sorted columns."""
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32),
            matrix.data.astype(np.float32),
        )

    def take(self, rows: NDArray[np.integer]) -> "SparseRows":
        """The given rows, in the given order."""
        counts = self.offsets[rows + 1] - self.offsets[rows]
        entries = ranges(self.offsets[rows], counts)
        return SparseRows(offsets_of(counts), self.terms[entries], self.weights[entries])

    def joined(self, more: "SparseRows") -> "SparseRows":
        """These rows followed by `more`."""
        return SparseRows(
            np.concatenate([self.offsets, more.offsets[1:] + self.offsets[-1]]),
            np.concatenate([self.terms, more.terms]),
            np.concatenate([self.weights, more.weights]),
        )

    def with_rows(self, rows: NDArray[np.int64], new: "SparseRows") -> "SparseRows":
        """These rows with those at `rows` (ascending, distinct) replaced by `new`."""
        return SparseRows(
            offsets_with_rows(self.offsets, rows, new.offsets),
            with_rows(self.offsets, self.terms, rows, new.offsets, new.terms),
            with_rows(self.offsets, self.weights, rows, new.offsets, new.weights),
        )

    def matrix(self, width: int) -> csr_array:
        """The rows as a matrix, float32[rows × width]."""
        triple = (self.weights, self.terms, self.offsets)
        return csr_array(triple, shape=(len(self.offsets) - 1, width))

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the three arrays."""
        for name, values in self._asdict().items():
            writer.array(name, values)

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Memory-maps the three arrays."""
        return cls(*(reader.array(name) for name in cls._fields))


class _Block:
    """The part of the vector that encodes one column.

    Attributes:
        column: the name of the column.
        weight: the weight of the block.
        text: the encoder of a text column; None for other columns.
        idf: float32[labels known in `fit`]; empty for text and vectors.
        dimension: the dimension of a column of vectors; 0 for other columns.
    """

    def __init__(
        self,
        column: str,
        weight: float,
        text: TfidfEncoder | None,
        idf: NDArray[np.float32],
        dimension: int = 0,
    ) -> None:
        self.column = column
        self.weight = weight
        self.text = text
        self.idf = idf
        self.dimension = dimension

    @classmethod
    def of(cls, name: str, column: Column, settings: ContentSettings) -> "_Block | None":
        """The block of a column; None for a kind of column without terms."""
        if isinstance(column, TextColumn):
            texts = (column.texts[row] for row in range(len(column.texts)))
            encoder = TfidfEncoder.of(texts, settings)
            return cls(name, settings.text_weight, encoder, np.empty(0, np.float32))
        if isinstance(column, VectorColumn):
            nothing = np.empty(0, np.float32)
            return cls(name, settings.vector_weight, None, nothing, column.dimension)
        if not isinstance(column, TagsColumn):
            return None
        is_category = isinstance(column, CategoryColumn)
        weight = settings.category_weight if is_category else settings.tags_weight
        frequency = np.bincount(column.codes.values, minlength=len(column.labels))
        return cls(name, weight, None, smooth_idf(frequency, len(column.codes)))

    def __len__(self) -> int:
        return self.dimension + (len(self.idf) if self.text is None else len(self.text))

    def rows(self, column: Column | None, start: int, stop: int) -> csr_array:
        """Rows start … stop − 1 of the column, each of length `weight`, or zero."""
        if self.text is not None and isinstance(column, TextColumn):
            rows = self.text.transform(column.texts[row] for row in range(start, stop))
        elif isinstance(column, VectorColumn) and column.dimension == self.dimension:
            rows = _unit_rows(column.values[start:stop])
        elif self.text is None and not self.dimension and isinstance(column, TagsColumn):
            rows = self._labels(column, start, stop)
        else:
            nothing = (np.empty(0, np.float32), (np.empty(0, np.int64), np.empty(0, np.int64)))
            rows = csr_array(nothing, shape=(stop - start, len(self)))
        rows.data *= np.float32(self.weight)
        return rows

    def _labels(self, column: TagsColumn, start: int, stop: int) -> csr_array:
        """The idf vectors of labels; labels that were unknown in `fit` are ignored."""
        offsets = column.codes.offsets[start : stop + 1]
        codes = column.codes.values[offsets[0] : offsets[-1]]
        known = codes < len(self.idf)
        row = np.repeat(np.arange(stop - start), np.diff(offsets))[known]
        weights = self.idf[codes[known]]
        indptr = offsets_of(np.bincount(row, minlength=stop - start))
        shape = (stop - start, len(self))
        return _unit(csr_array((weights, codes[known], indptr), shape=shape))


class ContentEncoder:
    """Encodes catalogue rows as vectors of length 1; a row without content is all zeros.

    The vector consists of one block per column: tf–idf for a text column, the idf of each label for
    tags or categories, and the values of a column of vectors. Every block has length 1 before it
    is weighted, so that long texts do not dominate short labels.

    Attributes:
        width: the number of terms over all blocks; each dimension of a vector is a term.
        dense: the number of terms that are dimensions of vectors, which nearly every item has.
    """

    def __init__(self, blocks: list[_Block]) -> None:
        self._blocks = blocks
        self.width = sum(len(block) for block in blocks)
        self.dense = sum(block.dimension for block in blocks)

    @classmethod
    def of(cls, catalogue: Catalogue, settings: ContentSettings) -> Self:
        """An encoder fitted on the terms and labels of a catalogue."""
        made = (_Block.of(name, c, settings) for name, c in catalogue.columns.items())
        return cls([block for block in made if block is not None and block.weight and len(block)])

    def encode(self, catalogue: Catalogue, start: int, stop: int) -> SparseRows:
        """The vectors of items start … stop − 1."""
        parts = [b.rows(catalogue.columns.get(b.column), start, stop) for b in self._blocks]
        return SparseRows.of(_unit(_side_by_side(parts, stop - start)))

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the blocks."""
        blocks: list[dict[str, Any]] = []
        for place, block in enumerate(self._blocks):
            part = writer.child(f"block_{place}")
            part.array("idf", block.idf)
            if block.text is not None:
                block.text.save(part.child("text"))
            about: dict[str, Any] = {"column": block.column, "weight": block.weight}
            about |= {"text": block.text is not None, "dimension": block.dimension}
            blocks.append(about)
        writer.json("blocks", blocks)

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Memory-maps the blocks."""
        blocks = []
        for place, about in enumerate(reader.json("blocks")):
            part = reader.child(f"block_{place}")
            text = TfidfEncoder.load(part.child("text")) if about["text"] else None
            settings = (about["column"], about["weight"], text, part.array("idf"))
            blocks.append(_Block(*settings, about.get("dimension", 0)))
        return cls(blocks)


def _unit_rows(vectors: NDArray[np.float32]) -> csr_array:
    """The vectors at length 1; a missing or zero vector has no entries."""
    present = np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)
    count, dimension = int(present.sum()), vectors.shape[1]
    terms = np.tile(np.arange(dimension), count)
    offsets = offsets_of(np.where(present, dimension, 0))
    shape = (len(vectors), dimension)
    return _unit(csr_array((vectors[present].ravel(), terms, offsets), shape=shape))


def _side_by_side(parts: list[csr_array], n_rows: int) -> csr_array:
    """Matrices of `n_rows` rows concatenated by columns; columns stay sorted."""
    shifts = offsets_of([part.shape[1] for part in parts])
    row = [np.repeat(np.arange(n_rows), np.diff(part.indptr)) for part in parts]
    order = np.argsort(np.concatenate([*row, np.empty(0, np.int64)]), kind="stable")
    terms = np.concatenate([p.indices + s for p, s in zip(parts, shifts)] or [order])[order]
    weights = np.concatenate([*(p.data for p in parts), np.empty(0, np.float32)])[order]
    counts = sum((np.diff(part.indptr) for part in parts), np.zeros(n_rows, np.int64))
    return csr_array((weights, terms, offsets_of(counts)), shape=(n_rows, int(shifts[-1])))


def _unit(matrix: csr_array) -> csr_array:
    """The rows at length 1; each row is summed separately, in the order of its columns."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    squares = matrix.data.astype(np.float64) ** 2
    length = np.sqrt(np.bincount(row, weights=squares, minlength=matrix.shape[0]))
    unit = (matrix.data / length[row]).astype(np.float32)
    return csr_array((unit, matrix.indices, matrix.indptr), shape=matrix.shape)
