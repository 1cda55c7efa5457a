"""Acknowledged events count at once even if the server's clock was set back."""

import pytest

from tastemaker.data import times
from tastemaker.data.times import MICROSECONDS
from tastemaker.serving import RecommendationRequest, Service
from tests.serving.conftest import item


def tell(service: Service, user: str, *items: str, kind: str = "click") -> None:
    events = [{"user_id": user, "item_id": id_, "event_type": kind} for id_ in items]
    service.add_events(events).written.result()


def shown(service: Service, user: str, n: int = 8) -> list[str]:
    return [
        entry["item_id"] for entry in service.recommend(RecommendationRequest(user, n=n))["items"]
    ]


@pytest.mark.parametrize("back", ["s", "h", "d"])
def test_events_from_before_the_clock_went_back_still_count(
    service: Service, monkeypatch: pytest.MonkeyPatch, back: str
) -> None:
    horror = [item(0, place) for place in range(3)]
    tell(service, "visitor", *horror)
    tell(service, "visitor", item(0, 5), kind="dislike")
    before = shown(service, "visitor")
    present = times.now
    monkeypatch.setattr(times, "now", lambda: present() - 2 * MICROSECONDS[back])
    after = shown(service, "visitor", n=48)
    assert set(after[:8]) == set(before)
    assert not {*horror, item(0, 5)} & set(after)


def test_events_after_the_clock_went_back_count_too(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(service, "visitor", item(0, 0))
    present = times.now
    monkeypatch.setattr(times, "now", lambda: present() - MICROSECONDS["h"])
    tell(service, "visitor", item(1, 0), item(1, 1))
    result = shown(service, "visitor", n=48)
    assert not {item(0, 0), item(1, 0), item(1, 1)} & set(result)
    assert any(id_.startswith("comedy") for id_ in result[:8])
    service.refresh()  # statistics include late events
    assert shown(service, "visitor", n=48)
