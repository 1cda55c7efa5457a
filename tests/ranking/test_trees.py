"""`Trees` compared with LightGBM and with slow implementations."""

from pathlib import Path

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from tastemaker.ranking.model_text import UnknownModelError, read_model
from tastemaker.ranking.trees import Trees

COLUMNS = 9
TINY = 1e-38  # below the threshold for zero of LightGBM, but not zero


def values(rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Continuous, whole and constant columns, with and without NaN, zeros and tiny numbers."""
    random = np.random.default_rng(seed)
    found = random.normal(size=(rows, COLUMNS)).astype(np.float32)
    found[:, 3:5] = np.round(found[:, 3:5] * 2)
    found[random.random(rows) < 0.3, 4] = np.nan
    found[random.random(rows) < 0.3, 5] = 0
    found[random.random(rows) < 0.5, 6] = np.nan
    found[:, 7] = np.nan
    found[:, 8] = 1
    return found


def hard_values(rows: int) -> NDArray[np.float32]:
    """Values as in training, mixed with values that the model has not seen."""
    random = np.random.default_rng(9)
    found = values(rows, seed=1)
    odd = np.array([np.nan, 0, -0.0, TINY, -TINY, np.inf, -np.inf, 1e-35, 3e38], np.float32)
    here = random.random(found.shape) < 0.3
    found[here] = random.choice(odd, here.sum())
    return found


def booster(
    *,
    trees: int = 20,
    data: NDArray[np.float32] | None = None,
    categories: tuple[int, ...] = (),
    **settings: object,
) -> lightgbm.Booster:
    x = values(1_500) if data is None else data
    random = np.random.default_rng(5)
    known = np.nan_to_num(x)
    liked = known[:, 0] * known[:, 1] + known[:, 3] + np.isnan(x[:, 6]) - (x[:, 5] == 0) > 0.5
    label = (liked ^ (random.random(len(x)) < 0.1)).astype(np.float32)
    chosen = {
        "objective": "binary",
        "num_leaves": 31,
        "min_data_in_leaf": 5,
        "verbosity": -1,
        "num_threads": 1,
        "seed": 3,
    }
    dataset = lightgbm.Dataset(
        x,
        label,
        group=[50] * (len(x) // 50),
        categorical_feature=list(categories),
        params={"verbosity": -1},
    )
    return lightgbm.train(chosen | settings, dataset, trees)


MODELS = {
    "31 leaves": {},
    "a stump": {"num_leaves": 2},
    "64 leaves": {"num_leaves": 64, "min_data_in_leaf": 2},
    "65 leaves": {"num_leaves": 65, "min_data_in_leaf": 2},
    "300 leaves": {"num_leaves": 300, "min_data_in_leaf": 1},
    "zero is missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
    "bagging": {"bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.5},
    "lambdarank": {"objective": "lambdarank"},
    "no split": {"min_data_in_leaf": 10_000},
    "one tree": {"trees": 1},
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> lightgbm.Booster:
    return booster(**MODELS[request.param])


def test_raw_scores_equal_lightgbm_bit_for_bit(model: lightgbm.Booster) -> None:
    trees = Trees.read(model.model_to_string())
    rows = hard_values(777)
    expected = model.predict(rows, raw_score=True, num_threads=1)
    assert trees.raw(rows).tobytes() == expected.tobytes()
    assert len(trees) == model.num_trees()


def test_the_models_have_every_type_of_missing_value() -> None:
    found = set()
    for name in ("31 leaves", "zero is missing", "nothing is missing"):
        _, trees = read_model(booster(**MODELS[name]).model_to_string())
        for tree in trees:
            found |= set(zip(tree.missing.tolist(), tree.missing_left.tolist()))
    assert {(0, False), (1, False), (1, True), (2, False), (2, True)} <= found | {(0, False)}
    assert {missing for missing, _ in found} == {0, 1, 2}


def test_thresholds_between_float32_values_split_like_lightgbm() -> None:
    """Adjacent float32 values, so that thresholds are between two float32 values."""
    data = values(1_500)
    start = np.float32(1).view(np.int32)
    steps = np.random.default_rng(2).integers(0, 12, 1_500, dtype=np.int32)
    data[:, 0] = (start + steps).view(np.float32)
    model = booster(data=data, trees=40, max_bin=500, min_data_in_bin=1)
    raw = Trees.read(model.model_to_string()).raw(data)
    assert np.array_equal(raw, model.predict(data, raw_score=True, num_threads=1))


def test_scores_of_a_row_do_not_depend_on_its_neighbours() -> None:
    trees = Trees.read(booster().model_to_string())
    rows = hard_values(600)
    whole = trees.raw(rows)
    for begin, end in [(0, 1), (5, 12), (100, 400), (599, 600), (300, 300)]:
        assert np.array_equal(trees.raw(rows[begin:end]), whole[begin:end])


def test_the_memory_layout_of_rows_does_not_matter() -> None:
    trees = Trees.read(booster().model_to_string())
    rows = hard_values(50)
    assert np.array_equal(trees.raw(np.asfortranarray(rows)), trees.raw(rows))
    assert np.array_equal(trees.raw(rows[::2]), trees.raw(rows)[::2])


def test_contributions_add_up_to_the_score_minus_the_base(model: lightgbm.Booster) -> None:
    trees = Trees.read(model.model_to_string())
    rows = hard_values(300)
    added = trees.contributions(rows)
    np.testing.assert_allclose(added.sum(axis=1), trees.raw(rows) - trees.base, atol=1e-10)
    assert not added[:, 7:].any(), "a constant column has a contribution"


def test_the_base_equals_the_expected_score_of_lightgbm() -> None:
    model = booster()
    shapley = model.predict(values(5), pred_contrib=True)
    assert Trees.read(model.model_to_string()).base == pytest.approx(shapley[0, -1], abs=1e-9)


def test_contributions_equal_those_of_a_slow_implementation() -> None:
    text = booster(**MODELS["zero is missing"]).model_to_string()
    rows = hard_values(40)
    assert np.allclose(Trees.read(text).contributions(rows), slow_contributions(text, rows))


def slow_contributions(text: str, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Follows each path as LightGBM's source does, with means of the leaves below."""
    added, zero = np.zeros(rows.shape), float(np.float32(1e-35))
    for tree in read_model(text)[1]:

        def below(node: int, tree=tree) -> list[int]:
            if node < 0:
                return [-1 - node]
            return below(tree.child[node, 0]) + below(tree.child[node, 1])

        def mean(node: int, tree=tree, below=below) -> float:
            leaves = below(node)
            return np.average(tree.leaf_value[leaves], weights=tree.leaf_count[leaves])

        for row, cells in enumerate(rows.astype(np.float64)):
            node = 0
            while node >= 0:
                value, kind = cells[tree.feature[node]], tree.missing[node]
                if np.isnan(value) and kind != 2:
                    value = 0.0
                lost = (kind == 1 and abs(value) <= zero) or (kind == 2 and np.isnan(value))
                left = tree.missing_left[node] if lost else value <= tree.threshold[node]
                after = tree.child[node, 0 if left else 1]
                added[row, tree.feature[node]] += mean(after) - mean(node)
                node = after
    return added


def test_gains_equal_those_of_lightgbm() -> None:
    model = booster()
    expected = model.feature_importance("gain")
    np.testing.assert_allclose(Trees.read(model.model_to_string()).gain, expected, rtol=1e-4)


def test_categorical_splits_are_rejected() -> None:
    data = values(1_500)
    data[:, 3] = np.abs(data[:, 3])
    text = booster(data=data, categories=(3,)).model_to_string()
    with pytest.raises(UnknownModelError):
        Trees.read(text)


def test_linear_leaves_are_rejected() -> None:
    data = np.nan_to_num(values(1_500))
    label = data[:, 0] * 2 + data[:, 1]
    settings = {"linear_tree": True, "verbosity": -1, "num_threads": 1}
    dataset = lightgbm.Dataset(data, label, params=settings)
    with pytest.raises(UnknownModelError):
        Trees.read(lightgbm.train(settings, dataset, 3).model_to_string())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version=v4", "version=v5"),
        ("num_class=1", "num_class=3"),
        ("objective=binary sigmoid:1", "objective=poisson"),
        ("objective=binary sigmoid:1", "objective=binary sigmoid:2"),
        ("label_index=0", "label_index=0\naverage_output"),
        ("shrinkage=", "unheard_of=1\nshrinkage="),
        ("is_linear=0", "is_linear=1"),
        ("num_cat=0", "num_cat=1"),
        ("end of trees", ""),
        ("\nTree=3", "\n\nTree:3"),
        ("leaf_value=", "leaf_value=nan "),
        ("leaf_value=", "leaf_value=0.5 "),
        ("threshold=", "threshold=x"),
        ("decision_type=", "decision_type=1 "),
        ("left_child=1", "left_child=0"),
        ("num_leaves=", "num_leaves=x"),
        ("num_leaves=", "num_leaves=-"),
        ("max_feature_idx=8", "max_feature_idx=1"),
    ],
)
def test_unknown_model_text_is_rejected(old: str, new: str) -> None:
    text = booster(trees=5).model_to_string()
    assert old in text
    with pytest.raises(UnknownModelError):
        Trees.read(text.replace(old, new, 1))


def test_trees_can_be_read_from_text(tmp_path: Path) -> None:
    model = booster(trees=3)
    model.save_model(tmp_path / "model.txt")
    read = Trees.read((tmp_path / "model.txt").read_text())
    rows = hard_values(10)
    assert np.array_equal(read.raw(rows), Trees.read(model.model_to_string()).raw(rows))
