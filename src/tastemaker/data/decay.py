"""Exponential decay of event weights, without underflow for old events."""

import numpy as np

from tastemaker.compilation import kernel

_LINEAR_EXPONENT = -64.0
_LARGEST_EXPONENT = -32.0
LEAST_DECAY = 2.0**_LINEAR_EXPONENT
"""The minimum decay factor; it keeps products normal (not subnormal) in float32."""
_LEAST_RUNNING = 2.0**-1000
"""The minimum weight of an item between two of its events; float64 ends at 2⁻¹⁰²²."""


@kernel
def first_not_before(times, first, last, moment):  # type: ignore[no-untyped-def]
    """The first position in sorted times[first:last] whose time is not before `moment`.

    Searches back from the end in doubling steps, since most moments are near the latest event, then
    by bisection between the last two steps.
    """
    end, step = last, 1
    while first < last:
        back = max(first, end - step)
        if times[back] < moment:
            first = back + 1
            break
        last = back
        step *= 2
    while first < last:
        middle = (first + last) // 2
        if times[middle] < moment:
            first = middle + 1
        else:
            last = middle
    return first


@kernel
def running_weights(offsets, time, weight, half_life):  # type: ignore[no-untyped-def]
    """The decayed positive weight of an item just after each of its events, float64[n]."""
    running = np.empty(len(time), np.float64)
    for item in range(len(offsets) - 1):
        total = 0.0
        for event in range(offsets[item], offsets[item + 1]):
            if total > 0.0:
                decayed = total * 2.0 ** (-(time[event] - time[event - 1]) / half_life)
                total = max(decayed, _LEAST_RUNNING)
            total += max(weight[event], 0.0)
            running[event] = total
    return running


@kernel
def decayed_weights(  # type: ignore[no-untyped-def]
    offsets, time, running, tail_offsets, tail_time, tail_running, moment, half_life, out
):
    """Writes each item's decayed positive weight at `moment`, from both parts of the log.

    If the largest weight is below 2⁻³², all are scaled so that it is 2⁻³²: a log that ended long
    ago gives the weights of 32 half-lives after its end. The exponent e of a weight below 2⁻⁶⁴
    then becomes −64 − ln(−63 − e): the order is kept, and no weight is subnormal.
    """
    largest = 0.0
    weights = np.empty(len(offsets) - 1, np.float64)
    for item in range(len(weights)):
        weight = _weight_at(offsets, time, running, item, moment, half_life)
        weight += _weight_at(tail_offsets, tail_time, tail_running, item, moment, half_life)
        weights[item] = weight
        largest = max(largest, weight)
    shift = 0.0
    if largest < 2.0**_LARGEST_EXPONENT:
        shift = -np.inf
        for item in range(len(weights)):
            one = _exponent_at(offsets, time, running, item, moment, half_life)
            two = _exponent_at(tail_offsets, tail_time, tail_running, item, moment, half_life)
            shift = max(shift, _sum_of(one, two))
        if shift == -np.inf:
            return
        shift = _LARGEST_EXPONENT - shift
    for item in range(len(weights)):
        if shift == 0.0 and weights[item] >= LEAST_DECAY:
            out[item] = weights[item]
            continue
        one = _exponent_at(offsets, time, running, item, moment, half_life)
        two = _exponent_at(tail_offsets, tail_time, tail_running, item, moment, half_life)
        exponent = _sum_of(one, two) + shift
        if exponent > -np.inf:
            below = max(1.0 + _LINEAR_EXPONENT - exponent, 1.0)
            out[item] = 2.0 ** (max(exponent, _LINEAR_EXPONENT) - np.log(below))


@kernel
def _sum_of(one, two):  # type: ignore[no-untyped-def]
    """log₂(2^one + 2^two); −∞ represents the logarithm of 0."""
    more, less = max(one, two), min(one, two)
    if less == -np.inf:
        return more
    return more + np.log2(1.0 + 2.0 ** (less - more))


@kernel
def _weight_at(offsets, time, running, item, moment, half_life):  # type: ignore[no-untyped-def]
    """An item's decayed positive weight at `moment`."""
    last = first_not_before(time, offsets[item], offsets[item + 1], moment) - 1
    if last < offsets[item]:
        return 0.0
    return running[last] * 2.0 ** (-(moment - time[last]) / half_life)


@kernel
def _exponent_at(offsets, time, running, item, moment, half_life):  # type: ignore[no-untyped-def]
    """The binary logarithm of an item's decayed positive weight at `moment`; −∞ for 0."""
    last = first_not_before(time, offsets[item], offsets[item + 1], moment) - 1
    if last < offsets[item] or not running[last] > 0.0:
        return -np.inf
    return np.log2(running[last]) - (moment - time[last]) / half_life
