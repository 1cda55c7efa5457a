"""The stages of one request: what came in, what went out, how long it took, what was left out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tastemaker.console.words import count, milliseconds

_RETRIEVE, _RERANK = "retrieve:", "rerank:"
_MEANINGS = {
    "merge": "makes one list of what the sources found, each item once",
    "filter": "takes out what must not be shown",
    "features": "describes each item to the ranker",
    "rank": "orders by predicted value",
    "fill": "adds items where a list is short",
    "select": "keeps the best",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of one request.

    Attributes:
        name: as a reader calls it: `ease`, `merge`, `rank`, …
        meaning: what it does, in words.
        is_source: whether it finds items rather than passing them on.
        n_in: items that came in; 0 for a source.
        n_out: items that went out.
        milliseconds: what it took.
        problem: `left out` or `cut short`, where it did not do all of its work; or empty.
        notes: what it did or could not do, in its own words.
    """

    name: str
    meaning: str
    is_source: bool
    n_in: int
    n_out: int
    milliseconds: float
    problem: str = ""
    notes: tuple[str, ...] = ()

    @property
    def items(self) -> str:
        """In → out in words; a source has nothing coming in."""
        if self.problem == "left out":
            return self.problem
        out = count(self.n_out) if self.is_source else f"{count(self.n_in)} → {count(self.n_out)}"
        return f"{out}, {self.problem}" if self.problem else out

    @property
    def time(self) -> str:
        """How long in words; empty for a stage that was left out."""
        return "" if self.problem == "left out" else milliseconds(self.milliseconds)


def steps_of(answer: Mapping[str, Any]) -> tuple[Step, ...]:
    """The stages of an answer in their order, sources first; none if it was not traced.

    A stage that was left out altogether stands where it would have worked.
    """
    stages = list((answer.get("trace") or {}).get("stages", ()))
    if not stages:
        return ()
    done = {stage["name"] for stage in stages}
    troubled = {left_out["stage"] for left_out in answer.get("degraded", ())}
    absent = [
        {"name": left_out["stage"], "in": 0, "out": 0, "ms": 0.0}
        for left_out in answer.get("degraded", ())
        if left_out["stage"] not in done and left_out["stage"] != "retrieve"
    ]
    sources = [stage for stage in (*stages, *absent) if stage["name"].startswith(_RETRIEVE)]
    later = [stage for stage in stages if not stage["name"].startswith(_RETRIEVE)]
    missing = [stage for stage in absent if not stage["name"].startswith(_RETRIEVE)]
    end = next((at for at, stage in enumerate(later) if stage["name"] == "select"), len(later))
    return tuple(
        _step(stage, stage["name"] in troubled, absent=stage in absent)
        for stage in (*sources, *later[:end], *missing, *later[end:])
    )


def source_names(steps: Iterable[Step]) -> tuple[str, ...]:
    """The sources in their order: a source's place gives it its colour, everywhere on the page."""
    return tuple(step.name for step in steps if step.is_source)


def why_empty(answer: Mapping[str, Any]) -> str:
    """Why nothing is recommended, as far as the answer tells."""
    steps = steps_of(answer)
    passed = [step for step in steps if not step.is_source]
    if not steps:
        return "The answer holds no items, and does not tell why."
    if not any(step.n_out for step in steps if step.is_source):
        if any(step.problem for step in steps if step.is_source):
            return "No source found anything; some of them were left out."
        return "No source found anything: nobody has liked enough yet."
    for step in passed:
        if step.n_in and not step.n_out and not step.problem:
            if step.name == "filter":
                return (
                    f"All {count(step.n_in)} items found were filtered out: "
                    "seen before, hidden, or not available."
                )
            return f"{count(step.n_in)} items came to '{step.name}', none went out."
    return "Items were found, but a stage that must decide about them was left out."


def _step(stage: Mapping[str, Any], troubled: bool, *, absent: bool) -> Step:
    name, is_source = stage["name"], stage["name"].startswith(_RETRIEVE)
    problem = "cut short" if troubled else ""
    if absent or (troubled and not stage["out"]):
        problem = "left out"
    return Step(
        name=name.removeprefix(_RETRIEVE).removeprefix(_RERANK),
        meaning=_meaning(name),
        is_source=is_source,
        n_in=stage["in"],
        n_out=stage["out"],
        milliseconds=stage["ms"],
        problem=problem,
        notes=tuple(stage.get("notes", ())),
    )


def _meaning(name: str) -> str:
    if name.startswith(_RERANK):
        return "reorders the list"
    return _MEANINGS.get(name, "")
