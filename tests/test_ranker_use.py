"""Whether a ranker is used, and how it did, in words and figures."""

import pytest

from tastemaker.component.ranker_use import RankerUse


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ({"earned": True, "fresh": 0.12, "merged": 0.11}, "used"),
        (
            {"earned": True, "fresh": 0.11, "merged": 0.12},
            "used (must_earn = false), though below the fusion: 0.1100 against 0.1200",
        ),
        (
            {"earned": True, "fresh": 0.11, "merged": 0.11},
            "used (must_earn = false), though no better than the fusion: 0.1100 against 0.1100",
        ),
        ({"earned": False, "fresh": 0.11, "merged": 0.12}, "not used"),
        ({"earned": True}, "used"),
    ],
)
def test_a_ranker_below_the_fusion_is_told_as_such(notes: dict[str, float], told: str) -> None:
    use = RankerUse.of(notes)
    assert str(use) == told
    assert use.better is ("though" not in told and use.used)
