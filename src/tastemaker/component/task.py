"""An evaluation task: what is asked at which moments, and what would have been right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Task:
    """An evaluation: requests standing at moments, and what these users went on to want.

    Attributes:
        requests: n requests.
        truth: the wanted items of each, never empty.
        gain: float32[total], how much each is worth, aligned with `truth.values`.
        user: int32[n], whose request it is; intervals resample users.
        known_user: bool[n], whether the user had events in the training data.
        world: what is known; read as of each request's moment.
        notes: what was left out or stands out, and how many.
    """

    requests: Requests
    truth: Ragged
    gain: NDArray[np.float32]
    user: NDArray[np.int32]
    known_user: NDArray[np.bool_]
    inventory: Inventory
    notes: dict[str, int]

    def __len__(self) -> int:
        return len(self.requests)
