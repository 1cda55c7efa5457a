"""The page shows the user, the shelf, the recommendations and their reasons."""

import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tastemaker.console import Card, KnownUser, Shelf, render_error

NASTY = [
    "<script>alert(1)</script>",
    '"/><b>',
    "' onclick='x",
    "{{ 7 * 7 }}",
    "a/b?c=d&e=f#g",
    "🦊 naïve",
    "two words",
    "",
]


def given(form: Any) -> dict[str, str]:
    return {field["name"]: field["value"] for field in form.all("input", type="hidden")}


# --- escaping ---


@pytest.mark.parametrize("text", NASTY)
def test_data_is_rendered_as_text_only(read: Any, view: Any, text: str) -> None:
    plain = read()
    card = Card(text, text, (text,), detail=text)
    answer = {
        **view.answer,
        "model_version": text,
        "recommendation_id": text,
        "degraded": [{"stage": text, "reason": text}],
        "items": [{**item, "item_id": text} for item in view.answer["items"][:1]],
    }
    page = read(
        project=text,
        user_id=text,
        shelf=Shelf((card,), (text,), text, text),
        answer=answer,
        cards={text: card},
        latest=(card,),
        users=(KnownUser(text, text),),
        like_verb=text,
        stage_words={"retrieve:als": text, "rank": text},
    )
    assert [e.tag for e in page.all("script")] == [e.tag for e in plain.all("script")]
    assert not page.all("b") or {b.text for b in page.all("b")} == {" ".join(text.split())}
    assert not [name for e in page for name in e.attributes if name.startswith("on")]
    assert page.one("h1").text == " ".join(text.split())


@pytest.mark.parametrize("text", NASTY)
def test_ids_and_queries_round_trip_through_forms_and_links(read: Any, text: str) -> None:
    shelf = Shelf((Card(text, "Alien"),), (text,), text, text)
    page = read(user_id=text, shelf=shelf, users=(KnownUser(text),))
    form = page.all("form", of="card")[0]
    assert given(form) == {"user": text, "item_id": text, "label": text, "q": text}
    link = page.one("nav", **{"aria-label": "Known users"}).one("a")
    assert parse_qs(urlsplit(link["href"]).query, keep_blank_values=True) == {"user": [text]}
    narrow = page.one("ul", id="filters").all("a")[1]
    sent = parse_qs(urlsplit(narrow["href"]).query, keep_blank_values=True)
    assert sent["user"] == [text]
    assert sent.get("label", [""]) == sent.get("q", [""]) == [text]
    assert " " not in form.all("button")[0]["id"]


# --- events ---


def test_every_event_form_has_user_item_and_shelf_state(read: Any) -> None:
    forms = read().all("form", action="/console/events")
    assert len(forms) == 5
    for form in forms:
        assert form["method"] == "post"
        fields = given(form)
        assert (fields["user"], fields["label"], fields["q"]) == ("visitor-1", "Horror", "th")
        assert fields["item_id"]
        kinds = [(b["name"], b["value"]) for b in form.all("button")]
        assert kinds == [("event_type", "like"), ("event_type", "dislike")]


def test_an_event_on_a_recommendation_has_its_id_and_position(read: Any) -> None:
    page = read()
    forms = [given(form) for form in page.all("form", of="act")]
    assert [(f["item_id"], f["recommendation_id"], f["position"]) for f in forms] == [
        ("1219", "rec-1", "1"),
        ("4306", "rec-1", "2"),
    ]
    assert all("position" not in given(form) for form in page.all("form", of="card"))


def test_without_a_dislike_type_there_is_no_dislike_button(read: Any) -> None:
    page = read(dislike_kind=None)
    assert {b["value"] for b in page.all("button", name="event_type")} == {"like"}


def test_feedback_is_shown_on_the_shelf_and_not_sent_twice(read: Any) -> None:
    alien, thing, grease = read().all("form", of="card")
    assert [form.classes for form in (alien, thing, grease)] == [
        ["card"],
        ["card", "liked"],
        ["card", "disliked"],
    ]
    sends = [[b["type"] == "submit" for b in form.all("button")] for form in (alien, thing, grease)]
    assert sends == [[True, True], [False, True], [True, False]]
    assert thing.all("button")[0]["aria-label"] == "The Thing (1982): you liked it"


def test_the_selected_label_and_the_query_are_kept(read: Any) -> None:
    page = read()
    chosen = page.one("ul", id="filters").one("a", **{"aria-current": "true"})
    assert chosen.text == "Horror"
    search = page.one("form", role="search")
    assert given(search) == {"user": "visitor-1", "label": "Horror"}
    assert search.one("input", id="q")["value"] == "th"
    assert (search["action"], search["method"]) == ("/", "get")


def test_an_empty_shelf_has_a_message_and_a_link(read: Any) -> None:
    page = read(shelf=Shelf((), ("Horror",), "Horror", "zzz"))
    nothing = page.one("p", of="nothing")
    assert nothing.text.startswith("No items found for “zzz” in Horror.")
    assert nothing.one("a")["href"] == "/?user=visitor-1"


# --- user ---


def test_the_header_shows_the_user_and_how_to_switch(read: Any) -> None:
    header = read().one("header")
    assert "You are visitor-1 , new here" in header.text
    assert header.one("a", of="new-user")["href"] == "/?user="
    hrefs = [a["href"] for a in header.one("nav").all("a")]
    assert hrefs == ["/?user=42", "/?user=a%2Fb"]
    assert "20260101T000000-abcdef12" in header.text


def test_a_known_user_is_not_called_new(read: Any) -> None:
    assert "new here" not in read(known=True).text


def test_the_latest_actions_are_listed_in_words(read: Any) -> None:
    actions = [li.text for li in read().one("ul", id="latest").all("li")]
    assert actions == ["disliked Grease", "liked The Thing"]


# --- recommendations ---


def test_each_item_has_rank_title_labels_and_its_main_reason(read: Any) -> None:
    first, second = read().all("li", of="entry")
    assert first.one("span", of="rank").text == "1"
    assert first.one("h3").text == "Psycho 1960 just added"
    assert first.one("span", of="fresh").attributes.get("hidden", "shown") is None
    assert first.one("p", of="labels").text == "Horror"
    assert first.one("p", of="reason").text == "because you liked The Thing"
    assert not second.all("p", of="reason")


def test_the_explanation_shows_sources_features_and_predictions(read: Any) -> None:
    why = read().all("details", of="why")[0]
    found, predicted = why.all("ul", of="found")
    assert [li.text for li in found.all("li")] == [
        "close to your taste no. 3 of als",
        "ease no. 12",
    ]
    assert [li.text for li in predicted.all("li")] == ["Score of the ranking model: −1.04"]
    assert "It only orders this list" in why.text
    rows = [[cell.text for cell in tr if cell.tag in ("th", "td")] for tr in why.all("tr")[1:]]
    assert rows == [
        ["likes ever", "5.5", "", "+0.400"],
        ["its age", "unknown", "", "−0.100"],
    ]


def test_a_bar_shows_the_size_and_sign_of_its_weight(read: Any) -> None:
    bars = read().one("table", of="effects").all("rect")
    assert [(b["class"], b["x"], b["width"]) for b in bars] == [
        ("for", "50.0", "50.0"),
        ("against", "37.5", "12.5"),
    ]


def test_a_source_has_one_color_everywhere(read: Any) -> None:
    page = read()
    spots = {
        li.text.split()[-1]: li.one("span", of="spot").classes[1]
        for li in page.all("ul", of="found")[0].all("li")
    }
    assert spots == {"12": "source-0", "als": "source-1"}
    keys = [c["class"] for c in page.one("svg", of="funnel-picture").all("circle")]
    assert keys == ["source-0", "source-1", "source-2"]


def test_an_item_without_a_card_is_shown_by_its_title(read: Any) -> None:
    titles = [h3.text for h3 in read(cards={}).all("h3")]
    assert titles == ["Psycho just added", "Shrek just added"]


# --- words ---


@pytest.mark.parametrize(
    ("verb", "question", "button"),
    [
        ("liked", "What do you like?", "I like Alien (1979)"),
        ("bought", "What have you bought?", "I bought Alien (1979)"),
        ("clicked", "What interests you?", "I clicked Alien (1979)"),
    ],
)
def test_the_shelf_heading_matches_the_button(
    read: Any, verb: str, question: str, button: str
) -> None:
    page = read(like_verb=verb)
    assert page.one("h2", id="shelf-title").text == question
    assert page.all("form", of="card")[0].all("button")[0]["aria-label"] == button


def test_a_purchase_is_never_called_a_like(read: Any, view: Any) -> None:
    bought = replace(view.shelf.cards[1], verb="bought")
    page = read(like_verb="bought", latest=(bought,), shelf=replace(view.shelf, cards=(bought,)))
    assert page.one("ul", id="latest").text == "bought The Thing"
    labels = [b["aria-label"] for b in page.all("button") if b["aria-label"]]
    assert "The Thing (1982): you bought it" in labels
    assert not [label for label in labels if "like" in label.casefold()]


def test_known_users_are_listed_with_their_interests(read: Any) -> None:
    found = read().one("nav", **{"aria-label": "Known users"}).all("a")
    links = [a.text.replace(" ,", ",") for a in found]
    assert links == ["user 42, mostly Horror", "user a/b"]


def test_a_probability_is_shown_as_a_percentage(read: Any, view: Any) -> None:
    answer = deepcopy(dict(view.answer))
    answer["trace"]["items"][0]["predicted"] = {"relevant": 0.031, "purchase": 0.5}
    predicted = read(answer=answer, chances=True).one("ul", of="predicted")
    assert [li.text for li in predicted.all("li")] == [
        "Probability that you choose it soon: 3.1 %",
        "Probability that you choose it soon, by 'purchase': 50 %",
    ]


def test_the_reason_of_a_source_is_described_in_words(read: Any) -> None:
    why = read().all("details", of="why")[0]
    assert why.all("p")[0].text == "close to your taste"


# --- incomplete responses ---


def test_stages_that_were_left_out_are_reported(read: Any, changed: Any) -> None:
    left_out = [{"stage": "rank", "reason": "ValueError: no such <column>"}]
    page = read(answer=changed(degraded=left_out))
    assert page.one("div", of="degraded").one("li").text == "ranked : ValueError: no such <column>"
    assert not read().all("div", of="degraded")


def test_an_empty_list_is_explained(read: Any, changed: Any) -> None:
    page = read(answer=changed(items=[]), latest=())
    assert not page.all("ol")
    assert "popular items" not in page.text
    assert page.one("p", of="nothing").text.startswith("Nothing to recommend.")


def test_a_response_without_a_trace_still_renders(read: Any, view: Any) -> None:
    page = read(answer={"items": view.answer["items"]})
    assert len(page.all("li", of="entry")) == 2
    assert not page.all("svg", of="funnel-picture")
    assert "no trace" in page.one("section", of="funnel").text


def test_an_error_page_has_a_link_back(parse: Any) -> None:
    page = parse(render_error("Not <here>", "Nobody & nothing"))
    assert page.one("h1").text == "Not <here>"
    assert "Nobody & nothing" in page.text
    assert page.one("main").one("a")["href"] == "/"


def test_rendering_is_deterministic(view: Any) -> None:
    from tastemaker.console import render

    assert render(view) == render(replace(view))


def test_importing_the_console_loads_no_templates() -> None:
    code = "import sys, tastemaker.console; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"jinja2", "fastapi", "numpy"} & set(loaded)
