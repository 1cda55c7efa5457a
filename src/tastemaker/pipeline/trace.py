"""What happened to a batch on its way: items in and out of each stage, and milliseconds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the road.

    Attributes:
        name: `retrieve:als`, `merge`, `filter`, …
        n_in: int64[n], items that came in, per request.
        n_out: int64[n], items that went out.
        milliseconds: for the whole batch.
    """

    name: str
    n_in: NDArray[np.int64]
    n_out: NDArray[np.int64]
    milliseconds: float


@dataclass(slots=True)
class Trace:
    """The stages of one batch, in their order."""

    stages: list[Stage] = field(default_factory=list)

    def timed(self, work: Callable[[], T]) -> tuple[T, float]:
        """Runs `work`; its result and its milliseconds."""
        start = perf_counter()
        result = work()
        return result, (perf_counter() - start) * 1e3

    def add(
        self, name: str, n_in: NDArray[np.int64], n_out: NDArray[np.int64], milliseconds: float
    ) -> None:
        """Appends a stage."""
        self.stages.append(Stage(name, n_in, n_out, milliseconds))

    def to_list(self, row: int) -> list[dict[str, Any]]:
        """The stages as one request saw them; the milliseconds are the batch's."""
        return [
            {
                "name": stage.name,
                "in": int(stage.n_in[row]),
                "out": int(stage.n_out[row]),
                "ms": round(stage.milliseconds, 3),
            }
            for stage in self.stages
        ]
