"""The exceptions that Tastemaker raises, as one tree.

TastemakerError
├── InputError                    the input is invalid (the command line exits with code 2)
│   ├── SettingError (ValueError)     a setting does not exist or is out of range
│   ├── ProjectError (ValueError)     tastemaker.toml is missing, malformed or inconsistent
│   ├── DataError (ValueError)        a file or a frame cannot be read as events or items
│   │   └── ClockError                the operation is not supported by the data's clock
│   └── UnknownIdError (LookupError)  an item, user or version does not exist
├── NotFittedError (RuntimeError)     a component was used before `fit`
├── LibraryError (ImportError)        a package, or a system library it needs, cannot be loaded
├── ArtifactError (RuntimeError)      an artifact is damaged, or has an unsupported format
├── StoreError (RuntimeError)         the event database or the key file cannot be used
│   └── StoreFullError                the store has reached its configured limit
├── NotReadyError (RuntimeError)      a server is still loading, or has no model to serve
├── BusyError (RuntimeError)          a server is overloaded and rejects the request
└── MemoryBudgetError (MemoryError)   an operation would exceed the memory budget
    └── SourceMemoryError             fitting one source of a recommender would exceed it
        └── TooManyItemsError             the source fits if undescribed items are left out
"""

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST_WORD = 100


class TastemakerError(Exception):
    """Base class of all Tastemaker exceptions."""


class InputError(TastemakerError):
    """The input is invalid; the message states the reason and a fix."""


class SettingError(InputError, ValueError):
    """A setting does not exist, or its value is out of range."""


class ProjectError(InputError, ValueError):
    """The project file is missing, malformed or inconsistent."""


class DataError(InputError, ValueError):
    """A file or a frame cannot be read as events, items or users."""


class ClockError(DataError):
    """The data's clock (absolute, ordinal, none) does not support the operation."""


class UnknownIdError(InputError, LookupError):
    """An item, a user or a version does not exist."""


class NotFittedError(TastemakerError, RuntimeError):
    """A component was used before `fit`."""

    def __init__(self, component: object) -> None:
        name = type(component).__name__
        super().__init__(f"{name} is not fitted: call fit(dataset) first")


class LibraryError(TastemakerError, ImportError):
    """A package, or a system library that it needs, cannot be loaded.

    Attributes:
        reason: what cannot be loaded, and why.
        fix: what to install.
    """

    def __init__(self, package: str, problem: Exception, fix: str | None = None) -> None:
        self.reason = f"{package} cannot be loaded ({' '.join(str(problem).split())})"
        self.fix = fix or f"install it again: pip install --force-reinstall {package}"
        if "libgomp" in str(problem) or "libomp" in str(problem):
            self.fix = (
                "install its OpenMP library: apt install libgomp1 (Debian, Ubuntu), dnf install "
                "libgomp (Fedora), apk add libgomp (Alpine), brew install libomp (macOS)"
            )
        super().__init__(f"{self.reason}: {self.fix}")


class ArtifactError(TastemakerError, RuntimeError):
    """An artifact is damaged or has an unsupported format; nothing was loaded from it."""


class StoreError(TastemakerError, RuntimeError):
    """The event database or the key file cannot be opened, read or written."""


class StoreFullError(StoreError):
    """The store has reached its configured limit; nothing was written."""


class NotReadyError(TastemakerError, RuntimeError):
    """A server has no model loaded; retrying later may succeed."""


class BusyError(TastemakerError, RuntimeError):
    """A server is overloaded and rejected the request; nothing was done.

    Attributes:
        retry_seconds: seconds after which a retry may succeed.
    """

    def __init__(self, message: str, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class MemoryBudgetError(TastemakerError, MemoryError):
    """An operation was not started because its memory estimate exceeds the budget.

    Attributes:
        reason: what needs how much memory, and what to do instead. Unlike the message, it omits
            the memory this process already held, so it is the same in every run.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class SourceMemoryError(MemoryBudgetError):
    """A source of a recommender was not fitted because it exceeds the memory budget.

    Attributes:
        source: the name of the source.
    """

    def __init__(self, source: str, problem: MemoryBudgetError) -> None:
        super().__init__(str(problem), problem.reason)
        self.source = source


class TooManyItemsError(SourceMemoryError):
    """A source exceeds the memory budget, but would fit with fewer undescribed items.

    Attributes:
        min_item_users: the number of users an undescribed item needs so that the source fits.
    """

    def __init__(self, source: str, problem: MemoryBudgetError, min_item_users: int) -> None:
        super().__init__(source, problem)
        self.min_item_users = min_item_users


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The hint for an unknown name: the closest known name, or else all known names.

    >>> did_you_mean("factor", ["factors", "seed"])
    "; did you mean 'factors'?"
    """
    choices = sorted(known)
    close = closest(word, choices)
    if close is not None:
        return f"; did you mean '{close}'?"
    return f"; known: {', '.join(choices)}" if choices else ""


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most similar to a word; None if none is similar.

    Args:
        word: the unknown name.
        known: the known names.
        cutoff: the minimum similarity, from 0 to 1.
    """
    word = word[:_LONGEST_WORD]  # comparing long words is slow
    lowered = {choice.lower(): choice for choice in sorted(known)}
    close = get_close_matches(word.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[close[0]] if close else None
