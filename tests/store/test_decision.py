import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tastemaker.component import Features
from tastemaker.errors import StoreError
from tastemaker.store import Decision
from tastemaker.store.decision import ITEMS_WITH_FEATURES

MOST_BYTES = 4_096
NAMES = tuple(f"feature_{n}" for n in range(83))
PLAIN = Decision(
    "0" * 32, 1_750_000_000_000_000, "u", "home", "20250101T000000-abcdef01", "default", 7,
    1_749_999_999_000_000, {"n": 3}, [], [{"name": "merge", "in": 5, "out": 5, "ms": 0.1}],
    [{"item_id": "i", "score": 0.5, "propensity": 1.0, "reasons": [], "sources": {}}],
)  # fmt: skip
TEXT = st.text(max_size=5)
NUMBER = st.one_of(st.floats(width=32), st.floats(allow_infinity=False), st.integers())
REASON = st.fixed_dictionaries(
    {"kind": TEXT, "text": st.one_of(TEXT, st.sampled_from(["\x7f", "\x7f.", "by (a, rank 1)"]))},
    optional={"source": st.sampled_from(["a", "b"]), "weight": NUMBER, "feature": TEXT},
)
ITEM = st.fixed_dictionaries(
    {"item_id": TEXT, "score": st.one_of(NUMBER, st.none())},
    optional={
        "propensity": NUMBER,
        "reasons": st.lists(REASON, max_size=3),
        "sources": st.dictionaries(
            st.sampled_from(["a", "b"]),
            st.fixed_dictionaries({"rank": st.integers(1, 3)}, optional={"score": NUMBER}),
        ),
        "predicted": st.dictionaries(TEXT, NUMBER, max_size=2),
    },
)


def decoded(decision: Decision) -> Decision:
    known = {"another": ("x",), decision.names_digest: decision.features.names}
    return Decision.decoded(decision.encoded(), known)


def without_features(decision: Decision) -> str:
    """All fields except the features, including NaN."""
    plain = {f.name: getattr(decision, f.name) for f in fields(decision) if f.name != "features"}
    return json.dumps(plain, sort_keys=True)


def assert_same(one: Decision, other: Decision) -> None:
    assert without_features(one) == without_features(other)
    assert one.features.names == other.features.names
    assert one.features.values.shape == other.features.values.shape
    assert one.features.values.tobytes() == other.features.values.tobytes()


@given(
    items=st.lists(ITEM, max_size=8),
    candidates=st.one_of(st.none(), st.lists(ITEM, max_size=4)),
    user_id=st.one_of(st.none(), TEXT),
    context=st.dictionaries(TEXT, st.one_of(NUMBER, TEXT, st.lists(TEXT, max_size=2)), max_size=2),
)
def test_a_decision_round_trips(
    items: list[dict[str, Any]],
    candidates: list[dict[str, Any]] | None,
    user_id: str | None,
    context: dict[str, Any],
) -> None:
    changed = {"items": items, "candidates": candidates, "user_id": user_id, "context": context}
    decision = replace(PLAIN, **changed)
    assert_same(decoded(decision), decision)


@given(
    arrays(
        np.uint32,
        array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=20),
        elements=st.one_of(
            st.sampled_from([0, 0x7FC00000, 0x7F800001, 0xFFC12345, 0x80000000, 0x3F800000]),
            st.integers(0, 2**32 - 1),
        ),
    )
)
def test_features_round_trip_bit_for_bit(bits: np.ndarray) -> None:
    values = bits.view(np.float32)
    decision = replace(PLAIN, features=Features(NAMES[: values.shape[1]], values))
    assert_same(decoded(decision), decision)


def test_only_features_of_the_first_items_are_kept() -> None:
    values = np.arange(90, dtype=np.float32).reshape(30, 3)
    found = decoded(replace(PLAIN, features=Features(NAMES[:3], values))).features
    np.testing.assert_array_equal(found.values, values[:ITEMS_WITH_FEATURES])


def test_an_empty_decision_round_trips() -> None:
    nothing = replace(PLAIN, items=[], stages=[], context={}, user_id=None, candidates=[])
    assert_same(decoded(nothing), nothing)


def test_damaged_bytes_are_refused_at_every_position() -> None:
    decision = realistic(3)
    content, known = decision.encoded(), {decision.names_digest: decision.features.names}
    random = np.random.default_rng(0)
    harmless = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(8))
        try:
            found = Decision.decoded(bytes(damaged), known)
        except StoreError as problem:
            assert str(problem).startswith("a decision in the store cannot be read (")  # noqa: PT017
        else:
            assert_same(found, decision)
            harmless += 1
    assert harmless < 4  # the same may be packed in more than one way


@pytest.mark.parametrize("length", [0, 2, 3, 10, 300, -1])
def test_truncated_bytes_are_refused(length: int) -> None:
    decision = realistic(3)
    with pytest.raises(StoreError, match="a decision in the store cannot be read"):
        Decision.decoded(
            decision.encoded()[:length], {decision.names_digest: decision.features.names}
        )


def test_a_decision_without_feature_names_is_refused() -> None:
    with pytest.raises(StoreError, match="a decision in the store cannot be read"):
        Decision.decoded(realistic(3).encoded(), {})


# --- its size ---


def realistic(seed: int) -> Decision:
    """20 of 560 items of a real project: six sources, three reasons each, 83 features."""
    random = np.random.default_rng(seed)
    sources = ["ease", "item_knn", "als", "trending", "popular", "content"]
    liked = [f"The {random.integers(10**6)} Long Titles of {n} (1994)" for n in range(8)]
    items = []
    for _ in range(20):
        rank = {name: int(random.geometric(0.03)) for name in sources if random.random() < 0.8}
        best = min(rank or {"popular": 1}, key=lambda name: rank.get(name, 1))
        anchor = int(random.integers(8))
        because = {"kind": "because_you_liked", "text": f"because you liked {liked[anchor]}"}
        feature = f"feature_{random.integers(83)}"
        reasons: list[dict[str, Any]] = [
            because | {"source": best, "item_id": str(1000 + anchor),
                       "weight": round(random.random(), 4)},
            {"kind": "source", "text": f"close to your taste ({best}, rank {rank.get(best, 1)})",
             "source": best},
            {"kind": "feature", "text": f"its {feature}", "feature": feature,
             "weight": round(random.random(), 4)},
        ]  # fmt: skip
        score = float(np.float32(random.normal()))
        item = {"item_id": str(random.integers(200_000)), "score": score, "propensity": 1.0}
        ranks = {name: {"rank": place} for name, place in rank.items()}
        items.append(
            item | {"reasons": reasons, "sources": ranks, "predicted": {"relevant": score}}
        )
    values = np.empty((20, 83), np.float32)
    for column in range(83):
        if column < 35:  # of the user and the moment
            values[:, column] = random.normal()
        elif column < 59:  # all but unique
            values[:, column] = random.lognormal(size=20)
        else:  # counts, shares and what is missing
            few = np.log1p(random.integers(0, 12, 20))
            values[:, column] = np.where(random.random(20) < 0.2, np.nan, few)
    stages = [
        {"name": name, "in": 560, "out": 560, "ms": round(random.random(), 3)}
        for name in [*(f"retrieve:{s}" for s in sources), "merge", "filter", "features", "rank"]
    ]
    return replace(
        PLAIN,
        recommendation_id=random.bytes(16).hex(),
        items=items,
        stages=stages,
        features=Features(NAMES, values),
    )


@pytest.mark.parametrize("seed", range(5))
def test_features_of_a_realistic_decision_use_at_most_4_kb(seed: int) -> None:
    decision = realistic(seed)
    assert_same(decoded(decision), decision)
    without = replace(decision, features=Features((), np.empty((0, 0), np.float32)))
    assert len(decision.encoded()) - len(without.encoded()) <= MOST_BYTES
    assert len(decision.encoded()) <= 1.5 * MOST_BYTES
