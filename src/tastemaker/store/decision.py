"""A logged response: the shown items with their models, sources and reasons, stored compactly."""

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
"""The maximum size of a decision with 20 items that is stored without its candidates."""
_BYTES_PER_ITEM = 64
_MEMORY, _MEMORY_ITEM, _MEMORY_CANDIDATE = 4_000, 2_000, 300
"""Memory in bytes of a decision, of each item with its reasons, and of each candidate."""
_ALWAYS = ("item_id", "score", "propensity")
_FORMAT = b"TD3"
_LEVEL = 6
_HEAD = struct.Struct("<II")


def compact_bytes(n: int) -> int:
    """The maximum size, bytes, of a decision with n items that is stored without its candidates."""
    return COMPACT_BYTES + _BYTES_PER_ITEM * max(0, n - ITEMS_WITH_FEATURES)


@dataclass(frozen=True, slots=True)
class Decision:
    """The response to one request.

    Attributes:
        recommendation_id: the id of the response.
        time: when it was sent, microseconds; `context` has the requested point in time.
        user_id: the user; None for an anonymous user.
        placement: the requested placement.
        model_version: the artifact that produced it.
        variant: the variant of an experiment; `default` without one.
        seed: the seed of all random choices.
        watermark: the time of the latest known event, microseconds.
        context: the other fields of the request: number of items, given history, ….
        degraded: the skipped parts, and why.
        stages: the trace: name, in, out, ms.
        items: the shown items, in order: `item_id`, `score`, `propensity`, `reasons`, `sources`,
            `predicted`.
        features: the features of the first 20 items; no rows if nothing was ranked.
        candidates: all candidates (`item_id`, `score`) for a sample of the responses; else None.
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
        """The key of the feature names, which are stored once for many decisions."""
        return hashlib.sha256("\n".join(self.features.names).encode()).hexdigest()[:16]

    @property
    def held_bytes(self) -> int:
        """The approximate size in memory."""
        listed = _MEMORY_ITEM * len(self.items) + _MEMORY_CANDIDATE * len(self.candidates or ())
        return _MEMORY + listed + self.features.values.nbytes

    def encoded(self) -> bytes:
        """The decision as bytes; `decoded` restores it, with bit-identical features.

        A feature with the same value for all items, such as a user feature, is written once.

        Cost: a quarter of a millisecond and 4 KB, for 20 items and 80 features.
        """
        values = self.features.values[:ITEMS_WITH_FEATURES]
        constant = _constant(values)
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "features"}
        fields["features"] = {
            "names": self.names_digest,
            "rows": len(values),
            "constant": np.packbits(constant).tobytes().hex(),
        }
        text = to_json(fields, inf_nan_mode="constants")
        shared, columns = values[:1, constant].ravel(), values[:, ~constant].T.ravel()
        # the first bytes of all numbers, then the second bytes, …: similar bytes compress better
        numbers = np.concatenate([shared, columns]).astype("<f4").view(np.uint8).reshape(-1, 4)
        body = text + numbers.T.tobytes()
        head = _HEAD.pack(len(text), zlib.crc32(body))
        return _FORMAT + head + zlib.compress(body, _LEVEL)

    def encoded_within(self, most: int) -> bytes:
        """The decision as bytes, shortened to at most `most` bytes where possible.

        These parts are omitted in this order until it fits: the features of the lower items, the
        reasons, all features, the ranks of the sources. Item ids, scores and propensities are
        always kept. A decision with candidates is never shortened.
        """
        content, shorter = self.encoded(), iter(self._shorter())
        while len(content) > most and self.candidates is None:
            decision = next(shorter, None)
            if decision is None:
                break
            content = decision.encoded()
        return content

    def _shorter(self) -> Iterator["Decision"]:
        """Copies of this decision, each with fewer parts than the one before."""
        names, values = self.features.names, self.features.values
        half, quarter, nothing = (
            Features(names, values[: len(values) // part]) for part in (2, 4, len(values) + 1)
        )
        yield replace(self, features=half)
        yield replace(self, features=quarter)
        without_reasons = [{**item, "reasons": []} for item in self.items]
        yield replace(self, features=quarter, items=without_reasons)
        yield replace(self, features=nothing, items=without_reasons)
        without_sources = [
            {name: item[name] for name in _ALWAYS if name in item} for item in self.items
        ]
        yield replace(self, features=nothing, items=without_sources)

    @classmethod
    def decoded(cls, content: bytes, names: Mapping[str, tuple[str, ...]]) -> "Decision":
        """A decision from its bytes.

        Args:
            content: the result of `encoded`.
            names: digest → feature names.

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
            fields = json.loads(body[:length])
            about = fields.pop("features")
            byte_planes = np.frombuffer(body[length:], np.uint8).reshape(4, -1)
            numbers = np.ascontiguousarray(byte_planes.T).view("<f4").ravel().astype(np.float32)
            return cls(**fields, features=_features(numbers, names[about["names"]], about))
        except (ValueError, LookupError, TypeError, struct.error, zlib.error) as error:
            raise StoreError(f"a decision in the store cannot be read ({error})") from None


def _features(
    numbers: NDArray[np.float32], names: tuple[str, ...], about: Mapping[str, Any]
) -> Features:
    """The features of the shown items from their numbers: the constant ones, then the columns."""
    bits = np.frombuffer(bytes.fromhex(about["constant"]), np.uint8)
    constant = np.unpackbits(bits, count=len(names)).astype(np.bool_)
    rows, n_once = about["rows"], int(constant.sum())
    values = np.empty((rows, len(names)), np.float32)
    if rows:
        values[:, constant] = numbers[:n_once]
        values[:, ~constant] = numbers[n_once:].reshape(len(names) - n_once, rows).T
    return Features(names, values)


def _constant(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which columns have the same bits in every row, bool[n]."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    same: NDArray[np.bool_] = (bits == bits[:1]).all(axis=0)
    return same
