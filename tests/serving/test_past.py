"""A user's stored events ask what the whole log would have asked for them."""

import numpy as np
import pytest

from tastemaker.data import times
from tastemaker.data.seen import SeenPolicy
from tastemaker.serving import Asked, Service
from tastemaker.store import check_event
from tests.data.test_past import assert_same
from tests.serving.conftest import START, item


@pytest.mark.parametrize("rules", [{}, {"click": "allow"}, {"click": "exclude for 1d"}])
def test_stored_events_ask_what_the_log_would_have_asked(
    service: Service, rules: dict[str, str]
) -> None:
    kinds, now = service.project.file.events, times.now()
    told = [
        {"user_id": f"user-{n % 50}", "item_id": item(n % 4, n % 12), "timestamp": START + n * 7,
         "event_type": ("click", "dislike")[n % 5 == 0]}
        for n in range(200)
    ]  # fmt: skip
    service.store.append([check_event(fields, kinds, None, now) for fields in told]).result()
    service.refresh()
    data, seen = service.store.dataset(service.project.schema), SeenPolicy.of(kinds, rules)
    live = service.live
    random = np.random.default_rng(0)
    for user, id_ in enumerate(data.users.ids(range(len(data.users)))):
        for moment in [now, *random.integers(START * 10**6, (START + 5_000) * 10**6, 5).tolist()]:
            past = live.past(service.store.history(id_))
            asked = past.request(moment, kinds, seen, user_id=id_)
            assert_same(asked, data.requests(np.array([user]), np.array([moment]), seen=seen))


def test_a_question_about_a_user_is_that_request(service: Service) -> None:
    now = times.now()
    data = service.store.dataset(service.project.schema)
    user = data.users.index("user-3")
    asked = Asked("user-3").request(service.live, service.store.history("user-3"), now)
    seen = service.live.recommender.seen(None)
    logs = data.requests(np.array([user]), np.array([now]), seen=seen, placement="home")
    assert_same(asked, logs)
