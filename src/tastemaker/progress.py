"""How long work reports itself: silent in the library, a bar on the command line."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """Reports nothing. The command line passes a subclass that draws a bar."""

    def track(self, steps: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yields every one of `steps`, reporting how many of `total` are done under `label`."""
        yield from steps
