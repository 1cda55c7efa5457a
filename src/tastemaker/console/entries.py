"""What an answer says of each recommended item, ready to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tastemaker.console.funnel import stage_words
from tastemaker.console.view import Card, View
from tastemaker.console.words import feature_words, number, percent, signed

_ANY = "wanted"
HALF_BAR = 50.0
"""Half the width of a weight's bar: 0 is in the middle."""


@dataclass(frozen=True, slots=True)
class Found:
    """A source that found the item, at which rank of its own list, and what it finds, in words."""

    source: str
    rank: int
    words: str


@dataclass(frozen=True, slots=True)
class Spoke:
    """A feature that moved the score, with its weight as a bar from x over `width`."""

    feature: str
    meaning: str
    value: str
    weight: str
    x: float
    width: float

    @property
    def side(self) -> str:
        """`for` where it raises the score, `against` where it lowers it."""
        return "for" if self.x >= HALF_BAR else "against"


@dataclass(frozen=True, slots=True)
class Entry:
    """One recommended item.

    Attributes:
        rank: from 1.
        card: what it is.
        reason: why it is here, in words; empty where there is none.
        also: further reasons.
        found: the sources that found it, best rank first.
        spoke: the features that moved its score most, strongest first.
        predicted: what the model predicts in words, and the value.
    """

    rank: int
    card: Card
    reason: str
    also: tuple[str, ...]
    found: tuple[Found, ...]
    spoke: tuple[Spoke, ...]
    predicted: tuple[tuple[str, str], ...]

    @property
    def explained(self) -> bool:
        """Whether there is more to show than the reason."""
        return bool(self.also or self.found or self.spoke or self.predicted)


def entries_of(view: View) -> tuple[Entry, ...]:
    """The list that was answered, best first."""
    traced = {item["item_id"]: item for item in (view.answer.get("trace") or {}).get("items", ())}
    return tuple(
        _entry(rank, item, traced.get(item["item_id"], {}), view)
        for rank, item in enumerate(view.answer.get("items", ()), start=1)
    )


def _entry(rank: int, item: Mapping[str, Any], traced: Mapping[str, Any], view: View) -> Entry:
    item_id = item["item_id"]
    texts = [_reason(reason, view) for reason in item.get("reasons") or ()] or [""]
    found = [
        Found(name, at["rank"], stage_words(f"retrieve:{name}", view.stage_words))
        for name, at in traced.get("sources", {}).items()
    ]
    return Entry(
        rank=rank,
        card=view.cards.get(item_id) or Card(item_id, item.get("title") or item_id),
        reason=texts[0],
        also=tuple(texts[1:]),
        found=tuple(sorted(found, key=lambda at: at.rank)),
        spoke=_spoke(traced.get("features", ())),
        predicted=tuple(
            _predicted(name, value, view.chances)
            for name, value in traced.get("predicted", {}).items()
        ),
    )


def _reason(reason: Mapping[str, Any], view: View) -> str:
    """A reason without the name of its source, where words for the source are known."""
    stage = f"retrieve:{reason.get('source') or ''}"
    is_source = reason.get("kind") == "source"
    text: str = view.stage_words.get(stage, reason["text"]) if is_source else reason["text"]
    return text


def _predicted(objective: str, value: float | None, chances: bool) -> tuple[str, str]:
    """An objective in words; `wanted` is any positive event."""
    if chances:
        chance = "Chance that you choose it soon"
        return chance if objective == _ANY else f"{chance}, by '{objective}'", percent(value)
    name = "Score of the ranking model"
    return name if objective == _ANY else f"{name} for '{objective}'", number(value)


def _spoke(features: Any) -> tuple[Spoke, ...]:
    """The features with bars: the strongest one takes half the width."""
    strongest = max((abs(feature["weight"]) for feature in features), default=0.0) or 1.0
    spoke = []
    for feature in features:
        width = round(HALF_BAR * abs(feature["weight"]) / strongest, 1)
        spoke.append(
            Spoke(
                feature["feature"],
                *feature_words(feature["text"], feature["value"]),
                signed(feature["weight"]),
                HALF_BAR if feature["weight"] >= 0 else HALF_BAR - width,
                width,
            )
        )
    return tuple(spoke)
