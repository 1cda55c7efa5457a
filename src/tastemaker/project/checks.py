"""What must hold between the sections of a project file: every name used is declared."""

import re
from typing import Any

from tastemaker.component import WANTED, Component, Ranker, Reranker, Retriever
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import ProjectError, near_miss
from tastemaker.project.sections import ComponentSection, Placement, ProjectFile

RESERVED = ("merged", "ranked", "pipeline")
"""What an evaluation calls all sources together: before the ranker, after it, and in the end."""
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


def check_names(file: ProjectFile, owner: str) -> None:
    """Every name used is declared; every number makes sense beside the others."""
    _require_some(file, owner)
    default = file.data.defaults.event_type
    if default is not None and default not in file.events:
        raise ProjectError(
            f"{owner}: [data.defaults] event_type '{default}' is no declared kind"
            f"{near_miss(default, file.events)}"
        )
    parts: dict[type[Component], dict[str, ComponentSection]] = {
        Retriever: file.retrievers,
        Ranker: file.rankers,
        Reranker: file.rerankers,
    }
    for part, sections in parts.items():
        for name, section in sections.items():
            if not _PLAIN.fullmatch(name) or name in RESERVED:
                raise ProjectError(
                    f"{owner}: [{part.__name__.lower()}s.{name}]: a name is made of letters, "
                    f"digits, _ and -, and is none of {', '.join(RESERVED)}"
                )
            section.build(name, part)
    _check_objectives(file, owner)
    for name, placement in file.placements.items():
        where = f"{owner}: [placements.{name}]"
        _check_placement(placement, file, where)
        try:
            SeenPolicy.of(file.events, placement.seen)
        except ValueError as problem:
            raise ProjectError(f"{where} {problem}") from None
    _check_own_rankers(file, owner)


def _check_placement(placement: Placement, file: ProjectFile, where: str) -> None:
    if not placement.retrievers:
        raise ProjectError(f"{where} names no retriever")
    named: list[tuple[str, str, dict[str, ComponentSection]]] = [
        *(("retriever", source, file.retrievers) for source in placement.retrievers),
        *(("reranker", name, file.rerankers) for name in placement.rerankers),
        *([("ranker", placement.ranker, file.rankers)] if placement.ranker else []),
    ]
    for kind, name, declared in named:
        if name not in declared:
            raise ProjectError(
                f"{where} names an unknown {kind} '{name}'{near_miss(name, declared)}"
            )
    for source, quota in placement.retrievers.items():
        if quota < 1:
            raise ProjectError(f"{where} {source} must be at least 1, got {quota}")
    if placement.ranker is None:
        if placement.value:
            raise ProjectError(f"{where} has a value but no ranker to predict its objectives")
        return
    ranker = file.rankers[placement.ranker].build(placement.ranker, Ranker)
    predicted = ranker.objectives or (WANTED,)
    for name in placement.value:
        if name not in predicted:
            raise ProjectError(
                f"{where} value: the ranker '{placement.ranker}' predicts no '{name}'"
                f"{near_miss(name, predicted)}"
            )


def _check_objectives(file: ProjectFile, owner: str) -> None:
    """Rankers predict declared kinds of event."""
    wanted = [name for name, kind in file.events.items() if kind.role == "positive"]
    for name, section in file.rankers.items():
        for objective in section.build(name, Ranker).objectives:
            if objective not in wanted:
                raise ProjectError(
                    f"{owner}: [rankers.{name}] objectives: '{objective}' is no kind of event "
                    f"that can be wanted{near_miss(objective, wanted)}"
                )


def _check_own_rankers(file: ProjectFile, owner: str) -> None:
    """Each ranker serves one placement alone."""
    served: dict[str, str] = {}
    for name, placement in file.placements.items():
        if placement.ranker is None:
            continue
        if placement.ranker in served:
            raise ProjectError(
                f"{owner}: [placements.{served[placement.ranker]}] and [placements.{name}] share "
                f"the ranker '{placement.ranker}'; declare one for each, since it learns over one "
                "placement's sources"
            )
        served[placement.ranker] = name


def _require_some(file: ProjectFile, owner: str) -> None:
    parts: dict[str, Any] = {
        "events": file.events,
        "retrievers": file.retrievers,
        "placements": file.placements,
    }
    for part, declared in parts.items():
        if not declared:
            raise ProjectError(f"{owner}: declare at least one [{part}.NAME]")
