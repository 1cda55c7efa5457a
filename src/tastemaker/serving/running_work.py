"""The pieces of work that a server is doing, of which heavier ones give way to lighter ones."""

import threading
from collections.abc import Callable
from time import perf_counter

LIGHTER = 2.0
"""A piece is lighter than another if its burden is more than so many times smaller."""
_LEAST_GIVEN = 0.02
"""Seconds that a heavy piece lets lighter ones go first, whatever it has worked itself."""


class RunningWork:
    """The pieces being done; a piece waits between two of its steps while a lighter one is done.

    The burden of a piece is the time it takes times the time that its caller has used lately: both
    a short piece beside a long one and a piece of a modest caller beside one of a greedy caller are
    lighter. An order by one number has no circles, so no two pieces wait for each other.

    Used by any number of threads.
    """

    def __init__(self) -> None:
        self._burdens: list[float] = []
        self._changed = threading.Condition()

    def do(self, work: Callable[[Callable[[], None]], None], burden: float) -> float:
        """Does a piece.

        Args:
            work: the piece; is given what it has to call between its steps.
            burden: its burden.

        Returns:
            The seconds that it has waited for others.
        """
        waiting = _Waiting(self, burden)
        with self._changed:
            self._burdens.append(burden)
        try:
            work(waiting)
        finally:
            with self._changed:
                self._burdens.remove(burden)
                self._changed.notify_all()
        return waiting.seconds

    def has_lighter(self, burden: float) -> bool:
        """Whether a piece being done is lighter than one of this burden."""
        if len(self._burdens) == 1:  # itself
            return False
        return any(LIGHTER * other < burden for other in self._burdens)

    def wait(self, burden: float, most: float) -> None:
        """Returns when no lighter piece is being done, or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self.has_lighter(burden), timeout=most)


class _Waiting:
    """How a piece gives way: half of its time at most, so that it ends as well."""

    def __init__(self, under_way: RunningWork, burden: float) -> None:
        self.seconds = 0.0
        self._under_way = under_way
        self._burden = burden
        self._begun = perf_counter()

    def __call__(self) -> None:
        if not self._under_way.has_lighter(self._burden):  # one that begins just now is seen later
            return
        now = perf_counter()
        worked = now - self._begun - self.seconds
        most = max(worked, _LEAST_GIVEN) - self.seconds
        if most > 0:
            self._under_way.wait(self._burden, most)
            self.seconds += perf_counter() - now
