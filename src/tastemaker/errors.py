"""Everything Tastemaker raises on purpose, one tree.

TastemakerError
├── InputError                    what the caller gave cannot be used (the command line exits 2)
│   ├── SettingError (ValueError)     a setting that does not exist or is out of range
│   ├── ProjectError (ValueError)     tastemaker.toml is missing, malformed or inconsistent
│   ├── DataError (ValueError)        a file or a frame that cannot be read as events or items
│   │   └── ClockError                the data's clock cannot answer what was asked
│   └── UnknownIdError (LookupError)  an item, user or version named by the caller is not known
├── NotFittedError (RuntimeError)     a component was used before `fit`
├── LibraryError (ImportError)     a package, or a library of the system it needs, cannot be loaded
├── ArtifactError (RuntimeError)      a saved folder is damaged, foreign or of another format
├── StoreError (RuntimeError)         the database of events or the file of keys cannot be used
│   └── StoreFullError                it holds as much as its settings allow
├── NotReadyError (RuntimeError)      a server is still loading, or has nothing it could serve
├── BusyError (RuntimeError)          a server is asked for more than it can answer in time
└── MemoryBudgetError (MemoryError)   the work would exceed the memory budget
    └── SourceMemoryError             the work was fitting one source of a recommender
        └── TooManyItemsError             it fits without items that nobody described
"""

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST_WORD = 100


class TastemakerError(Exception):
    """The root of the tree: catch this to catch everything Tastemaker raises on purpose."""


class InputError(TastemakerError):
    """What the caller gave cannot be used; the message says why and what to do."""


class SettingError(InputError, ValueError):
    """A setting that does not exist or whose value is out of range."""


class ProjectError(InputError, ValueError):
    """The project file is missing, malformed or inconsistent."""


class DataError(InputError, ValueError):
    """A file or a frame cannot be read as events, items or users."""


class ClockError(DataError):
    """The data's clock (absolute, ordinal, none) cannot answer what was asked."""


class UnknownIdError(InputError, LookupError):
    """An item, a user or a version that the caller named is not known."""


class NotFittedError(TastemakerError, RuntimeError):
    """A component was used before `fit`."""

    def __init__(self, component: object) -> None:
        name = type(component).__name__
        super().__init__(f"{name} is not fitted: call fit(dataset) first")


class LibraryError(TastemakerError, ImportError):
    """A package, or a library of the system that it needs, cannot be loaded.

    Attributes:
        told: what cannot be loaded, and why.
        fix: what to install.
    """

    def __init__(self, package: str, problem: Exception, fix: str | None = None) -> None:
        self.told = f"{package} cannot be loaded ({' '.join(str(problem).split())})"
        self.fix = fix or f"install it again: pip install --force-reinstall {package}"
        if "libgomp" in str(problem) or "libomp" in str(problem):
            self.fix = (
                "install its OpenMP library: apt install libgomp1 (Debian, Ubuntu), dnf install "
                "libgomp (Fedora), apk add libgomp (Alpine), brew install libomp (macOS)"
            )
        super().__init__(f"{self.told}: {self.fix}")


class ArtifactError(TastemakerError, RuntimeError):
    """A saved folder is damaged, foreign or of another format; nothing was loaded from it."""


class StoreError(TastemakerError, RuntimeError):
    """The database of events, or the file of keys, cannot be opened, read or written."""


class StoreFullError(StoreError):
    """The store holds as much as its settings allow; nothing was written."""


class NotReadyError(TastemakerError, RuntimeError):
    """A server has nothing loaded that could answer; asking again later may help."""


class BusyError(TastemakerError, RuntimeError):
    """A server is asked for more than it can answer in time; nothing was done.

    Attributes:
        retry_seconds: after how long asking again may help.
    """

    def __init__(self, message: str, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class MemoryBudgetError(TastemakerError, MemoryError):
    """The work was not started because its estimate exceeds the memory budget.

    Attributes:
        reason: what needs how much, and what to do instead; unlike the message without what this
            process held, so that it is the same in every run.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class SourceMemoryError(MemoryBudgetError):
    """A source of a recommender was not fitted because it does not fit into the memory budget.

    Attributes:
        source: its name.
    """

    def __init__(self, source: str, problem: MemoryBudgetError) -> None:
        super().__init__(str(problem), problem.reason)
        self.source = source


class TooManyItemsError(SourceMemoryError):
    """A source does not fit into the memory budget, but would with fewer undescribed items.

    Attributes:
        min_item_users: so many users an undescribed item needs, so that the source fits.
    """

    def __init__(self, source: str, problem: MemoryBudgetError, min_item_users: int) -> None:
        super().__init__(source, problem)
        self.min_item_users = min_item_users


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The hint that follows an unknown name: a near miss, or else what there is to choose from.

    >>> did_you_mean("factor", ["factors", "seed"])
    "; did you mean 'factors'?"
    """
    choices = sorted(known)
    close = closest(word, choices)
    if close is not None:
        return f"; did you mean '{close}'?"
    return f"; known: {', '.join(choices)}" if choices else ""


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most similar to a word; None where none is similar.

    Args:
        word: what was written.
        known: the names there are.
        cutoff: how similar it must be, from 0 to 1.
    """
    word = word[:_LONGEST_WORD]  # comparing takes its time
    lowered = {choice.lower(): choice for choice in sorted(known)}
    close = get_close_matches(word.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[close[0]] if close else None
