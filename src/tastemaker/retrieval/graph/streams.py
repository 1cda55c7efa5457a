"""Random numbers in kernels: a small stream per row, independent of the number of threads."""

import numpy as np

from tastemaker.compilation import kernel


@kernel
def mixed(seed, number):  # type: ignore[no-untyped-def]
    """The nonzero initial state of stream `number`: splitmix64 (Steele, Lea & Flood 2014)."""
    z = np.uint64(seed) + (np.uint64(number) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return z if z != 0 else np.uint64(1)


@kernel
def next_state(state):  # type: ignore[no-untyped-def]
    """The next state of a stream: xorshift64 (Marsaglia 2003); nonzero if `state` is nonzero."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    return state ^ (state << np.uint64(17))


@kernel
def uniform(state):  # type: ignore[no-untyped-def]
    """A number in [0, 1) from the 53 upper bits of the scrambled state."""
    scrambled = state * np.uint64(0x2545F4914F6CDD1D)
    return (scrambled >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def below(state, n):  # type: ignore[no-untyped-def]
    """An integer from 0 to n − 1 from a state, for n up to 2³¹."""
    return np.int64(uniform(state) * n)
