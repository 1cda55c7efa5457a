"""The results of an evaluation, as numbers for programs and as tables for people."""

from dataclasses import dataclass
from math import ceil
from typing import Any

from tastemaker.evaluation.funnel import FunnelRow, table
from tastemaker.metrics import Estimate
from tastemaker.project import RESERVED

Figures = dict[str, dict[str, Estimate]]
BASELINE = " (baseline)"
"""The suffix of a baseline whose name the caller has given to another model."""
*_STAGES, PIPELINE = RESERVED
_POPULAR = "popular"
_NOTABLE = 0.05
"""The smallest share of items left out as seen that is reported."""
_SHOWN = ("ndcg", "recall", "map", "mrr", "hit_rate", "coverage", "novelty", "diversity")


@dataclass(frozen=True, slots=True)
class Segment:
    """The metrics of some of the requests.

    Attributes:
        users: the number of distinct users.
        requests: the number of requests.
        systems: system → metric → estimate.
    """

    users: int
    requests: int
    systems: Figures


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of several systems on one task.

    Attributes:
        protocol: how the task was made, and what was left out.
        k: the length of the lists.
        users: the number of distinct users.
        requests: the number of requests, and of lists per system.
        seconds: the time of fitting and measuring all systems.
        systems: system → metric → estimate with its 95 % interval over users.
        slices: the same by length of history, for known and new users, and for new items.
        gains: `merged`, `ranked` and `pipeline`, if measured → each of its parts → the NDCG of the
            former minus that of the latter, on the same requests.
        funnel: what each source and stage found and kept; empty without a recommender.
    """

    protocol: dict[str, str | int]
    k: int
    users: int
    requests: int
    seconds: float
    systems: Figures
    slices: dict[str, Segment]
    gains: dict[str, dict[str, Estimate]]
    funnel: list[FunnelRow]

    def best(self, metric: str = "ndcg") -> str:
        """The system with the highest value of a metric."""
        name = f"{metric}@{self.k}"
        return max(self.systems, key=lambda system: self.systems[system][name].value)

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON; a stable format for programs."""
        return {
            "protocol": self.protocol,
            "users": self.users,
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "systems": _to_dict(self.systems),
            "slices": {
                label: {
                    "users": part.users,
                    "requests": part.requests,
                    "systems": _to_dict(part.systems),
                }
                for label, part in self.slices.items()
            },
            "gains": _to_dict(self.gains),
            "funnel": [row.to_dict() for row in self.funnel],
            "better_alone": self.better_alone(),
        }

    def __str__(self) -> str:
        parts = [self._table(), self._gain_table(), self._slice_table(), self._funnel_table()]
        return "\n".join([line for part in parts if part for line in [*part, ""]] + self._notes())

    def _gain_table(self) -> list[str]:
        """Each of `merged`, `ranked` and `pipeline` compared with its sources and stages."""
        name, lines = f"ndcg@{self.k}", list[str]()
        for whole, parts in self.gains.items():
            lines.append(f"{whole} over … on the same requests, {name} (95 % interval)")
            for system, gain in sorted(parts.items(), key=lambda pair: pair[1].value):
                value = self.systems[system][name].value
                share = f"{gain.value / value:+.1%}" if value else ""
                interval = f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
                lines.append(f"  {system:<{max(map(len, parts)) + 2}}{interval:>27}{share:>9}")
        return lines

    def _funnel_table(self) -> list[str]:
        return table(self.funnel, self.k) if self.funnel else []

    def _table(self) -> list[str]:
        first, *others = (f"{metric}@{self.k}" for metric in _SHOWN)
        others = [name for name in others if name in next(iter(self.systems.values()))]
        width = max(map(len, self.systems)) + 2
        head = f"{first + ' (95 % interval)':>27}" + "".join(f"{n:>14}" for n in others)
        lines = [" " * width + head]
        for system, figures in sorted(self.systems.items(), key=lambda p: -p[1][first].value):
            shown = figures[first]
            interval = f"{shown.value:.4f} [{shown.low:.4f}, {shown.high:.4f}]"
            rest = "".join(f"{figures[n].value:>14.4f}" for n in others)
            lines.append(f"{system:<{width}}{interval:>27}{rest}{self._flag(system)}")
        return lines

    def _flag(self, system: str) -> str:
        """A mark for a model that is worse than popularity."""
        name = f"ndcg@{self.k}"
        baseline = self.systems.get(_POPULAR + BASELINE, self.systems.get(_POPULAR))
        below = baseline and self.systems[system][name].value < baseline[name].value
        return "  ▼ below popular" if below else ""

    def _slice_table(self) -> list[str]:
        name = f"ndcg@{self.k}"
        systems = list(self.systems)
        width = max(map(len, self.slices), default=0) + 2
        head = f"{name:<{width}}{'users':>7}{'requests':>10}" + "".join(f"{s:>13}" for s in systems)
        rows = [
            f"{label:<{width}}{part.users:>7,}{part.requests:>10,}"
            + "".join(f"{part.systems[s][name].value:>13.4f}" for s in systems)
            for label, part in self.slices.items()
        ]
        return [head, *rows]

    def _notes(self) -> list[str]:
        protocol = self.protocol
        lines = [self._requests_line(), self._left_out_line(), *self._seen_lines()]
        if "caution" in protocol:
            lines.append(f"Warning: {protocol['caution']}.")
        learned = {n: text for n, text in protocol.items() if n.startswith(("fusion_", "ranker_"))}
        lines += [f"{name.replace('_', ' ', 1)}: {text}." for name, text in learned.items()]
        lines += self.better_alone()
        rate = self.systems[self.best()][f"hit_rate@{self.k}"].value
        if 0 < rate < 1:
            users = ceil(16 * (1 - rate) / rate / 0.05**2)
            lines.append(
                "Offline metrics are not sufficient: test a gain online before you rely on it. "
                f"Detecting a 5 % change of a hit rate of {rate:.2f} with 80 % power takes about "
                f"{users:,} users in each arm."
            )
        return lines

    def better_alone(self) -> list[str]:
        """One line for each source or stage that is better than the whole pipeline; often none."""
        lines = []
        for system, gain in sorted(self.gains.get(PIPELINE, {}).items(), key=lambda p: p[1].value):
            if gain.value >= 0:
                continue
            is_stage = system in _STAGES
            which = f"the stage before it ({system})" if is_stage else f"{system} alone"
            interval = f"{-gain.value:+.4f} [{-gain.high:+.4f}, {-gain.low:+.4f}]"
            if gain.high >= 0:
                lines.append(
                    f"{which} was better than the whole pipeline, but the difference is within "
                    f"chance: {interval}."
                )
                continue
            fix = "remove what follows it from the placement"
            if not is_stage:
                fix = "train on more of the past (slices and requests under [training])"
                fix += ", or use it alone"
            lines.append(f"▼ {which} is better than the whole pipeline: {interval}; {fix}.")
        return lines

    def _requests_line(self) -> str:
        protocol = self.protocol
        requests = f"{self.requests:,} requests of {self.users:,} users"
        ranked = "all items ranked, none sampled; intervals resample users."
        if "held_out" in protocol:
            core = f" ({protocol['core']})" if "core" in protocol else ""
            seed = f", seed {protocol['seed']}" if "seed" in protocol else ""
            return (
                f"{requests}, {protocol['request_moments']}; split {protocol['split']}{seed}, "
                f"held out: {protocol['held_out']}{core}; measured on {protocol['window']}, "
                f"fitted on {protocol['fitted_events']:,} events; {protocol['seen']}; {ranked}"
            )
        return (
            f"{requests}, from {protocol['from']} to {protocol['until']}; fitted on "
            f"{protocol['fitted_events']:,} events before; {ranked}"
        )

    def _left_out_line(self) -> str:
        protocol = self.protocol
        counts = f"{protocol['relevant_new_items']:,} of {protocol['relevant']:,}"
        if "held_out" in protocol:
            where = "in the training data: only sources that read the catalogue (Content)"
        else:
            where = (
                "before the window: only sources that read later events (Trending) or the "
                "catalogue (Content)"
            )
        return (
            f"Left out: {protocol['requests_without_truth_left_out']:,} requests without new "
            f"relevant items. {counts} relevant items had no event {where} can find them."
        )

    def _seen_lines(self) -> list[str]:
        """The number of relevant items that were left out as seen, if the share is notable."""
        protocol = self.protocol
        left = int(protocol.get("relevant_but_seen", 0))
        total = int(protocol["relevant"]) + left
        if left < _NOTABLE * total or not left:
            return []
        line = (
            f"{left:,} of {total:,} relevant items ({left / total:.0%}) were left out because the "
            "user had already seen them"
        )
        if kinds := str(protocol.get("excluded_event_types", "")):
            rules = ", ".join(f'{kind} = "allow"' for kind in kinds.split(", "))
            placement = protocol.get("placement", "NAME")
            setting = f"seen = {{ {rules} }} under [placements.{placement}]"
            line += f"; to recommend seen items again, set {setting}"
        return [f"{line}."]


def _to_dict(figures: Figures) -> dict[str, dict[str, dict[str, float]]]:
    return {
        system: {metric: estimate.to_dict() for metric, estimate in metrics.items()}
        for system, metrics in figures.items()
    }
