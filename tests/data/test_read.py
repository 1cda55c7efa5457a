import csv
import gzip
import io
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.dataset import Dataset
from tastemaker.data.read import open_table
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.table import LINE, Table, frame_table
from tastemaker.errors import DataError

Rows = list[tuple[object, ...]]


def written(folder: Path, content: bytes, name: str = "events.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def read(path: Path, separator: str | None = None) -> tuple[Rows, Rows]:
    """The rows and the rejects of a file; an empty cell counts as missing."""
    with open_table(path, Schema(separator=separator)) as table:
        cells = [pl.col(column).replace("", None) for column in table.columns]
        return table.collect(*cells).rows(), table.rejects.rows()


def exactly(content: bytes, folder: Path) -> tuple[Rows, Rows]:
    return read(written(folder, content))


def refusal(path: Path, separator: str | None = None) -> str:
    with pytest.raises(DataError) as caught, open_table(path, Schema(separator=separator)) as table:
        table.collect(pl.all().exclude(LINE))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_row_comes_with_its_line(tmp_path: Path) -> None:
    rows, rejects = exactly(b"a,b\n1,2\n3,4\n", tmp_path)
    assert rows == [(2, "1", "2"), (3, "3", "4")]
    assert rejects == []


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x\n2,y",
        b"a,b\r\n1,x\r\n2,y\r\n",
        b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
        b'"a","b"\n"1","x"\n"2","y"\n',
        b'a,b\r\n1,"x"\r\n"2",y',
    ],
    ids=["no newline at the end", "CRLF", "BOM", "quoted", "partly quoted"],
)
def test_usual_variations_of_csv_read_alike(tmp_path: Path, content: bytes) -> None:
    assert exactly(content, tmp_path) == ([(2, "1", "x"), (3, "2", "y")], [])


def test_a_nameless_column_is_named_by_its_position(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(",a,\n1,2,3\n4,5,6\n")
    with open_table(tmp_path / "events.csv") as table:
        assert table.columns == ["column_1", "a", "column_3"]
        assert table.frame.collect().rows() == [(2, "1", "2", "3"), (3, "4", "5", "6")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blank_lines_are_not_rows_but_count_as_lines(tmp_path: Path, end: bytes) -> None:
    content = end.join([b"a,b", b"", b"1,x", b"", b"", b"2,y", b"", b""])
    assert exactly(content, tmp_path) == ([(3, "1", "x"), (6, "2", "y")], [])


def test_a_row_of_only_commas_is_a_row(tmp_path: Path) -> None:
    rows, _ = exactly(b"a,b,c\n1,2,3\n,,\n\n4,5,6\n", tmp_path)
    assert rows[1] == (3, None, None, None)
    assert len(rows) == 3


def test_quoted_fields_can_contain_delimiters_and_line_breaks(tmp_path: Path) -> None:
    content = b'a,b\n1,"x, y"\n2,"say ""hi"""\n3,"two\nlines"\n4,"two\r\nlines"\n5,z\n'
    rows, rejects = exactly(content, tmp_path)
    assert rows == [
        (2, "1", "x, y"), (3, "2", 'say "hi"'), (4, "3", "two\nlines"),
        (6, "4", "two\r\nlines"), (8, "5", "z"),
    ]  # fmt: skip
    assert rejects == []


@pytest.mark.parametrize("far", ["", '7,"a\nb",8\n'], ids=["fast", "exact"])
def test_lines_with_a_wrong_number_of_fields_are_rejected(tmp_path: Path, far: str) -> None:
    content = f"a,b,c\n{far}1,2,3\n4,5\n6,7,8,9\n10\n11,12,13\n"
    rows, rejects = exactly(content.encode(), tmp_path)
    first = 4 if far else 2
    assert [row[1:] for row in rows if row[0] >= first] == [("1", "2", "3"), ("11", "12", "13")]
    assert [row[0] for row in rows][-2:] == [first, first + 4]
    assert rejects == [
        (first + 1, "2 fields instead of 3", "4,5"),
        (first + 2, "4 fields instead of 3", "6,7,8,9"),
        (first + 3, "1 fields instead of 3", "10"),
    ]


def test_only_the_line_that_is_not_utf_8_is_rejected(tmp_path: Path) -> None:
    rows, rejects = exactly(b"a,b\n1,x\n2,caf\xe9\n3,\xef\xbf\xbd\n4,\xc3\xa9\n", tmp_path)
    assert rows == [(2, "1", "x"), (4, "3", "\ufffd"), (5, "4", "é")]
    assert rejects == [(3, "not UTF-8 text", "2,caf\ufffd")]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b'a,b\n1,5" disc\n2,x\n3,y\n', [2, 3, 4]),
        (b'a,b\n1,5" disc\n2,7" disc\n3,y\n', [2, 3, 4]),
        (b'a,b\n1,x"y"z\n2,x\n3,y\n', [2, 3, 4]),
        (b'a,b\n1,say "hi" "you"\n2,"\n3,y\n', None),
        (b'a,b\n1,"x\n2,y"\n3,y\n', [2, 4]),
        (b'a,b\n1,"x"y\n2,y\n3,"z"\n', None),
        (b'a,b\n1, "x"\n2,y"\n3,"z"\n', [2, 3, 4]),
    ],
)
def test_stray_quotes_never_swallow_rows(
    tmp_path: Path, content: bytes, lines: list[int] | None
) -> None:
    if lines is None:
        assert "events.csv line " in refusal(written(tmp_path, content))
    else:
        assert [row[0] for row in exactly(content, tmp_path)[0]] == lines


@given(st.text('a,"\n', max_size=40), st.sampled_from(["\n", "\r\n"]))
def test_no_line_is_lost_for_any_file_content(
    tmp_path_factory: pytest.TempPathFactory, body: str, end: str
) -> None:
    """Files are read or rejected exactly as by Python's strict CSV reader."""
    content = f"x,y\n{body}".replace("\n", end)
    path = written(tmp_path_factory.mktemp("csv"), content.encode())
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        expected = [fields for fields in reader if fields][1:]
    except csv.Error:
        refusal(path)
        return
    if not expected:
        assert refusal(path) == "events.csv: has a header but no rows"
        return
    rows, rejects = read(path)
    whole = [f[:2] for f in expected if len(f) == 2 or (len(f) == 3 and not f[2])]
    assert [list(row[1:]) for row in rows] == [[field or None for field in f] for f in whole]
    assert len(rejects) == len(expected) - len(whole)


def test_a_file_of_many_batches_keeps_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tastemaker.data.delimited._BATCH", 7)
    content = 'a,b\n0,"x\ny"\n' + "".join(f"{i},z\n" for i in range(1, 50))
    rows, _ = exactly(content.encode(), tmp_path)
    assert [row[:2] for row in rows] == [(2, "0")] + [(i + 3, str(i)) for i in range(1, 50)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "events.csv: the file is empty; it needs a header line and rows"),
        (b"a,b\n", "events.csv: has a header but no rows"),
        (b"a,b", "events.csv: has a header but no rows"),
        (b"a,b\n\n\r\n\n", "events.csv: has a header but no rows"),
        (b"\na,b\n1,2\n", "events.csv: the first line is empty; it must name the columns"),
        (b"a,b,a\n1,2,3\n", "events.csv: the column 'a' occurs twice in the header"),
        (b"a\xff,b\n1,2\n", "events.csv: the header is not UTF-8 text; save the file as UTF-8"),
        (b'a,"b\n1,2\n', "events.csv line 1: a quotation mark does not close"),
        (b"a,b\r1,2\r", "events.csv: lines end in carriage returns only; save it with"),
        (b"a,b\n1,\x002\n", "events.csv: looks like binary, not UTF-8 text; save it as UTF-8 CSV"),
        (b"SQLite format 3\0...", "events.csv: looks like an SQLite database, not UTF-8 text"),
        ("a,b\n1,2\n".encode("utf-16"), "events.csv: looks like UTF-16, not UTF-8 text; save it"),
        (b'a,b\n1,2\n3,"x\n4,5\n', "events.csv line 3: a quotation mark opens here and does not"),
        (b'a,b\n1,2\n3,"x" y\n4,5\n', "events.csv line 3: a quotation mark opens here and does"),
        (b'a,b\n1,"x\ny"\n2\r,3\n', "events.csv line 4: contains a carriage return"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(
    tmp_path: Path, content: bytes, message: str
) -> None:
    assert refusal(written(tmp_path, content)).startswith(message)


@pytest.mark.parametrize(("mark", "setting"), [(";", ";"), ("\t", r"\t"), ("|", "|")])
def test_another_delimiter_is_recognized_with_a_fix(
    tmp_path: Path, mark: str, setting: str
) -> None:
    path = written(tmp_path, f"user_id{mark}item_id\n1{mark}2\n".encode())
    assert refusal(path).endswith(f'set separator = "{setting}" under [data]')
    assert read(path, mark)[0] == [(2, "1", "2")]


def test_a_comma_file_read_as_tabs_is_recognized(tmp_path: Path) -> None:
    assert "separated by ','" in refusal(written(tmp_path, b"a,b\n1,2\n", "events.tsv"))


@pytest.mark.parametrize("mark", ["\t", "|", "^", "\\", "]", "-"])
def test_any_delimiter_is_supported(tmp_path: Path, mark: str) -> None:
    content = f'a{mark}b\n1{mark}"x{mark}y"\n2\n3{mark}z\n'
    rows, rejects = read(written(tmp_path, content.encode()), mark)
    assert rows == [(2, "1", f"x{mark}y"), (4, "3", "z")]
    assert rejects == [(3, "1 fields instead of 2", "2")]


def test_a_tsv_file_is_split_at_tabs(tmp_path: Path) -> None:
    assert read(written(tmp_path, b"a\tb\n1\tx,y\n", "events.tsv"))[0] == [(2, "1", "x,y")]
    packed = written(tmp_path, gzip.compress(b"a\tb\n1\tx,y\n"), "events.tsv.gz")
    assert read(packed)[0] == [(2, "1", "x,y")]


def test_a_single_column_is_a_table(tmp_path: Path) -> None:
    rows, rejects = exactly(b"a\n1\n\n2\n3,4\n", tmp_path)
    assert rows == [(2, "1"), (4, "2")]
    assert rejects == [(5, "2 fields instead of 1", "3,4")]


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv") == f"{tmp_path / 'none.csv'}: no such file"
    assert refusal(tmp_path) == f"{tmp_path}: is a folder; name a file in it"


def test_a_path_may_be_text(tmp_path: Path) -> None:
    with open_table(str(written(tmp_path, b"a,b\n1,2\n"))) as table:
        assert table.source == "events.csv"


def test_a_zip_is_distinguished_from_text(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "events.csv", "w") as archive:
        archive.writestr("events.csv", "a,b\n1,2\n")
    assert "looks like a zip or spreadsheet" in refusal(tmp_path / "events.csv")


def test_gzip_is_detected_by_content_and_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(b'a,b\n1,"x\ny"\n2\n3,z\n'))
    assert read(path) == ([(2, "1", "x\ny"), (5, "3", "z")], [(4, "1 fields instead of 2", "2")])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda data: data[: len(data) // 2],
            "events.csv.gz: the gzip file is truncated; download",
        ),
        (lambda data: data[:-8] + b"\0" * 8, "events.csv.gz: the gzip file is damaged"),
        (lambda data: data[:12] + b"\xff" * 20 + data[32:], "events.csv.gz: the gzip file is dam"),
        (lambda data: gzip.compress(b""), "events.csv.gz: the file is empty"),
    ],
    ids=["cut", "checksum", "overwritten", "nothing inside"],
)
def test_a_damaged_gzip_is_reported(tmp_path: Path, damage: object, message: str) -> None:
    body = "a,b\n" + "".join(f"{i * 7919 % 1000},{i}\n" for i in range(2000))
    content = damage(gzip.compress(body.encode()))  # type: ignore[operator]
    assert refusal(written(tmp_path, content, "events.csv.gz")).startswith(message)


def test_parquet_is_detected_by_content_and_keeps_its_types(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1, 2], "b": ["x", None]}).write_parquet(tmp_path / "events")
    with open_table(tmp_path / "events") as table:
        assert table.frame.collect().rows() == [(1, 1, "x"), (2, 2, None)]
        assert table.columns == ["a", "b"]


def test_a_truncated_parquet_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pl.DataFrame({"a": list(range(1000))}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(path).startswith("events.parquet: not a readable Parquet file")


def test_a_parquet_file_damaged_inside_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pl.DataFrame({"a": [str(i * 7919 % 9973) for i in range(5000)]}).write_parquet(path)
    data = bytearray(path.read_bytes())
    data[50:2000] = b"\xff" * 1950
    path.write_bytes(data)
    assert refusal(path).startswith("events.parquet: cannot be read")


def test_a_parquet_file_without_rows_is_reported(tmp_path: Path) -> None:
    pl.DataFrame({"a": []}).write_parquet(tmp_path / "e.parquet")
    assert refusal(tmp_path / "e.parquet") == "e.parquet: the table has columns but no rows"


def test_a_frame_counts_its_rows_from_one() -> None:
    table = frame_table(pl.LazyFrame({"a": ["x", "y"]}), "events")
    assert table.collect(pl.col("a")).rows() == [(1, "x"), (2, "y")]


@pytest.mark.parametrize("odd", ["", '9,"two\nlines"\n'], ids=["fast", "exact"])
def test_a_row_can_be_shown_as_in_the_source(tmp_path: Path, odd: str) -> None:
    path = written(tmp_path, f"a,b\n{odd}1,x\n\n2,é\n".encode())
    with open_table(path) as table:
        rows = table.collect(pl.col("a"))
        line = rows.filter(pl.col("a") == "2")[LINE]
        assert table.rows_at(line).rows() == [(line[0], '{"a":"2","b":"é"}')]


def test_any_lazy_frame_can_be_a_table() -> None:
    table = Table(pl.LazyFrame({LINE: [1], "a": ["x"]}), "mine", ["a"])
    assert table.rejects.is_empty()
    with pytest.raises(DataError, match="mine: cannot be read"):
        table.collect(pl.col("b"))


def test_a_parquet_file_can_have_unused_columns(tmp_path: Path) -> None:
    n = 200
    frame = pl.DataFrame({"user_id": ["", *["u"] * (n - 1)], "item_id": ["i"] * n})
    far = pl.lit(2**62, pl.Int64).cast(pl.Datetime("ms"))
    frame = frame.with_columns(payload=pl.lit(b"a"), pair=pl.struct(a=pl.lit(b"b")), far=far)
    frame.write_parquet(tmp_path / "events.parquet")
    schema = Schema(kinds={"view": EventKind()}, clock="none")
    data = Dataset.from_files(tmp_path / "events.parquet", schema=schema)
    assert data.reports[0].reasons == {"missing user_id": 1}
