"""The stages of one request: items in and out, time, and problems."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tastemaker.console.words import count, milliseconds

_NO_WORDS: Mapping[str, str] = {}
_RETRIEVE, _RERANK = "retrieve:", "rerank:"
_WORDS = {
    "merge": "merged",
    "filter": "allowed",
    "features": "with features",
    "rank": "ranked",
    "select": "shown",
}
_MEANINGS = {
    "merge": "keeps the best items of each source up to its quota, then the items that the "
    "sources together rank highest; each item once",
    "filter": "removes items that were seen before, are hidden, or are not available",
    "features": "adds data about each item and about you, for the ranking model",
    "rank": "orders the items with the ranking model",
    "fill": "adds items if the list is short",
    "select": "takes the best items",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of one request.

    Attributes:
        name: its name in the project, such as `ease`, `merge` or `rank`.
        words: its output, in a few words.
        meaning: its task, in a sentence; empty for a source.
        is_source: whether it retrieves items.
        n_in: number of input items; 0 for a source.
        n_out: number of output items.
        milliseconds: its duration.
        problem: `left out` or `cut short` if it is incomplete; otherwise empty.
        notes: messages of the stage.
        quota: for a source, the number of its best items that are always kept; None if unknown.
        kept: for a source, the number of its items in the merged list; None if unknown.
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
        """Input → output in words; for a source, its quota, and the items returned and kept."""
        if self.problem == "left out":
            return self.problem
        out = self._source_items if self.is_source else f"{count(self.n_in)} → {count(self.n_out)}"
        return f"{out}, {self.problem}" if self.problem else out

    @property
    def _source_items(self) -> str:
        if self.quota is None or self.kept is None:
            return f"returned {count(self.n_out)}"
        return f"quota {count(self.quota)}, returned {count(self.n_out)}, kept {count(self.kept)}"

    @property
    def time(self) -> str:
        """The duration in words; empty for a stage that was left out."""
        return "" if self.problem == "left out" else milliseconds(self.milliseconds)


def steps_of(answer: Mapping[str, Any], words: Mapping[str, str] = _NO_WORDS) -> tuple[Step, ...]:
    """Returns the stages of a response in order, sources first; empty without a trace.

    A stage that was left out is listed at its usual place.

    Args:
        answer: the response, as in `View`.
        words: stage → description of a source or reranker.
    """
    stages = list((answer.get("trace") or {}).get("stages", ()))
    if not stages:
        return ()
    done = {stage["name"] for stage in stages}
    incomplete = {left_out["stage"] for left_out in answer.get("degraded", ())}
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
        _step(stage, stage["name"] in incomplete, absent=stage in absent, words=words)
        for stage in (*sources, *later[:end], *missing, *later[end:])
    )


def source_names(steps: Iterable[Step]) -> tuple[str, ...]:
    """Returns the names of the sources in order; the position defines the color of a source."""
    return tuple(step.name for step in steps if step.is_source)


def why_empty(answer: Mapping[str, Any]) -> str:
    """Returns the reason why nothing is recommended, from the trace."""
    steps = steps_of(answer)
    passed = [step for step in steps if not step.is_source]
    if not steps:
        return "The response has no items and no trace."
    if not any(step.n_out for step in steps if step.is_source):
        if any(step.problem for step in steps if step.is_source):
            return "No source found any items; some sources were left out."
        return "No source found any items: there are not enough events yet."
    for step in passed:
        if step.n_in and not step.n_out and not step.problem:
            if step.name == "filter":
                return (
                    f"All {count(step.n_in)} items were filtered out: "
                    "seen before, hidden, or not available."
                )
            return f"'{step.name}' removed all {count(step.n_in)} items."
    return "Items were found, but a required stage was left out."


def stage_words(stage: str, words: Mapping[str, str] = _NO_WORDS) -> str:
    """Returns the description of a stage, or its name if there is none.

    >>> stage_words("filter"), stage_words("rerank:shop")
    ('allowed', 'shop')
    """
    name = stage.removeprefix(_RETRIEVE).removeprefix(_RERANK)
    return words.get(stage) or _WORDS.get(stage) or name


def _step(
    stage: Mapping[str, Any], incomplete: bool, *, absent: bool, words: Mapping[str, str]
) -> Step:
    name, is_source = stage["name"], stage["name"].startswith(_RETRIEVE)
    problem = "cut short" if incomplete else ""
    if absent or (incomplete and not stage["out"]):
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
        return "changes the order or the selection by a rule of this project"
    return _MEANINGS.get(name, "")
