"""Text that is safe to print: terminals, logs and JSON never receive characters that act on them.

Titles and ids come from strangers. An escape sequence in one can rewrite a terminal's screen or its
title, and a bidirectional override can show other text than is there.
"""

import json
import logging
import re
import traceback
from typing import Any

_ACTING = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls: C0 but tab and line feed, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # direction of text, and deprecated formats
    r"\u2028\u2029\ufff9-\ufffb\ufeff"  # line separators, annotations, byte order mark
    r"\ud800-\udfff\U000e0000-\U000e007f"  # halves of a character, invisible tags
)
_IN_LINES = re.compile(rf"[{_ACTING}\t]|\n")
_IN_TEXT = re.compile(rf"[{_ACTING}\t]")
_IN_REMARK = re.compile(rf"[{_ACTING}\t]|\n(?! )")
_IN_JSON = re.compile(rf"[{_ACTING}]")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def printable(text: str) -> str:
    r"""The text as one line in which no character acts on a terminal.

    Controls, line breaks, bidirectional marks, invisible tags and lone surrogates are written as
    escapes. What is escaped stays as it is when it is escaped again.

    >>> printable("Up\x1b[2J\u202e\n")
    'Up\\x1b[2J\\u202e\\n'
    """
    return _IN_LINES.sub(_escape, text)


def printable_text(text: str) -> str:
    """The same for text of several lines: line feeds stay."""
    return _IN_TEXT.sub(_escape, text)


def printable_remark(text: str) -> str:
    """The same for a message: a line feed stays only before a blank.

    Lists in messages are indented. Other line feeds come from data, where they could start a line
    that looks like a message of ours.
    """
    return _IN_REMARK.sub(_escape, text)


def to_json(value: Any, *, ascii_only: bool = False, indent: int | None = 2) -> str:
    r"""A value as JSON that is exact, and safe to print.

    Args:
        value: what `json.dumps` takes.
        ascii_only: whether every character beyond ASCII is escaped.
        indent: as `json.dumps` takes it.

    >>> to_json("a\x9b\u202e")
    '"a\\u009b\\u202e"'
    """
    return json_escaped(json.dumps(value, ensure_ascii=ascii_only, indent=indent))


def json_escaped(text: str) -> str:
    r"""JSON text with `\u` escapes for the characters that act on a terminal; the same value."""
    return _IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], text)


def traceback_lines(problem: BaseException) -> list[str]:
    """The lines of an error's traceback, safe to print."""
    told = "".join(traceback.format_exception(problem))
    return [printable(line) for line in told.splitlines()]


class LogLines(logging.Formatter):
    """Formats a record as one line that is safe to print; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the lines of the traceback."""
        told = record.getMessage().rstrip("\n")
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        lines = [printable(told), *(f"  {printable(line)}" for line in traceback.splitlines())]
        return "\n".join(lines)


def log_printable() -> None:
    """Makes log lines safe that no handler of the program's own writes."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LogLines())


def _escape(found: re.Match[str]) -> str:
    letter = found[0]
    if letter in _SHORT:
        return _SHORT[letter]
    code = ord(letter)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
