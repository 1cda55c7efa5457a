"""The answer to a batch of requests: lists, where each item came from, and why."""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np

from tastemaker.component import Explains, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.pipeline.trace import Trace
from tastemaker.world import World


@dataclass(frozen=True, slots=True)
class Recommendations:
    """What a pipeline answers.

    Attributes:
        requests: n requests.
        candidates: the list of each, best first, with its sources.
        world: what the items are.
        retrievers: the sources by name, asked for reasons.
        trace: what each stage did.
        model_version: the artifact that answered; empty for one that was never saved.
    """

    requests: Requests
    candidates: Candidates
    world: World
    retrievers: dict[str, Retriever]
    trace: Trace = field(default_factory=Trace)
    model_version: str = ""

    def __len__(self) -> int:
        return len(self.candidates)

    def item_ids(self, row: int = 0) -> list[str]:
        """The external ids of one list, best first."""
        return self.world.catalogue.items.ids(self.candidates[row])

    def to_dict(self, row: int = 0, *, trace: bool = False) -> dict[str, Any]:
        """One answer in the shape that programs rely on (`recommendation_id`, `items`, …).

        Args:
            row: the request.
            trace: whether to add the stages, and each item's rank and score per source.
        """
        reasons = self.reasons(row)
        items = []
        for entry, index in enumerate(self.candidates[row]):
            title = self.world.catalogue.title(int(index))
            items.append(
                {
                    "item_id": self.world.catalogue.items.id(int(index)),
                    **({"title": title} if title else {}),
                    "score": float(self.candidates.score[self.candidates.offsets[row] + entry]),
                    "reasons": reasons[entry],
                }
            )
        answer: dict[str, Any] = {
            "recommendation_id": uuid4().hex,
            "model_version": self.model_version,
            "variant": "default",
            "degraded": [],
            "items": items,
        }
        if trace:
            answer["trace"] = {
                "stages": self.trace.to_list(row),
                "items": [
                    {"item_id": item["item_id"], "sources": self._sources(row, entry)}
                    for entry, item in enumerate(items)
                ],
            }
        return answer

    def reasons(self, row: int) -> list[list[dict[str, Any]]]:
        """Why each item of a list is there, strongest reason first.

        An item is explained by the liked item that speaks most for it, where one of its sources
        can name one, and by the source that ranked it highest.
        """
        one = np.array([row])
        request, shown = self.requests.take(one), self.candidates.take(one)
        why: list[list[dict[str, Any]]] = [[] for _ in shown.item]
        for place, name in enumerate(shown.sources):
            retriever = self.retrievers[name]
            found = np.flatnonzero(shown.source_rank[:, place] >= 0)
            if isinstance(retriever, Explains) and len(found):
                liked, share = retriever.explain(request, shown)
                for entry in found[liked[found] >= 0]:
                    item = int(liked[entry])
                    why[entry].append(self._because_of(name, item, float(share[entry])))
        for entry, given in enumerate(why):
            given.sort(key=lambda reason: -reason["weight"])
            del given[1:]
            ranks = shown.source_rank[entry] if shown.sources else np.empty(0, np.int16)
            if (ranks >= 0).any():
                best = int(np.where(ranks < 0, np.iinfo(np.int16).max, ranks).argmin())
                name = shown.sources[best]
                text = f"{self.retrievers[name].because} ({name}, rank {ranks[best] + 1})"
                given.append({"kind": "source", "text": text, "source": name})
        return why

    def _because_of(self, source: str, item: int, share: float) -> dict[str, Any]:
        item_id = self.world.catalogue.items.id(item)
        title = self.world.catalogue.title(item) or item_id
        return {
            "kind": "because_you_liked",
            "text": f"because you liked {title}",
            "source": source,
            "item_id": item_id,
            "weight": round(share, 4),
        }

    def _sources(self, row: int, entry: int) -> dict[str, dict[str, float]]:
        place = self.candidates.offsets[row] + entry
        return {
            name: {
                "rank": int(self.candidates.source_rank[place, source]) + 1,
                "score": float(self.candidates.source_score[place, source]),
            }
            for source, name in enumerate(self.candidates.sources)
            if self.candidates.source_rank[place, source] >= 0
        }

    def __str__(self) -> str:
        lines = []
        for row in range(len(self)):
            who = self.requests.user_id[row]
            lines.append(f"for user {who}:" if who else "for a stranger:")
            for rank, item in enumerate(self.to_dict(row)["items"], start=1):
                why = item["reasons"][0]["text"] if item["reasons"] else ""
                lines.append(f"{rank:3}. {item.get('title', item['item_id'])}  — {why}")
        return "\n".join(lines)
