"""The funnel drawn: numbers for an SVG, width by count. Sources stand side by side above."""

from collections.abc import Sequence
from dataclasses import dataclass

from tastemaker.console.funnel import Step, source_names
from tastemaker.console.words import count, milliseconds

WIDTH = 340.0
COLORS = 8
"""So many sources have different colours; further ones repeat them."""

_LEGEND_LINE, _FIRST_LEGEND = 40.0, 15.0
_BAR = 12.0
_TEXT_ABOVE_BAR, _TEXT_TO_BAR = 27.0, 8.0
_THINNEST = 3.0
"""So that ten items of three thousand can be seen."""
_GAP = 1.0


@dataclass(frozen=True, slots=True)
class Key:
    """A source in the legend: a spot in its colour, what it finds, and below it the counts."""

    y: float
    color: int
    step: Step


@dataclass(frozen=True, slots=True)
class Part:
    """What one source found, as a part of the first bar."""

    x: float
    width: float
    color: int
    name: str


@dataclass(frozen=True, slots=True)
class Bar:
    """What left a stage, with the flow that came into it.

    Attributes:
        y: the bar's upper edge.
        text_y: the base line of the text above it.
        flow: corners of the flow from the bar before; empty where nothing flows.
    """

    x: float
    y: float
    width: float
    text_y: float
    flow: str
    step: Step


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG's numbers.

    Attributes:
        keys: the legend.
        parts: the first bar, source by source.
        parts_y: its upper edge.
        found: how many items the sources found in all.
        found_y: the base line of the text above it.
        bar: how high each bar is.
        bars: the stages after the sources.
        title: what is seen, in a few words.
        description: the same in a sentence.
    """

    width: float
    height: float
    keys: tuple[Key, ...]
    parts: tuple[Part, ...]
    parts_y: float
    found: int
    found_y: float
    bar: float
    bars: tuple[Bar, ...]
    title: str
    description: str


def draw(steps: Sequence[Step]) -> Picture | None:
    """The picture of a request's stages; None if there are none."""
    if not steps:
        return None
    sources = [step for step in steps if step.is_source]
    passed = [step for step in steps if not step.is_source]
    found = sum(step.n_out for step in sources)
    widest = max(found, *(step.n_out for step in passed), 1) if passed else max(found, 1)
    keys = tuple(
        Key(_FIRST_LEGEND + place * _LEGEND_LINE, place % COLORS, step)
        for place, step in enumerate(sources)
    )
    found_y = _FIRST_LEGEND + len(sources) * _LEGEND_LINE + 6
    parts_y = found_y + _TEXT_TO_BAR
    bars = _bars(passed, widest, found, parts_y)
    bottom = bars[-1].y if bars else parts_y
    return Picture(
        width=WIDTH,
        height=bottom + _BAR + 2,
        keys=keys,
        parts=_parts(sources, found, widest),
        parts_y=parts_y,
        found=found,
        found_y=found_y,
        bar=_BAR,
        bars=bars,
        title="What happened to this request",
        description=_description(sources, passed, found),
    )


def _wide(items: int, widest: int) -> float:
    return max(round(WIDTH * items / widest, 1), _THINNEST) if items else 0.0


def _parts(sources: Sequence[Step], found: int, widest: int) -> tuple[Part, ...]:
    """The first bar, centred; every source's share of it."""
    whole = _wide(found, widest)
    x, parts = (WIDTH - whole) / 2, []
    for place, step in enumerate(sources):
        width = whole * step.n_out / found if found else 0.0
        if width:
            shown = max(width - _GAP, 0.5)
            parts.append(Part(round(x, 1), round(shown, 1), place % COLORS, step.name))
        x += width
    return tuple(parts)


def _bars(passed: Sequence[Step], widest: int, found: int, y: float) -> tuple[Bar, ...]:
    """A bar for each later stage, below the bar that begins at y."""
    bars: list[Bar] = []
    before = _wide(found, widest)
    for step in passed:
        width = before if step.problem == "left out" else _wide(step.n_out, widest)
        text_y = y + _BAR + _TEXT_ABOVE_BAR - _TEXT_TO_BAR
        top = y + _BAR + _TEXT_ABOVE_BAR
        flow = _flow(before, y + _BAR, width, top) if before else ""
        bars.append(Bar(round((WIDTH - width) / 2, 1), top, width, text_y, flow, step))
        before, y = width, top
    return tuple(bars)


def _flow(above: float, top: float, below: float, bottom: float) -> str:
    """Four corners from one bar's lower edge to the next one's upper edge."""
    middle = WIDTH / 2
    corners = (
        (middle - above / 2, top),
        (middle + above / 2, top),
        (middle + below / 2, bottom),
        (middle - below / 2, bottom),
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _description(sources: Sequence[Step], passed: Sequence[Step], found: int) -> str:
    phrases = [f"{len(sources)} sources found {count(found)} items"]
    phrases += [f"{step.words}: {step.items}" for step in passed]
    total = sum(step.milliseconds for step in (*sources, *passed))
    return f"{'; '.join(phrases)}; {milliseconds(total)} in all."


def color_of(source: str, steps: Sequence[Step]) -> int | None:
    """The colour of a source's place; None for one that is not among the stages."""
    names = source_names(steps)
    return names.index(source) % COLORS if source in names else None
