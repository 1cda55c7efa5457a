"""What happened to a batch in the pipeline: items and time of each stage, and what failed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.candidates import Candidates
from tastemaker.errors import TastemakerError
from tastemaker.pipeline.latency import Degraded

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: `retrieve:als`, `merge`, `filter`, `rank`, …
        n_in: int64[n], the number of input items, per request.
        n_out: int64[n], the number of output items, per request.
        milliseconds: the time for the whole batch.
        candidates: the output, if the trace keeps it.
        notes: per request, what the stage did or could not do; empty for most stages.
        cost: float32[n], the predicted value that a reranker gave up; empty for other stages.
    """

    name: str
    n_in: NDArray[np.int64]
    n_out: NDArray[np.int64]
    milliseconds: float
    candidates: Candidates | None = None
    notes: tuple[tuple[str, ...], ...] = ()
    cost: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))


@dataclass(slots=True)
class Trace:
    """The stages of one batch, in order, and the stages that were skipped.

    Attributes:
        keep: whether to keep the candidates of each stage, which the funnel report needs.
        stages: the stages that ran.
        kept: source → its quota, and int64[n], how many of its items are in the merged list, per
            request.
        degraded: the stages that were skipped or cut short.
    """

    keep: bool = False
    stages: list[Stage] = field(default_factory=list)
    kept: dict[str, tuple[int, NDArray[np.int64]]] = field(default_factory=dict)
    degraded: list[Degraded] = field(default_factory=list)

    def timed(self, work: Callable[[], T]) -> tuple[T, float]:
        """Runs `work` and returns its result and its time in milliseconds."""
        start = perf_counter()
        result = work()
        return result, (perf_counter() - start) * 1e3

    def add(
        self,
        name: str,
        n_in: NDArray[np.int64] | None,
        out: Candidates,
        milliseconds: float,
        notes: tuple[tuple[str, ...], ...] = (),
        cost: NDArray[np.float32] | None = None,
    ) -> None:
        """Appends a stage; `n_in` is None for a stage without input."""
        counts = np.zeros(len(out), np.int64) if n_in is None else n_in
        kept = out if self.keep else None
        costs = np.empty(0, np.float32) if cost is None else cost
        self.stages.append(Stage(name, counts, out.counts, milliseconds, kept, notes, costs))

    def annotate(self, name: str, note: str) -> None:
        """Adds a note to the latest stage of that name, for every request."""
        places = [place for place, stage in enumerate(self.stages) if stage.name == name]
        stage = self.stages[places[-1]]
        notes = stage.notes or ((),) * len(stage.n_in)
        self.stages[places[-1]] = replace(stage, notes=tuple((*row, note) for row in notes))

    def keep_counts(self, merged: Candidates, quotas: Mapping[str, int]) -> None:
        """Counts how many of each source's items are in the merged list."""
        found = np.zeros((len(merged.item) + 1, len(merged.sources)), np.int64)
        np.cumsum(merged.source_rank >= 0, axis=0, out=found[1:])
        counts = np.diff(found[merged.offsets], axis=0)
        self.kept = {
            name: (quotas[name], counts[:, place]) for place, name in enumerate(merged.sources)
        }

    def degrade(self, stage: str, reason: str, error: Exception | None = None) -> None:
        """Records that a stage was skipped or cut short; ignores a repeated stage and reason."""
        if any(one.stage == stage and one.reason == reason for one in self.degraded):
            return
        self.degraded.append(Degraded(stage, reason, error))

    def has_degraded(self, stage: str) -> bool:
        """Whether a stage whose name starts with `stage` was skipped or cut short."""
        return any(one.stage.startswith(stage) for one in self.degraded)

    def fail(self, stage: str, problem: Exception) -> None:
        """Records that a stage was skipped because it raised an exception."""
        message = " ".join(str(problem).split()) or "no message"
        self.degrade(stage, f"{type(problem).__name__}: {message}", problem)

    def require_whole(self) -> None:
        """Raises if a stage was skipped or cut short: such an answer must not be measured.

        Raises:
            Exception: the first exception of a stage.
            TastemakerError: a stage was skipped or cut short for another reason.
        """
        for one in self.degraded:
            if one.error is not None:
                raise one.error
            raise TastemakerError(f"{one.stage}: {one.reason}")

    def to_list(self, row: int) -> list[dict[str, Any]]:
        """The stages of one request as JSON; the milliseconds are those of the batch."""
        return [
            {
                "name": stage.name,
                "in": int(stage.n_in[row]),
                "out": int(stage.n_out[row]),
                "ms": round(stage.milliseconds, 3),
                **self._quota_of(stage.name, row),
                **({"cost": float(stage.cost[row])} if len(stage.cost) else {}),
                **({"notes": list(stage.notes[row])} if stage.notes and stage.notes[row] else {}),
            }
            for stage in self.stages
        ]

    def _quota_of(self, stage: str, row: int) -> dict[str, int]:
        """The quota of a source and how many of its items were kept; empty for other stages."""
        if (name := stage.removeprefix("retrieve:")) == stage or name not in self.kept:
            return {}
        quota, kept = self.kept[name]
        return {"quota": quota, "kept": int(kept[row])}
