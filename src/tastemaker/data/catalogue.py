"""The item catalogue: a vocabulary of ids and typed attribute columns, as flat arrays."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.data.ragged import Ragged, Value
from tastemaker.data.recognize import title_column
from tastemaker.data.titles import TitleSearch
from tastemaker.data.vocabulary import Texts, Vocabulary

NO_TIME = np.iinfo(np.int64).min
LONGEST_TITLE = 1_000
"""The number of characters of a title that are shown."""


class TextColumn:
    """Free text, one string per row; the empty string if missing."""

    role: ClassVar = "text"

    def __init__(self, texts: Texts) -> None:
        self.texts = texts

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Self:
        """A column of one string or None per row."""
        return cls(Texts.of(value or "" for value in values))

    def extended(self, values: Sequence[str | None]) -> "TextColumn":
        """This column with more rows."""
        return TextColumn(self.texts.joined(Texts.of(value or "" for value in values)))

    def changed(self, rows: NDArray[np.int64], values: Sequence[str | None]) -> "TextColumn":
        """This column with new values at `rows`, ascending; itself if they are the same."""
        texts = [value or "" for value in values]
        if texts == [self.texts[row] for row in rows]:
            return self
        return TextColumn(self.texts.with_rows(rows, Texts.of(texts)))

    def take(self, rows: NDArray[np.int64]) -> "TextColumn":
        """The given rows, in the given order."""
        return TextColumn(self.texts.take(rows))

    def save(self, writer: ArtifactWriter) -> None:
        """Saves the strings."""
        self.texts.save(writer)

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Maps the strings from disk."""
        return cls(Texts.load(reader))


class TagsColumn:
    """Any number of labels per row: `labels` are the names, `codes` each row's sorted codes."""

    role: ClassVar = "tags"

    def __init__(self, labels: Vocabulary, codes: Ragged) -> None:
        self.labels = labels
        self.codes = codes

    @cached_property
    def rows_by_label(self) -> Ragged:
        """The rows that have each label, ascending; computed once, in one pass over the codes."""
        codes, shape = self.codes, (len(self.codes), len(self.labels))
        present = np.ones(len(codes.values), np.bool_)
        by_label = csr_array((present, codes.values, codes.offsets), shape).tocsc()
        return Ragged(by_label.indptr.astype(np.int64), by_label.indices.astype(np.int32))

    @classmethod
    def of(cls, values: Sequence[Sequence[str] | None]) -> Self:
        """A column of a list of labels or None per row."""
        rows = [sorted(set(row or ())) for row in values]
        labels = Vocabulary.of(sorted({label for row in rows for label in row}))
        return cls(labels, Ragged.of([labels.indices(row) for row in rows]))

    def extended(self, values: Sequence[Sequence[str] | None]) -> "TagsColumn":
        """This column with more rows; new labels are appended to the existing ones."""
        labels, more = self._coded(values)
        offsets = np.concatenate([self.codes.offsets, more.offsets[1:] + self.codes.offsets[-1]])
        return type(self)(labels, Ragged(offsets, np.concatenate([self.codes.values, more.values])))

    def changed(
        self, rows: NDArray[np.int64], values: Sequence[Sequence[str] | None]
    ) -> "TagsColumn":
        """This column with new labels at `rows`, ascending; itself if they are the same."""
        labels, new = self._coded(values)
        old = self.codes.take(rows)
        if np.array_equal(old.offsets, new.offsets) and np.array_equal(old.values, new.values):
            return self
        return type(self)(labels, self.codes.with_rows(rows, new))

    def _coded(self, values: Sequence[Sequence[str] | None]) -> tuple[Vocabulary, Ragged]:
        """The labels, extended by the new ones, and the codes of the rows."""
        rows = [sorted(set(row or ())) for row in values]
        unknown = {label for row in rows for label in row if self.labels.index(label) < 0}
        labels = self.labels.extended(sorted(unknown)) if unknown else self.labels
        return labels, Ragged.of([np.sort(labels.indices(row)) for row in rows])

    def take(self, rows: NDArray[np.int64]) -> "TagsColumn":
        """The given rows, in the given order."""
        return type(self)(self.labels, self.codes.take(rows))

    def save(self, writer: ArtifactWriter) -> None:
        """Saves labels and codes."""
        self.labels.save(writer.child("labels"))
        writer.array("offsets", self.codes.offsets)
        writer.array("codes", self.codes.values)

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Maps labels and codes from disk."""
        codes = Ragged(reader.array("offsets"), reader.array("codes"))
        return cls(Vocabulary.load(reader.child("labels")), codes)


class CategoryColumn(TagsColumn):
    """At most one label per row."""

    role: ClassVar = "category"


class NumberColumn:
    """Numbers, float64[n]; NaN if missing."""

    role: ClassVar = "number"
    _missing: ClassVar[float] = np.nan
    _dtype: ClassVar[type] = np.float64

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Self:
        """A column of one number or None per row."""
        filled = [cls._missing if value is None else value for value in values]
        return cls(np.asarray(filled, cls._dtype))

    def extended(self, values: Sequence[float | None]) -> "NumberColumn":
        """This column with more rows."""
        return type(self)(np.concatenate([self.values, self.of(values).values]))

    def changed(self, rows: NDArray[np.int64], values: Sequence[float | None]) -> "NumberColumn":
        """This column with new values at `rows`, ascending; itself if they are the same."""
        return type(self)(_with_values(self.values, rows, self.of(values).values))

    def take(self, rows: NDArray[np.int64]) -> "NumberColumn":
        """The given rows, in the given order."""
        return type(self)(self.values[rows])

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the numbers."""
        writer.array("values", self.values)

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Maps the numbers."""
        return cls(reader.array("values"))


class TimeColumn(NumberColumn):
    """Times, int64[n], microseconds UTC; `NO_TIME` if missing."""

    role: ClassVar = "time"
    _missing: ClassVar[float] = NO_TIME
    _dtype: ClassVar[type] = np.int64


class VectorColumn:
    """Vectors, float32[n × dimension], finite; all NaN if missing."""

    role: ClassVar = "vector"

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values

    @property
    def dimension(self) -> int:
        """The dimension of the vectors; 0 if all are missing."""
        return int(self.values.shape[1])

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which rows have a vector, bool[n]."""
        if not self.dimension:
            return np.zeros(len(self.values), np.bool_)
        found: NDArray[np.bool_] = ~np.isnan(self.values[:, 0])
        return found

    @classmethod
    def of(cls, values: Sequence[Sequence[float] | None]) -> Self:
        """A column of one list of numbers or None per row; all lists have the same length."""
        dimension = max((len(row) for row in values if row is not None), default=0)
        return cls(_packed(values, dimension))

    def extended(self, values: Sequence[Sequence[float] | None]) -> "VectorColumn":
        """This column with more rows; a vector of another dimension is missing."""
        return VectorColumn(np.concatenate([self.values, _packed(values, self.dimension)]))

    def changed(
        self, rows: NDArray[np.int64], values: Sequence[Sequence[float] | None]
    ) -> "VectorColumn":
        """This column with new vectors at `rows`, ascending; itself if they are the same."""
        return VectorColumn(_with_values(self.values, rows, _packed(values, self.dimension)))

    def take(self, rows: NDArray[np.int64]) -> "VectorColumn":
        """The given rows, in the given order."""
        return VectorColumn(self.values[rows])

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the numbers."""
        writer.array("values", self.values)

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Maps the numbers."""
        return cls(reader.array("values", np.float32, (None, None)))


def _packed(values: Sequence[Sequence[float] | None], dimension: int) -> NDArray[np.float32]:
    packed = np.full((len(values), dimension), np.nan, np.float32)
    for row, value in enumerate(values):
        if value is not None and len(value) == dimension:
            packed[row] = value
    return packed


def _with_values(
    values: NDArray[Value], rows: NDArray[np.int64], new: NDArray[Value]
) -> NDArray[Value]:
    """An array with new values at `rows`; itself if they are the same."""
    if np.array_equal(values[rows], new, equal_nan=new.dtype.kind == "f"):
        return values
    changed = values.copy()
    changed[rows] = new
    return changed


Column = TextColumn | TagsColumn | NumberColumn | VectorColumn
COLUMN_TYPES: dict[str, type[Column]] = {
    kind.role: kind
    for kind in (
        *(TextColumn, TagsColumn, CategoryColumn),
        *(NumberColumn, TimeColumn, VectorColumn),
    )
}


class Catalogue:
    """The items and their attributes, by index. Immutable; `extended` returns a new one.

    Attributes:
        items: id ↔ index.
        columns: name → column, each as long as `items`.
        n_fitted: items below this index belong to the artifact; the others were added later.
    """

    def __init__(
        self, items: Vocabulary, columns: Mapping[str, Column], n_fitted: int | None = None
    ) -> None:
        self.items = items
        self.columns = dict(columns)
        self.n_fitted = len(items) if n_fitted is None else n_fitted

    def __len__(self) -> int:
        return len(self.items)

    def title(self, index: int, longest: int = LONGEST_TITLE) -> str | None:
        """The item's title, at most `longest` characters; None if it has none.

        Titles are read from the text column with a title-like name (`title`, `Book-Title`,
        `Game Name`), else from the first text column.
        """
        if self._titles is None:
            return None
        title = self._titles.texts.start(index, longest + 1)
        return f"{title[: longest - 1]}…" if len(title) > longest else title or None

    @property
    def title_name(self) -> str | None:
        """The name of the title column; None if there is none."""
        texts = [name for name, c in self.columns.items() if isinstance(c, TextColumn)]
        return title_column(texts) or next(iter(texts), None)

    @property
    def n_labels(self) -> int:
        """The number of labels in all columns, including labels that no item has any more."""
        return sum(len(c.labels) for c in self.columns.values() if isinstance(c, TagsColumn))

    @cached_property
    def title_search(self) -> TitleSearch:
        """A search index of the titles; built once, in one pass over the items."""
        return TitleSearch(self.title(item) or "" for item in range(len(self)))

    @cached_property
    def _titles(self) -> TextColumn | None:
        named = None if self.title_name is None else self.columns[self.title_name]
        return named if isinstance(named, TextColumn) else None

    def extended(
        self, ids: Sequence[str], attributes: Mapping[str, Sequence[Any]] | None = None
    ) -> "Catalogue":
        """A catalogue with new items appended.

        Args:
            ids: the new items' ids.
            attributes: column → one value per new item; other columns are missing for them.
        """
        given = attributes or {}
        absent = [None] * len(ids)
        columns = {n: c.extended(given.get(n, absent)) for n, c in self.columns.items()}
        return Catalogue(self.items.extended(ids), columns, self.n_fitted)

    def changed(
        self, indices: NDArray[np.int64], attributes: Mapping[str, Sequence[Any]]
    ) -> "Catalogue":
        """A catalogue with new attributes for some items.

        Args:
            indices: int64[m], the items, distinct.
            attributes: column → one value per item; other columns become missing for them.

        Cost: one copy of each column that changes; the others are shared.
        """
        order = np.argsort(indices)
        absent = [None] * len(indices)
        columns: dict[str, Column] = {}
        for name, column in self.columns.items():
            given = attributes.get(name, absent)
            columns[name] = column.changed(indices[order], [given[place] for place in order])
        return Catalogue(self.items, columns, self.n_fitted)

    def take(self, rows: NDArray[np.int64]) -> "Catalogue":
        """A catalogue of some of the items, int64[m], in the given order."""
        columns: dict[str, Column] = {n: column.take(rows) for n, column in self.columns.items()}
        return Catalogue(Vocabulary.of(self.items.ids(rows)), columns)

    def save(self, writer: ArtifactWriter) -> None:
        """Saves the vocabulary and the columns."""
        self.items.save(writer.child("items"))
        writer.json("roles", {name: column.role for name, column in self.columns.items()})
        for place, column in enumerate(self.columns.values()):
            column.save(writer.child(f"column_{place}"))

    @classmethod
    def load(cls, reader: ArtifactReader) -> "Catalogue":
        """Maps the vocabulary and the columns from disk."""
        columns = {
            name: COLUMN_TYPES[role].load(reader.child(f"column_{place}"))
            for place, (name, role) in enumerate(reader.json("roles").items())
        }
        return cls(Vocabulary.load(reader.child("items")), columns)
