"""The results of checks. This module imports only packages that cannot be missing."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tastemaker.errors import TastemakerError
from tastemaker.printable import printable

_MARK = {"ok": "✓", "note": "·", "bad": "✗"}
_WIDTH = 10
_WITH_FIX = re.compile(r"(.*)(?:: |; )(.*`tastemaker .*)")
"""Many messages end with the command that fixes the problem."""


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        what: the subject of the check.
        verdict: `ok`, `note` (worth knowing), or `bad` (a problem).
        message: what was found.
        fix: how to fix the problem; empty if there is nothing to fix.
    """

    what: str
    verdict: Literal["ok", "note", "bad"]
    message: str
    fix: str = ""

    def __str__(self) -> str:
        message = "\n  ".join(map(printable, self.message.splitlines()))
        line = f"{_MARK[self.verdict]} {self.what:{_WIDTH}} {message}"
        return f"{line}\n  {'':{_WIDTH}} → {printable(self.fix)}" if self.fix else line


def failure(what: str, message: str, fix: str = "") -> Finding:
    """The finding for an error message; a command at its end becomes the fix."""
    parts = _WITH_FIX.fullmatch(message)
    return Finding(what, "bad", *(parts.groups() if parts else (message, fix)))


def run_check(what: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of a check; an exception becomes a finding as well."""
    found: list[Finding] = []
    try:
        for finding in check():
            found.append(finding)  # noqa: PERF402 - keeps findings before an exception
    except TastemakerError as problem:
        found.append(failure(what, str(problem)))
    except Exception as problem:
        message = f"the check failed: {type(problem).__name__}: {' '.join(str(problem).split())}"
        found.append(Finding(what, "bad", message))
    return found
