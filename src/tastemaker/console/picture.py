"""The geometry of the funnel, for an SVG. Widths show item counts; sources are on top."""

from collections.abc import Sequence
from dataclasses import dataclass

from tastemaker.console.funnel import Step, source_names
from tastemaker.console.words import count, milliseconds

WIDTH = 340.0
COLORS = 8
"""Number of different source colors; further sources repeat them."""

_LEGEND_LINE, _FIRST_LEGEND = 40.0, 15.0
_BAR = 12.0
_TEXT_ABOVE_BAR, _TEXT_TO_BAR = 27.0, 8.0
_THINNEST = 3.0
"""Minimum width, so that ten items of three thousand are visible."""
_GAP = 1.0


@dataclass(frozen=True, slots=True)
class Key:
    """A source in the legend: a spot in its color, its description, and its counts."""

    y: float
    color: int
    step: Step


@dataclass(frozen=True, slots=True)
class Part:
    """The items of one source, as a part of the first bar."""

    x: float
    width: float
    color: int
    name: str


@dataclass(frozen=True, slots=True)
class Bar:
    """The output of a stage, with the flow into it.

    Attributes:
        y: the upper edge of the bar.
        text_y: the base line of the text above it.
        flow: corners of the flow from the previous bar; empty if there is none.
    """

    x: float
    y: float
    width: float
    text_y: float
    flow: str
    step: Step


@dataclass(frozen=True, slots=True)
class Picture:
    """The geometry and the texts of the SVG.

    Attributes:
        keys: the legend.
        parts: the first bar, source by source.
        parts_y: its upper edge.
        found: total number of items found by the sources.
        found_y: the base line of the text above it.
        bar: the height of each bar.
        bars: the stages after the sources.
        title: the title of the picture.
        description: its content, in a sentence.
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
    """Returns the picture of the stages of a request; None if there are no stages."""
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
        title="Stages of this request",
        description=_description(sources, passed, found),
    )


def _wide(items: int, widest: int) -> float:
    return max(round(WIDTH * items / widest, 1), _THINNEST) if items else 0.0


def _parts(sources: Sequence[Step], found: int, widest: int) -> tuple[Part, ...]:
    """The parts of the first bar, one for each source; the bar is centered."""
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
    """The bars of the later stages, below the bar at `y`."""
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
    """The four corners of the flow from one bar to the next."""
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
    return f"{'; '.join(phrases)}; {milliseconds(total)} in total."


def color_of(source: str, steps: Sequence[Step]) -> int | None:
    """Returns the color of a source; None if it is not among the stages."""
    names = source_names(steps)
    return names.index(source) % COLORS if source in names else None
