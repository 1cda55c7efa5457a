"""One answer as the log keeps it: what was shown, by which models, from which sources, on what
grounds. Small enough to keep for every answer.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import Features
from tastemaker.errors import StoreError

ITEMS_WITH_FEATURES = 20
_FORMAT = b"TD1"
_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Decision:
    """What was answered to one request.

    Attributes:
        recommendation_id: what the answer is known by.
        time: the moment of the request, microseconds.
        user_id: who asked; None for a stranger without a name.
        placement: what was asked for.
        model_version: the artifact that answered.
        variant: of an experiment; `default` where there is none.
        seed: for whatever was drawn at random.
        watermark: how far the world's events reached, microseconds.
        context: what else the request said: how many were asked for, the told history, ….
        degraded: what was left out, and why.
        stages: the trace: name, in, out, ms.
        items: what was shown, in its order: `item_id`, `score`, `propensity`, `reasons`,
            `sources`, `predicted`.
        features: of the first 20 items; no rows where nothing was ranked.
        candidates: all of them (`item_id`, `score`), for a sample of the answers; else None.
    """

    recommendation_id: str
    time: int
    user_id: str | None
    placement: str
    model_version: str
    variant: str
    seed: int
    watermark: int
    context: dict[str, Any]
    degraded: list[dict[str, str]]
    stages: list[dict[str, Any]]
    items: list[dict[str, Any]]
    features: Features = field(default_factory=lambda: Features((), np.empty((0, 0), np.float32)))
    candidates: list[dict[str, Any]] | None = None

    @property
    def names_digest(self) -> str:
        """By which the features' names are kept, once for many decisions."""
        return hashlib.sha256("\n".join(self.features.names).encode()).hexdigest()[:16]

    def encoded(self) -> bytes:
        """As bytes; `decoded` gives the same decision back, the features to the bit.

        A feature that is equal for all items (as those of the user are) is written once.
        """
        values = self.features.values[:ITEMS_WITH_FEATURES]
        constant = _constant(values)
        told = {
            name: getattr(self, name)
            for name in self.__slots__
            if name != "features" and getattr(self, name) is not None
        }
        told["features"] = {
            "names": self.names_digest,
            "rows": len(values),
            "constant": np.packbits(constant).tobytes().hex(),
        }
        header = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        once = values[:1, constant] if len(values) else values
        body = struct.pack("<I", len(header)) + header + _shuffled(once)
        return _FORMAT + zlib.compress(body + _shuffled(values[:, ~constant]), _LEVEL)

    @classmethod
    def decoded(cls, content: bytes, names: Mapping[str, tuple[str, ...]]) -> "Decision":
        """A decision from its bytes.

        Args:
            content: what `encoded` made.
            names: digest → names of features.

        Raises:
            StoreError: the bytes are damaged or of another format.
        """
        try:
            if not content.startswith(_FORMAT):
                raise ValueError("another format")
            body = zlib.decompress(content[len(_FORMAT) :])
            (length,) = struct.unpack_from("<I", body)
            told = json.loads(body[4 : 4 + length])
            about = told.pop("features")
            named, rows = names[about["names"]], about["rows"]
            packed = np.frombuffer(bytes.fromhex(about["constant"]), np.uint8)
            constant = np.unpackbits(packed, count=len(named)).astype(np.bool_)
            numbers = np.frombuffer(body[4 + length :], np.uint8)
            n_once = int(constant.sum()) if rows else 0
            values = np.empty((rows, len(named)), np.float32)
            values[:, constant] = _unshuffled(numbers[: 4 * n_once])
            values[:, ~constant] = _unshuffled(numbers[4 * n_once :]).reshape(rows, -1)
            told.setdefault("user_id", None)
            return cls(**told, features=Features(named, values))
        except (ValueError, KeyError, TypeError, struct.error, zlib.error) as problem:
            raise StoreError(f"a decision in the store cannot be read ({problem})") from None


def _constant(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which columns hold the same bits in every row."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    same: NDArray[np.bool_] = (bits == bits[:1]).all(axis=0)
    return same


def _shuffled(values: NDArray[np.float32]) -> bytes:
    """The first bytes of all numbers, then the second, …: alike bytes side by side pack better."""
    flat = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 4)
    return flat.T.tobytes()


def _unshuffled(shuffled: NDArray[np.uint8]) -> NDArray[np.float32]:
    flat = np.ascontiguousarray(shuffled.reshape(4, -1).T)
    return flat.view(np.float32).ravel()
