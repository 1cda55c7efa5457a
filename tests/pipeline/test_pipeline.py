from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import polars as pl
import pytest

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import Capabilities, FitOptions, Retriever, Task
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.errors import NotFittedError, SettingError
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Pipeline
from tastemaker.retrieval import ItemKNN, Popular

SCHEMA = Schema(
    kinds={"view": EventKind()},
    clock="none",
    item_roles={"title": ColumnRole(role="text")},
)


def dataset() -> Dataset:
    """Items i0 … i9 in two groups of five with common users; i9 has no title."""
    random = np.random.default_rng(4)
    rows = [
        (f"u{user}", f"i{5 * (user % 2) + item}")
        for user in range(20)
        for item in random.permutation(5)[:3].tolist()
    ]
    titles = {"item_id": [f"i{i}" for i in range(9)], "title": [f"Item {i}" for i in range(9)]}
    events = pl.DataFrame(rows, ["user_id", "item_id"], orient="row")
    return Dataset.from_frames(events, items=pl.DataFrame(titles), schema=SCHEMA)


DATA = dataset()
INVENTORY = Inventory.of(DATA)


class FixedConfig(Settings):
    """No settings."""


class Fixed(Retriever):
    """A faulty retriever: returns the same items for all requests and ignores exclusions."""

    name = "fixed"
    capabilities: ClassVar = Capabilities(history="none", empty_history=True)
    reason_text: ClassVar = "it always says so"
    config: FixedConfig

    def __init__(self, *items: int) -> None:
        super().__init__()
        self.items, self.n_fitted = items, 10

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        return self

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        scores = [1.0 / (rank + 1) for rank in range(len(self.items))]
        return Candidates.of([(self.items, scores)] * len(requests)).head(n)

    def save(self, writer: ArtifactWriter) -> None:
        raise NotImplementedError

    def load(self, reader: ArtifactReader) -> Self:
        raise NotImplementedError


def make_pipeline(quotas: Mapping[str, int] | None = None) -> Pipeline:
    sources = {"knn": ItemKNN(shrinkage=0).fit(DATA), "popular": Popular().fit(DATA)}
    return Pipeline(sources, quotas or {"knn": 6, "popular": 10}, model_version="v7")


def requests() -> Requests:
    return Requests.of([[0, 1], [6], [], [5, 7, 9], [0, 1]], user_id=["a", None, "c", "d", "e"])


def test_the_trace_lists_every_stage_in_order() -> None:
    answer = make_pipeline().recommend(requests(), 2, inventory=INVENTORY)
    assert [stage["name"] for stage in answer.trace.to_list(0)] == [
        "retrieve:knn",
        "retrieve:popular",
        "merge",
        "filter",
        "select",
    ]


def test_the_counts_of_a_trace_add_up() -> None:
    answer = make_pipeline().recommend(requests(), 2, inventory=INVENTORY)
    for row in range(len(answer)):
        knn, popular, merge, verified, select = answer.trace.to_list(row)
        assert knn["in"] == popular["in"] == 0
        assert merge["in"] == knn["out"] + popular["out"]
        assert merge["out"] == verified["in"] <= 6 + 10
        assert verified["out"] == select["in"]
        assert select["out"] == len(answer.candidates[row])
        assert all(stage["ms"] >= 0 for stage in answer.trace.to_list(row))


def test_disallowed_candidates_are_removed_and_counted() -> None:
    pipeline = Pipeline({"fixed": Fixed(3, 1, 4, 99)}, {"fixed": 4})
    answer = pipeline.recommend(Requests.of([[1], []]), 4, inventory=INVENTORY)
    assert [answer.candidates[row][:3].tolist() for row in range(2)] == [[3, 4, 0], [3, 1, 4]]
    stages = [{s["name"]: s for s in answer.trace.to_list(row)}["filter"] for row in range(2)]
    assert [(stage["in"], stage["out"]) for stage in stages] == [(4, 2), (4, 3)]
    assert answer.candidates.counts.tolist() == [4, 4]


def test_a_batch_equals_its_requests_one_by_one() -> None:
    batch = make_pipeline().recommend(requests(), 4, inventory=INVENTORY)
    for row in range(len(batch)):
        alone = make_pipeline().recommend(requests().take(np.array([row])), 4, inventory=INVENTORY)
        assert alone.candidates[0].tolist() == batch.candidates[row].tolist()
        part = batch.candidates.take(np.array([row]))
        np.testing.assert_allclose(alone.candidates.score, part.score, rtol=1e-5)
        np.testing.assert_array_equal(alone.candidates.source_rank, part.source_rank)


def test_the_order_of_requests_does_not_matter() -> None:
    order = np.array([3, 0, 4, 2, 1])
    straight = make_pipeline().recommend(requests(), 4, inventory=INVENTORY)
    turned = make_pipeline().recommend(requests().take(order), 4, inventory=INVENTORY)
    for place, row in enumerate(order):
        assert turned.item_ids(place) == straight.item_ids(int(row))


def test_a_larger_n_begins_with_the_smaller_list() -> None:
    lists = [
        make_pipeline().recommend(requests(), n, inventory=INVENTORY).item_ids(0)
        for n in (0, 1, 3, 8)
    ]
    assert [len(items) for items in lists] == [0, 1, 3, 8]
    assert all(lists[-1][: len(items)] == items for items in lists)


def test_one_source_replaces_another_that_finds_nothing() -> None:
    anonymous = make_pipeline({"knn": 4, "popular": 2}).recommend(
        Requests.of([[]]), 6, inventory=INVENTORY
    )
    assert len(anonymous.item_ids()) == 6


@pytest.mark.parametrize("quotas", [{"knn": 1, "popular": 1}, {"knn": 3, "popular": 2}])
def test_small_quotas_do_not_shorten_a_list(quotas: dict[str, int]) -> None:
    answer = make_pipeline(quotas).recommend(Requests.of([[0], [], [7]]), 8, inventory=INVENTORY)
    assert answer.candidates.counts.tolist() == [8, 8, 8]


def test_an_empty_batch_gets_an_empty_answer() -> None:
    assert len(make_pipeline().recommend(Requests.of([]), 5, inventory=INVENTORY)) == 0


def test_a_negative_n_is_rejected() -> None:
    with pytest.raises(SettingError, match="'n' must be at least 0, got -3"):
        make_pipeline().recommend(requests(), -3, inventory=INVENTORY)


def test_an_unfitted_source_is_rejected() -> None:
    with pytest.raises(NotFittedError, match="Popular is not fitted"):
        Pipeline({"popular": Popular()}, {"popular": 1}).recommend(
            requests(), 1, inventory=INVENTORY
        )


# --- JSON ---


def test_an_answer_has_the_documented_keys() -> None:
    payload = make_pipeline().recommend(requests(), 8, inventory=INVENTORY).to_dict(0)
    assert list(payload) == ["recommendation_id", "model_version", "variant", "degraded", "items"]
    assert payload["model_version"] == "v7"
    assert payload["variant"] == "default"
    assert payload["degraded"] == []
    assert len(payload["items"]) == 8
    for item in payload["items"]:
        assert item.keys() - {"title"} == {"item_id", "score", "reasons"}
        assert isinstance(item["score"], float)
        assert {"kind", "text"} <= item["reasons"][0].keys()
    titles = {item["item_id"]: item.get("title") for item in payload["items"]}
    assert titles.pop("i9") is None
    assert titles == {item: f"Item {item[1:]}" for item in titles}


def test_a_trace_is_returned_only_on_request() -> None:
    payload = make_pipeline().recommend(requests(), 3, inventory=INVENTORY).to_dict(0, trace=True)
    stage, source = ["in", "ms", "name", "out"], ["in", "kept", "ms", "name", "out", "quota"]
    assert [sorted(s) for s in payload["trace"]["stages"]] == [source] * 2 + [stage] * 3
    for item, traced in zip(payload["items"], payload["trace"]["items"]):
        assert traced["item_id"] == item["item_id"]
        assert traced["sources"].keys() <= {"knn", "popular"}
        assert all(source["rank"] >= 1 for source in traced["sources"].values())


def test_every_answer_has_a_unique_id() -> None:
    answer = make_pipeline().recommend(requests(), 1, inventory=INVENTORY)
    assert len({answer.to_dict(row)["recommendation_id"] for row in range(5)}) == 5


def test_a_reason_names_the_liked_item_and_the_source() -> None:
    payload = make_pipeline().recommend(Requests.of([[6]]), 1, inventory=INVENTORY).to_dict()
    because, source = payload["items"][0]["reasons"]
    assert because["kind"] == "because_you_liked"
    assert because["item_id"] == "i6"
    assert because["text"] == "because you viewed Item 6"
    assert because["source"] == "knn"
    assert source["kind"] == "source"
    assert source["source"] in ("knn", "popular")


def test_an_anonymous_user_gets_the_reason_of_the_source() -> None:
    pipeline = Pipeline({"oracle": Fixed(2)}, {"oracle": 1})
    payload = pipeline.recommend(Requests.of([[]]), 1, inventory=INVENTORY).to_dict()
    assert payload["items"][0]["reasons"] == [
        {"kind": "source", "text": "it always says so (oracle, rank 1)", "source": "oracle"}
    ]


def test_the_reasons_of_a_request_are_independent_of_the_batch() -> None:
    batch = make_pipeline().recommend(requests(), 3, inventory=INVENTORY)
    for row in range(len(batch)):
        alone = make_pipeline().recommend(requests().take(np.array([row])), 3, inventory=INVENTORY)
        assert batch.to_dict(row)["items"] == alone.to_dict()["items"]


def test_the_text_of_an_answer_has_user_titles_and_reasons() -> None:
    text = str(make_pipeline().recommend(requests(), 2, inventory=INVENTORY))
    assert "for user a:" in text
    assert "for an anonymous user:" in text
    assert text.count("\n") + 1 == 5 + 2 * 5
    assert "because you viewed Item" in text
