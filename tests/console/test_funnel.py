"""The picture, the table and the trace have the same numbers."""

from typing import Any

import pytest

from tastemaker.console.funnel import steps_of, why_empty
from tastemaker.console.picture import WIDTH, draw


def stage(name: str, n_in: int, n_out: int, ms: float = 1.0) -> dict[str, Any]:
    return {"name": name, "in": n_in, "out": n_out, "ms": ms}


def traced(*stages: dict[str, Any], degraded: tuple[str, ...] = ()) -> dict[str, Any]:
    left_out = [{"stage": name, "reason": "for a reason"} for name in degraded]
    return {"items": [], "degraded": left_out, "trace": {"stages": list(stages), "items": []}}


def picture_rows(page: Any) -> list[list[str]]:
    """Name, items and time in the picture, line by line."""
    rows: list[list[str]] = []
    for text in page.one("svg", of="funnel-picture").all("text"):
        if text["x"] in ("0", "18") and "counts" not in text.classes:
            rows.append([])
        content = (
            text.text.partition(": ")[2] or text.text if "counts" in text.classes else text.text
        )
        rows[-1].append(content)
    return rows


def test_the_funnel_shows_every_stage_with_input_and_output(read: Any) -> None:
    rows = picture_rows(read())
    assert ["ease", "returned 1,200", "0.46 ms"] in rows
    assert ["trending", "returned 0", "0.26 ms"] in rows
    assert ["found", "2,976"] in rows
    assert ["merged", "2,976 → 560", "0.34 ms"] in rows
    assert ["made varied", "557 → 20", "12 ms"] in rows
    assert rows[-1] == ["shown", "20 → 2", "0.00 ms"]


def test_a_source_shows_quota_returned_and_kept_items(read: Any) -> None:
    row = ["close to your taste", "quota 100, returned 1,776, kept 360", "0.42 ms"]
    assert row in picture_rows(read())


def test_the_table_matches_the_picture(read: Any) -> None:
    page = read()
    table = [
        [tr.one("th").children[0].strip(), *(td.text for td in tr.all("td"))]
        for tr in page.one("details", id="stages").one("tbody").all("tr")
    ]
    assert table == [row for row in picture_rows(page) if row[0] != "found"]


def test_the_picture_has_a_title_and_a_description(read: Any) -> None:
    svg = read().one("svg", of="funnel-picture")
    assert svg["role"] == "img"
    named = [svg.one("title")["id"], svg.one("desc")["id"]]
    assert svg["aria-labelledby"].split() == named
    assert "3 sources found 2,976 items; merged: 2,976 → 560" in svg.one("desc").text


def test_notes_of_a_stage_are_in_the_table(read: Any) -> None:
    assert "2 alike put apart" in read().one("details", id="stages").text


def test_widths_follow_counts(view: Any) -> None:
    picture = draw(steps_of(view.answer))
    assert picture is not None
    assert [part.name for part in picture.parts] == ["ease", "als"]
    first, second = picture.parts
    assert (first.width + 1) / (second.width + 1) == pytest.approx(1200 / 1776, rel=0.01)
    assert second.x + second.width == pytest.approx(WIDTH, abs=1.1)
    widths = {bar.step.name: bar.width for bar in picture.bars}
    assert widths["merge"] == pytest.approx(WIDTH * 560 / 2976, abs=0.1)
    assert 0 < widths["select"] <= widths["diverse"] < widths["merge"] < WIDTH


def test_everything_drawn_is_inside_the_picture(view: Any) -> None:
    picture = draw(steps_of(view.answer))
    assert picture is not None
    for bar in picture.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH + 0.1
        assert bar.y + picture.bar <= picture.height


def test_a_source_that_was_left_out_keeps_its_place(read: Any, changed: Any) -> None:
    left_out = [{"stage": "retrieve:trending", "reason": "did not answer in time"}]
    assert ["trending", "left out", ""] in picture_rows(read(answer=changed(degraded=left_out)))


def test_a_stage_that_never_ran_is_listed_at_its_place() -> None:
    answer = traced(
        stage("retrieve:a", 0, 5),
        stage("merge", 5, 5),
        stage("select", 5, 2),
        degraded=("rank", "retrieve:b", "retrieve"),
    )
    steps = steps_of(answer)
    assert [step.name for step in steps] == ["a", "b", "merge", "rank", "select"]
    assert [step.items for step in steps] == [
        "returned 5",
        "left out",
        "5 → 5",
        "left out",
        "5 → 2",
    ]


def test_an_incomplete_stage_is_marked() -> None:
    answer = traced(
        stage("retrieve:a", 0, 50),
        stage("rank", 50, 30),
        stage("select", 30, 2),
        degraded=("rank",),
    )
    assert [step.items for step in steps_of(answer)][1] == "50 → 30, cut short"


@pytest.mark.parametrize("found", [0, 1, 1_000_000])
def test_any_numbers_can_be_drawn(found: int) -> None:
    answer = traced(
        stage("retrieve:a", 0, found), stage("merge", found, found), stage("select", found, 0)
    )
    picture = draw(steps_of(answer))
    assert picture is not None
    assert all(0 <= bar.width <= WIDTH for bar in picture.bars)


def test_more_sources_than_colors_repeat_them() -> None:
    sources = [stage(f"retrieve:s{place}", 0, 10) for place in range(11)]
    picture = draw(steps_of(traced(*sources, stage("merge", 110, 10))))
    assert picture is not None
    assert [key.color for key in picture.keys] == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"items": []}, "no items and no trace"),
        (
            traced(stage("retrieve:a", 0, 0), stage("merge", 0, 0)),
            "there are not enough events yet",
        ),
        (
            traced(stage("retrieve:a", 0, 0), stage("merge", 0, 0), degraded=("retrieve:a",)),
            "some sources were left out",
        ),
        (
            traced(stage("retrieve:a", 0, 9), stage("merge", 9, 9), stage("filter", 9, 0)),
            "All 9 items were filtered out",
        ),
        (
            traced(stage("retrieve:a", 0, 9), stage("merge", 9, 9), stage("rerank:rules", 9, 0)),
            "'rules' removed all 9 items",
        ),
        (
            traced(stage("retrieve:a", 0, 9), stage("merge", 9, 9), degraded=("rerank:rules",)),
            "a required stage was left out",
        ),
    ],
)
def test_an_empty_list_is_explained_by_its_stages(answer: dict[str, Any], reason: str) -> None:
    assert reason in why_empty(answer)
