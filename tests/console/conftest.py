"""The data of a page without a server, and a parser of rendered pages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

import pytest

from tastemaker.console import Card, KnownUser, Shelf, View, render

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta"}


@dataclass
class Element:
    """An element: tag, attributes and children."""

    tag: str
    attributes: dict[str, str | None]
    children: list["Element | str"] = field(default_factory=list)

    def __getitem__(self, name: str) -> str | None:
        return self.attributes.get(name)

    @property
    def text(self) -> str:
        texts = (child if isinstance(child, str) else child.text for child in self.children)
        return " ".join(" ".join(texts).split())

    @property
    def classes(self) -> list[str]:
        return (self["class"] or "").split()

    def all(self, tag: str = "", of: str = "", **attributes: str) -> list["Element"]:
        """The descendants with this tag, class and attributes, in page order."""
        return [
            element
            for element in self
            if (not tag or element.tag == tag)
            and (not of or of in element.classes)
            and all(element[name] == value for name, value in attributes.items())
        ]

    def one(self, tag: str = "", of: str = "", **attributes: str) -> "Element":
        (found,) = self.all(tag, of, **attributes)
        return found

    def __iter__(self) -> Iterator["Element"]:
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child


class Reader(HTMLParser):
    """Builds the tree; raises an error for elements that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = Element("", {})
        self.open = [self.page]
        self.feed(page)
        self.close()
        assert self.open == [self.page], f"not closed: {[e.tag for e in self.open[1:]]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


ALIEN = Card("1214", "Alien", ("Horror", "Sci-Fi"), detail="1979")
THING = Card("2288", "The Thing", ("Horror",), "liked", "1982", "liked")
GREASE = Card("1380", "Grease", ("Musical",), "disliked", "1978", "disliked")
PSYCHO = Card("1219", "Psycho", ("Horror",), detail="1960")
SHREK = Card("4306", "Shrek", ("Animation",), detail="2001")

STAGES = [
    {"name": "retrieve:ease", "in": 0, "out": 1200, "ms": 0.456},
    {"name": "retrieve:als", "in": 0, "out": 1776, "ms": 0.425, "quota": 100, "kept": 360},
    {"name": "retrieve:trending", "in": 0, "out": 0, "ms": 0.26},
    {"name": "merge", "in": 2976, "out": 560, "ms": 0.341},
    {"name": "filter", "in": 560, "out": 557, "ms": 0.108},
    {"name": "features", "in": 557, "out": 557, "ms": 1.54},
    {"name": "rank", "in": 557, "out": 557, "ms": 0.13},
    {"name": "rerank:diverse", "in": 557, "out": 20, "ms": 12.3, "notes": ["2 alike put apart"]},
    {"name": "select", "in": 20, "out": 2, "ms": 0.0},
]


def answer() -> dict[str, Any]:
    """A response of a pipeline, with a trace."""
    return {
        "recommendation_id": "rec-1",
        "model_version": "20260101T000000-abcdef12",
        "variant": "default",
        "degraded": [],
        "items": [
            {
                "item_id": PSYCHO.item_id,
                "title": PSYCHO.title,
                "score": -1.04,
                "reasons": [
                    {
                        "kind": "because_you_liked",
                        "text": "because you liked The Thing",
                        "source": "ease",
                        "item_id": THING.item_id,
                        "weight": 0.57,
                    },
                    {
                        "kind": "source",
                        "text": "close to your taste (als, rank 3)",
                        "source": "als",
                    },
                ],
            },
            {"item_id": SHREK.item_id, "title": SHREK.title, "score": -2.5, "reasons": []},
        ],
        "trace": {
            "stages": STAGES,
            "items": [
                {
                    "item_id": PSYCHO.item_id,
                    "sources": {
                        "ease": {"rank": 12, "score": 0.03},
                        "als": {"rank": 3, "score": 0.1},
                    },
                    "predicted": {"relevant": -1.0406},
                    "features": [
                        {"feature": "liked", "text": "likes ever", "value": 5.5, "weight": 0.4},
                        {"feature": "age", "text": "its age", "value": None, "weight": -0.1},
                    ],
                },
                {"item_id": SHREK.item_id, "sources": {}},
            ],
        },
    }


@pytest.fixture
def view() -> View:
    """A visitor who liked one film and disliked another."""
    return View(
        project="Films",
        user_id="visitor-1",
        known=False,
        like_kind="like",
        dislike_kind="dislike",
        shelf=Shelf((ALIEN, THING, GREASE), ("Horror", "Musical"), "Horror", "th"),
        answer=answer(),
        cards={PSYCHO.item_id: PSYCHO, SHREK.item_id: SHREK},
        latest=(GREASE, THING),
        users=(KnownUser("42", "mostly Horror"), KnownUser("a/b")),
        stage_words={"retrieve:als": "close to your taste", "rerank:diverse": "made varied"},
    )


Read = Callable[..., Element]


@pytest.fixture
def read(view: View) -> Read:
    """Renders the view, with optional changes, and parses the page."""
    return lambda **changes: Reader(render(replace(view, **changes))).page


@pytest.fixture
def parse() -> Callable[[str], Element]:
    """Parses any page."""
    return lambda text: Reader(text).page


@pytest.fixture
def changed(view: View) -> Callable[..., dict[str, Any]]:
    """The response of the view, with some parts replaced."""
    return lambda **parts: {**view.answer, **parts}
