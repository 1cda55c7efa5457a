"""Common file formats: other delimiters, no header, other encodings, JSON lines."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tastemaker.data.read import open_table
from tastemaker.data.schema import Schema
from tastemaker.data.table import LINE
from tastemaker.errors import DataError


def rows(path: Path, schema: Schema | None = None) -> list[tuple[Any, ...]]:
    """The rows with their line numbers."""
    with open_table(path, schema) as table:
        return table.frame.collect().rows()


def rejects(path: Path, schema: Schema | None = None) -> list[tuple[int, str]]:
    with open_table(path, schema) as table:
        return table.rejects.select(LINE, "reason").rows()


def written(folder: Path, content: str | bytes, name: str = "events.dat") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_delimiter_of_several_characters_splits_lines(tmp_path: Path) -> None:
    path = written(tmp_path, '1::F::x "y"\n\n2::::z\n3::only\n')
    schema = Schema(separator="::", header=("id", "sex", "text"))
    assert rows(path, schema) == [(1, "1", "F", 'x "y"'), (3, "2", None, "z")]
    assert rejects(path, schema) == [(4, "2 fields instead of 3")]


def test_blanks_of_any_number_separate_fields(tmp_path: Path) -> None:
    path = written(tmp_path, "1 2  3.5\n 4\t5 6 \n")
    schema = Schema(separator=" ", header=("a", "b", "c"))
    assert rows(path, schema) == [(1, "1", "2", "3.5"), (2, "4", "5", "6")]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_file_without_a_header_loses_no_row(tmp_path: Path, separator: str) -> None:
    path = written(tmp_path, separator.join("12") + "\n" + separator.join("34") + "\n")
    schema = Schema(separator=separator, header=("a", "b"))
    assert rows(path, schema) == [(1, "1", "2"), (2, "3", "4")]


def test_without_a_header_quoted_line_breaks_are_read_too(tmp_path: Path) -> None:
    path = written(tmp_path, '1,"x\ny"\n2,z\n')
    assert rows(path, Schema(header=("a", "b"))) == [(1, "1", "x\ny"), (3, "2", "z")]


@pytest.mark.parametrize("quote", ["", '"'])
def test_lines_can_end_with_a_delimiter(tmp_path: Path, quote: str) -> None:
    cell = f"{quote}x{quote}"
    path = written(tmp_path, f"a,b\n1,{cell},\n2,{cell}\n3,,\n4,{cell},y\n")
    assert rows(path) == [(2, "1", "x"), (3, "2", "x"), (4, "3", None)]
    assert rejects(path) == [(5, "3 fields instead of 2")]


def test_in_tab_separated_text_a_quote_is_a_character(tmp_path: Path) -> None:
    schema = Schema(separator="\t")
    path = written(tmp_path, 'id\tname\turl\n1\t"Weird Al" Yankovic\t\n2\t7" single\tu\n')
    assert rows(path, schema) == [(2, "1", '"Weird Al" Yankovic', None), (3, "2", '7" single', "u")]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "latin-1"])
@pytest.mark.parametrize("packed", [False, True])
def test_another_encoding_is_read(tmp_path: Path, encoding: str, packed: bool) -> None:
    content = "id,title\n1,Amélie\n2,Blåbær\n".encode(encoding)
    path = written(tmp_path, gzip.compress(content) if packed else content)
    assert rows(path, Schema(encoding=encoding)) == [(2, "1", "Amélie"), (3, "2", "Blåbær")]


def test_a_wrong_encoding_is_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, "id,title\n1,Amélie\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"events.dat: not utf-16 text"):
        rows(path, Schema(encoding="utf-16"))
    with pytest.raises(DataError, match="unknown encoding 'utf-99'; use one such as utf-8, cp1252"):
        rows(path, Schema(encoding="utf-99"))


def test_json_lines_are_read_exactly(tmp_path: Path) -> None:
    lines = [
        '{"user": 17850, "tags": ["a", "b"], "big": 123456789012345678901234567890}',
        '{"user": 1.5, "ok": true, "tags": []}',
        "",
        "not json",
        "[1, 2]",
        '{"user": "x", "tags": null, "nested": {"a": [1]}, "late": 5.0}',
    ]
    path = written(tmp_path, gzip.compress("\n".join(lines).encode()))
    with open_table(path) as table:
        assert table.columns == ["user", "tags", "big", "ok", "nested", "late"]
        assert table.frame.collect().rows() == [
            (1, "17850", ["a", "b"], "123456789012345678901234567890", None, None, None),
            (2, "1.5", [], None, "true", None, None),
            (6, "x", None, None, None, '{"a": [1]}', "5.0"),
        ]
        assert table.rejects.rows() == [
            (4, "not a JSON object", "not json\n"), (5, "not a JSON object", "[1, 2]\n")
        ]  # fmt: skip


def test_one_json_array_is_a_table_too(tmp_path: Path) -> None:
    assert rows(written(tmp_path, ' [\n{"a": 1}, {"a": "x"}]')) == [(1, "1"), (2, "x")]
    with pytest.raises(DataError, match=r"events.dat: malformed JSON"):
        rows(written(tmp_path, '[{"a": 1}, {"a": ]'))


def test_json_without_an_object_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"events.dat: has no JSON object"):
        rows(written(tmp_path, "{broken\n{also broken\n"))


@pytest.mark.parametrize(
    ("separator", "line"), [("::", "{}::{}::{}"), (" ", "{}  {} {}"), ("é", "{}é{}é{}")]
)
def test_the_header_is_split_as_the_lines_are(tmp_path: Path, separator: str, line: str) -> None:
    path = written(tmp_path, f"{line.format(*'abc')}\n{line.format(*'123')}\n")
    assert rows(path, Schema(separator=separator)) == [(2, "1", "2", "3")]


@pytest.mark.parametrize("separator", [",", "::"])
def test_a_byte_order_mark_is_no_part_of_an_id(tmp_path: Path, separator: str) -> None:
    path = written(tmp_path, "\ufeff1" + separator + "2\n")
    assert rows(path, Schema(separator=separator, header=("a", "b"))) == [(1, "1", "2")]


@pytest.mark.parametrize("encoding", ["rot13", "base64", "hex", "utf-99"])
def test_only_an_encoding_of_text_is_one(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, "a,b\n1,2\n")
    with pytest.raises(DataError, match=f"events.dat: unknown encoding '{encoding}'"):
        rows(path, Schema(encoding=encoding))


def test_a_column_without_a_name_gets_one(tmp_path: Path) -> None:
    with open_table(written(tmp_path, ",user,\n0,1,2\n")) as table:
        assert table.columns == ["column_1", "user", "column_3"]


# --- reserved column names ---

RESERVED = [LINE, "*", "^item.*$"]


def as_csv(path: Path, column: str) -> None:
    path.write_text(f"a,{column}\n1,2\n")


def as_quoted_csv(path: Path, column: str) -> None:
    path.write_text(f'"a","{column}"\n"1\n",2\n')


def as_json_lines(path: Path, column: str) -> None:
    path.write_text(json.dumps({"a": 1}) + "\n" + json.dumps({"a": 1, column: 2}) + "\n")


def as_json_array(path: Path, column: str) -> None:
    path.write_text(json.dumps([{"a": 1}, {"a": 1, column: 2}]))


def as_parquet(path: Path, column: str) -> None:
    pl.DataFrame({"a": [1], column: [2]}).write_parquet(path)


def as_gzip(path: Path, column: str) -> None:
    path.write_bytes(gzip.compress(f"a,{column}\n1,2\n".encode()))


@pytest.mark.parametrize("column", RESERVED)
@pytest.mark.parametrize(
    "write", [as_csv, as_quoted_csv, as_json_lines, as_json_array, as_parquet, as_gzip]
)
def test_a_column_of_a_reserved_name_is_refused(
    tmp_path: Path, write: Callable[[Path, str], None], column: str
) -> None:
    write(tmp_path / "events.dat", column)
    with pytest.raises(DataError) as refused:
        rows(tmp_path / "events.dat")
    message = f"events.dat: a column must not be named '{column}'; rename it"
    assert str(refused.value) == message


@pytest.mark.parametrize("column", RESERVED)
@pytest.mark.parametrize("separator", [",", "::"])
def test_a_header_setting_with_a_reserved_name_is_refused(
    tmp_path: Path, separator: str, column: str
) -> None:
    path = written(tmp_path, separator.join("12") + "\n")
    with pytest.raises(DataError, match=f"must not be named '{re.escape(column)}'"):
        rows(path, Schema(separator=separator, header=("a", column)))


def test_names_that_only_resemble_reserved_ones_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "_line_,a*,^b,c$\n1,2,3,4\n")
    assert rows(path) == [(2, "1", "2", "3", "4")]
