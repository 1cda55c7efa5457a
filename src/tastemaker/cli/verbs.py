"""What each verb does with a project."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from tastemaker.cli import show
from tastemaker.component import FitOptions
from tastemaker.data.dataset import Dataset
from tastemaker.data.describe import describe
from tastemaker.data.times import MICROSECONDS, now
from tastemaker.disk import replacing
from tastemaker.errors import ArtifactError, DataError, SettingError
from tastemaker.evaluation import Evaluation
from tastemaker.evaluation import evaluate as measure
from tastemaker.machine import peak_bytes
from tastemaker.pipeline import Recommendations, Recommender
from tastemaker.pipeline.pipeline import REQUESTS_AT_A_TIME
from tastemaker.project import Project, find_project, load_project
from tastemaker.registry import Registry
from tastemaker.store import EventSource

_ANSWERS = pl.Schema(
    {"user_id": pl.String, "rank": pl.Int32, "item_id": pl.String, "score": pl.Float32}
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for recommendations, and for how many."""

    user: str | None
    history: list[str] | None
    n: int
    placement: str | None


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
        show.result("\n".join(_facts_lines(facts)))
    problems = _missing_for_training(data)
    if problems:
        show.say(f"not enough to train on: {'; '.join(problems)}")


def train(project: Path | None, promote: bool, as_json: bool) -> None:
    """Fits everything and saves it as a version, which serves from then on if `promote`."""
    opened = open_project(project)
    tell_leftovers(Registry(opened.state))
    opened.require_clock()
    data = read_events(opened)
    version, seconds, recommender = train_project(opened, data, promote)
    told = {
        "version": version,
        "artifact": str(opened.state / "artifacts" / version),
        "promoted": promote,
        "seconds": round(seconds, 3),
        "peak_mb": peak_megabytes(),
        "learned": recommender.learned,
    }
    if as_json:
        show.result_json(told)
        return
    for name, notes in recommender.learned.items():
        show.result(_learned_line(name, notes))
    show.result(f"trained {version} in {seconds:.1f} s, peak memory {told['peak_mb']:,} MB")
    if not promote:
        show.say(f"it does not serve yet: tastemaker versions promote {version}")


def evaluate(project: Path | None, k: int, on: str, as_json: bool) -> None:
    """Measures on the last part of the data, or on the part before it."""
    opened = open_project(project)
    opened.require_clock(to_evaluate=True)
    evaluation = evaluate_project(opened, read_events(opened), k, on)
    if as_json:
        show.result_json(evaluation.to_dict())
    else:
        show.result(str(evaluation))


def recommend(project: Path | None, asked: Asked, trace: bool, as_json: bool) -> None:
    """Prints a list for one user or stranger."""
    if (asked.user is None) == (asked.history is None):
        raise SettingError("say either --user ID, or --history ITEM,ITEM,…, or --all")
    opened = open_project(project)
    recommender = load_current(opened)
    answer = _answer(opened, recommender, asked)
    for item in asked.history or ():
        if recommender.world.catalogue.items.index(item) < 0:
            show.say(f"item '{item}' is not in the catalogue: left out of the history")
    if as_json:
        show.result_json(answer.to_dict(trace=trace))
    else:
        show.result(str(answer))


def _answer(project: Project, recommender: Recommender, asked: Asked) -> Recommendations:
    """As the server would answer now."""
    source = EventSource(project, show.ProgressBars())
    if source.stored:
        from tastemaker.serving import Asked as Question
        from tastemaker.serving import Live

        with source.open() as store:
            _tell_recovered(source)
            live, stored = Live.of(recommender, store), store.history(asked.user or "")
            question = Question(asked.user, asked.history, asked.n, asked.placement)
            moment = live.moment(project.file.server.now)
            request, known = question.request(live, stored, moment), len(stored) > 0
            answer = live.recommender.answer(request, asked.n)
    else:
        known = False
        if asked.user is not None:
            data = read_events(project)
            recommender.attach(data)
            known = data.users.index(asked.user) >= 0
        answer = recommender.recommend(
            asked.user,
            history=asked.history,
            n=asked.n,
            placement=asked.placement,
            at=_moment_without_store(project, recommender),
        )
    if asked.user is not None and not known:
        show.say(f"user '{asked.user}' is not in the data: answered like a stranger")
    return answer


def _in_present_world(project: Project, trained: Recommender) -> tuple[Recommender, int | None]:
    """A version with the items and events that the store has since, and a request's moment.

    Without a store, the version as it was trained; the moment may then be None, the end of what
    is attached.
    """
    source = EventSource(project, show.ProgressBars())
    if not source.stored:
        return trained, _moment_without_store(project, trained)
    from tastemaker.serving import Live

    with source.open() as store:
        live = Live.of(trained, store)
    return live.recommender, live.moment(project.file.server.now)


def _moment_without_store(project: Project, trained: Recommender) -> int | None:
    """What `[server] now` says; None for the end of what is attached."""
    if trained.world.clock != "absolute" or project.file.server.now == "auto":
        return None
    return now() if project.file.server.now == "clock" else trained.world.watermark


def recommend_all(project: Path | None, asked: Asked, output: Path | None, as_json: bool) -> None:
    """Writes a list for every known user."""
    if asked.user is not None or asked.history is not None:
        raise SettingError("--all goes without --user and --history")
    if output is None or output.suffix not in (".parquet", ".csv"):
        raise SettingError("--all needs --output with a name that ends in .parquet or .csv")
    opened = open_project(project)
    data = read_events(opened)
    recommender, moment = _in_present_world(opened, load_current(opened))
    batches = recommender.attach(data).recommend_all(
        n=asked.n, placement=asked.placement, at=moment
    )
    total = ceil(len(data.users) / REQUESTS_AT_A_TIME)
    progress = show.ProgressBars().track(batches, "recommend --all", total)
    rows = 0

    def frames(*_: object) -> Iterator[pl.DataFrame]:
        nonlocal rows
        for answer in progress:
            frame = _frame(answer)
            rows += frame.height
            yield frame

    with replacing(output) as part:  # batch by batch, whatever the number of users
        written = register_io_source(frames, schema=_ANSWERS)
        written.sink_parquet(part) if output.suffix == ".parquet" else written.sink_csv(part)
    told = {"users": len(data.users), "rows": rows, "output": str(output)}
    if as_json:
        show.result_json(told)
    else:
        show.result(f"{rows:,} rows for {len(data.users):,} users in {output}")


def similar(project: Path | None, item: str, n: int, retriever: str | None, as_json: bool) -> None:
    """Prints the items most like one."""
    opened = open_project(project)
    recommender, _ = _in_present_world(opened, load_current(opened))
    name, found = recommender.similar(item, n=n, retriever=retriever)
    catalogue = recommender.world.catalogue
    rows = [
        {
            "item_id": catalogue.items.id(int(index)),
            **({"title": title} if (title := catalogue.title(int(index))) else {}),
            "score": float(score),
        }
        for index, score in zip(found.item, found.score)
    ]
    if as_json:
        show.result_json(
            {"item_id": item, "source": name, "model_version": recommender.version, "items": rows}
        )
        return
    title = catalogue.title(catalogue.items.index(item)) or item
    lines = [f"like {title} (by {name}):"]
    lines += [
        f"{rank:3}. {row.get('title', row['item_id'])}  {row['score']:.4f}"
        for rank, row in enumerate(rows, start=1)
    ]
    show.result("\n".join(lines))


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


def evaluate_project(project: Project, data: Dataset, k: int, on: str = "test") -> Evaluation:
    """Measures a project's components, fitted on what came before the window `on`."""
    recommender = Recommender.from_project(project.path)
    placement = next(iter(project.file.placements.values()))
    split = project.split(data, placement)
    with show.step("evaluating"):
        options = FitOptions(progress=show.ProgressBars())
        return measure(recommender, split, k=k, on=on, options=options)


def load_current(project: Project) -> Recommender:
    """The version of a project that serves.

    Raises:
        ArtifactError: nothing was trained yet, or the artifact is damaged.
    """
    return Registry(project.state).load()


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


def read_events(project: Project) -> Dataset:
    """All events of a project: of its store, or of its files where there is no store yet."""
    source = EventSource(project, show.ProgressBars())
    with show.step(f"reading {'the store' if source.stored else _event_files(project)}"):
        data = source.read()
    _tell_recovered(source)
    _tell_reports(data, project)
    return data


def _event_files(project: Project) -> str:
    return ", ".join(file.file for file in project.file.data.events)


def _tell_recovered(source: EventSource) -> None:
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


def _learned_line(name: str, notes: dict[str, float]) -> str:
    """What learning to rank came to."""
    sources = "sources fitted anew" if notes["refit"] else "sources as old as then"
    return (
        f"ranker {name}: NDCG@10 {notes['fresh']:.4f} in the latest window, the fusion "
        f"{notes['merged']:.4f}: {f'used, {sources}' if notes['earned'] else 'not used'}; "
        f"{notes['wanted_but_not_found']:,} of {notes['wanted']:,} wanted items were found by no "
        "source and not learned from"
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


def _frame(answer: Recommendations) -> pl.DataFrame:
    """The columns of `_ANSWERS`: one row per recommended item."""
    shown = answer.candidates
    users = [answer.requests.user_id[row] for row in shown.rows]
    return pl.DataFrame(
        {
            "user_id": users,
            "rank": shown.ranks + 1,
            "item_id": answer.world.catalogue.items.ids(shown.item),
            "score": shown.score,
        },
        schema=_ANSWERS,
    )


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
    for source, table in facts["tables"].items():
        if table["not_used"]:
            lines.append(f"not used    {source}: {', '.join(table['not_used'])}")
        lines += [f"note        {source}: {note}" for note in table["notes"]]
    return lines
