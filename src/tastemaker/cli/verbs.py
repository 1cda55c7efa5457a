"""The commands that read, train and evaluate a project, and their helpers."""

from pathlib import Path
from typing import Any

import numpy as np

from tastemaker.cli import show
from tastemaker.cli.hints import report_without_effect
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
    """Reads the data and prints its content."""
    opened = open_project(project)
    with show.step(f"reading {_event_files(opened)}"):
        data = opened.read()
    _show_reports(data, opened)
    facts = describe(data)
    if as_json:
        show.result_json(facts)
    else:
        show.result_lines(_facts_lines(facts))
    problems = _missing_for_training(data)
    if problems:
        show.say(f"not enough to train on: {'; '.join(problems)}")


def train(project: Path | None, promote: bool, as_json: bool) -> None:
    """Fits all components and saves them as a version, which serves if `promote`."""
    opened = open_project(project)
    report_leftovers(Registry(opened.state))
    opened.require_clock()
    report_without_effect(opened)
    data = read_events(opened)
    version, seconds, recommender = train_project(opened, data, promote)
    payload = {
        "version": version,
        "artifact": str(opened.state / "artifacts" / version),
        "promoted": promote,
        "seconds": round(seconds, 3),
        "peak_mb": peak_megabytes(),
        "learned": recommender.learned,
        "fusions": {n: fusion.to_dict() for n, fusion in recommender.fusions.items()},
        "rankers": {n: RankerUse.of(t).to_dict() for n, t in recommender.learned.items()},
        "left_out": {name: source.reason for name, source in recommender.left_out.items()},
        "notes": recommender.notes,
    }
    for line in recommender.notes:
        if line not in data.left_out.lines():  # those were reported before
            show.say(line)
    for name, source in recommender.left_out.items():
        show.say(f"the source '{name}' is left out: {source.reason}")
    if as_json:
        show.result_json(payload)
        return
    for line in (f"fusion {name}: {fusion}" for name, fusion in recommender.fusions.items()):
        show.result(line)
    for name, notes in recommender.learned.items():
        show.result(_learned_line(name, notes))
    show.result(f"trained {version} in {seconds:.1f} s, peak memory {payload['peak_mb']:,} MB")
    if not promote:
        show.say(f"it does not serve yet: run `tastemaker versions promote {version}`")


def evaluate(project: Path | None, k: int, window: str, as_json: bool) -> None:
    """Evaluates on the last part of the data, or on the part before it."""
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
    """Fits the components of a project on `data` and saves them as a version.

    Args:
        project: the project.
        data: the training data.
        promote: whether to serve the version from then on.

    Returns:
        The version, the seconds it took, and the fitted recommender.

    Raises:
        ArtifactError: the version is saved, but cannot be promoted.
        DataError: the data is not sufficient for training.
    """
    problems = _missing_for_training(data)
    if problems:
        raise DataError(f"not enough to train on: {'; '.join(problems)}")
    start = now()
    recommender = Recommender.from_project(project.path)
    with show.step("training " + ", ".join(recommender.retrievers)):
        recommender.fit(data, FitOptions(progress=show.ProgressBars()))
    registry = Registry(project.state)
    with show.step("saving"):
        version = registry.add(recommender, start)
        if promote:
            _promote(registry, version)
    return version, (now() - start) / MICROSECONDS["s"], recommender


def evaluate_project(project: Project, data: Dataset, k: int, window: str = "test") -> Evaluation:
    """Evaluates the components of a project, fitted on the data before `window`."""
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
    """Returns the current version of a project, with the settings of the project file.

    Settings that need another training are reported on stderr.

    Raises:
        ArtifactError: no version is trained yet, or the artifact is damaged.
        SettingError: a reranker of the project file does not fit the version.
    """
    recommender, changes = with_project_settings(Registry(project.state).load(), project.file)
    if changes:
        show.say(difference(recommender.version, changes))
    return recommender


def peak_megabytes() -> int:
    """The peak memory of this process, in MB."""
    return round(peak_bytes() / (1 << 20))


def open_project(path: Path | None) -> Project:
    """The project at `path`, or by default in this folder or a parent folder."""
    return load_project(find_project(Path.cwd()) if path is None else path)


def _promote(registry: Registry, version: str) -> None:
    """Promotes a new version; an error tells how to promote it later."""
    try:
        registry.promote(version)
    except ArtifactError as problem:
        raise ArtifactError(
            f"{version} is saved but does not serve: {problem}; "
            f"then run: tastemaker versions promote {version}"
        ) from None


def read_events(project: Project, *, every_item: bool = False) -> Dataset:
    """Returns the events of a project, from its store, or from its files without a store.

    Args:
        project: the project.
        every_item: whether to keep all items, which serving an earlier version requires.
    """
    source = EventSource(project, show.ProgressBars())
    with show.step(f"reading {'the store' if source.stored else _event_files(project)}"):
        data = source.read(every_item=every_item)
    report_recovered(source)
    _show_reports(data, project)
    return data


def _event_files(project: Project) -> str:
    return ", ".join(file.file for file in project.file.data.events)


def report_recovered(source: EventSource) -> None:
    """Prints what was recovered when the store was opened."""
    for recovered in source.recovered:
        show.say(recovered)


def report_leftovers(registry: Registry) -> None:
    """Reports folders left behind by killed runs, and how to remove them."""
    left = registry.leftovers()
    if left:
        folders = "1 folder was" if len(left) == 1 else f"{len(left)} folders were"
        show.say(
            f"{folders} left behind by killed runs: `tastemaker versions prune --keep 3` removes "
            "them, together with old versions"
        )


def _show_reports(data: Dataset, project: Project) -> None:
    for report in data.reports:
        if report.quarantined:
            show.say(f"{report.summary()}; see {project.quarantine}")
        if report.duplicates:
            show.say(f"{report.source}: {report.duplicates:,} rows with a duplicate id left out")
    for line in data.left_out.lines():
        show.say(line)


def _learned_line(name: str, notes: dict[str, float]) -> str:
    """The summary of a trained ranker."""
    use = RankerUse.of(notes)
    sources = "; sources fitted again" if notes["refit"] else "; sources not fitted again"
    return (
        f"ranker {name}: {use}{sources if use.used else ''}; {notes['relevant_not_found']:,} of "
        f"{notes['relevant']:,} relevant items were not found by any source and not used for "
        "training"
    )


def _missing_for_training(data: Dataset) -> list[str]:
    """What the data lacks for training; empty if it is sufficient."""
    log = data.events
    positive = log.weight > 0
    needs = (
        (len(np.unique(log.user)) > 1, "only one user has events"),
        (len(np.unique(log.item)) > 1, "only one item has events"),
        (bool(positive.any()), "no event is positive: see [events.*] in the project file"),
    )
    return [problem for is_met, problem in needs if not is_met]


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
    for kind, counts in facts["kinds"].items():
        lines.append(
            f"kind        {kind}: {counts['events']:,} events, {counts['liked']:,} liked, "
            f"{counts['disliked']:,} disliked"
            + (f", {counts['replaced']:,} replaced by a later one" if counts["replaced"] else "")
        )
    for reason, count in events["reasons"].items():
        lines.append(f"quarantine  {count:,} × {reason}")
    lines += [f"left out    {line}" for line in facts["left_out"]]
    for source, table in facts["tables"].items():
        if table["not_used"]:
            lines.append(f"not used    {source}: {', '.join(table['not_used'])}")
        lines += [f"note        {source}: {note}" for note in table["notes"]]
    return lines
