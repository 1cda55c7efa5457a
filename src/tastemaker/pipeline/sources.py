"""Asks every source of a placement; one that fails, or has no time, is left out with the reason."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from tastemaker.component import Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.errors import NotFittedError
from tastemaker.index import exact_top_n
from tastemaker.pipeline.trace import Trace
from tastemaker.pipeline.watch import Call, Deadline, StillWaiting, Watch
from tastemaker.statistics import ALL_TIME
from tastemaker.world import World

Calls = dict[str, Call[Candidates] | Exception]


def ask(
    retrievers: Mapping[str, Retriever],
    requests: Requests,
    n: int,
    world: World,
    *,
    deadline: Deadline,
    watch: Watch,
    trace: Trace,
) -> dict[str, Candidates]:
    """What each source found; nothing from a source that raised, was too slow or had no time.

    Remote sources are asked first and waited for last, so that they work while local ones do.

    Raises:
        NotFittedError: a retriever was not fitted.
    """
    remote: Calls = {}
    for name, source in retrievers.items():
        if source.serves.remote:
            try:
                remote[name] = watch.call(name, partial(source.retrieve, requests, n, world))
            except StillWaiting as problem:
                remote[name] = problem
    found = {}
    for name, source in retrievers.items():
        stage = f"retrieve:{name}"
        if name in remote:
            continue
        expected, left = watch.estimate(stage, len(requests)), deadline.left
        if expected > left:
            watch.leave_out(stage)
            trace.degrade(stage, f"estimated {expected:.1f} ms, {max(left, 0):.1f} ms left")
            found[name] = Candidates.none(len(requests))
            continue
        try:
            found[name], milliseconds = trace.timed(partial(source.retrieve, requests, n, world))
            watch.record(stage, len(requests), milliseconds)
        except NotFittedError:
            raise
        except Exception as problem:
            trace.degrade(stage, _told(problem), problem)
            found[name], milliseconds = Candidates.none(len(requests)), 0.0
        _add(trace, stage, found[name], milliseconds)
    for name, call in remote.items():
        found[name], milliseconds = _wait(name, call, len(requests), deadline, trace)
        _add(trace, f"retrieve:{name}", found[name], milliseconds)
    return {name: found[name] for name in retrievers}


def most_liked(requests: Requests, n: int, world: World) -> Candidates:
    """The last resort when no source has answered: the items most liked as of each moment."""
    items = np.arange(world.statistics.n_items, dtype=np.int32)

    def score(chunk: slice) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        rows = [
            world.statistics.at(items, np.full(len(items), moment), int(ALL_TIME))
            for moment in requests.time[chunk]
        ]
        return np.stack(rows)

    return exact_top_n(score, requests, n, len(items))


def _wait(
    name: str, call: Call[Candidates] | Exception, n: int, deadline: Deadline, trace: Trace
) -> tuple[Candidates, float]:
    """A remote source's answer, or nothing."""
    stage = f"retrieve:{name}"
    try:
        if isinstance(call, Exception):
            raise call
        return call.result(deadline)
    except TimeoutError:
        trace.degrade(stage, "did not answer in time")
    except Exception as problem:
        trace.degrade(stage, _told(problem), problem)
    return Candidates.none(n), 0.0


def _add(trace: Trace, stage: str, found: Candidates, milliseconds: float) -> None:
    trace.add(stage, None, found, milliseconds)


def _told(problem: Exception) -> str:
    """An exception as one line."""
    return f"{type(problem).__name__}: {' '.join(str(problem).split()) or 'no message'}"
