import csv
import io
import re
from pathlib import Path

import polars as pl
import pytest

from tastemaker.data.report import ReadReport
from tastemaker.data.spreadsheet import for_spreadsheets
from tastemaker.data.table import LINE

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "＝1+1", "-", "＠a", "='x"]
INSIDE = {
    "x;=1+1;y": "x;'=1+1;y",
    "x|@SUM(A1)": "x|'@SUM(A1)",
    "x\t=1": "x\t'=1",
    "x; \u00a0 +1; '-2;-3": "x; \u00a0 '+1; ''-2;'-3",
    "a\n=1\r\n-1": "a\n'=1\r\n'-1",
    "\t=1": "\t'=1",
    "\r=1": "\r'=1",
    " =1;;=2": " '=1;;'=2",
    "＝1;＋2": "'＝1;'＋2",
}
PLAIN = ["a", "5", "-5", "+5.5", "-.5", "'a", "'5", "", "a=b", "a;b=1", "a-b|c", "x;1", "a @b"]


def csv_of(texts: list[str]) -> list[str]:
    """The cells of a CSV file with the given texts."""
    frame = pl.DataFrame({"id": texts, "rank": range(len(texts))})
    written = for_spreadsheets(frame).write_csv()
    return [id_ for id_, _ in csv.reader(io.StringIO(written, newline=""))][1:]


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert csv_of([text]) == [f"'{text}"]


@pytest.mark.parametrize("text", INSIDE, ids=ascii)
def test_a_formula_inside_a_text_gets_one(text: str) -> None:
    assert csv_of([text]) == [INSIDE[text]]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_separator_turns_a_text_into_a_formula(separator: str) -> None:
    frame = pl.DataFrame({"rank": 1, "id": [*FORMULAS, *INSIDE], "score": 0.5})
    written = for_spreadsheets(frame).write_csv()
    for line in re.split(r"[\r\n]", written):
        for cell in line.split(separator)[1:] if separator == "," else line.split(separator):
            assert not re.match(r"[\s\"]*[=+\-@＝＋－＠]", cell), line


def test_plain_numbers_and_other_text_are_not_changed() -> None:
    assert csv_of(PLAIN) == PLAIN


def test_what_was_marked_is_read_back_by_the_documented_rule() -> None:
    plain = (*FORMULAS, *INSIDE, *PLAIN)
    texts = [f"{marks}{text}" for marks in ("", "'", "''", "a;'", " '") for text in plain]
    mark = re.compile(r"(^|[;\t|\r\n])(\s*)'('*[=+\-@＝＋－＠])")
    assert [mark.sub(r"\1\2\3", cell) for cell in csv_of(texts)] == texts


def test_no_cell_of_a_quarantine_file_is_a_formula(tmp_path: Path) -> None:
    aside = pl.DataFrame({LINE: [2], "reason": ["missing item_id"], "row": ["=cmd,,1"]})
    report = ReadReport("events.csv", 2, 1, reasons={"missing item_id": 1}, quarantine=aside)
    path = report.write_quarantine(tmp_path)
    assert path is not None
    assert "'=cmd,,1" in path.read_text()
