import json
import logging
import sys

import pytest

from tastemaker.printable import LogLines, printable, printable_remark, printable_text, to_json

UNSAFE = [
    *map(chr, (*range(0x20), *range(0x7F, 0xA0))),
    *map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))),
    *"\u200e\u200f\u061c\u2028\u2029\ufeff\ud83d\udc00\U000e0041",
]


@pytest.mark.parametrize("letter", UNSAFE, ids=ascii)
def test_an_unsafe_character_is_escaped(letter: str) -> None:
    text = printable(f"a{letter}b")
    assert text.isprintable()
    assert text.startswith("a\\")
    assert text.endswith("b")
    assert printable(text) == text


def test_letters_of_all_scripts_are_not_changed() -> None:
    text = "Ünïcödé 日本語 עברית عربي 👩‍👩‍👧 – “x” \\n"
    assert printable(text) == text


def test_line_feeds_are_kept_in_text_of_several_lines() -> None:
    assert printable("a\nb\x1b") == r"a\nb\x1b"
    assert printable_text("a\nb\x1b") == "a\nb\\x1b"
    assert printable_remark("2 errors\n  one\nerror: x") == "2 errors\n  one\\nerror: x"


def test_json_is_exact_and_safe_to_print() -> None:
    value = {letter: [letter, f"é{letter}日"] for letter in UNSAFE}
    text = to_json(value)
    assert json.loads(text) == value
    assert all(line.isprintable() for line in text.split("\n"))
    assert "é" in text
    assert to_json(value, ascii_only=True).isascii()


def test_a_log_record_is_one_line_and_an_indented_traceback() -> None:
    try:
        raise ValueError("no\nERROR forged\x9b2J")
    except ValueError:
        record = logging.LogRecord("x", 40, "f", 1, "%s fails\n", ("a\nb",), sys.exc_info())
    first, *rest = LogLines().format(record).split("\n")
    assert first == r"a\nb fails"
    assert all(line.startswith("  ") and line.isprintable() for line in rest)
