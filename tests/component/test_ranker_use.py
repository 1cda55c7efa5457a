"""Whether a ranker is used, and its metrics, as text."""

import pytest

from tastemaker.component.ranker_use import RankerUse


@pytest.mark.parametrize(
    ("notes", "text", "better"),
    [
        ({"enabled": True, "better": True}, "used", True),
        ({"enabled": True}, "used", True),
        ({"enabled": False, "better": False}, "not used", False),
        (
            {"enabled": True, "better": False, "ranked": 0.11, "merged": 0.12, "single": 0.1},
            "used (require_improvement = false), although not better than the fusion and the "
            "sources: NDCG@10 0.1100 in the training windows, the fusion 0.1200, the best source "
            "0.1000",
            False,
        ),
    ],
)
def test_a_ranker_says_whether_and_why_it_is_used(
    notes: dict[str, float], text: str, better: bool
) -> None:
    use = RankerUse.of(notes)
    assert str(use) == text
    assert use.better is better
