"""Content profiles: the strongest terms of a history, from its likes and dislikes."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.decay import LEAST_DECAY
from tastemaker.data.events import Histories
from tastemaker.data.ragged import offsets_of, ranges
from tastemaker.index.heap import keep
from tastemaker.retrieval.content_vectors import SparseRows


def event_weights(
    history: Histories, n_items: int, half_life: float, dislike_weight: float
) -> NDArray[np.float32]:
    """The weight of each event in its profile, float32[total]; 0 for unknown items.

    Args:
        history: the histories.
        n_items: the number of known items.
        half_life: the number of later events after which an event counts half.
        dislike_weight: the weight of a dislike relative to a like.
    """
    event_weight = np.zeros(len(history.item), np.float32)
    columns = (history.offsets, history.item, history.weight)
    _weigh_events(*columns, n_items, half_life, dislike_weight, event_weight)
    return event_weight


def profile_rows(
    history: Histories,
    event_weight: NDArray[np.float32],
    rows: SparseRows,
    added: SparseRows,
    width: int,
    most: int,
) -> SparseRows:
    """The profile terms of each history and their weights, terms ascending.

    These are the strongest terms of its likes, and as many terms that are strongest in its dislikes
    and not among the former. Dislikes do not affect which terms of the likes are selected, so a
    dislike never adds a term that raises a score.

    Args:
        history: the histories.
        event_weight: float32[total], the weight of each event in its profile.
        rows: the vectors of the fitted items.
        added: the vectors of the items added later.
        width: the number of terms.
        most: the maximum number of terms selected from likes, and from dislikes.
    """
    most = min(most, width)
    capacity = 2 * most if (event_weight < 0).any() else most
    terms = np.empty((len(history), capacity), np.int32)
    weights = np.empty((len(history), capacity), np.float32)
    counts = np.zeros(len(history), np.int64)
    if most:
        columns = (history.offsets, history.item, event_weight)
        _profiles(*columns, *rows, *added, width, most, terms, weights, counts)
    entries = ranges(np.arange(len(history)) * capacity, counts)
    return SparseRows(offsets_of(counts), terms.ravel()[entries], weights.ravel()[entries])


@kernel
def _weigh_events(offsets, item, weight, n_items, half_life, dislike_weight, event_weight):  # type: ignore[no-untyped-def]
    """Writes ½^(age / half_life) · log₂(1 + |weight|) of each event, × −dislike_weight if disliked.

    Age is the number of later events of known items; events of unknown items have weight 0.
    """
    for row in range(len(offsets) - 1):
        age = 0
        for event in range(offsets[row + 1] - 1, offsets[row] - 1, -1):
            event_weight[event] = 0
            if 0 <= item[event] < n_items and weight[event] != 0:
                decay = max(0.5 ** (age / half_life), LEAST_DECAY)
                strength = np.log2(1.0 + abs(weight[event])) * decay
                event_weight[event] = strength if weight[event] > 0 else -dislike_weight * strength
                age += 1


@kernel
def _profiles(  # type: ignore[no-untyped-def]
    offsets, item, event_weight, row_offsets, row_terms, row_weights, more_offsets, more_terms,
    more_weights, width, most, terms, weights, counts,
):  # fmt: skip
    """Writes each history's strongest terms, ascending: Σ over its events of weight × vector."""
    profile = np.zeros(width, np.float32)
    liked = np.zeros(width, np.float32)
    latest = np.full(width, -1, np.int64)
    touched = np.empty(width, np.int32)
    strengths = np.empty(most, np.float32)
    for row in range(len(offsets) - 1):
        size = 0
        for event in range(offsets[row], offsets[row + 1]):
            if event_weight[event] == 0:
                continue
            some, values = row_of(
                item[event], row_offsets, row_terms, row_weights, more_offsets, more_terms,
                more_weights,
            )  # fmt: skip
            for place in range(len(some)):
                term = some[place]
                if latest[term] != row:
                    latest[term] = row
                    profile[term], liked[term] = 0, 0
                    touched[size] = term
                    size += 1
                profile[term] += event_weight[event] * values[place]
                liked[term] += max(event_weight[event], np.float32(0)) * values[place]
        kept, against = 0, 0
        strongest = terms[row, :most]
        for place in range(size):
            if liked[touched[place]] > 0:
                term = touched[place]
                kept = keep(liked[term], term, strongest, strengths, kept)
        for place in range(kept):
            weights[row, place] = profile[terms[row, place]]
            profile[terms[row, place]] = 0
        if terms.shape[1] > most:
            left = terms[row, kept : kept + most]
            for place in range(size):
                if profile[touched[place]] < 0:
                    term = touched[place]
                    against = keep(-profile[term], term, left, strengths[: len(left)], against)
        for place in range(kept):
            profile[terms[row, place]] = weights[row, place]
        counts[row] = kept + against
        terms[row, : counts[row]].sort()
        for place in range(counts[row]):
            weights[row, place] = profile[terms[row, place]]


@kernel
def row_of(  # type: ignore[no-untyped-def]
    item, row_offsets, row_terms, row_weights, more_offsets, more_terms, more_weights
):
    """The terms and weights of an item, fitted or added; empty if it is unknown."""
    n_fitted, n_added = len(row_offsets) - 1, len(more_offsets) - 1
    if 0 <= item < n_fitted:
        start, stop = row_offsets[item], row_offsets[item + 1]
        return row_terms[start:stop], row_weights[start:stop]
    if 0 <= item - n_fitted < n_added:
        start, stop = more_offsets[item - n_fitted], more_offsets[item - n_fitted + 1]
        return more_terms[start:stop], more_weights[start:stop]
    return row_terms[:0], row_weights[:0]
