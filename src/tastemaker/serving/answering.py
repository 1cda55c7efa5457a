"""Answers requests about a user. Slow reads run on a storing thread, not the scoring thread."""

from collections.abc import Callable
from typing import TypeVar

from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.serving.seen_items import ManySeenItems
from tastemaker.serving.service import Service
from tastemaker.serving.user_requests import Prepared
from tastemaker.serving.work_queue import WorkQueues

T = TypeVar("T")


async def score_request(
    service: Service,
    queues: WorkQueues,
    request: RecommendationRequest,
    work: Callable[[Prepared], T],
) -> T:
    """The result of `work` for a prepared request, computed on the scoring thread.

    If reading the user's events is slow, a storing thread prepares the request first.

    Args:
        service: the service that answers.
        queues: the work queues of the server.
        request: the parameters of the request.
        work: computes the result from the prepared request.
    """
    try:
        return await queues.scoring.run(lambda: work(service.prepare(request, allow_slow=False)))
    except ManySeenItems:
        prepared = await queues.storing.run(service.prepare, request)
        return await queues.scoring.run(work, prepared)
