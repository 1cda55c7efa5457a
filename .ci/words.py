"""Counts words that plain technical English does without, in code and documents.

`python .ci/words.py` fails where a word occurs more often than `MOST` allows: lower a figure when
text was improved, never raise one. `--list WORD` shows where a word is.
"""

import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = ("src/tastemaker", "docs", "examples", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
SUFFIXES = {".py", ".md", ".html"}
MOST = {
    "anew": 0,
    "asked": 3,
    "cure": 0,
    "dearest": 0,
    "foretold": 0,
    "grounds": 0,
    "lately": 0,
    "learnt": 0,
    "likeness": 0,
    "mend": 0,
    "near_miss": 0,
    "newcomer": 0,
    "newcomers": 1,
    "road": 0,
    "speaks": 0,
    "stands": 0,
    "stranger": 0,
    "strangers": 2,
    "told": 1,
    "wanted": 2,
    "whoever": 0,
}
"""Word → how often it may occur, as a word of prose or as a part of a name."""
_WORD = re.compile(
    r"(?<![A-Za-z])(" + "|".join(sorted(MOST, key=len, reverse=True)) + r")(?![a-z])"
)


def texts() -> dict[str, list[str]]:
    """File → its lines, of everything a reader meets."""
    found = {}
    for place in PLACES:
        path = ROOT / place
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.suffix in SUFFIXES:
                name = file.relative_to(ROOT).as_posix()
                found[name] = file.read_text(encoding="utf-8").splitlines()
    return found


def occurrences() -> list[tuple[str, str]]:
    """(word, `file:line: text`) of each."""
    return [
        (match[1], f"{name}:{number}: {line.strip()}")
        for name, lines in texts().items()
        for number, line in enumerate(lines, 1)
        for match in _WORD.finditer(line)
    ]


def main(arguments: list[str]) -> int:
    """Prints the table, or where one word is; 1 where a word occurs too often."""
    found = occurrences()
    if arguments[:1] == ["--list"]:
        print(*(where for word, where in found if word in arguments[1:]), sep="\n")
        return 0
    counts = Counter(word for word, _ in found)
    for word, most in MOST.items():
        mark = "  too many" if counts[word] > most else ""
        print(f"{word:10} {counts[word]:5} of {most}{mark}")
    return int(any(counts[word] > most for word, most in MOST.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
