"""A `View` as a page of HTML."""

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
    """The whole page; whatever comes from data is escaped."""
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
    """A page that says what went wrong and leads back."""
    return _template("error.html").render(title=title, text=text)


def page_url(user_id: str, label: str = "", query: str = "") -> str:
    """Where a user finds the page; empty, a new visitor does.

    >>> page_url("a/b", "Sci-Fi", "2 & 3")
    '/?user=a%2Fb&label=Sci-Fi&q=2+%26+3'
    """
    given = {"user": user_id, "label": label, "q": query}
    return f"/?{urlencode({k: v for k, v in given.items() if v or k == 'user'})}"


def _motion_name(card: Card) -> str:
    """A name by which a browser follows an item from one list to the next."""
    return f"entry-{blake2b(card.item_id.encode(), digest_size=8).hexdigest()}"


def _template(name: str) -> "jinja2.Template":
    return _environment().get_template(name)


@cache
def _environment() -> "jinja2.Environment":
    """Loaded at the first page: nothing else in the package needs templates."""
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
