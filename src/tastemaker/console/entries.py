"""The recommended items of a response, with their explanations, ready to be rendered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tastemaker.console.funnel import stage_words
from tastemaker.console.view import Card, View
from tastemaker.console.words import feature_words, number, percent, signed

_ANY = "relevant"
HALF_BAR = 50.0
"""Half the width of the bar of a weight; 0 is in the middle."""


@dataclass(frozen=True, slots=True)
class Found:
    """A source that found the item, the rank in its list, and a description of the source."""

    source: str
    rank: int
    words: str


@dataclass(frozen=True, slots=True)
class FeatureEffect:
    """A feature that changed the score, with its weight as a bar from `x` to `x + width`."""

    feature: str
    meaning: str
    value: str
    weight: str
    x: float
    width: float

    @property
    def side(self) -> str:
        """`for` if the feature raises the score, `against` if it lowers it."""
        return "for" if self.x >= HALF_BAR else "against"


@dataclass(frozen=True, slots=True)
class Entry:
    """One recommended item.

    Attributes:
        rank: from 1.
        card: the item.
        reason: the main reason, in words; empty if there is none.
        also: further reasons.
        found: the sources that found it, best rank first.
        effects: the features that changed its score most, strongest first.
        predicted: each prediction of the model: its name in words, and its value.
    """

    rank: int
    card: Card
    reason: str
    also: tuple[str, ...]
    found: tuple[Found, ...]
    effects: tuple[FeatureEffect, ...]
    predicted: tuple[tuple[str, str], ...]

    @property
    def has_details(self) -> bool:
        """Whether there is more to show than the main reason."""
        return bool(self.also or self.found or self.effects or self.predicted)


def entries_of(view: View) -> tuple[Entry, ...]:
    """Returns the recommended items, best first."""
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
        effects=_effects(traced.get("features", ())),
        predicted=tuple(
            _predicted(name, value, view.chances)
            for name, value in traced.get("predicted", {}).items()
        ),
    )


def _reason(reason: Mapping[str, Any], view: View) -> str:
    """The text of a reason; the description of its source, if there is one."""
    stage = f"retrieve:{reason.get('source') or ''}"
    is_source = reason.get("kind") == "source"
    text: str = view.stage_words.get(stage, reason["text"]) if is_source else reason["text"]
    return text


def _predicted(objective: str, value: float | None, chances: bool) -> tuple[str, str]:
    """An objective in words, and its value; `relevant` is any positive event."""
    if chances:
        name = "Probability that you choose it soon"
        return name if objective == _ANY else f"{name}, by '{objective}'", percent(value)
    name = "Score of the ranking model"
    return name if objective == _ANY else f"{name} for '{objective}'", number(value)


def _effects(features: Any) -> tuple[FeatureEffect, ...]:
    """The features with their bars; the strongest one takes half the width."""
    strongest = max((abs(feature["weight"]) for feature in features), default=0.0) or 1.0
    effects = []
    for feature in features:
        width = round(HALF_BAR * abs(feature["weight"]) / strongest, 1)
        effects.append(
            FeatureEffect(
                feature["feature"],
                *feature_words(feature["text"], feature["value"]),
                signed(feature["weight"]),
                HALF_BAR if feature["weight"] >= 0 else HALF_BAR - width,
                width,
            )
        )
    return tuple(effects)
