"""Fits systems on the past, asks them at the moments of a task, and measures their lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from tastemaker.component import FitOptions, Retriever, Task
from tastemaker.component.ranker_use import RankerUse
from tastemaker.data.arguments import whole_number
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import MemoryBudgetError, SettingError
from tastemaker.evaluation.funnel import SOURCE, Funnel
from tastemaker.evaluation.measure import gains, measure, measure_slices, per_request
from tastemaker.evaluation.report import BASELINE, Evaluation
from tastemaker.pipeline import Pipeline, Recommendations, Recommender
from tastemaker.pipeline.pipeline import REQUESTS_AT_A_TIME
from tastemaker.project import RESERVED
from tastemaker.retrieval import ItemKNN, Popular, Trending
from tastemaker.split import Split

MERGED, RANKED, PIPELINE = RESERVED

Models = Recommender | Mapping[str, Retriever] | Sequence[Retriever] | Retriever


def evaluate(
    models: Models,
    split: Split,
    *,
    k: int = 10,
    window: str = "test",
    options: FitOptions = FitOptions(),
) -> Evaluation:
    """Fits a copy of each model on what was known before a window, and measures it inside.

    Popular, Trending (where the clock is absolute) and ItemKNN always stand in the table. Of a
    recommender, each retriever is measured alone; its first placement as `merged` by fusion, as
    `ranked`, and as the whole `pipeline`, as far as these differ; and the funnel is told.

    Args:
        models: retrievers, alone, listed or named; or a recommender.
        split: where the past ends and what was wanted after.
        k: the length of the lists.
        window: `validation` to choose settings by, `test` for the final figure.
        options: seed, threads, memory budget, progress.

    Returns:
        Metrics with 95 % intervals over users, as a table and as figures.

    Raises:
        SettingError: `on` is not a window, `k` is not an integer of at least 1, a model is not a
            retriever, or the split was made with another seen policy than the recommender's first
            placement.
        TooManyItemsError: a source fits into the memory budget only without undescribed items;
            leave them out before the split.
        Exception: what a part of the pipeline raised; a degraded answer is no measurement.
    """
    if window not in ("test", "validation"):
        raise SettingError(f"'window' must be 'test' or 'validation', got {window!r}")
    k = whole_number(k, "k", 1)
    task, known = (
        (split.test, split.before_test) if window == "test" else (split.validation, split.train)
    )
    started = perf_counter()
    retrievers = _named(models)
    if isinstance(models, Recommender):
        options = models.within_budget(options)  # the baselines keep to it as well
    lists = _Lists(task, k, options)
    funnel, learned = None, dict[str, str]()
    for name, baseline in _baselines(retrievers, known).items():
        try:
            baseline.fit(known, options)
        except MemoryBudgetError as problem:
            if not isinstance(models, Recommender):
                raise
            learned[f"left_out_{name}"] = problem.reason
        else:
            lists.ask(name, baseline)
    if isinstance(models, Recommender):
        _require_same_policy(models, split, known)
        fitted = models.clone().fit(known, options, keep_items=True)
        pipeline = fitted.pipeline()
        for name, retriever in fitted.retrievers.items():
            if name not in pipeline.retrievers:
                lists.ask(name, retriever)
        funnel = lists.walk(pipeline)
        learned |= _told_of_learning(fitted)
    else:
        for name, retriever in retrievers.items():
            lists.ask(name, retriever.clone().fit(known, options))
    events = np.bincount(known.events.item, minlength=len(known.catalogue))
    popularity = known.interactions(reduce="binary").sum(axis=0).astype(np.float64)
    values = {name: per_request(found, task, k) for name, found in lists.found.items()}
    return Evaluation(
        protocol={
            **split.protocol,
            **_exclusion(models, split, known),
            "window": window,
            "from": split.protocol[f"{window}_from"],
            "until": split.protocol[f"{window}_until"],
            "fitted_events": len(known.events),
            "k": k,
            **task.notes,
            **learned,
        },
        k=k,
        users=len(np.unique(task.user)),
        requests=len(task),
        seconds=perf_counter() - started,
        systems=measure(lists.found, values, task, k, popularity, options.seed),
        slices=measure_slices(lists.found, values, task, k, events > 0, options.seed),
        gains=gains(values, [r for r in RESERVED if r in values], task, options.seed),
        funnel=funnel.rows(task.truth, events > 0) if funnel else [],
    )


@dataclass(slots=True)
class _Lists:
    """The top k of every request, by system; asked for a few hundred requests at a time."""

    task: Task
    k: int
    options: FitOptions
    found: dict[str, Candidates] = field(default_factory=dict)

    def ask(self, name: str, retriever: Retriever) -> None:
        """The lists of one retriever."""
        parts = [
            retriever.retrieve(self.task.requests.take(rows), self.k, self.task.inventory)
            for rows in self._chunks(name)
        ]
        self.found[name] = _concatenated(parts)

    def walk(self, pipeline: Pipeline) -> Funnel:
        """The lists of a pipeline and of its sources and stages, all from one walk."""
        funnel, parts = Funnel(self.k), dict[str, list[Candidates]]()
        for rows in self._chunks(PIPELINE):
            asked = self.task.requests.take(rows)
            answer = pipeline.recommend(asked, self.k, inventory=self.task.inventory, trace=True)
            answer.trace.require_whole()
            funnel.add(answer, self.task.truth.take(np.arange(len(self.task))[rows]))
            for name, found in _stations(answer, pipeline).items():
                parts.setdefault(name, []).append(found.head(self.k))
        self.found |= {name: _concatenated(found) for name, found in parts.items()}
        return funnel

    def _chunks(self, name: str) -> list[slice]:
        starts = range(0, len(self.task), REQUESTS_AT_A_TIME)
        chunks = [slice(start, start + REQUESTS_AT_A_TIME) for start in starts]
        return list(self.options.progress.track(chunks, f"evaluate: {name}", len(chunks)))


def _stations(answer: Recommendations, pipeline: Pipeline) -> dict[str, Candidates]:
    """What each source found, and the order after fusion, after ranking and in the end."""
    stages = {s.name: s.candidates for s in answer.trace.stages if s.candidates is not None}
    stations = {
        name.removeprefix(SOURCE): found
        for name, found in stages.items()
        if name.startswith(SOURCE)
    }
    if pipeline.ranking is not None or pipeline.rerankers:
        stations[MERGED] = stages["filter"]
    if pipeline.ranking is not None and pipeline.rerankers:
        stations[RANKED] = stages["rank"]
    stations[PIPELINE] = answer.candidates
    return stations


def _told_of_learning(fitted: Recommender) -> dict[str, str]:
    """What learning to merge and to rank came to, for the protocol."""
    rankers = {
        f"ranker_{name}": str(RankerUse.of(notes))
        + ("" if notes["refit"] or not notes["enabled"] else "; its sources are as old as then")
        for name, notes in fitted.learned.items()
    }
    left_out = {f"left_out_{name}": one.reason for name, one in fitted.left_out.items()}
    fusions = {f"fusion_{name}": str(fusion) for name, fusion in fitted.fusions.items()}
    return fusions | rankers | left_out


def _exclusion(models: Models, split: Split, known: Dataset) -> dict[str, str]:
    """The positive event types that keep their items out of lists and truth, and whose rule it is.

    Empty where none does, or where the split does not depend on a seen policy.
    """
    if "seen" in split.protocol:
        return {}
    away = [
        name
        for (name, kind), window in zip(known.kinds.items(), split.seen.window)
        if window and kind.role == "positive" and not kind.hide_item
    ]
    told = {"excluded_event_types": ", ".join(away)} if away else {}
    if away and isinstance(models, Recommender):
        told["placement"] = next(iter(models.placements))
    return told


def _require_same_policy(wiring: Recommender, split: Split, known: Dataset) -> None:
    """The split must leave out what the placement will not show, and nothing else.

    A split of pairs has a rule of its own, which its protocol states: what is held out is never in
    the history, so that a policy changes nothing.
    """
    if "seen" in split.protocol:
        return
    name, placement = next(iter(wiring.placements.items()))
    wanted = SeenPolicy.of(known.kinds, placement.seen)
    if not np.array_equal(wanted.window, split.seen.window):
        raise SettingError(
            f"the split was made with another seen policy than placement '{name}' has: pass "
            f"seen={placement.seen} to by_time"
        )


def _named(models: Models) -> dict[str, Retriever]:
    if isinstance(models, Recommender):
        return dict(models.retrievers)
    if isinstance(models, Mapping):
        return dict(models)
    listed = [models] if isinstance(models, Retriever) else models
    named: dict[str, Retriever] = {}
    for model in listed:
        if not isinstance(model, Retriever):
            raise SettingError(f"expected a retriever such as tm.ALS(), got {model!r}")
        same = sum(other.name == model.name for other in named.values())
        named[f"{model.name}_{same + 1}" if same else model.name] = model
    return named


def _baselines(given: Mapping[str, Retriever], known: Dataset) -> dict[str, Retriever]:
    """The baselines that the caller did not bring under their own names."""
    wanted: list[type[Retriever]] = [Popular, ItemKNN]
    if known.clock == "absolute":
        wanted.insert(1, Trending)
    missing = [kind for kind in wanted if type(given.get(kind.name)) is not kind]
    return {k.name if k.name not in given else f"{k.name}{BASELINE}": k() for k in missing}


def _concatenated(parts: Sequence[Candidates]) -> Candidates:
    rows = [
        (part.item[a:b], part.score[a:b])
        for part in parts
        for a, b in zip(part.offsets[:-1], part.offsets[1:])
    ]
    return Candidates.of(rows)
