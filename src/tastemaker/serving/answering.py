"""Answers about a user: what there is to read of them is read where it holds up nobody else."""

from collections.abc import Callable
from typing import TypeVar

from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.serving.seen_items import ManySeenItems
from tastemaker.serving.service import Service
from tastemaker.serving.user_requests import Prepared
from tastemaker.serving.work_queue import WorkQueues

T = TypeVar("T")


async def answered(
    service: Service, lines: WorkQueues, asked: RecommendationRequest, work: Callable[[Prepared], T]
) -> T:
    """What `work` makes of a question, on the scoring thread.

    Where there is much to read of the user, a storing thread reads it first, and the scoring thread
    answers from what that has read.

    Args:
        service: that answers.
        lines: where it is done.
        asked: the question.
        work: answers it.
    """
    try:
        return await lines.scoring.run(lambda: work(service.prepare(asked, allow_slow=False)))
    except ManySeenItems:
        prepared = await lines.storing.run(service.prepare, asked)
        return await lines.scoring.run(work, prepared)
