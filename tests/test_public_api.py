"""The public API consists of exactly these names."""

import importlib

import pytest

import tastemaker

PUBLIC = {
    "tastemaker": {
        "BSPM",
        "FeatureEASE",
        "GraphFilter",
        "SLIM",
        "SparseEASE",
        "ALS",
        "Content",
        "CooccurrenceGraph",
        "EASE",
        "Explore",
        "GBM",
        "MMR",
        "Rules",
        "Dataset",
        "Evaluation",
        "FitOptions",
        "Item2Vec",
        "ItemKNN",
        "BoughtTogether",
        "Complements",
        "P3Alpha",
        "RP3Beta",
        "SequentialRules",
        "SessionKNN",
        "Swing",
        "UserKNN",
        "NewItems",
        "Pipeline",
        "Node2Vec",
        "Popular",
        "Propagation",
        "Recommender",
        "Schema",
        "TastemakerError",
        "Trending",
        "__version__",
        "evaluate",
        "load_sample",
        "split",
    },
    "tastemaker.evaluation": {"Evaluation", "evaluate"},
    "tastemaker.filtering": {"Restricted", "restrict", "verify"},
    "tastemaker.features": {"Family", "FeatureSet", "Pairs"},
    "tastemaker.index": {
        "ApproximateIndex",
        "CosineIndex",
        "IndexSettings",
        "ProductIndex",
        "QuantizedIndex",
        "ShardedIndex",
        "Sizing",
        "VectorIndex",
        "build_index",
        "exact_top_n",
        "index_bytes",
        "load_index",
        "ranked_top_n",
    },
    "tastemaker.metrics": {
        "Estimate",
        "UserBootstrap",
        "average_precision",
        "coverage",
        "gains_of",
        "gini",
        "hit_rate",
        "intra_list_diversity",
        "ndcg",
        "novelty",
        "precision",
        "recall",
        "recall_min",
        "reciprocal_rank",
    },
    "tastemaker.pipeline": {"Pipeline", "Recommendations", "Recommender"},
    "tastemaker.project": {
        "Budget",
        "Training",
        "RESERVED",
        "Placement",
        "Project",
        "component_class",
        "find_project",
        "load_project",
    },
    "tastemaker.ranking": {"GBM"},
    "tastemaker.registry": {"Registry", "Switch", "Version"},
    "tastemaker.reranking": {"MMR", "Explore", "Rules"},
    "tastemaker.retrieval": {
        "BSPM",
        "FeatureEASE",
        "GraphFilter",
        "SLIM",
        "SparseEASE",
        "ALS",
        "Content",
        "CooccurrenceGraph",
        "EASE",
        "Item2Vec",
        "ItemKNN",
        "BoughtTogether",
        "Complements",
        "P3Alpha",
        "RP3Beta",
        "SequentialRules",
        "SessionKNN",
        "Swing",
        "UserKNN",
        "NewItems",
        "Node2Vec",
        "Popular",
        "Propagation",
        "Trending",
    },
    "tastemaker.split": {
        "Split",
        "by_time",
        "given",
        "holdout",
        "new_items",
        "new_users",
        "relevant_after",
        "window_task",
    },
    "tastemaker.testing": {
        "IndexConformance",
        "KnownAnswer",
        "PipelineConformance",
        "RankerConformance",
        "RerankerConformance",
        "RetrieverConformance",
        "blockbuster",
        "checkerboard",
        "feature_differences",
        "planted_tastes",
    },
}


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_these(module: str) -> None:
    loaded = importlib.import_module(module)
    assert set(loaded.__all__) == PUBLIC[module]
    for name in loaded.__all__:
        assert getattr(loaded, name) is not None


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Recomender'"):
        tastemaker.Recomender  # noqa: B018


def test_every_public_name_is_documented() -> None:
    for module in PUBLIC:
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            value = getattr(loaded, name)
            if not isinstance(value, str):
                assert value.__doc__, f"{module}.{name} has no docstring"
