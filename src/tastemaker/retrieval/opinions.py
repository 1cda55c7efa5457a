"""What a history likes and what it dislikes, apart: how a dislike counts, once for all models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tastemaker.compilation import kernel
from tastemaker.config import Settings
from tastemaker.data.requests import Requests


class DislikeSettings(Settings):
    """How the dislikes of a history count."""

    dislike_weight: float = Field(0.25, ge=0)
    """How much a dislike lowers the items like it, where a like raises them by 1; 0: only the
    disliked item itself is left out."""


@dataclass(frozen=True, slots=True)
class Opinions:
    """A batch of requests by what their histories like, and those that dislike something.

    A model scores both in the same way, and a candidate's score is

        s(likes) − dislike_weight × share × max(0, s(dislikes))

    so a dislike lowers what a like of the same item would raise, and raises nothing. With likes
    and dislikes of one item, the larger total weight decides, at equality the dislike; the events
    of the other sign do not count, as signs are never added up.

    Attributes:
        likes: all requests; only events of positive weight in their histories.
        dislikes: the requests with a dislike, their dislikes with positive weight and nothing
            else; None where there is none.
        rows: int64[m], which requests these are, ascending.
        share: float32[m], dislikes / likes of each, at most 1.
    """

    likes: Requests
    dislikes: Requests | None
    rows: NDArray[np.int64]
    share: NDArray[np.float32]

    @classmethod
    def of(cls, requests: Requests, dislike_weight: float) -> "Opinions":
        """Splits the histories; without a dislike, or with a weight of 0, they stay as they are.

        Args:
            requests: the batch.
            dislike_weight: the setting.
        """
        history = requests.history
        if not dislike_weight or not (history.weight < 0).any():
            return cls(requests, None, np.empty(0, np.int64), np.empty(0, np.float32))
        signed = np.empty(len(history.item), np.float32)
        counts = np.zeros((2, len(requests)), np.int64)
        _decide(history.offsets, history.item, history.weight, signed, counts)
        rows = np.flatnonzero(counts[1])
        share = np.minimum(1, counts[1, rows] / np.maximum(counts[0, rows], 1))
        dislikes = None
        if len(rows):
            dislikes = requests.with_weights(np.maximum(-signed, 0))
            if len(rows) < len(requests):
                dislikes = dislikes.take(rows)
        likes = requests.with_weights(np.maximum(signed, 0))
        return cls(likes, dislikes, rows, share.astype(np.float32))


@kernel
def _decide(offsets, item, weight, signed, counts):  # type: ignore[no-untyped-def]
    """Writes the weight of each event, 0 where events of the other sign decide for its item.

    Adds to `counts` [2 × rows] how many likes and dislikes of known items are left.
    """
    for row in range(len(offsets) - 1):
        start, stop = offsets[row], offsets[row + 1]
        for event in range(start, stop):
            signed[event] = weight[event]
        for event in range(start, stop):
            if weight[event] < 0:
                total = 0.0
                for other in range(start, stop):
                    if item[other] == item[event]:
                        total += weight[other]
                for other in range(start, stop):
                    if item[other] == item[event] and (weight[other] > 0) != (total > 0):
                        signed[other] = 0
        for event in range(start, stop):
            if item[event] >= 0:
                counts[0, row] += signed[event] > 0
                counts[1, row] += signed[event] < 0
