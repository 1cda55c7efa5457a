"""Safe output: escapes control characters in text for terminals, logs and JSON.

Titles and ids are untrusted input. An escape sequence can rewrite a terminal's screen or title, and
a bidirectional override can hide the actual text.
"""

import json
import logging
import re
import traceback
from typing import Any

_UNSAFE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls: C0 except tab and line feed, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # text direction, and deprecated formats
    r"\u2028\u2029\ufff9-\ufffb\ufeff"  # line separators, annotations, byte order mark
    r"\ud800-\udfff\U000e0000-\U000e007f"  # surrogates, invisible tags
)
_IN_LINES = re.compile(rf"[{_UNSAFE}\t]|\n")
_IN_TEXT = re.compile(rf"[{_UNSAFE}\t]")
_IN_REMARK = re.compile(rf"[{_UNSAFE}\t]|\n(?! )")
_IN_JSON = re.compile(rf"[{_UNSAFE}]")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def printable(text: str) -> str:
    r"""The text as one line that is safe to print on a terminal.

    Control characters, line breaks, bidirectional marks, invisible tags and lone surrogates are
    escaped. Escaping is idempotent.

    >>> printable("Up\x1b[2J\u202e\n")
    'Up\\x1b[2J\\u202e\\n'
    """
    return _IN_LINES.sub(_escape, text)


def printable_text(text: str) -> str:
    """Like `printable`, for text of several lines: line feeds are kept."""
    return _IN_TEXT.sub(_escape, text)


def printable_remark(text: str) -> str:
    """Like `printable`, for a message: a line feed is kept only before a space.

    Lists in messages are indented. Other line feeds come from data, where they could fake the start
    of a message.
    """
    return _IN_REMARK.sub(_escape, text)


def to_json(value: Any, *, ascii_only: bool = False, indent: int | None = 2) -> str:
    r"""A value as JSON that is exact and safe to print.

    Args:
        value: a value for `json.dumps`.
        ascii_only: whether to escape all characters beyond ASCII.
        indent: as for `json.dumps`.

    >>> to_json("a\x9b\u202e")
    '"a\\u009b\\u202e"'
    """
    return json_escaped(json.dumps(value, ensure_ascii=ascii_only, indent=indent))


def json_escaped(text: str) -> str:
    r"""JSON text with unsafe characters as `\u` escapes; it decodes to the same value."""
    return _IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], text)


def traceback_lines(problem: BaseException) -> list[str]:
    """The lines of an error's traceback, safe to print."""
    text = "".join(traceback.format_exception(problem))
    return [printable(line) for line in text.splitlines()]


class LogLines(logging.Formatter):
    """Formats a log record as one safe line, followed by the indented traceback, if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the lines of the traceback."""
        message = record.getMessage().rstrip("\n")
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        lines = [printable(message), *(f"  {printable(line)}" for line in traceback.splitlines())]
        return "\n".join(lines)


def log_printable() -> None:
    """Makes Python's last-resort log handler write safe lines."""
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
