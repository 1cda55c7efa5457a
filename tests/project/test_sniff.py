"""The format of a text file is detected from its content."""

import gzip
from pathlib import Path

import pytest

from tastemaker.data.schema import Schema
from tastemaker.project.sniff import sniff


def sniffed(folder: Path, content: str | bytes, name: str = "events.csv") -> Schema:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return sniff(path)


@pytest.mark.parametrize(
    ("content", "separator"),
    [
        ("user,item\n1,2\n3,4\n", None),
        ("user\titem\n1\t2\n3\t4\n", "\t"),
        ("user;item;value\n1;2;0,5\n3;4;1,5\n", ";"),
        ("user|item\n1|2\n", "|"),
        ('user,title\n1,"a; b; c"\n2,"d; e; f"\n', None),
        ("user,genres\n1,a|b|c\n2,d|e\n", None),
        ("one\n1\n2\n", None),
    ],
)
def test_the_delimiter_splits_all_lines_alike(
    tmp_path: Path, content: str, separator: str | None
) -> None:
    assert sniffed(tmp_path, content).separator == separator


@pytest.mark.parametrize(
    ("content", "separator", "columns"),
    [
        ("1::1193::5::978300760\n1::661::3::978302109\n", "::", 4),
        ("1 1 2\n1 2 4\n1 3 3.5\n", " ", 3),
        ("196\t242\t3\t881250949\n186\t302\t3\t891717742\n", "\t", 4),
        ("A2IBPI,0001,5.0\nA14VAT,0002,4.0\n", None, 3),
        ("user,item\n1,2\n3,4\n", None, 0),
        ("user,item\n1,2\n", None, 0),
        ("name,genre\na,b\nc,d\n", None, 0),
        ("u1\t2023-01-01T14:44:00Z\tf1b1\nu2\t2023-01-02T14:44:00Z\tc2\n", "\t", 3),
        ("u1,2023-01-01,a\nu2,2023-01-02,b\n", None, 3),
        ("u1,2023-01-01 10:00,a\nu2,2023-01-02 10:00,b\n", None, 3),
        (
            "0f8fad5b-d9cb-469f-a165-70867728950e,x\n7c9e6679-7425-40de-944b-e07fc1f90ae7,y\n",
            None,
            2,
        ),
        ("user25,item22,like\nuser7,item3,view\nuser25,item4,view\n", None, 3),
        ("user25,item22,view\nuser7,item3,view\n", None, 3),
        ("user_id,2024-01-01,2024-01-02\na,x,y\nb,x,y\n", None, 0),
        ("user,item,\na,x,\nb,y,\n", None, 0),
        ("label,kind,\na,x,\nb,y,\n", None, 0),
        ("user,item\na,x\nuser,y\n", None, 0),
    ],
)
def test_a_file_may_have_no_header(
    tmp_path: Path, content: str, separator: str | None, columns: int
) -> None:
    form = sniffed(tmp_path, content)
    assert form.separator == separator
    assert form.header == tuple(f"column_{at + 1}" for at in range(columns))


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("id,title\n1,Amélie\n".encode(), "utf-8"),
        ("id,title\n1,Amélie\n".encode("cp1252"), "cp1252"),
        ("id,title\n1,x\x81é\n".encode("latin-1"), "latin-1"),
        ("id,title\n1,Amélie\n".encode("utf-16"), "utf-16"),
        ("id,title\n1,Amélie\n2,Ærø\n".encode() + b"3,\xff\n", "utf-8"),
    ],
)
def test_the_encoding_fits_most_letters(tmp_path: Path, content: bytes, encoding: str) -> None:
    assert sniffed(tmp_path, content).encoding == encoding
    assert sniffed(tmp_path, gzip.compress(content), "x.csv.gz").encoding == encoding


def test_json_lines_have_no_delimiter(tmp_path: Path) -> None:
    assert sniffed(tmp_path, '{"a": 1, "b": 2}\n', "x.jsonl") == Schema()
