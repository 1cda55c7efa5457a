"""What a look came to. Like `machine`, it needs nothing that may be what is missing."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tastemaker.errors import TastemakerError
from tastemaker.printable import printable

_MARK = {"ok": "✓", "note": "·", "bad": "✗"}
_WIDTH = 10
_WITH_CURE = re.compile(r"(.*)(?:: |; )(.*`tastemaker .*)")
"""Many of our messages end in the command that helps."""


@dataclass(frozen=True)
class Finding:
    """What one look came to.

    Attributes:
        what: was looked at.
        verdict: fine, worth knowing, or in the way.
        told: what was found.
        fix: what to do; empty where nothing needs doing.
    """

    what: str
    verdict: Literal["ok", "note", "bad"]
    told: str
    fix: str = ""

    def __str__(self) -> str:
        told = "\n  ".join(map(printable, self.told.splitlines()))
        line = f"{_MARK[self.verdict]} {self.what:{_WIDTH}} {told}"
        return f"{line}\n  {'':{_WIDTH}} → {printable(self.fix)}" if self.fix else line


def refused(what: str, message: str, fix: str = "") -> Finding:
    """What is in the way by the message of an error; a command it ends in is the fix."""
    parts = _WITH_CURE.fullmatch(message)
    return Finding(what, "bad", *(parts.groups() if parts else (message, fix)))


def looked(what: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a look found; whatever stops it is a finding as well."""
    found: list[Finding] = []
    try:
        for finding in look():
            found.append(finding)  # noqa: PERF402 - what came before it stopped is kept
    except TastemakerError as problem:
        found.append(refused(what, str(problem)))
    except Exception as problem:
        told = f"looking at it failed: {type(problem).__name__}: {' '.join(str(problem).split())}"
        found.append(Finding(what, "bad", told))
    return found
