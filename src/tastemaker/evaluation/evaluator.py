"""Fits systems on past events, and measures their lists for the requests of a task."""

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
    """Fits a copy of each model on the events before a window, and measures it on the window.

    The baselines Popular, Trending (if the clock is absolute) and ItemKNN are always included. For
    a recommender, each retriever is measured alone, and its first placement is measured after
    fusion (`merged`), after ranking (`ranked`) and as a whole (`pipeline`), if these differ. The
    result then contains the funnel.

    Args:
        models: one retriever, a list or a mapping of retrievers, or a recommender.
        split: the training data and the relevant items of later requests.
        k: the length of the lists.
        window: `validation` to choose settings, `test` for the final evaluation.
        options: seed, threads, memory budget, progress.

    Returns:
        Metrics with 95 % intervals over users, as a table and as numbers.

    Raises:
        SettingError: `window` is not a window, `k` is not an integer of at least 1, a model is not
            a retriever, or the split was made with another seen policy than the recommender's first
            placement.
        TooManyItemsError: a source fits into the memory budget only without undescribed items;
            leave them out before the split.
        Exception: a component of the pipeline raised it; degraded answers are not measured.
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
        options = models.within_budget(options)  # also for the baselines
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
            lists.add(name, baseline)
    if isinstance(models, Recommender):
        _require_same_policy(models, split, known)
        fitted = models.clone().fit(known, options, keep_items=True)
        pipeline = fitted.pipeline()
        for name, retriever in fitted.retrievers.items():
            if name not in pipeline.retrievers:
                lists.add(name, retriever)
        funnel = lists.add_pipeline(pipeline)
        learned |= _learning_notes(fitted)
    else:
        for name, retriever in retrievers.items():
            lists.add(name, retriever.clone().fit(known, options))
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
    """The top k of every request, by system; computed in batches of a few hundred requests."""

    task: Task
    k: int
    options: FitOptions
    found: dict[str, Candidates] = field(default_factory=dict)

    def add(self, name: str, retriever: Retriever) -> None:
        """Adds the lists of a retriever."""
        parts = [
            retriever.retrieve(self.task.requests.take(rows), self.k, self.task.inventory)
            for rows in self._chunks(name)
        ]
        self.found[name] = _concatenated(parts)

    def add_pipeline(self, pipeline: Pipeline) -> Funnel:
        """Adds the lists of a pipeline, its sources and its stages, from one run; its funnel."""
        funnel, parts = Funnel(self.k), dict[str, list[Candidates]]()
        for rows in self._chunks(PIPELINE):
            requests = self.task.requests.take(rows)
            answer = pipeline.recommend(requests, self.k, inventory=self.task.inventory, trace=True)
            answer.trace.require_whole()
            funnel.add(answer, self.task.truth.take(np.arange(len(self.task))[rows]))
            for name, found in _measured_stages(answer, pipeline).items():
                parts.setdefault(name, []).append(found.head(self.k))
        self.found |= {name: _concatenated(found) for name, found in parts.items()}
        return funnel

    def _chunks(self, name: str) -> list[slice]:
        starts = range(0, len(self.task), REQUESTS_AT_A_TIME)
        chunks = [slice(start, start + REQUESTS_AT_A_TIME) for start in starts]
        return list(self.options.progress.track(chunks, f"evaluate: {name}", len(chunks)))


def _measured_stages(answer: Recommendations, pipeline: Pipeline) -> dict[str, Candidates]:
    """The candidates of each source, after fusion and after ranking, and the final lists."""
    stages = {s.name: s.candidates for s in answer.trace.stages if s.candidates is not None}
    measured = {
        name.removeprefix(SOURCE): found
        for name, found in stages.items()
        if name.startswith(SOURCE)
    }
    if pipeline.ranking is not None or pipeline.rerankers:
        measured[MERGED] = stages["filter"]
    if pipeline.ranking is not None and pipeline.rerankers:
        measured[RANKED] = stages["rank"]
    measured[PIPELINE] = answer.candidates
    return measured


def _learning_notes(fitted: Recommender) -> dict[str, str]:
    """The results of learning fusions and rankers, for the protocol."""
    rankers = {
        f"ranker_{name}": str(RankerUse.of(notes))
        + ("" if notes["refit"] or not notes["enabled"] else "; its sources were not fitted again")
        for name, notes in fitted.learned.items()
    }
    left_out = {f"left_out_{name}": one.reason for name, one in fitted.left_out.items()}
    fusions = {f"fusion_{name}": str(fusion) for name, fusion in fitted.fusions.items()}
    return fusions | rankers | left_out


def _exclusion(models: Models, split: Split, known: Dataset) -> dict[str, str]:
    """The positive event types that exclude items from lists and truth, and their placement.

    Empty if there are none, or if the split does not depend on a seen policy.
    """
    if "seen" in split.protocol:
        return {}
    excluding = [
        name
        for (name, kind), window in zip(known.kinds.items(), split.seen.window)
        if window and kind.role == "positive" and not kind.hide_item
    ]
    notes = {"excluded_event_types": ", ".join(excluding)} if excluding else {}
    if excluding and isinstance(models, Recommender):
        notes["placement"] = next(iter(models.placements))
    return notes


def _require_same_policy(wiring: Recommender, split: Split, known: Dataset) -> None:
    """Raises if the split excludes other items than the placement does.

    A split of pairs ignores the seen policy, as its protocol states: held-out items are never in
    the history, so a policy has no effect.
    """
    if "seen" in split.protocol:
        return
    name, placement = next(iter(wiring.placements.items()))
    policy = SeenPolicy.of(known.kinds, placement.seen)
    if not np.array_equal(policy.window, split.seen.window):
        raise SettingError(
            f"the seen policy of the split differs from that of placement '{name}': pass "
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
    """The baselines that are not among the caller's models under their registered names."""
    baselines: list[type[Retriever]] = [Popular, ItemKNN]
    if known.clock == "absolute":
        baselines.insert(1, Trending)
    missing = [kind for kind in baselines if type(given.get(kind.name)) is not kind]
    return {k.name if k.name not in given else f"{k.name}{BASELINE}": k() for k in missing}


def _concatenated(parts: Sequence[Candidates]) -> Candidates:
    rows = [
        (part.item[a:b], part.score[a:b])
        for part in parts
        for a, b in zip(part.offsets[:-1], part.offsets[1:])
    ]
    return Candidates.of(rows)
