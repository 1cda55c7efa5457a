"""What each verb does with a project."""

from pathlib import Path
from typing import Any

import numpy as np

from tastemaker.cli import show
from tastemaker.cli.hints import tell_without_effect
from tastemaker.component import FitOptions
from tastemaker.component.ranker_use import RankerUse
from tastemaker.data.dataset import Dataset
from tastemaker.data.describe import describe
from tastemaker.data.narrowing import UndescribedItems
from tastemaker.data.times import MICROSECONDS, now
from tastemaker.errors import ArtifactError, DataError, TooManyItemsError
from tastemaker.evaluation import Evaluation
from tastemaker.evaluation import evaluate as measure
from tastemaker.machine import peak_bytes
from tastemaker.pipeline import Recommender
from tastemaker.pipeline.project_settings import difference, with_project_settings
from tastemaker.project import Project, find_project, load_project
from tastemaker.registry import Registry
from tastemaker.store import EventSource


def validate(project: Path | None, as_json: bool) -> None:
    """Reads the data and says what is in it."""
    opened = open_project(project)
    with show.step(f"reading {_event_files(opened)}"):
        data = opened.read()
    _tell_reports(data, opened)
    facts = describe(data)
    if as_json:
        show.result_json(facts)
    else:
        show.result_lines(_facts_lines(facts))
    problems = _missing_for_training(data)
    if problems:
        show.say(f"not enough to train on: {'; '.join(problems)}")


def train(project: Path | None, promote: bool, as_json: bool) -> None:
    """Fits everything and saves it as a version, which serves from then on if `promote`."""
    opened = open_project(project)
    tell_leftovers(Registry(opened.state))
    opened.require_clock()
    tell_without_effect(opened)
    data = read_events(opened)
    version, seconds, recommender = train_project(opened, data, promote)
    told = {
        "version": version,
        "artifact": str(opened.state / "artifacts" / version),
        "promoted": promote,
        "seconds": round(seconds, 3),
        "peak_mb": peak_megabytes(),
        "learned": recommender.learned,
        "fusions": {n: fusion.to_dict() for n, fusion in recommender.fusions.items()},
        "rankers": {n: RankerUse.of(t).to_dict() for n, t in recommender.learned.items()},
        "left_out": {name: one.reason for name, one in recommender.left_out.items()},
        "notes": recommender.notes,
    }
    for line in recommender.notes:
        if line not in data.left_out.lines():  # those were reported when it was read
            show.say(line)
    for name, one in recommender.left_out.items():
        show.say(f"the source '{name}' is left out: {one.reason}")
    if as_json:
        show.result_json(told)
        return
    for line in (f"fusion {name}: {fusion}" for name, fusion in recommender.fusions.items()):
        show.result(line)
    for name, notes in recommender.learned.items():
        show.result(_learned_line(name, notes))
    show.result(f"trained {version} in {seconds:.1f} s, peak memory {told['peak_mb']:,} MB")
    if not promote:
        show.say(f"it does not serve yet: tastemaker versions promote {version}")


def evaluate(project: Path | None, k: int, window: str, as_json: bool) -> None:
    """Measures on the last part of the data, or on the part before it."""
    opened = open_project(project)
    opened.require_clock(to_evaluate=True)
    evaluation = evaluate_project(opened, read_events(opened), k, window)
    if as_json:
        show.result_json(evaluation.to_dict())
    else:
        show.result(str(evaluation))


def train_project(
    project: Project, data: Dataset, promote: bool = True
) -> tuple[str, float, Recommender]:
    """Fits a project's components on `data` and saves them as a version.

    Args:
        project: what to fit.
        data: what to fit it on.
        promote: whether the version serves from then on.

    Returns:
        The version, the seconds it took, and what was fitted.

    Raises:
        ArtifactError: it is saved, but cannot be made to serve.
        DataError: the data cannot teach anything.
    """
    problems = _missing_for_training(data)
    if problems:
        raise DataError(f"not enough to train on: {'; '.join(problems)}")
    begun = now()
    recommender = Recommender.from_project(project.path)
    with show.step("training " + ", ".join(recommender.retrievers)):
        recommender.fit(data, FitOptions(progress=show.ProgressBars()))
    registry = Registry(project.state)
    with show.step("saving"):
        version = registry.add(recommender, begun)
        if promote:
            _promote(registry, version)
    return version, (now() - begun) / MICROSECONDS["s"], recommender


def evaluate_project(project: Project, data: Dataset, k: int, window: str = "test") -> Evaluation:
    """Measures a project's components, fitted on what came before `window`."""
    recommender = Recommender.from_project(project.path)
    placement = next(iter(project.file.placements.values()))
    options = FitOptions(progress=show.ProgressBars())
    with show.step("evaluating"):
        while True:
            split = project.split(data, placement)
            try:
                return measure(recommender, split, k=k, window=window, options=options)
            except TooManyItemsError as problem:
                needed = problem.min_item_users, problem.source
            data = UndescribedItems(data).without(*needed)
            for line in data.left_out.lines():
                show.say(line)


def load_current(project: Project) -> Recommender:
    """The version of a project that serves, under the settings of the project file.

    Settings that take effect only with the next training are named on stderr.

    Raises:
        ArtifactError: nothing was trained yet, or the artifact is damaged.
        SettingError: rerankers of the project file do not fit the version.
    """
    recommender, changes = with_project_settings(Registry(project.state).load(), project.file)
    if changes:
        show.say(difference(recommender.version, changes))
    return recommender


def peak_megabytes() -> int:
    """The most memory this process has used so far."""
    return round(peak_bytes() / (1 << 20))


def open_project(path: Path | None) -> Project:
    """The project a verb works on: the one named, or the one here or in a parent folder."""
    return load_project(find_project(Path.cwd()) if path is None else path)


def _promote(registry: Registry, version: str) -> None:
    """Makes what was just trained serve; where that fails, the training is not lost."""
    try:
        registry.promote(version)
    except ArtifactError as problem:
        raise ArtifactError(
            f"{version} is saved but does not serve: {problem}; "
            f"then: tastemaker versions promote {version}"
        ) from None


def read_events(project: Project, *, every_item: bool = False) -> Dataset:
    """All events of a project: of its store, or of its files where there is no store yet.

    Args:
        project: whose.
        every_item: whether nothing is left out by rule: to serve a version trained before.
    """
    source = EventSource(project, show.ProgressBars())
    with show.step(f"reading {'the store' if source.stored else _event_files(project)}"):
        data = source.read(every_item=every_item)
    tell_recovered(source)
    _tell_reports(data, project)
    return data


def _event_files(project: Project) -> str:
    return ", ".join(file.file for file in project.file.data.events)


def tell_recovered(source: EventSource) -> None:
    """Says what was found when the store was opened."""
    for recovered in source.recovered:
        show.say(recovered)


def tell_leftovers(registry: Registry) -> None:
    """Says that killed trainings and removals have left folders, and how they go."""
    left = registry.leftovers()
    if left:
        folders = "1 folder was" if len(left) == 1 else f"{len(left)} folders were"
        show.say(
            f"{folders} left behind by runs that were killed: `tastemaker versions prune --keep 3` "
            "removes them, with old versions"
        )


def _tell_reports(data: Dataset, project: Project) -> None:
    for report in data.reports:
        if report.quarantined:
            show.say(f"{report.summary()}; see {project.quarantine}")
        if report.duplicates:
            show.say(f"{report.source}: {report.duplicates:,} rows with an id seen before left out")
    for line in data.left_out.lines():
        show.say(line)


def _learned_line(name: str, notes: dict[str, float]) -> str:
    """What learning to rank came to."""
    use = RankerUse.of(notes)
    sources = "; sources fitted anew" if notes["refit"] else "; sources as old as then"
    return (
        f"ranker {name}: {use}{sources if use.used else ''}; {notes['wanted_but_not_found']:,} of "
        f"{notes['wanted']:,} relevant items were found by no source and not learned from"
    )


def _missing_for_training(data: Dataset) -> list[str]:
    """What the data lacks to learn anything from; empty if it will do."""
    log = data.events
    liked = log.weight > 0
    needs = (
        (len(np.unique(log.user)) > 1, "only one user has events"),
        (len(np.unique(log.item)) > 1, "only one item has events"),
        (bool(liked.any()), "no event is positive: see [events.*] in the project file"),
    )
    return [problem for holds, problem in needs if not holds]


def _facts_lines(facts: dict[str, Any]) -> list[str]:
    events = facts["events"]
    lines = [
        f"events      {events['kept']:,} of {events['read']:,} rows"
        f" ({events['quarantined']:,} quarantined, {events['duplicates']:,} duplicate event ids"
        f" left out, {events['duplicate_rows']:,} exact duplicate rows kept)",
        f"users       {facts['users']:,}",
        f"items       {facts['items']:,}",
        f"density     {facts['density']:.4%}",
        f"from        {facts['from'] or 'no clock'}",
        f"to          {facts['to'] or 'no clock'}",
        f"per user    median {facts['events_per_user']['median']:g} events, "
        f"{facts['users_with_fewer_than_5_events']:.1%} of users have fewer than 5",
        f"per item    median {facts['events_per_item']['median']:g} events, "
        f"popularity Gini {facts['item_popularity_gini']:.2f}",
    ]
    for kind, told in facts["kinds"].items():
        lines.append(
            f"kind        {kind}: {told['events']:,} events, {told['liked']:,} liked, "
            f"{told['disliked']:,} disliked"
            + (f", {told['replaced']:,} replaced by a later one" if told["replaced"] else "")
        )
    for reason, count in events["reasons"].items():
        lines.append(f"quarantine  {count:,} × {reason}")
    lines += [f"left out    {line}" for line in facts["left_out"]]
    for source, table in facts["tables"].items():
        if table["not_used"]:
            lines.append(f"not used    {source}: {', '.join(table['not_used'])}")
        lines += [f"note        {source}: {note}" for note in table["notes"]]
    return lines
