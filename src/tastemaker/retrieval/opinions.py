"""Split histories into likes and dislikes: the handling of dislikes shared by all models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tastemaker.compilation import kernel
from tastemaker.config import Settings
from tastemaker.data.requests import Requests


class DislikeSettings(Settings):
    """Settings for the dislikes of a history."""

    dislike_weight: float = Field(0.25, ge=0)
    """How much a dislike lowers the scores of similar items, relative to a like, which raises them
    by 1. With 0, only the disliked item itself is left out."""


@dataclass(frozen=True, slots=True)
class Opinions:
    """A batch of requests split into the likes and the dislikes of their histories.

    A model scores both in the same way, and the score of a candidate is

        s(likes) − dislike_weight × share × max(0, s(dislikes))

    A dislike therefore lowers what a like of the same item would raise, and raises nothing. If a
    history has likes and dislikes of one item, the sign with the larger total weight is used, and
    the dislikes on a tie; the events of the other sign are ignored. Signs are never summed.

    Attributes:
        likes: all requests, with only the likes in their histories.
        dislikes: the requests with a dislike, with only their dislikes, at positive weight; None
            if no request has a dislike.
        rows: int64[m], the indices of these requests, ascending.
        share: float32[m], dislikes / likes of each, at most 1.
    """

    likes: Requests
    dislikes: Requests | None
    rows: NDArray[np.int64]
    share: NDArray[np.float32]

    @classmethod
    def of(cls, requests: Requests, dislike_weight: float) -> "Opinions":
        """The opinions of a batch; without dislikes, or at weight 0, histories are unchanged.

        Args:
            requests: the batch.
            dislike_weight: the setting of the model.
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
    """Writes the weight of each event, 0 if events of the other sign prevail for its item.

    Adds the number of remaining likes and dislikes of known items to `counts` [2 × rows].
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
