"""What every retriever promises, as tests to inherit: a new model gets them in three lines."""

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.component import (
    ComparesItems,
    Explains,
    Extends,
    FitOptions,
    Retriever,
    SimilarItems,
)
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import TagsColumn, TextColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Histories
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Masks, Requests
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.synthetic import SCHEMA, SyntheticWorld
from tastemaker.errors import ClockError, NotFittedError, SettingError
from tastemaker.testing.known import KnownAnswer, blockbuster, checkerboard, planted_tastes
from tastemaker.world import World

RELATIVE = 1e-5
_OPTIONS = FitOptions(seed=7, threads=2)


class RetrieverConformance:
    """Inherit and implement `make`; fixtures and data come with the suite."""

    def make(self) -> Retriever:
        """The retriever under test, not fitted."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Retriever:
        """The retriever fitted once for the whole class."""
        return cls().make().fit(small_dataset(), _OPTIONS)

    def test_the_constructor_only_stores_settings(self) -> None:
        made = self.make()
        assert made.name
        assert set(vars(made)) == {"config"}
        assert repr(made.clone()) == repr(made)
        with pytest.raises(SettingError, match="no_such_setting"):
            type(made)(no_such_setting=1)

    def test_asking_before_fit_says_what_to_do(self) -> None:
        with pytest.raises(NotFittedError, match="call fit"):
            self.make().retrieve(small_requests(), 5, small_world())

    def test_fit_returns_self_and_keeps_the_settings(self) -> None:
        made = self.make()
        before = made.config
        assert made.fit(small_dataset(), _OPTIONS) is made
        assert made.config is before
        assert made.n_fitted == len(small_dataset().catalogue)

    def test_fitting_and_asking_change_no_input(self, fitted: Retriever) -> None:
        dataset, requests = small_dataset(), small_requests()
        before = _digest(dataset.events, requests.history, requests.exclude)
        self.make().fit(dataset, _OPTIONS)
        fitted.retrieve(requests, 5, small_world())
        assert _digest(dataset.events, requests.history, requests.exclude) == before

    def test_fitting_twice_gives_the_same(self, fitted: Retriever) -> None:
        if not fitted.serves.deterministic:
            pytest.skip("declared not deterministic")
        again = self.make().fit(small_dataset(), _OPTIONS)
        one = fitted.retrieve(small_requests(), 10, small_world())
        two = again.retrieve(small_requests(), 10, small_world())
        assert np.array_equal(one.item, two.item)
        assert np.array_equal(one.score, two.score)

    def test_a_saved_retriever_answers_the_same(self, fitted: Retriever, tmp_path: Path) -> None:
        loaded = self._saved_and_loaded(fitted, tmp_path / "artifact")
        one = fitted.retrieve(small_requests(), 10, small_world())
        two = loaded.retrieve(small_requests(), 10, small_world())
        assert np.array_equal(one.item, two.item)
        assert np.array_equal(one.score, two.score)

    def test_lists_are_distinct_and_best_first(self, fitted: Retriever) -> None:
        found = fitted.retrieve(small_requests(), 10, small_world())
        assert len(found) == len(small_requests())
        assert len(found.item), "nothing was found for anybody"
        for row in range(len(found)):
            scores = found.score[found.offsets[row] : found.offsets[row + 1]]
            assert len(set(found[row].tolist())) == len(found[row]) <= 10
            assert np.isfinite(scores).all()
            assert (np.diff(scores) <= 0).all()

    def test_ties_go_to_the_lower_index(self, fitted: Retriever) -> None:
        found = fitted.retrieve(small_requests(), 30, small_world())
        same_row = np.diff(found.rows) == 0
        tied = same_row & (np.diff(found.score) == 0)
        assert (np.diff(found.item)[tied] > 0).all()

    def test_one_request_is_a_batch_of_one(self, fitted: Retriever) -> None:
        requests = small_requests()
        batch = fitted.retrieve(requests, 10, small_world())
        for row in range(len(requests)):
            single = fitted.retrieve(requests.take(np.array([row])), 10, small_world())
            assert_identical(single, batch.take(np.array([row])))

    def test_the_order_of_requests_does_not_matter(self, fitted: Retriever) -> None:
        requests = small_requests()
        shuffled = np.random.default_rng(3).permutation(len(requests))
        batch = fitted.retrieve(requests, 10, small_world())
        other = fitted.retrieve(requests.take(shuffled), 10, small_world())
        assert_identical(other, batch.take(shuffled))

    @pytest.mark.parametrize("company", [2, 3, 7, 100])
    def test_the_size_of_the_batch_does_not_matter(self, fitted: Retriever, company: int) -> None:
        rows = np.arange(company) % len(small_requests())
        batch = fitted.retrieve(small_requests(), 10, small_world())
        crowd = fitted.retrieve(small_requests().take(rows), 10, small_world())
        assert_identical(crowd, batch.take(rows))

    def test_no_requests_get_no_answers(self, fitted: Retriever) -> None:
        none = small_requests().take(np.empty(0, np.int64))
        assert len(fitted.retrieve(none, 10, small_world())) == 0

    @pytest.mark.parametrize("n", [0, 1, 10_000])
    def test_any_n_is_answered(self, fitted: Retriever, n: int) -> None:
        found = fitted.retrieve(small_requests(), n, small_world())
        assert (found.counts <= min(n, len(small_world().catalogue))).all()
        if n == 10_000:
            few = fitted.retrieve(small_requests(), 3, small_world())
            assert_same(found.head(3), few)

    def test_nothing_excluded_comes_back(self, fitted: Retriever) -> None:
        requests = small_requests()
        free = replace(requests, exclude=Ragged.of([[]] * len(requests)))
        liked = fitted.retrieve(free, 4, small_world())
        without = replace(requests, exclude=Ragged(liked.offsets, liked.item))
        found = fitted.retrieve(without, 10_000, small_world())
        for row in range(len(requests)):
            assert not set(found[row].tolist()) & set(liked[row].tolist())

    def test_only_eligible_items_come(self, fitted: Retriever) -> None:
        requests = small_requests()
        n_items = len(small_world().catalogue)
        even = np.arange(n_items) % 2 == 0
        row = np.where(np.arange(len(requests)) % 3 == 0, -1, 0).astype(np.int32)
        asked = replace(requests, eligible=Masks(even[None, :], row))
        found = fitted.retrieve(asked, 10_000, small_world())
        free = fitted.retrieve(requests, 10_000, small_world())
        for place, bitmap in enumerate(row):
            allowed = free[place] if bitmap < 0 else free[place][even[free[place]]]
            assert np.array_equal(found[place], allowed)

    def test_an_empty_history_is_answered_as_declared(self, fitted: Retriever) -> None:
        found = fitted.retrieve(stranger([]), 5, small_world())
        assert found.counts[0] == (5 if fitted.serves.empty_history else 0)

    def test_unknown_items_in_a_history_change_nothing(self, fitted: Retriever) -> None:
        plain = fitted.retrieve(stranger([3, 5, 8]), 10, small_world())
        mixed = replace(stranger([3, -1, 5, 8, -1]), exclude=Ragged.of([[3, 5, 8]]))
        assert_same(fitted.retrieve(mixed, 10, small_world()), plain)

    def test_an_added_item_breaks_nothing(self, fitted: Retriever) -> None:
        world = small_world().with_items(["added"])
        added = len(world.catalogue) - 1
        asked = replace(stranger([3, 5, added]), exclude=Ragged.of([[3, 5]]))
        plain = replace(stranger([3, 5]), exclude=Ragged.of([[3, 5]]))
        assert_same(fitted.retrieve(asked, 10, world), fitted.retrieve(plain, 10, world))

    def test_new_items_are_found_as_declared(self, fitted: Retriever) -> None:
        world = world_with_twin(3)
        added = len(world.catalogue) - 1
        likes = np.full(500, added, np.int32)
        moments = world.watermark - 3_600_000_000 * np.arange(1, 501)
        kind, weight = np.zeros(500, np.int8), np.ones(500, np.float32)
        statistics = world.statistics.append(likes, moments, kind, weight)
        liked = World(world.catalogue, statistics, world.watermark, world.clock)
        able = fitted.extended(world.catalogue) if isinstance(fitted, Extends) else fitted
        found = able.retrieve(stranger([3, 5, 8]), 10_000, liked)
        assert (added in found[0]) == fitted.serves.new_items

    def test_histories_matter_as_declared(self, fitted: Retriever) -> None:
        one, other = stranger([0, 1, 2, 3, 4]), stranger([20, 21, 22, 23, 24])
        both = Ragged.of([list(range(5)) + list(range(20, 25))])
        first = fitted.retrieve(replace(one, exclude=both), 10, small_world())
        second = fitted.retrieve(replace(other, exclude=both), 10, small_world())
        same = np.array_equal(first.item, second.item)
        assert same != fitted.serves.personal

    def test_negative_events_are_no_recommendation(self, fitted: Retriever) -> None:
        if not fitted.serves.personal:
            pytest.skip("does not use the history")
        answer = known_answer("planted tastes")
        again = self.make().fit(answer.dataset, _OPTIONS)
        liked, disliked = answer.requests.history.item[:5], answer.requests.history.item[5:10]
        both = Requests.of(
            [[*liked.tolist(), *disliked.tolist()]],
            time=answer.dataset.end,
            weights=[[1.0] * 5 + [-1.0] * 5],
        )
        first = again.retrieve(both, 4, answer.world)[0]
        assert set(first.tolist()) <= answer.right[0], "a disliked taste was recommended"

    def test_no_user_id_is_kept_unless_declared(self, fitted: Retriever, tmp_path: Path) -> None:
        self._saved_and_loaded(fitted, tmp_path / "artifact")
        content = b"".join(p.read_bytes() for p in (tmp_path / "artifact").rglob("*.*"))
        kept = any(id_.encode() in content for id_ in small_dataset().users.ids(range(20)))
        assert fitted.serves.holds_users or not kept, "a user id stands in the saved files"

    def test_who_asks_does_not_matter(self, fitted: Retriever) -> None:
        names = small_dataset().users.ids(range(len(small_requests())))
        named = replace(small_requests(), user_id=tuple(names))
        one = fitted.retrieve(small_requests(), 10, small_world())
        assert_same(fitted.retrieve(named, 10, small_world()), one)

    def test_nothing_at_or_after_the_moment_is_read(self, fitted: Retriever) -> None:
        world, asked = small_world(), stranger([3, 5, 8])
        later = np.full(500, asked.time[0], np.int64) + np.arange(500)
        likes = np.arange(500, dtype=np.int32) % len(world.catalogue)
        kind, weight = np.zeros(500, np.int8), np.ones(500, np.float32)
        statistics = world.statistics.append(likes**2 % 7, later, kind, weight)
        ahead = World(world.catalogue, statistics, world.watermark + 500, world.clock)
        before = fitted.retrieve(asked, 10_000, world)
        assert_same(fitted.retrieve(asked, 10_000, ahead), before)

    def test_fitting_again_forgets_the_first_fit(self, fitted: Retriever) -> None:
        if not fitted.serves.deterministic:
            pytest.skip("declared not deterministic")
        twice = self.make().fit(small_dataset(), _OPTIONS).fit(small_dataset(), _OPTIONS)
        one = fitted.retrieve(small_requests(), 10, small_world())
        two = twice.retrieve(small_requests(), 10, small_world())
        assert np.array_equal(one.item, two.item)
        assert np.array_equal(one.score, two.score)

    def test_answering_changes_nothing_fitted(self, fitted: Retriever) -> None:
        one = fitted.retrieve(small_requests(), 10, small_world())
        two = fitted.retrieve(small_requests(), 10, small_world())
        assert np.array_equal(one.item, two.item)
        assert np.array_equal(one.score, two.score)

    def test_the_clock_is_needed_as_declared(self) -> None:
        timeless = Dataset.from_frames(
            pl.DataFrame({"user_id": list("aabbc"), "item_id": list("xyyzx")}),
            schema=Schema(kinds={"like": EventKind()}, clock="none"),
        )
        if self.make().needs_clock:
            with pytest.raises(ClockError, match="clock"):
                self.make().fit(timeless)
        else:
            self.make().fit(timeless).retrieve(Requests.of([[0]]), 2, World.of(timeless))

    @pytest.mark.parametrize("log", ["one user", "one item", "nothing liked"])
    def test_a_degenerate_log_is_handled(self, log: str) -> None:
        dataset = degenerate_dataset(log)
        fitted = self.make().fit(dataset, _OPTIONS)
        found = fitted.retrieve(Requests.of([[0], []], time=dataset.end), 3, World.of(dataset))
        assert len(found) == 2

    def test_similar_items_are_named_as_declared(self, fitted: Retriever) -> None:
        assert isinstance(fitted, SimilarItems) == fitted.serves.similar_items
        if not isinstance(fitted, SimilarItems):
            return
        items = np.array([3, 20, 7], np.int32)
        found = fitted.similar(items, 5, small_world())
        assert (found.counts > 0).all()
        for row, item in enumerate(items):
            assert item not in found[row]
            assert len(found[row]) <= 5
        added = np.array([fitted.n_fitted], np.int32)
        assert len(fitted.similar(added, 5, small_world().with_items(["added"])).item) == 0

    def test_explanations_come_from_the_history(self, fitted: Retriever) -> None:
        if not isinstance(fitted, Explains):
            pytest.skip("explains nothing")
        requests = stranger([3, 5, 8])
        found = fitted.retrieve(requests, 5, small_world())
        reason, share = fitted.explain(requests, found)
        assert len(reason) == len(share) == len(found.item)
        assert set(reason.tolist()) <= {3, 5, 8, -1}
        assert (reason >= 0).any()
        assert ((share > 0) & (share <= 1) == (reason >= 0)).all()

    def test_a_comparison_is_the_same_alone_and_in_company(self, fitted: Retriever) -> None:
        able, left, right = item_pairs(fitted)
        together = able.compare(left, right)
        assert together.dtype == np.float32
        assert together.any(), "no two items are alike"
        for pair in range(0, len(left), 7):
            alone = able.compare(left[pair : pair + 1], right[pair : pair + 1])
            assert np.array_equal(alone, together[pair : pair + 1])
        shuffled = np.random.default_rng(5).permutation(len(left))
        assert np.array_equal(able.compare(left[shuffled], right[shuffled]), together[shuffled])
        assert len(able.compare(left[:0], right[:0])) == 0

    def test_items_are_alike_by_at_most_one(self, fitted: Retriever) -> None:
        able, left, right = item_pairs(fitted)
        likeness = able.compare(left, right)
        assert np.isfinite(likeness).all()
        assert (likeness <= 1).all()

    def test_an_unknown_item_is_like_no_other(self, fitted: Retriever) -> None:
        able, _, _ = item_pairs(fitted)
        unknown = np.array([-1, fitted.n_fitted, 3, 3, -1], np.int32)
        other = np.array([3, 3, -1, fitted.n_fitted, fitted.n_fitted], np.int32)
        assert not able.compare(unknown, other).any()

    def test_extending_leaves_the_original_as_it_is(self, fitted: Retriever) -> None:
        world = world_with_twin(3)
        before = fitted.retrieve(small_requests(), 10, small_world())
        extended = extended_by(fitted, world)
        assert extended is not fitted
        assert_identical(fitted.retrieve(small_requests(), 10, small_world()), before)
        found = fitted.retrieve(stranger([3, 5, 8]), 10_000, world)
        assert len(world.catalogue) - 1 not in found[0]

    def test_an_extended_retriever_knows_what_was_added(self, fitted: Retriever) -> None:
        world = world_with_twin(3)
        added = len(world.catalogue) - 1
        extended = extended_by(fitted, world)
        assert extended.n_fitted == fitted.n_fitted
        asked = replace(stranger([3, 3, 3]), exclude=Ragged.of([[3]]))
        first = extended.retrieve(asked, 5, world)[0]
        assert added in first, "an item with the attributes of a liked one was not found"
        if isinstance(extended, ComparesItems):
            twins = extended.compare(np.array([3], np.int32), np.array([added], np.int32))
            assert twins[0] > 0
        liked = extended.retrieve(stranger([added]), 5, world)
        assert liked.counts[0] > 0, "an added item in a history says nothing"

    def test_an_artifact_holds_fitted_items_only(self, fitted: Retriever, tmp_path: Path) -> None:
        extended = extended_by(fitted, world_with_twin(3))
        loaded = self._saved_and_loaded(extended, tmp_path / "artifact")
        assert loaded.n_fitted == fitted.n_fitted
        before = fitted.retrieve(small_requests(), 10, small_world())
        assert_identical(loaded.retrieve(small_requests(), 10, small_world()), before)

    @pytest.mark.parametrize("known", ["checkerboard", "planted tastes", "blockbuster"])
    def test_a_stranger_with_five_events_gets_the_right_item_first(self, known: str) -> None:
        answer = known_answer(known)
        fitted = self.make().fit(answer.dataset, _OPTIONS)
        if not fitted.serves.personal:
            pytest.skip("does not use the history")
        found = fitted.retrieve(answer.requests, 1, answer.world)
        assert (found.counts == 1).all()
        for row, right in enumerate(answer.right):
            first = int(found[row][0])
            assert first in right, f"{known}: request {row} got item {first}, right: {right}"

    def _saved_and_loaded(self, fitted: Retriever, folder: Path) -> Retriever:
        with create_artifact(folder, "retriever", {}) as writer:
            fitted.save(writer)
        return self.make().load(open_artifact(folder, "retriever")[0])


def assert_identical(one: Candidates, other: Candidates) -> None:
    """Equal lists, bit for bit: features made from batches must be those of single requests."""
    assert np.array_equal(one.offsets, other.offsets)
    assert np.array_equal(one.item, other.item)
    assert np.array_equal(one.score, other.score)


def assert_same(one: Candidates, other: Candidates) -> None:
    """Equal lists: scores within 1e-5 relative; items may swap only where scores are that near."""
    assert np.array_equal(one.counts, other.counts)
    np.testing.assert_allclose(one.score, other.score, rtol=RELATIVE, atol=1e-7)
    for place in np.flatnonzero(one.item != other.item):
        row = other.rows[place]
        twin = np.flatnonzero((one.rows == row) & (one.item == other.item[place]))
        near = one.score[twin] if len(twin) else one.score[one.offsets[row + 1] - 1]
        np.testing.assert_allclose(near, other.score[place], rtol=RELATIVE, atol=1e-7)


@cache
def small_dataset() -> Dataset:
    """A small synthetic log with three kinds of event, tastes and new items."""
    world = SyntheticWorld(users=90, items=60, events=2_000, tastes=4, seed=11)
    named = world.events.with_columns(pl.format("somebody-{}", "user_id").alias("user_id"))
    return Dataset.from_frames(named, items=world.items, schema=SCHEMA)


@cache
def small_world() -> World:
    """What `small_dataset` says of its items."""
    return World.of(small_dataset())


@cache
def small_requests() -> Requests:
    """Known users with full histories, and two strangers, one without any."""
    dataset = small_dataset()
    users = np.arange(12)
    known = dataset.requests(users, np.full(len(users), dataset.end))
    histories = [known.history.item[a:b].tolist() for a, b in _bounds(known.history)]
    weights = [known.history.weight[a:b].tolist() for a, b in _bounds(known.history)]
    exclude = [known.exclude[row].tolist() for row in range(len(users))]
    return Requests.of(
        [*histories, [2, 7, 30], []],
        time=dataset.end,
        weights=[*weights, [1.0, 1.0, 1.0], []],
        exclude=[*exclude, [2, 7, 30], []],
    )


@cache
def world_with_twin(item: int) -> World:
    """The small world with one more item, of which the same is known as of `item`."""
    world = small_world()
    known: dict[str, list[object]] = {}
    for name, column in world.catalogue.columns.items():
        if isinstance(column, TextColumn):
            known[name] = [column.texts[item]]
        elif isinstance(column, TagsColumn):
            known[name] = [column.labels.ids(column.codes[item])]
        else:
            known[name] = [column.values[item]]
    return world.with_items(["added"], known)


def item_pairs(
    fitted: Retriever,
) -> tuple[ComparesItems, NDArray[np.int32], NDArray[np.int32]]:
    """The retriever and every pair of the small world's items, for those that compare items."""
    if not isinstance(fitted, ComparesItems):
        pytest.skip("compares no items")
    n_items = len(small_world().catalogue)
    left, right = np.divmod(np.arange(n_items**2), n_items)
    return fitted, left.astype(np.int32), right.astype(np.int32)


def extended_by(fitted: Retriever, world: World) -> Retriever:
    """The retriever that also knows the world's added items, for those that extend."""
    if not isinstance(fitted, Extends):
        pytest.skip("takes up no new items")
    extended: Retriever = fitted.extended(world.catalogue)
    return extended


def stranger(history: list[int]) -> Requests:
    """A request of someone who was never in the data and liked these items."""
    return Requests.of([history], time=small_dataset().end)


@cache
def degenerate_dataset(log: str) -> Dataset:
    """Logs from which hardly anything can be learnt."""
    users = ["a"] * 4 if log == "one user" else list("abcd")
    items = ["x"] * 4 if log == "one item" else list("wxyz")
    role = "negative" if log == "nothing liked" else "positive"
    frame = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": [10, 20, 30, 40]})
    schema = Schema(kinds={"event": EventKind.checked({"role": role}, owner="event")})
    return Dataset.from_frames(frame, schema=schema)


@cache
def known_answer(name: str) -> KnownAnswer:
    """The known-answer data by name, made once."""
    made: dict[str, Callable[[], KnownAnswer]] = {
        "checkerboard": checkerboard,
        "planted tastes": planted_tastes,
        "blockbuster": blockbuster,
    }
    return made[name]()


def _bounds(histories: Histories) -> list[tuple[int, int]]:
    return list(zip(histories.offsets[:-1].tolist(), histories.offsets[1:].tolist()))


def _digest(*columns: object) -> str:
    """SHA-256 over every array of some dataclasses."""
    digest = hashlib.sha256()
    for part in columns:
        for field in fields(part):  # type: ignore[arg-type]
            digest.update(np.ascontiguousarray(getattr(part, field.name)).tobytes())
    return digest.hexdigest()
