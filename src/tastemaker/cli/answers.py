"""Commands that return items: recommendations, ranked items, and similar items."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from tastemaker.cli import show
from tastemaker.cli.verbs import load_current, open_project, read_events, report_recovered
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.spreadsheet import for_spreadsheets, is_marked
from tastemaker.data.times import now
from tastemaker.disk import replacing
from tastemaker.errors import SettingError
from tastemaker.pipeline import Recommendations, Recommender
from tastemaker.pipeline.pipeline import REQUESTS_AT_A_TIME
from tastemaker.pipeline.recommendations import ranked_dict
from tastemaker.project import Project
from tastemaker.store import EventSource, Store
from tastemaker.store.incoming import checked_id, ids_in

if TYPE_CHECKING:
    from tastemaker.serving import ModelSnapshot

_ANSWERS = pl.Schema(
    {"user_id": pl.String, "rank": pl.Int32, "item_id": pl.String, "score": pl.Float32}
)

_ITEM_MARKED = is_marked(pl.col("item_id"))


@dataclass(frozen=True, slots=True)
class RecommendOptions:
    """The options of `recommend` and `rank`."""

    user: str | None
    history: str | None
    """Item ids, separated by commas."""
    n: int
    placement: str | None
    items: tuple[str, ...] = ()
    """The items to rank; empty to recommend items."""
    exclude_seen: bool = False
    """Whether to leave out items to rank that a recommendation list would not show."""


@dataclass(frozen=True, slots=True)
class _Current:
    """The current version with the current items and events.

    Attributes:
        project: the project.
        recommender: the version, with newer items and events from the store.
        moment: the time of a request; None for the end of the attached events.
        live: the state of a server at this time; None without a store.
        store: the store; None if there is none yet.
    """

    project: Project
    recommender: Recommender
    moment: int | None
    live: "ModelSnapshot | None" = None
    store: Store | None = None


@contextmanager
def _open_current(project: Project) -> Iterator[_Current]:
    """Opens the current version in the state that a server would use now."""
    trained = load_current(project)
    source = EventSource(project, show.ProgressBars())
    if not source.stored:
        yield _Current(project, trained, _moment_without_store(project, trained))
        return
    from tastemaker.serving import ModelSnapshot

    with source.open() as store:
        report_recovered(source)
        live = ModelSnapshot.of(trained, store)
        moment = live.moment(project.file.server.now)
        yield _Current(project, live.recommender, moment, live, store)


def recommend(project: Path | None, options: RecommendOptions, trace: bool, as_json: bool) -> None:
    """Prints recommendations, or ranked items, for one user or history."""
    if (options.user is None) == (options.history is None):
        raise SettingError("specify exactly one of --user ID, --history ITEM,ITEM,… and --all")
    with _open_current(open_project(project)) as current:
        items = current.recommender.inventory.catalogue.items
        user = None if options.user is None else checked_id(options.user, "user_id")
        history = None if options.history is None else ids_in("history", [options.history], items)
        for item in history or ():
            if items.index(item) < 0:
                show.say(f"item '{item}' is not in the catalogue and is left out of the history")
        options = replace(options, items=tuple(checked_id(item, "items") for item in options.items))
        if current.live is None:
            answer, known = _from_files(current, options, user, history)
        else:
            answer, known = _from_store(current, options, user, history)
    if user is not None and not known:
        show.say(f"user '{user}' is not in the data and gets recommendations as a new user")
    if as_json:
        payload = ranked_dict(answer, trace) if options.items else answer.to_dict(trace=trace)
        show.result_json(payload)
    else:
        show.result(str(answer))


def _from_store(
    current: _Current, options: RecommendOptions, user: str | None, history: list[str] | None
) -> tuple[Recommendations, bool]:
    """The response that a server would give, and whether the user has events."""
    from tastemaker.serving import RecommendationRequest
    from tastemaker.serving.user_requests import UserRequests

    live, store = cast("ModelSnapshot", current.live), cast(Store, current.store)
    requests = UserRequests(store, current.project.file.server.history_events)
    query = RecommendationRequest(user, history, options.n, options.placement)
    request = requests.request(query, live, cast(int, current.moment))
    if options.items:
        given = {"exclude_seen": options.exclude_seen}
        answer = current.recommender.rank_for(request, options.items, **given)
    else:
        answer = current.recommender.answer(request, options.n)
    return answer, user is not None and store.has_events(user)


def _from_files(
    current: _Current, options: RecommendOptions, user: str | None, history: list[str] | None
) -> tuple[Recommendations, bool]:
    """The same as `_from_store`, for a project without a store."""
    recommender, known = current.recommender, False
    if user is not None:
        data = _known_at(current.moment, read_events(current.project, every_item=True))
        recommender.attach(data)
        known = data.users.index(user) >= 0
    placement, at = options.placement, current.moment
    if options.items:
        exclude = options.exclude_seen
        answer = recommender.rank(
            user, options.items, placement=placement, at=at, exclude_seen=exclude
        )
    else:
        answer = recommender.recommend(
            user, history=history, n=options.n, placement=placement, at=at
        )
    return answer, known


def _moment_without_store(project: Project, trained: Recommender) -> int | None:
    """The time of a request by `[server] now`; None for the end of the attached events."""
    if trained.inventory.clock != "absolute" or project.file.server.now == "auto":
        return None
    return now() if project.file.server.now == "clock" else trained.inventory.watermark


def _known_at(moment: int | None, data: Dataset) -> Dataset:
    """The data at a moment; later events get a time just before it, as on the server."""
    return data if moment is None or data.clock != "absolute" else data.no_later_than(moment - 1)


def recommend_all(
    project: Path | None, options: RecommendOptions, output: Path | None, as_json: bool
) -> None:
    """Writes recommendations for every known user to a file."""
    if options.user is not None or options.history is not None:
        raise SettingError("--all cannot be combined with --user or --history")
    if output is None or output.suffix not in (".parquet", ".csv"):
        raise SettingError("--all needs --output with a file name that ends in .parquet or .csv")
    opened = open_project(project)
    data = read_events(opened, every_item=True)
    total = ceil(len(data.users) / REQUESTS_AT_A_TIME)
    rows = marked = 0
    as_csv = output.suffix == ".csv"

    def frames(batches: Iterator[Recommendations]) -> Iterator[pl.DataFrame]:
        nonlocal rows, marked
        for answer in show.ProgressBars().track(batches, "recommend --all", total):
            frame = _frame(answer)
            rows += frame.height
            if as_csv:
                marked += frame.filter(is_marked(pl.col("user_id")) | _ITEM_MARKED).height
                frame = for_spreadsheets(frame)
            yield frame

    with _open_current(opened) as current, replacing(output) as part:
        batches = current.recommender.attach(_known_at(current.moment, data)).recommend_all(
            n=options.n,
            placement=options.placement,
            at=current.moment,
            prepare=_with_long_histories(current, data, options.placement),
        )
        # batch by batch, to bound the memory
        written = register_io_source(lambda *_: frames(batches), schema=_ANSWERS)
        written.sink_csv(part) if as_csv else written.sink_parquet(part)
    if marked:
        show.say(
            f"{marked:,} rows have an id that a spreadsheet would run as a formula; the CSV has "
            "a ' before these ids, a .parquet file has all ids unchanged"
        )
    facts = {"users": len(data.users), "rows": rows, "output": str(output)}
    if as_json:
        show.result_json(facts)
    else:
        show.result(f"{rows:,} rows for {len(data.users):,} users in {output}")


def _with_long_histories(
    current: _Current, data: Dataset, placement: str | None
) -> Callable[[Requests], Requests] | None:
    """Limits users with many events to the newest ones, as on the server."""
    if current.live is None or current.store is None:
        return None
    from tastemaker.serving import RecommendationRequest
    from tastemaker.serving.user_requests import UserRequests

    live, moment = current.live, cast(int, current.moment)
    served = UserRequests(current.store, current.project.file.server.history_events)
    is_long = np.diff(data.events.offsets) >= served.most

    def prepare(requests: Requests) -> Requests:
        users = data.users.indices([*requests.user_id])
        return requests.with_pasts(
            {
                row: served.request(
                    RecommendationRequest(requests.user_id[row], placement=placement), live, moment
                )
                for row in np.flatnonzero(is_long[users]).tolist()
            }
        )

    return prepare


def similar(project: Path | None, item: str, n: int, retriever: str | None, as_json: bool) -> None:
    """Prints the items most similar to an item."""
    with _open_current(open_project(project)) as current:
        recommender = current.recommender
        name, found = recommender.similar(item, n=n, retriever=retriever)
    catalogue = recommender.inventory.catalogue
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
    lines = [f"similar to {title} (by {name}):"]
    lines += [
        f"{rank:3}. {row.get('title', row['item_id'])}  {row['score']:.4f}"
        for rank, row in enumerate(rows, start=1)
    ]
    show.result_lines(lines)


def _frame(answer: Recommendations) -> pl.DataFrame:
    """The columns of `_ANSWERS`: one row per recommended item."""
    shown = answer.candidates
    users = [answer.requests.user_id[row] for row in shown.rows]
    return pl.DataFrame(
        {
            "user_id": users,
            "rank": shown.ranks + 1,
            "item_id": answer.inventory.catalogue.items.ids(shown.item),
            "score": shown.score,
        },
        schema=_ANSWERS,
    )
