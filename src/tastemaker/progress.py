"""Progress reporting: silent in the library, a progress bar on the command line."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """Reports no progress. The command line passes a subclass that draws a bar."""

    def track(self, steps: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yields each of `steps` and reports under `label` how many of `total` are done."""
        yield from steps
