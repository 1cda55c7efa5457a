"""The page in a real browser: three clicks move the list, a disliked film is gone, reasons show."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from tastemaker.project import load_project
from tastemaker.serving.keys import KeyFile
from tests.live.conftest import Demo, Made, served

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]

_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (found) =>
  console.error("policy", found.violatedDirective, found.blockedURI, found.sample));
"""
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(params=[WIDE, PHONE], ids=["wide", "phone"])
def page(request: Any, browser: Any, demo: Demo) -> Iterator[Any]:
    """A new visitor's page with the shelf narrowed to horror; nothing may go wrong on it."""
    context = browser.new_context(viewport=request.param, reduced_motion="reduce")
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda problem: wrong.append(str(problem)))
    # a violation of the content security policy is an error in the console
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    opened.add_init_script(_REPORT_VIOLATIONS)
    opened.on("requestfailed", lambda asked: wrong.extend(_failed(asked)))
    opened.on("response", lambda got: wrong.append(got.url) if got.status >= 400 else None)
    asked: list[str] = []
    opened.on("request", lambda sent: asked.append(sent.url))
    opened.goto(f"{demo.url}/?label=Horror")
    yield opened
    assert wrong == []
    assert all(url.startswith(demo.url) for url in asked)
    context.close()


def _failed(request: Any) -> list[str]:
    """A request that got no answer, unless the browser itself gave it up to leave the page."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"{request.url}: {request.failure}"]


def listed(page: Any) -> list[str]:
    """The recommended films, in their order."""
    entries = page.locator(".recommendations .entry").all()
    return [entry.get_attribute("data-item") for entry in entries]


def horror_films(page: Any, demo: Demo, user: str) -> int:
    """How many of a user's first hundred films are horror; fewer say little."""
    catalogue = load_project(demo.project).read().catalogue
    genres = catalogue.columns["genres"]
    horror = genres.labels.indices(["Horror"])[0]
    answer = page.request.get(f"{demo.url}/v1/recommendations?user_id={user}&n=100").json()
    shown = catalogue.items.indices([item["item_id"] for item in answer["items"]])
    assert len(shown) == 100
    return sum(horror in genres.codes[int(film)] for film in shown)


def settle(page: Any) -> None:
    """Waits until what was answered is on the page."""
    page.locator(".htmx-request").first.wait_for(state="detached")
    page.wait_for_timeout(200)


def act(page: Any, kind: str, place: int, area: str) -> None:
    """Presses the button of a film, and waits for the list to answer."""
    button = page.locator(f"{area} button[value={kind}]:not([aria-disabled=true])").nth(place)
    with page.expect_response(lambda got: "/?user=" in got.url and got.status == 200):
        button.click()
    settle(page)


def test_three_clicks_on_films_of_one_genre_change_the_list_towards_it(
    page: Any, demo: Demo
) -> None:
    before = listed(page)
    for place in range(3):
        act(page, "like", place, ".shelf")
    assert listed(page) != before
    (user,) = parse_qs(urlparse(page.url).query)["user"]
    assert horror_films(page, demo, user) > horror_films(page, demo, "a stranger")


def test_a_disliked_film_is_gone_and_stays_gone(page: Any) -> None:
    act(page, "like", 0, ".shelf")
    gone = listed(page)[0]
    act(page, "dislike", 0, ".recommendations")
    assert gone not in listed(page)
    act(page, "like", 1, ".shelf")
    assert gone not in listed(page)
    page.reload()
    assert gone not in listed(page)


def test_every_film_says_why_and_the_funnel_is_drawn(page: Any) -> None:
    act(page, "like", 0, ".shelf")
    assert "Because you liked" in page.locator(".recommendations").inner_text()
    page.locator(".recommendations details summary").first.click()
    opened = page.locator(".recommendations details[open]").first.inner_text()
    assert "Found by" in opened
    assert "Largest effects on its score" in opened
    assert "relevant" not in opened
    picture = page.locator("svg[role=img]").last
    assert picture.is_visible()
    for stage in ("merged", "allowed", "with features", "ranked", "shown", "quota 10, returned"):
        assert stage in picture.inner_html()


def test_the_keyboard_is_enough(page: Any) -> None:
    before = listed(page)
    button = page.locator(".shelf button[value=like]:not([aria-disabled=true])").first
    button.focus()
    with page.expect_response(lambda got: "/?user=" in got.url and got.status == 200):
        page.keyboard.press("Enter")
    settle(page)
    assert listed(page) != before
    focused = page.evaluate("document.activeElement && document.activeElement.tagName")
    assert focused == "BUTTON", "the focus is lost after a click"


def test_nothing_runs_over_the_edge(page: Any) -> None:
    wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wider <= 0


def test_where_columns_scroll_the_page_does_not(page: Any) -> None:
    if page.viewport_size != WIDE:
        pytest.skip("on a phone the page itself scrolls")
    page.locator(".recommendations details summary").first.click()
    page.locator("#stages summary").click()
    longer = page.evaluate("document.documentElement.scrollHeight - window.innerHeight")
    assert longer <= 0


def test_a_search_begins_with_what_begins_so(page: Any, demo: Demo) -> None:
    page.goto(f"{demo.url}/?user=searcher&q=alien")
    titles = page.locator(".shelf .card-title").all_inner_texts()
    begins = [title.casefold().startswith("alien") for title in titles]
    assert begins[0]
    assert begins == sorted(begins, reverse=True)
    assert not page.evaluate(
        "[...document.querySelectorAll('*')].filter((found) => [...found.attributes].some("
        "({name}) => name === 'style' || name.startsWith('on'))).length"
    )


def test_with_a_key_as_password_the_page_works_and_without_it_there_is_none(
    made: Made, browser: Any, tmp_path: Path
) -> None:
    folder = shutil.copytree(made.project.parent, tmp_path / "demo")
    key = KeyFile(folder / ".tastemaker").add("me")
    with served(folder / made.project.name) as guarded:
        url = f"{guarded.url}/?user=visitor&label=Horror"
        anonymous_request = browser.new_context()
        with pytest.raises(Exception, match="ERR_INVALID_AUTH_CREDENTIALS"):
            anonymous_request.new_page().goto(url)
        anonymous_request.close()
        known = browser.new_context(http_credentials={"username": "anybody", "password": key})
        opened = known.new_page()
        wrong: list[str] = []
        opened.on("pageerror", lambda problem: wrong.append(str(problem)))
        opened.goto(url)
        before = listed(opened)
        act(opened, "like", 0, ".shelf")
        assert listed(opened) != before
        assert wrong == []
        known.close()
