"""An evaluation task: past requests and the items that were relevant to them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Task:
    """Requests at past moments, and the items that were relevant to their users afterwards.

    Attributes:
        requests: n requests.
        truth: the relevant items of each request, never empty.
        gain: float32[total], the gain of each relevant item, aligned with `truth.values`.
        user: int32[n], the user of each request; intervals resample users.
        known_user: bool[n], whether the user had events in the training data.
        inventory: item data; read as of each request's moment.
        notes: name → count of what was left out or is notable.
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
