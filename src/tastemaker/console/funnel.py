"""The stages of one request: what came in, what went out, how long it took, what was left out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tastemaker.console.words import count, milliseconds

_NO_WORDS: Mapping[str, str] = {}
_RETRIEVE, _RERANK = "retrieve:", "rerank:"
_WORDS = {
    "merge": "in one list",
    "filter": "allowed",
    "features": "described",
    "rank": "ranked",
    "select": "shown",
}
_MEANINGS = {
    "merge": "each item once; of every source its best up to the quota, then what the sources "
    "together rank highest",
    "filter": "without what was seen before, is hidden or not available",
    "features": "what is known of each item and of you, for the ranking model",
    "rank": "ordered by the ranking model",
    "fill": "added where the list was short",
    "select": "the best of the list",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of one request.

    Attributes:
        name: as the project calls it: `ease`, `merge`, `rank`, …
        words: what comes out of it, in a few words.
        meaning: what it does, in a sentence; empty for a source.
        is_source: whether it finds items rather than passing them on.
        n_in: items that came in; 0 for a source.
        n_out: items that went out.
        milliseconds: what it took.
        problem: `left out` or `cut short`, where it did not do all of its work; or empty.
        notes: what it did or could not do, in its own words.
        quota: of a source, how many of its best are in the list for certain; None if unknown.
        kept: of a source, how many of its items are in the list; None if unknown.
    """

    name: str
    words: str
    meaning: str
    is_source: bool
    n_in: int
    n_out: int
    milliseconds: float
    problem: str = ""
    notes: tuple[str, ...] = ()
    quota: int | None = None
    kept: int | None = None

    @property
    def items(self) -> str:
        """In → out in words; of a source, what it gave, its quota, and what was kept."""
        if self.problem == "left out":
            return self.problem
        out = self._given if self.is_source else f"{count(self.n_in)} → {count(self.n_out)}"
        return f"{out}, {self.problem}" if self.problem else out

    @property
    def _given(self) -> str:
        if self.quota is None or self.kept is None:
            return f"gave {count(self.n_out)}"
        return f"quota {count(self.quota)}, gave {count(self.n_out)}, kept {count(self.kept)}"

    @property
    def time(self) -> str:
        """How long in words; empty for a stage that was left out."""
        return "" if self.problem == "left out" else milliseconds(self.milliseconds)


def steps_of(answer: Mapping[str, Any], words: Mapping[str, str] = _NO_WORDS) -> tuple[Step, ...]:
    """The stages of an answer in their order, sources first; none if it was not traced.

    A stage that was left out altogether stands where it would have worked.

    Args:
        answer: as in `View`.
        words: stage → what a source finds or a reranker does, in words.
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
        _step(stage, stage["name"] in troubled, absent=stage in absent, words=words)
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
        return "The answer holds no items and does not say why."
    if not any(step.n_out for step in steps if step.is_source):
        if any(step.problem for step in steps if step.is_source):
            return "No source found anything; some of them were left out."
        return "No source found anything: there are not enough events yet."
    for step in passed:
        if step.n_in and not step.n_out and not step.problem:
            if step.name == "filter":
                return (
                    f"All {count(step.n_in)} items found were filtered out: "
                    "seen before, hidden, or not available."
                )
            return f"'{step.name}' removed all {count(step.n_in)} items."
    return "Items were found, but a stage that must check them was left out."


def stage_words(stage: str, words: Mapping[str, str] = _NO_WORDS) -> str:
    """A stage in a few words: `retrieve:als` is what ALS finds; its own name if there are none.

    >>> stage_words("filter"), stage_words("rerank:house")
    ('allowed', 'house')
    """
    name = stage.removeprefix(_RETRIEVE).removeprefix(_RERANK)
    return words.get(stage) or _WORDS.get(stage) or name


def _step(
    stage: Mapping[str, Any], troubled: bool, *, absent: bool, words: Mapping[str, str]
) -> Step:
    name, is_source = stage["name"], stage["name"].startswith(_RETRIEVE)
    problem = "cut short" if troubled else ""
    if absent or (troubled and not stage["out"]):
        problem = "left out"
    return Step(
        name=name.removeprefix(_RETRIEVE).removeprefix(_RERANK),
        words=stage_words(name, words),
        meaning=_meaning(name),
        is_source=is_source,
        n_in=stage["in"],
        n_out=stage["out"],
        milliseconds=stage["ms"],
        problem=problem,
        notes=tuple(stage.get("notes", ())),
        quota=stage.get("quota"),
        kept=stage.get("kept"),
    )


def _meaning(name: str) -> str:
    if name.startswith(_RERANK):
        return "order or selection changed by this project's own rule"
    return _MEANINGS.get(name, "")
