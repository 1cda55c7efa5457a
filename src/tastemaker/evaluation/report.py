"""An evaluation as figures for programs and as tables for people."""

from dataclasses import dataclass
from math import ceil
from typing import Any

from tastemaker.evaluation.funnel import FunnelRow, table
from tastemaker.metrics import Estimate
from tastemaker.project import RESERVED

Figures = dict[str, dict[str, Estimate]]
BASELINE = " (baseline)"
"""Follows the name of a baseline whose own name the caller gave to another model."""
*_STAGES, PIPELINE = RESERVED
_POPULAR = "popular"
_NOTABLE = 0.05
"""From this share on, what was left out as seen is worth a line."""
_SHOWN = ("ndcg", "recall", "map", "mrr", "hit_rate", "coverage", "novelty", "diversity")


@dataclass(frozen=True, slots=True)
class Segment:
    """The figures of some of the requests.

    Attributes:
        users: distinct users among them.
        requests: how many.
        systems: system → metric → estimate.
    """

    users: int
    requests: int
    systems: Figures


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What systems are worth on one task.

    Attributes:
        protocol: how the task was made, and what was left out.
        k: the length of the lists.
        users: distinct users asked for.
        requests: how many lists each system made.
        seconds: for fitting and measuring everything.
        systems: system → metric → estimate with its 95 % interval over users.
        slices: the same by length of history, for known and new users, and for new items.
        gains: `merged`, `ranked`, `pipeline`, as far as there are → what it is made of → NDCG of
            the former less that of the latter, on the same requests.
        funnel: what every stage and source found and kept; empty unless a recommender was asked.
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
        """The shape that programs rely on."""
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
        """Each road against its sources and stages, on the same requests."""
        name, lines = f"ndcg@{self.k}", list[str]()
        for road, others in self.gains.items():
            lines.append(f"{road} over … on the same requests, {name} (95 % interval)")
            for system, gain in sorted(others.items(), key=lambda pair: pair[1].value):
                value = self.systems[system][name].value
                share = f"{gain.value / value:+.1%}" if value else ""
                interval = f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
                lines.append(f"  {system:<{max(map(len, others)) + 2}}{interval:>27}{share:>9}")
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
        """A model that loses to popularity is marked."""
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
        told = self.protocol
        lines = [self._requests_line(), self._left_out_line(), *self._seen_lines()]
        if "caution" in told:
            lines.append(f"Take care: {told['caution']}.")
        learned = {n: said for n, said in told.items() if n.startswith(("fusion_", "ranker_"))}
        lines += [f"{name.replace('_', ' ', 1)}: {said}." for name, said in learned.items()]
        lines += self.better_alone()
        rate = self.systems[self.best()][f"hit_rate@{self.k}"].value
        if 0 < rate < 1:
            users = ceil(16 * (1 - rate) / rate / 0.05**2)
            lines.append(
                "Offline figures are necessary, not sufficient: before believing a gain, test it "
                f"online. To see a 5 % change of a hit rate of {rate:.2f} with 80 % power takes "
                f"about {users:,} users in each arm."
            )
        return lines

    def better_alone(self) -> list[str]:
        """Which sources or stages are better than the whole pipeline, in words; usually none."""
        lines = []
        for system, gain in sorted(self.gains.get(PIPELINE, {}).items(), key=lambda p: p[1].value):
            if gain.value >= 0:
                continue
            is_stage = system in _STAGES
            which = f"the stage before it ({system})" if is_stage else f"{system} alone"
            interval = f"{-gain.value:+.4f} [{-gain.high:+.4f}, {-gain.low:+.4f}]"
            if gain.high >= 0:
                lines.append(
                    f"{which} did better than the whole pipeline, by no more than chance explains: "
                    f"{interval}."
                )
                continue
            fix = "remove what follows it from the placement"
            if not is_stage:
                fix = "learn from more of the past (slices and requests under [training])"
                fix += ", or show it alone"
            lines.append(f"▼ {which} is better than the whole pipeline: {interval}; {fix}.")
        return lines

    def _requests_line(self) -> str:
        told = self.protocol
        asked = f"{self.requests:,} requests of {self.users:,} users"
        ranked = "all items ranked, none sampled; intervals resample users."
        if "held_out" in told:
            core = f" ({told['core']})" if "core" in told else ""
            seed = f", seed {told['seed']}" if "seed" in told else ""
            return (
                f"{asked}, {told['request_moments']}; split {told['split']}{seed}, held out: "
                f"{told['held_out']}{core}; measured on {told['window']}, fitted on "
                f"{told['fitted_events']:,} events; {told['seen']}; {ranked}"
            )
        return (
            f"{asked}, from {told['from']} to {told['until']}; fitted on "
            f"{told['fitted_events']:,} events before; {ranked}"
        )

    def _left_out_line(self) -> str:
        told = self.protocol
        new = f"{told['wanted_new_items']:,} of {told['wanted']:,} relevant items had no event"
        if "held_out" in told:
            where = "in the training data: only sources that read the catalogue (Content)"
        else:
            where = (
                "before the window: only sources that read the world (Trending) or the catalogue "
                "(Content)"
            )
        return (
            f"Left out: {told['requests_without_truth_left_out']:,} requests without new relevant "
            f"items. {new} {where} can find them."
        )

    def _seen_lines(self) -> list[str]:
        """How many relevant items were left out as seen, where that is a notable share."""
        told = self.protocol
        left = int(told.get("wanted_but_seen_left_out", 0))
        total = int(told["wanted"]) + left
        if left < _NOTABLE * total or not left:
            return []
        line = (
            f"{left:,} of {total:,} relevant items ({left / total:.0%}) were left out because the "
            "user had already seen them"
        )
        if kinds := str(told.get("excluded_event_types", "")):
            rules = ", ".join(f'{kind} = "allow"' for kind in kinds.split(", "))
            place = f"seen = {{ {rules} }} under [placements.{told.get('placement', 'NAME')}]"
            line += f"; if repeats are welcome, allow them: {place}"
        return [f"{line}."]


def _to_dict(figures: Figures) -> dict[str, dict[str, dict[str, float]]]:
    return {
        system: {metric: estimate.to_dict() for metric, estimate in metrics.items()}
        for system, metrics in figures.items()
    }
