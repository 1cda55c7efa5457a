import csv
import io
import re
from pathlib import Path

import polars as pl
import pytest

from tastemaker.data.report import ReadReport
from tastemaker.data.spreadsheet import for_spreadsheets
from tastemaker.data.table import LINE

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "-"]
PLAIN = ["a", "5", "-5", "+5.5", "-.5", "'a", "'5", "", "a=b"]


def csv_of(texts: list[str]) -> list[str]:
    """The cells of a CSV file that was written of texts."""
    frame = pl.DataFrame({"id": texts, "rank": range(len(texts))})
    written = for_spreadsheets(frame).write_csv()
    return [id_ for id_, _ in csv.reader(io.StringIO(written, newline=""))][1:]


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert csv_of([text]) == [f"'{text}"]


def test_plain_numbers_and_other_text_stay_as_they_are() -> None:
    assert csv_of(PLAIN) == PLAIN


def test_what_was_marked_is_read_back_by_the_documented_rule() -> None:
    texts = [f"{marks}{text}" for marks in ("", "'", "''") for text in (*FORMULAS, "-5", "a")]
    mark = re.compile(r"'(?='*[=+\-@\t\r\n＝＋－＠])")
    assert [
        mark.sub("", cell, count=1) if mark.match(cell) else cell for cell in csv_of(texts)
    ] == texts


def test_no_cell_of_a_quarantine_file_is_a_formula(tmp_path: Path) -> None:
    aside = pl.DataFrame({LINE: [2], "reason": ["missing item_id"], "row": ["=cmd,,1"]})
    report = ReadReport("events.csv", 2, 1, reasons={"missing item_id": 1}, quarantine=aside)
    path = report.write_quarantine(tmp_path)
    assert path is not None
    assert "'=cmd,,1" in path.read_text()
