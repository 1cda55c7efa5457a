"""The page follows its content security policy."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import tastemaker.console
from tastemaker.console import KnownUser, asset, render, render_error

TEMPLATES = sorted((Path(tastemaker.console.__file__).parent / "templates").glob("*.html"))
JINJA = re.compile(r"\{%.*?%\}|\{#.*?#\}", re.DOTALL)


class Forbidden(HTMLParser):
    """The content of a page that violates `default-src 'self'`."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        if tag in ("style", "iframe", "object", "embed"):
            self.found.append(f"<{tag}>")
        if tag == "script" and "src" not in dict(attrs):
            self.found.append("<script> without src")
        for name, value in attrs:
            text = re.sub(r"\s", "", value or "").lower()
            if name == "style" or name.startswith(("on", "hx-on", "data-hx-on")):
                self.found.append(name)
            # htmx evaluates these, and browsers run them
            if text.startswith(("javascript:", "js:", "data:", "vbscript:")):
                self.found.append(f"{name}={value}")
            if name == "hx-trigger" and "[" in text:
                self.found.append(f"{name}={value}")

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script" and data.strip():
            self.found.append("text of a script")


def template(path: Path) -> str:
    """A template with all of its branches."""
    return JINJA.sub(" ", re.sub(r"\{\{.*?\}\}", "x", path.read_text(), flags=re.DOTALL))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_violates_the_policy(path: Path) -> None:
    assert Forbidden(template(path)).found == []


def test_no_page_violates_the_policy(view: Any) -> None:
    pages = [
        render(view),
        render(replace(view, answer={"items": []}, latest=())),
        render(replace(view, dislike_kind=None, known=True, users=())),
        render_error("Gone", "No items found"),
    ]
    assert [Forbidden(page).found for page in pages] == [[]] * 4


@pytest.mark.parametrize(
    "text",
    ["javascript:alert(1)", "<script>alert(1)</script>", '" onclick="x', "' style='x", "js:x"],
)
def test_no_title_id_or_user_can_violate_the_policy(view: Any, text: str) -> None:
    cards = {
        id_: replace(card, title=text, labels=(text,), detail=text)
        for id_, card in view.cards.items()
    }
    changed = replace(view, user_id=f"x{text}", project=text, users=(KnownUser(text),), cards=cards)
    assert Forbidden(render(changed)).found == []
    assert Forbidden(render_error(text, text)).found == []


@pytest.mark.parametrize(
    "page",
    [
        "<script>run()</script>",
        "<script src='/a.js'>run()</script>",
        "<style>p { color: red }</style>",
        "<p style='color: red'>",
        "<button onclick='run()'>",
        "<svg onload='run()'/>",
        "<div hx-on::after-swap='run()'>",
        "<div hx-vals='js:{a: 1}'>",
        "<div hx-trigger='click[ctrlKey]'>",
        "<a href=' java\nscript:run()'>",
        "<iframe src='/'></iframe>",
    ],
)
def test_violations_of_the_policy_are_detected(page: str) -> None:
    assert Forbidden(page).found


def test_htmx_injects_no_styles_and_evaluates_no_code(read: Any) -> None:
    result = json.loads(read().one("meta", name="htmx-config")["content"])
    assert result["allowEval"] is False
    assert result["includeIndicatorStyles"] is False


def test_our_script_evaluates_no_text() -> None:
    script = (asset("console.js") or (b"", ""))[0].decode()
    assert not re.search(
        r"\beval\(|new Function|setAttribute\(.style|set(Timeout|Interval)\(.?[\"'`]", script
    )
