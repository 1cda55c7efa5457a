"""The running tasks of a server. Heavier tasks pause for lighter ones."""

import threading
from collections.abc import Callable
from time import perf_counter

LIGHTER = 2.0
"""A task is lighter than another if its burden is smaller by more than this factor."""
_SHORTEST_PAUSE = 0.02
"""The shortest pause limit of a heavy task in seconds, however short its own work so far."""


class RunningWork:
    """The running tasks. A task waits between two of its steps while a lighter one runs.

    The burden of a task is its cost times the time that its caller used recently. So a short task
    is lighter than a long one, and a task of a light user is lighter than one of a heavy user.
    Burdens are ordered by one number, so no two tasks wait for each other.

    Any number of threads can use it.
    """

    def __init__(self) -> None:
        self._burdens: list[float] = []
        self._changed = threading.Condition()

    def do(self, work: Callable[[Callable[[], None]], None], burden: float) -> float:
        """Runs a task.

        Args:
            work: the task. It gets a function that it must call between its steps.
            burden: the burden of the task.

        Returns:
            The seconds that it waited for other tasks.
        """
        pause = _Pause(self, burden)
        with self._changed:
            self._burdens.append(burden)
        try:
            work(pause)
        finally:
            with self._changed:
                self._burdens.remove(burden)
                self._changed.notify_all()
        return pause.seconds

    def has_lighter(self, burden: float) -> bool:
        """Whether a running task is lighter than a task of this burden."""
        if len(self._burdens) == 1:  # only the task itself
            return False
        return any(LIGHTER * other < burden for other in self._burdens)

    def wait(self, burden: float, most: float) -> None:
        """Waits until no lighter task is running, for at most `most` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self.has_lighter(burden), timeout=most)


class _Pause:
    """Pauses a task for lighter ones, for at most half of its time, so that it also ends."""

    def __init__(self, running_work: RunningWork, burden: float) -> None:
        self.seconds = 0.0
        self._running_work = running_work
        self._burden = burden
        self._started = perf_counter()

    def __call__(self) -> None:
        if not self._running_work.has_lighter(self._burden):  # a task that starts now is seen later
            return
        now = perf_counter()
        worked = now - self._started - self.seconds
        most = max(worked, _SHORTEST_PAUSE) - self.seconds
        if most > 0:
            self._running_work.wait(self._burden, most)
            self.seconds += perf_counter() - now
