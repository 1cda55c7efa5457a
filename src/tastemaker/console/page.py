"""Renders a `View` as an HTML page."""

from functools import cache, partial
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from tastemaker.console.cover import cover_of
from tastemaker.console.entries import entries_of
from tastemaker.console.funnel import stage_words, steps_of, why_empty
from tastemaker.console.picture import color_of, draw
from tastemaker.console.view import Card, View
from tastemaker.console.words import count, milliseconds, shelf_question

if TYPE_CHECKING:
    import jinja2


def render(view: View) -> str:
    """Returns the whole page as HTML; all data is escaped."""
    steps = steps_of(view.answer, view.stage_words)
    return _template("page.html").render(
        view=view,
        entries=entries_of(view),
        steps=steps,
        picture=draw(steps),
        color_of=partial(color_of, steps=steps),
        spent=milliseconds(sum(step.milliseconds for step in steps)),
        why_empty=why_empty(view.answer),
        question=shelf_question(view.like_verb),
        words_of=partial(stage_words, words=view.stage_words),
    )


def render_error(title: str, text: str) -> str:
    """Returns an error page with a link to the start page."""
    return _template("error.html").render(title=title, text=text)


def page_url(user_id: str, label: str = "", query: str = "") -> str:
    """Returns the URL of the page for a user, or for a new visitor if `user_id` is empty.

    >>> page_url("a/b", "Sci-Fi", "2 & 3")
    '/?user=a%2Fb&label=Sci-Fi&q=2+%26+3'
    """
    parameters = {"user": user_id, "label": label, "q": query}
    return f"/?{urlencode({k: v for k, v in parameters.items() if v or k == 'user'})}"


def _motion_name(card: Card) -> str:
    """The view-transition name that identifies an item in successive lists."""
    return f"entry-{blake2b(card.item_id.encode(), digest_size=8).hexdigest()}"


def _template(name: str) -> "jinja2.Template":
    return _environment().get_template(name)


@cache
def _environment() -> "jinja2.Environment":
    """The template environment, created for the first page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tastemaker.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = count
    environment.filters["in_id"] = partial(quote, safe="")
    environment.globals.update(page_url=page_url, cover_of=cover_of, motion_name=_motion_name)
    return environment
