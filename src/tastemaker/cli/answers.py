"""What the command line answers: lists, given items in order, similar items."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from tastemaker.cli import show
from tastemaker.cli.verbs import load_current, open_project, read_events, tell_recovered
from tastemaker.data.times import now
from tastemaker.disk import replacing
from tastemaker.errors import SettingError
from tastemaker.pipeline import Recommendations, Recommender
from tastemaker.pipeline.pipeline import REQUESTS_AT_A_TIME
from tastemaker.pipeline.recommendations import ranked_dict
from tastemaker.project import Project
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
    items: tuple[str, ...] = ()
    """The items to rank; none, to find items."""
    exclude_seen: bool = False
    """Whether items to rank are left out that a list would not show."""


def recommend(project: Path | None, asked: Asked, trace: bool, as_json: bool) -> None:
    """Prints a list, or given items in order, for one user or stranger."""
    if (asked.user is None) == (asked.history is None):
        raise SettingError("say either --user ID, or --history ITEM,ITEM,…, or --all")
    opened = open_project(project)
    recommender = load_current(opened)
    answer = _answer(opened, recommender, asked)
    for item in asked.history or ():
        if recommender.world.catalogue.items.index(item) < 0:
            show.say(f"item '{item}' is not in the catalogue: left out of the history")
    if as_json:
        told = ranked_dict(answer, trace) if asked.items else answer.to_dict(trace=trace)
        show.result_json(told)
    else:
        show.result(str(answer))


def _answer(project: Project, recommender: Recommender, asked: Asked) -> Recommendations:
    """As the server would answer now."""
    source = EventSource(project, show.ProgressBars())
    if source.stored:
        from tastemaker.serving import Asked as Question
        from tastemaker.serving import Live

        with source.open() as store:
            tell_recovered(source)
            live, stored = Live.of(recommender, store), store.history(asked.user or "")
            question = Question(asked.user, asked.history, asked.n, asked.placement)
            moment = live.moment(project.file.server.now)
            request = live.with_profile(question.request(live, stored, moment), store)
            known = len(stored) > 0
            if asked.items:
                given = {"exclude_seen": asked.exclude_seen}
                answer = live.recommender.rank_for(request, asked.items, **given)
            else:
                answer = live.recommender.answer(request, asked.n)
    else:
        known = False
        if asked.user is not None:
            data = read_events(project, every_item=True)
            recommender.attach(data)
            known = data.users.index(asked.user) >= 0
        place, at = asked.placement, _moment_without_store(project, recommender)
        if asked.items:
            away = asked.exclude_seen
            answer = recommender.rank(
                asked.user, asked.items, placement=place, at=at, exclude_seen=away
            )
        else:
            answer = recommender.recommend(
                asked.user, history=asked.history, n=asked.n, placement=place, at=at
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
    data = read_events(opened, every_item=True)
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
