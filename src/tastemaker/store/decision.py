"""One answer as the log keeps it: what was shown, by which models, from which sources, on what
grounds. Small enough to keep for every answer.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from tastemaker.component import Features
from tastemaker.errors import StoreError

ITEMS_WITH_FEATURES = 20
COMPACT_BYTES = 4_096
"""What a decision about 20 items may take up that is kept without its candidates."""
_BYTES_PER_ITEM = 64
_HELD, _HELD_ITEM, _HELD_CANDIDATE = 4_000, 2_000, 300
"""Bytes in memory of a decision, of each item with its reasons, and of each candidate."""
_ALWAYS = ("item_id", "score", "propensity")
_FORMAT = b"TD3"
_LEVEL = 6
_HEAD = struct.Struct("<II")


def compact_bytes(n: int) -> int:
    """What a decision about n items may take up that is kept without its candidates."""
    return COMPACT_BYTES + _BYTES_PER_ITEM * max(0, n - ITEMS_WITH_FEATURES)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was answered to one request.

    Attributes:
        recommendation_id: what the answer is known by.
        time: when it was answered, microseconds; `context` has the moment it was answered for.
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

    @property
    def held_bytes(self) -> int:
        """About what it takes up in memory."""
        listed = _HELD_ITEM * len(self.items) + _HELD_CANDIDATE * len(self.candidates or ())
        return _HELD + listed + self.features.values.nbytes

    def encoded(self) -> bytes:
        """As bytes; `decoded` gives the same decision back, the features to the bit.

        A feature that is equal for all items (as those of the user are) is written once.

        Cost: a quarter of a millisecond, for 20 items and 80 features, which take up 4 KB.
        """
        values = self.features.values[:ITEMS_WITH_FEATURES]
        constant = _constant(values)
        told = {name: getattr(self, name) for name in self.__slots__ if name != "features"}
        told["features"] = {
            "names": self.names_digest,
            "rows": len(values),
            "constant": np.packbits(constant).tobytes().hex(),
        }
        text = to_json(told, inf_nan_mode="constants")
        once, columns = values[:1, constant].ravel(), values[:, ~constant].T.ravel()
        # the first bytes of all numbers, then the second, …: alike bytes side by side pack better
        numbers = np.concatenate([once, columns]).astype("<f4").view(np.uint8).reshape(-1, 4)
        body = text + numbers.T.tobytes()
        head = _HEAD.pack(len(text), zlib.crc32(body))
        return _FORMAT + head + zlib.compress(body, _LEVEL)

    def encoded_within(self, most: int) -> bytes:
        """As bytes, at most `most` of them where what was shown leaves room for that.

        What does not fit is left out in this order: the features of the lower items, the reasons,
        the features of all, the sources' ranks. Item ids, scores and propensities always stay. A
        decision with all its candidates is kept whole.
        """
        content, shorter = self.encoded(), iter(self._shorter())
        while len(content) > most and self.candidates is None:
            decision = next(shorter, None)
            if decision is None:
                break
            content = decision.encoded()
        return content

    def _shorter(self) -> Iterator["Decision"]:
        """This decision with less and less in it."""
        names, values = self.features.names, self.features.values
        half, quarter, nothing = (
            Features(names, values[: len(values) // part]) for part in (2, 4, len(values) + 1)
        )
        yield replace(self, features=half)
        yield replace(self, features=quarter)
        plain = [{**item, "reasons": []} for item in self.items]
        yield replace(self, features=quarter, items=plain)
        yield replace(self, features=nothing, items=plain)
        bare = [{name: item[name] for name in _ALWAYS if name in item} for item in self.items]
        yield replace(self, features=nothing, items=bare)

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
            length, check = _HEAD.unpack_from(content, len(_FORMAT))
            body = zlib.decompress(content[len(_FORMAT) + _HEAD.size :])
            if zlib.crc32(body) != check:
                raise ValueError("it is damaged")
            told = json.loads(body[:length])
            about = told.pop("features")
            planes = np.frombuffer(body[length:], np.uint8).reshape(4, -1)
            numbers = np.ascontiguousarray(planes.T).view("<f4").ravel().astype(np.float32)
            return cls(**told, features=_features(numbers, names[about["names"]], about))
        except (ValueError, LookupError, TypeError, struct.error, zlib.error) as problem:
            raise StoreError(f"a decision in the store cannot be read ({problem})") from None


def _features(
    numbers: NDArray[np.float32], names: tuple[str, ...], about: Mapping[str, Any]
) -> Features:
    """The features of the shown items from their numbers: those equal for all, then columns."""
    bits = np.frombuffer(bytes.fromhex(about["constant"]), np.uint8)
    constant = np.unpackbits(bits, count=len(names)).astype(np.bool_)
    rows, n_once = about["rows"], int(constant.sum())
    values = np.empty((rows, len(names)), np.float32)
    if rows:
        values[:, constant] = numbers[:n_once]
        values[:, ~constant] = numbers[n_once:].reshape(len(names) - n_once, rows).T
    return Features(names, values)


def _constant(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which columns hold the same bits in every row."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    same: NDArray[np.bool_] = (bits == bits[:1]).all(axis=0)
    return same
