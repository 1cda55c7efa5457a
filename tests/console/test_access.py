"""The page is accessible: by keyboard, with a screen reader, in dark mode, without scripts."""

import re
from itertools import pairwise
from typing import Any

import pytest

from tastemaker.console import ASSETS, asset, render_error


def name_of(element: Any, page: Any) -> str:
    """The accessible name of a control."""
    if element["aria-label"]:
        return str(element["aria-label"])
    if element["id"] and (labels := page.all("label", **{"for": element["id"]})):
        return str(labels[0].text)
    return str(element.text)


def test_the_page_has_one_h1_and_skips_no_heading_level(read: Any) -> None:
    orders = [int(e.tag[1]) for e in read() if re.fullmatch("h[1-6]", e.tag)]
    assert orders.count(1) == 1
    assert orders[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(orders))


def test_every_control_has_a_name(read: Any) -> None:
    page = read()
    controls = [e for e in page if e.tag in ("a", "button", "summary")]
    controls += [e for e in page.all("input") if e["type"] != "hidden"]
    assert len(controls) > 20
    assert all(name_of(e, page) for e in controls)


def test_buttons_name_their_item(read: Any) -> None:
    names = [b["aria-label"] for b in read().all("button", name="event_type", type="submit")]
    assert "I like Alien (1979)" in names
    assert "Not for me: Psycho (1960)" in names
    assert len(set(names)) == len(names)


def test_ids_are_unique_and_references_resolve(read: Any) -> None:
    page = read()
    ids = [e["id"] for e in page if e["id"] is not None]
    assert len(ids) == len(set(ids))
    for e in page:
        for name in ("for", "aria-labelledby", "aria-describedby"):
            assert set((e[name] or "").split()) <= set(ids)
        if (e["href"] or "").startswith("#"):
            assert e["href"][1:] in ids
    assert set(page.one("div", of="page")["hx-target"].split("#")) <= {"", *ids}


def test_the_first_link_skips_to_the_recommendations(read: Any) -> None:
    page = read()
    assert page.all("a")[0]["href"] == "#recommendations"
    assert page.one("section", id="recommendations")["tabindex"] == "-1"


def test_the_live_region_is_not_swapped_with_the_page(read: Any) -> None:
    page = read()
    assert page.one("p", id="announcement")["role"] == "status"
    assert not page.one("div", id="page").all("p", id="announcement")


def test_decoration_is_hidden_from_screen_readers(read: Any) -> None:
    for svg in read().all("svg"):
        assert svg["aria-hidden"] == "true" or svg["role"] == "img"


def test_the_language_and_the_viewport_are_declared(read: Any) -> None:
    page = read()
    assert page.one("html")["lang"] == "en"
    assert "maximum-scale" not in page.one("meta", name="viewport")["content"]


@pytest.mark.parametrize("error", [False, True])
def test_nothing_is_loaded_from_other_hosts(read: Any, parse: Any, error: bool) -> None:
    page = parse(render_error("Gone", "No items found")) if error else read()
    for e in page:
        for name in ("src", "href", "action"):
            if e[name] is not None:
                assert re.match(r"(/(?!/)|#)", e[name]), e[name]
    loaded = [e["src"] for e in page.all("script")] + [e["href"] for e in page.all("link")]
    for url in loaded:
        assert url.removeprefix("/console/assets/") in ASSETS


def test_htmx_attributes_are_inside_the_swapped_element(read: Any) -> None:
    swapped = read().one("div", id="page")
    assert not [name for name in swapped.attributes if name.startswith("hx-")]
    inside = swapped.one("div", of="page")
    assert (inside["hx-boost"], inside["hx-select"]) == ("true", "#page > *")
    assert {"innerHTML", "show:none"} <= set(inside["hx-swap"].split())


# --- light and dark ---


def colours(scheme: str) -> dict[str, str]:
    css = (asset("base.css") or (b"", ""))[0].decode()
    light, dark = (re.findall(r"--([\w-]+): (#\w{6});", block) for block in css.split("@media")[:2])
    return dict(light) if scheme == "light" else {**dict(light), **dict(dark)}


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXT = [
    ("ink", "paper"),
    ("ink", "sheet"),
    ("ink", "flow"),
    ("soft", "paper"),
    ("soft", "sheet"),
    ("soft", "flow"),
    ("accent", "paper"),
    ("accent", "accent-wash"),
    ("warning-ink", "warning-wash"),
]
GRAPHICS = ["focus", "control", "passed", "against", *(f"source-{place}" for place in range(8))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_graphics_meet_wcag_contrast(scheme: str) -> None:
    colour = colours(scheme)
    for front, back in TEXT:
        assert contrast(colour[front], colour[back]) >= 4.5, (front, back)
    for front in GRAPHICS:
        assert contrast(colour[front], colour["paper"]) >= 3, front


def test_letters_on_covers_meet_wcag_contrast() -> None:
    css = (asset("covers.css") or (b"", ""))[0].decode()
    grounds = re.findall(r"--ground: (#\w{6})", css)
    assert len(grounds) == 12
    assert all(contrast("#ffffff", ground) >= 7 for ground in grounds)


def test_reduced_motion_disables_motion() -> None:
    css = (asset("base.css") or (b"", ""))[0].decode()
    assert re.search(r"prefers-reduced-motion: reduce\) \{[^@]*animation: none", css)
