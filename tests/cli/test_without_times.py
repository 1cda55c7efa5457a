"""An event log without times, from its files to recommendations."""

from typing import Any

import pytest

HOLDOUT = '[split]\ntype = "holdout"\ntest = 0.2\n'


@pytest.fixture
def timeless(shop: Any) -> Any:
    """The shop, with events that have only user, item and type."""
    shop.write([row.rsplit(",", 1)[0] for row in shop.rows], "user_id,item_id,event_type")
    shop.change("[data]", '[data]\nclock = "none"')
    shop.change("[split]\ntest = 0.2\n", HOLDOUT)
    return shop


def test_a_log_without_times_is_trained_and_evaluated(timeless: Any, run: Any) -> None:
    assert run("validate", "--json").json["events"]["kept"] == 84
    assert run("train", "--json").code == 0
    for window in ("test", "validation"):
        result = run("evaluate", "--window", window, "--k", "3", "--json").json
        assert result["protocol"]["split"] == "holdout"
        assert result["protocol"]["window"] == window
        assert result["systems"].keys() == {"popular", "item_knn", "pipeline"}
        assert result["systems"]["pipeline"]["ndcg@3"]["value"] > 0
    assert "Warning: the split leaks the future" in run("evaluate", "--k", "3").out
    answer = run("recommend", "--user", "u1", "--n", "3", "--json").json
    assert len(answer["items"]) == 3


@pytest.mark.parametrize("clock", ["none", "ordinal"])
def test_without_times_the_error_suggests_a_split(timeless: Any, run: Any, clock: str) -> None:
    timeless.change('clock = "none"', f'clock = "{clock}"')
    timeless.change(HOLDOUT, "")
    message = run("evaluate").refused(2)
    assert f'but [data] clock is "{clock}": write type = "holdout" and test = 0.2 under' in message


def test_a_seen_policy_does_not_stop_a_holdout(timeless: Any, run: Any) -> None:
    timeless.change("[placements.cart]", 'seen = { view = "allow" }\n[placements.cart]')
    assert run("evaluate", "--k", "3").code == 0


def test_a_ranker_without_times_is_a_one_line_error(timeless: Any, run: Any) -> None:
    timeless.change(
        "[placements.home]", '[rankers.main]\ntype = "gbm"\n[placements.home]\nranker = "main"'
    )
    for verb in ("train", "evaluate"):
        assert '[placements.home] ranker = "main": a ranker' in run(verb).refused(2)


def test_all_errors_of_a_project_are_reported_with_exit_code_2(shop: Any, run: Any) -> None:
    shop.change("[events.view]", "[event.view]")
    shop.change("[split]", "[splt]")
    done = run("validate")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: tastemaker.toml: 2 errors",
        "  unknown section [event.view]; did you mean [events.view]?",
        "  unknown section [splt]; did you mean [split]?",
    ]


@pytest.mark.parametrize("verb", ["validate", "train"])
def test_all_missing_files_are_reported_at_once(shop: Any, run: Any, verb: str) -> None:
    shop.change('"events.csv"', '["event.csv", "more.csv"]')
    shop.change('"items.csv"', '"item.csv"')
    done = run(verb)
    assert (done.code, done.out) == (2, "")
    first, *others = done.err.splitlines()
    assert first == "error: tastemaker.toml: 3 errors"
    assert ["did you mean 'events.csv'?" in line for line in others] == [True, False, False]
    assert others[1].endswith("more.csv: no such file")
    assert others[2].endswith("item.csv: no such file; did you mean 'items.csv'?")
