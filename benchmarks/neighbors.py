"""The cost of one client's most expensive requests, for that client and for other clients.

Measures an answer for a history of 100, 10,000 and a million events. Then two clients run each of
`ATTACKS` while a third sends ordinary requests and single events; its latencies are compared with
those of a quiet server.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.attackers import ATTACKS, N_ITEMS, RATE, Reply, Target, ask, ordinary
from benchmarks.harness import Options, Result, isolated
from benchmarks.s10_http import some_users, train
from benchmarks.server import Server, serving
from tastemaker.data import times
from tastemaker.project import load_project
from tastemaker.serving.keys import KeyFile
from tastemaker.store import EventRow, EventSource

ID = "NEIGHBORS"
WHAT = "cost of long histories, and one client's p99 while two others do their worst"
DATA = ()
PEERS = ()
MINUTES = 14.0
_HISTORIES = {size: f"long-{size}" for size in (100, 10_000, 1_000_000)}
_SHARE_SEEN = 0.5
"""The share of the catalogue that the longest history has seen: a list of the rest is full."""
_ANSWERS = 100
_SECONDS = 30.0
_FLATNESS = 1.5
"""An answer for a million events may cost so many times one for a hundred."""
_SHARE = 2.0
"""The p99 of the others, at most so many times the quiet one."""


def run(options: Options) -> Result:
    """Measures long histories; then the ordinary client alone and during each attack."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        n_events = 200_000 if options.quick else 1_000_000
        isolated(train, folder, options.quick, options.seed, n_events)
        users = isolated(some_users, folder, options.seed)
        items = isolated(fill, folder, options.seed)
        keys = {name: _key(folder, name) for name in ("ordinary", "first", "second")}
        seconds = _SECONDS / 3 if options.quick else _SECONDS
        with serving(folder / "tastemaker.toml") as server:
            target = Target(server.port, keys, users, _HISTORIES, items)
            isolated(ordinary, target, 10.0)  # warm
            costs = {n: _cost(server, keys["ordinary"], user) for n, user in _HISTORIES.items()}
            quiet = isolated(ordinary, target, seconds)
            attacked = {name: isolated(ordinary, target, seconds, name) for name in ATTACKS}
            peak = server.peak_mb()
    short, *_, long = (float(np.median(rest)) for _, rest in costs.values())
    ours = {
        **{f"{n:,} events, first answer ms": first for n, (first, _) in costs.items()},
        **{f"{n:,} events, answer p50 ms": float(np.median(r)) for n, (_, r) in costs.items()},
        "a million events ÷ a hundred": long / short,
        **_figures("quiet", *quiet),
    }
    must = {"a million events ÷ a hundred": _FLATNESS}
    for name, (lists, events) in attacked.items():
        ours |= _figures(name, lists, events)
        for what, replies, alone in (("lists", lists, quiet[0]), ("events", events, quiet[1])):
            ours[f"{name}: {what} p99 ÷ quiet"] = _p99(replies) / _p99(alone)
            must[f"{name}: {what} p99 ÷ quiet"] = _SHARE
        refused = sum(reply.status != 200 for reply in [*lists, *events])
        ours[f"{name}: refused"], must[f"{name}: refused"] = float(refused), 0.0
    return Result(
        ID,
        ours=ours,
        peer={},
        ratio={name: ours[name] / bar for name, bar in must.items() if bar},
        must=must,
        met=all(ours[name] <= bar for name, bar in must.items()),
        seconds=(1 + len(ATTACKS)) * seconds,
        peak_mb=peak,
        notes=f"{'10,000' if options.quick else '100,000'} items, one worker, load generators on "
        f"the same cores; the ordinary client sends {RATE:g} lists and {RATE:g} events a second; "
        "the two others send over four connections each without a pause; every list is full",
    )


def fill(folder: Path, seed: int) -> list[str]:
    """Stores the events of the users with long histories: views of half of the items, until now.

    Returns:
        Ids of some items.
    """
    rng, end = np.random.default_rng(seed), times.now() - 1
    with EventSource(load_project(folder / "tastemaker.toml")).open_as_it_is() as store:
        ids, _ = store.item_keys()
        seen = rng.permutation(len(ids))[: int(_SHARE_SEEN * len(ids))]
        for size, user in _HISTORIES.items():
            for first in range(0, size, 10_000):
                count = min(10_000, size - first)
                store.append(_views(user, ids, rng.choice(seen, count), end, first)).result()
    return ids[:1_000]


def _views(
    user: str, ids: Sequence[str], places: Iterable[int], end: int, first: int
) -> list[EventRow]:
    return [
        EventRow(f"{user}-{first + n}", user, ids[place], "view", None, end - first - n, end)
        for n, place in enumerate(places)
    ]


def _key(folder: Path, name: str) -> str:
    return KeyFile(load_project(folder / "tastemaker.toml").state).add(name)


def _cost(server: Server, key: str, user: str) -> tuple[float, list[float]]:
    """Milliseconds of the first answer, and of the following ones."""
    question = {"user_id": user, "n": N_ITEMS}
    replies = isolated(ask, server.port, key, [question], 0.0, 60.0, _ANSWERS)
    _require_full(replies)
    spent = [reply.seconds * 1e3 for reply in replies]
    return spent[0], spent[1:]


def _require_full(lists: Sequence[Reply]) -> None:
    short = [reply for reply in lists if reply.status == 200 and reply.n_items != N_ITEMS]
    if short:
        raise RuntimeError(f"a list has {short[0].n_items} items, {N_ITEMS} were requested")


def _p99(replies: Sequence[Reply]) -> float:
    return float(np.percentile([reply.seconds * 1e3 for reply in replies], 99))


def _figures(name: str, lists: Sequence[Reply], events: Sequence[Reply]) -> dict[str, float]:
    _require_full(lists)
    return {
        f"{name}: lists p50 ms": float(np.median([reply.seconds * 1e3 for reply in lists])),
        f"{name}: lists p99 ms": _p99(lists),
        f"{name}: events p99 ms": _p99(events),
    }
