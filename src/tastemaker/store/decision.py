"""One answer as the log keeps it: what was shown, by which models, from which sources, on what
grounds. Small enough to keep for every answer.
"""

import hashlib
import json
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import Features
from tastemaker.errors import StoreError
from tastemaker.store.packing import packed, unpacked

ITEMS_WITH_FEATURES = 20
_FORMAT = b"TD2"
_LEVEL = 9
_MARK = "\x7f"
_NUMBERS: list[dict[str, Any]] = [
    {
        "id": lzma.FILTER_LZMA1,
        "dict_size": 1 << 14,
        # the place of a byte in its number tells more of it than the bytes before
        "lc": 0,
        "lp": 2,
        "pb": 2,
        # twice as fast as by default, for half a per cent
        "mf": lzma.MF_BT2,
        "nice_len": 16,
        "depth": 8,
    }
]
_WORDS = (
    b'["-"]["=",20,1.0]["f",20]["v",true,false,null,NaN]["t","0100010203","liked by many of late'
    b'\x7f.","liked by many\x7f.","like what you chose\x7f.","close to your taste\x7f.","because '
    b'you liked ","feature",{"recommendation_id":"","time":17,"user_id":"","placement":"home",'
    b'"model_version":"20","variant":"default","seed":0,"watermark":17,"context":{"n":20,'
    b'"history":1,"exclude":1},"degraded":["-"],"stages":["o",11,{"name":[1,["v","retrieve:ease",'
    b'"retrieve:item_knn","retrieve:als","retrieve:trending","retrieve:popular",'
    b'"retrieve:content","merge","filter","features","rank","rerank:","select"]],"in":[1,["v",0,0,'
    b'0,0,0,0,"out":[1,["v",500,560,"ms":[1,["v",0.0,0.1,"items":["o",20,{"item_id":[1,["v",'
    b'"score":[1,["f",20]],"propensity":[1,["=",20,1.0]],"reasons":[1,["l",["=",20,2],["o",40,'
    b'{"kind":[1,["t","0101010101010101010101010101010101010101","because_you_liked","source"]],'
    b'"text":[1,["t","010203","source":[1,["t","0101",'
    b'"item_id":["1010101010101010101010101010101010101010",["t","000","],'
    b'"weight":["1010101010101010101010101010101010101010",["v",0.5,0.3,"sources":[1,["o",20,'
    b'{"ease":["11101111111111111111",["o",14,{"rank":[1,["v",1,2,3],"score":[1,["f",14]]}],'
    b'"item_knn":[1,["o",20,{"rank":[1,["v","predicted":[1,["o",20,{"wanted":[1,["f",20]]}]]}],'
    b'"features":{"names":"","rows":20,"constant":"","before":40}}'
)
"""What most decisions say in the same words; part of the format."""


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

        Cost: about a millisecond, for 20 items and 80 features.
        """
        values = self.features.values[:ITEMS_WITH_FEATURES]
        constant = _constant(values)
        numbers: list[float] = []
        plain = {
            name: getattr(self, name)
            for name in self.__slots__
            if name != "features" and getattr(self, name) is not None
        }
        plain["items"] = [_with_texts(item, _shortened) for item in self.items]
        told = packed(plain, numbers)
        told["features"] = {
            "names": self.names_digest,
            "rows": len(values),
            "constant": np.packbits(constant).tobytes().hex(),
            "before": len(numbers),
        }
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        once, columns = values[:1, constant].ravel(), values[:, ~constant].T.ravel()
        number = np.concatenate([np.array(numbers, "<f4"), once, columns]).astype("<f4").tobytes()
        deflate = zlib.compressobj(_LEVEL, zdict=_WORDS)
        return b"".join(
            [
                _FORMAT,
                deflate.compress(text) + deflate.flush(),
                struct.pack("<I", zlib.crc32(number)),
                lzma.compress(number, lzma.FORMAT_RAW, filters=_NUMBERS),
            ]
        )

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
            inflate = zlib.decompressobj(zdict=_WORDS)
            told = json.loads(inflate.decompress(content[len(_FORMAT) :]) + inflate.flush())
            (check,) = struct.unpack_from("<I", inflate.unused_data)
            number = lzma.decompress(inflate.unused_data[4:], lzma.FORMAT_RAW, filters=_NUMBERS)
            if zlib.crc32(number) != check:
                raise ValueError("its numbers are damaged")
            numbers, about = np.frombuffer(number, "<f4").astype(np.float32), told.pop("features")
            features = _features(numbers[about["before"] :], names[about["names"]], about)
            told = unpacked(told, numbers)
            told["items"] = [_with_texts(item, _written_out) for item in told["items"]]
            told.setdefault("user_id", None)
            return cls(**told, features=features)
        except (
            *(ValueError, LookupError, TypeError, AttributeError),
            *(struct.error, zlib.error, lzma.LZMAError, EOFError),
        ) as problem:
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


def _with_texts(item: dict[str, Any], changed: Callable[[str, str], str]) -> dict[str, Any]:
    """An item whose reasons tell the rank in their source shorter, or in full again."""
    reasons = []
    for reason in item.get("reasons", ()):
        name, text = reason.get("source"), reason.get("text")
        rank = item.get("sources", {}).get(name, {}).get("rank")
        known = isinstance(text, str) and rank is not None
        told = {"text": changed(text, f"({name}, rank {rank})")} if known else {}
        reasons.append({**reason, **told})
    return {**item, **({"reasons": reasons} if "reasons" in item else {})}


def _shortened(text: str, rank: str) -> str:
    return text.replace(_MARK, 2 * _MARK).replace(rank, f"{_MARK}.")


def _written_out(text: str, rank: str) -> str:
    return re.sub(
        f"{_MARK}[{_MARK}.]", lambda found: rank if found[0].endswith(".") else _MARK, text
    )


def _constant(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which columns hold the same bits in every row."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    same: NDArray[np.bool_] = (bits == bits[:1]).all(axis=0)
    return same
