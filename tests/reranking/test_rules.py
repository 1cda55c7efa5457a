from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.component import Reranked
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import Catalogue, CategoryColumn, NumberColumn, TagsColumn
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Masks, Requests
from tastemaker.data.vocabulary import Vocabulary
from tastemaker.errors import SettingError
from tastemaker.inventory import Inventory
from tastemaker.reranking import Rules
from tastemaker.reranking.pins import Pin
from tastemaker.testing.small import small_inventory

IDS = "abcdefghij"
CATEGORIES = ["x", "x", "x", "y", "y", "z", None, "x", "y", "z"]
TAGS = [["r"], ["r", "s"], ["s"], ["r"], [], None, ["t"], ["t", "r"], ["s"], ["r"]]


def inventory_of(categories: Sequence[str | None] = CATEGORIES) -> Inventory:
    catalogue = Catalogue(
        Vocabulary.of(list(IDS)),
        {
            "category": CategoryColumn.of([label and [label] for label in categories]),
            "tags": TagsColumn.of(TAGS),
            "price": NumberColumn.of([1.0] * len(IDS)),
        },
    )
    return Inventory(catalogue, small_inventory().statistics, 0, "none")


INVENTORY = inventory_of()


def listed(text: str) -> Candidates:
    """Items by their ids, best first, with the scores 10, 9, 8 …"""
    return Candidates.of([([IDS.index(c) for c in text], 10.0 - np.arange(len(text)))])


def pins(**places: int) -> list[dict[str, str | int]]:
    return [{"item_id": item, "position": place} for item, place in places.items()]


def rerank(rules: Rules, text: str, n: int = 5, requests: Requests | None = None) -> Reranked:
    return rules.rerank(requests or Requests.of([[]]), listed(text), n, INVENTORY, {})


def ids(answer: Reranked) -> str:
    return "".join(IDS[item] for item in answer.candidates[0])


# -- no rules -------------------------------------------------------------------------------------


def test_without_rules_lists_do_not_change() -> None:
    answer = rerank(Rules(), "cabd", 3)
    assert ids(answer) == "cabd"
    assert answer.notes == ((),)
    assert answer.cost.tolist() == [0]


# -- blocked --------------------------------------------------------------------------------------


def test_a_blocked_item_is_never_shown() -> None:
    answer = rerank(Rules(blocked=["a", "c"]), "abcd", 3)
    assert ids(answer) == "bd"
    assert answer.notes == (("2 blocked, left out",),)
    assert answer.cost.tolist() == [10 + 9 - 9 - 7]


def test_items_of_a_blocked_label_are_never_shown() -> None:
    assert ids(rerank(Rules(blocked_labels={"category": ["x"]}), "abcdefghij", 9)) == "defgij"
    assert ids(rerank(Rules(blocked_labels={"tags": ["s", "t"]}), "abcdefghij", 9)) == "adefj"
    both = Rules(blocked_labels={"category": ["x"], "tags": ["s", "t"]}, blocked=["j"])
    assert ids(rerank(both, "abcdefghij", 9)) == "def"


def test_unknown_ids_and_labels_block_nothing() -> None:
    rules = Rules(blocked=["who"], blocked_labels={"category": ["what"], "tags": ["x"]})
    assert ids(rerank(rules, "abcdefghij")) == "abcdefghij"


def test_an_item_added_later_is_blocked_like_any_other() -> None:
    rules = Rules(blocked=["new"], blocked_labels={"category": ["x"]})
    assert ids(rerank(rules, "ad")) == "d"
    later = {"category": [["y"], ["x"], ["y"]]}
    catalogue = INVENTORY.catalogue.extended(["new", "other", "third"], later)
    inventory = Inventory(catalogue, INVENTORY.statistics, 0, "none")
    found = Candidates.of([([10, 11, 12, 0], [4, 3, 2, 1])])
    assert rules.rerank(Requests.of([[]]), found, 5, inventory, {}).candidates[0].tolist() == [12]


# -- caps -----------------------------------------------------------------------------------------


def test_a_cap_moves_items_beyond_it_down() -> None:
    answer = rerank(Rules(caps={"category": 1}), "abdcefgh", 4)
    assert ids(answer) == "adfgbceh"
    assert answer.notes == (("3 held back by caps",),)
    assert answer.cost.tolist() == [10 + 9 + 8 + 7 - 10 - 8 - 5 - 4]


def test_a_cap_counts_each_of_an_items_labels() -> None:
    assert ids(rerank(Rules(caps={"tags": 1}), "abcdefg", 4)) == "acefbdg"


def test_an_item_without_labels_has_no_cap() -> None:
    assert ids(rerank(Rules(caps={"tags": 1}), "efg", 3)) == "efg"


def test_several_caps_hold_together() -> None:
    answer = rerank(Rules(caps={"category": 2, "tags": 1}), "abcdefghij", 4)
    assert ids(answer) == "acefbdghij"


def test_a_cap_that_cannot_be_held_is_exceeded_and_reported() -> None:
    answer = rerank(Rules(caps={"category": 1}), "abcde", 4)
    assert ids(answer) == "adbce"
    missed = "category 'x' shown 3 times: the cap of 1 was not held"
    assert answer.notes == (("1 held back by caps", missed),)


def test_a_list_shorter_than_the_places_keeps_every_item() -> None:
    answer = rerank(Rules(caps={"category": 1}), "abd", 10)
    assert ids(answer) == "adb"
    assert answer.notes == (("category 'x' shown 2 times: the cap of 1 was not held",),)


def test_a_feasible_first_item_is_never_refused() -> None:
    for first in IDS:
        assert ids(rerank(Rules(caps={"category": 1, "tags": 1}), first, 1)) == first


@pytest.mark.parametrize("rules", [{"category": 1}, {"category": 1, "tags": 3}, {"labels": 1}])
def test_a_cap_that_no_other_item_can_satisfy_is_not_short(rules: dict[str, int]) -> None:
    """All ten items have one of three labels, so the other seven cannot be shown."""
    labels = [[label] for label in "xxxyyzzxyz"]
    columns = {"category": CategoryColumn.of(labels), "labels": TagsColumn.of(labels)}
    catalogue = Catalogue(INVENTORY.catalogue.items, {**INVENTORY.catalogue.columns, **columns})
    inventory = Inventory(catalogue, INVENTORY.statistics, 0, "none")
    found = Candidates.of([([0, 3, 5, 1], [4, 3, 2, 1]), ([0, 1], [2, 1])])
    answer = Rules(caps=rules).rerank(Requests.of([[]] * 2), found, 4, inventory, {})
    assert answer.short is not None
    assert answer.suitable is not None
    assert answer.short.tolist() == [0, 1]
    rows, expected = np.ones(10, np.int64), [label != ["x"] for label in labels]
    assert answer.suitable.allows(rows, np.arange(10, dtype=np.int32)).tolist() == expected


def test_suitable_items_have_no_label_at_its_cap() -> None:
    answer = rerank(Rules(caps={"category": 1, "tags": 2}), "abg", 3)
    assert answer.suitable is not None
    could = answer.suitable.allows(np.zeros(10, np.int64), np.arange(10, dtype=np.int32))
    assert [item for item, able in zip(IDS, could) if able] == ["d", "e", "f", "g", "i", "j"]


def test_caps_apply_to_each_request_of_a_batch_separately() -> None:
    found = Candidates.of([([0, 1, 3], [3, 2, 1])] * 3)
    answer = Rules(caps={"category": 1}).rerank(Requests.of([[]] * 3), found, 2, INVENTORY, {})
    assert answer.candidates.item.reshape(3, 3).tolist() == [[0, 3, 1]] * 3


# -- pins -----------------------------------------------------------------------------------------


def test_pinned_items_have_their_position_and_others_move_down() -> None:
    answer = rerank(Rules(pinned=pins(d=1, b=3)), "abcde", 5)
    assert ids(answer) == "dabce"
    assert answer.notes == (("'d' pinned at 1", "'b' pinned at 3"),)


def test_a_pinned_item_without_source_gets_the_lowest_score() -> None:
    found = replace(
        listed("abc"),
        sources=("als",),
        source_rank=np.zeros((3, 1), np.int16),
        source_score=np.ones((3, 1), np.float32),
        columns={
            "price": np.ones(3, np.float32),
            "slot": np.ones(3, np.int16),
            "paid": np.ones(3, np.bool_),
            "stock": np.ones(3, np.uint8),
        },
    )
    answer = Rules(pinned=pins(j=2)).rerank(Requests.of([[]]), found, 2, INVENTORY, {})
    shown = answer.candidates
    assert ids(answer) == "ajbc"
    assert shown.score.tolist() == [10, 8, 9, 8]
    assert shown.source_rank[:, 0].tolist() == [0, -1, 0, 0]
    assert np.isnan(shown.source_score[:, 0]).tolist() == [False, True, False, False]
    assert np.isnan(shown.columns["price"]).tolist() == [False, True, False, False]
    assert shown.columns["slot"].tolist() == [1, -1, 1, 1]
    assert shown.columns["paid"].tolist() == [True, False, True, True]
    assert shown.columns["stock"].tolist() == [1, 0, 1, 1]
    assert {n: c.dtype for n, c in shown.columns.items()} == {
        n: c.dtype for n, c in found.columns.items()
    }
    assert answer.cost.tolist() == [1]


def test_a_pin_fills_an_empty_list() -> None:
    answer = rerank(Rules(pinned=pins(c=1, d=2)), "", 5)
    assert ids(answer) == "cd"
    assert answer.candidates.score.tolist() == [0, 0]
    assert answer.cost.tolist() == [0]


def excluding(item: str) -> Requests:
    return Requests.of([[]], exclude=[[2, IDS.index(item)]])


def allowing(items: str) -> Requests:
    bitmap = np.array([[c in items for c in IDS]])
    return replace(Requests.of([[]]), eligible=Masks(bitmap, np.zeros(1, np.int32)))


@pytest.mark.parametrize(
    ("settings", "requests", "reason"),
    [
        ({"pinned": pins(unknown=1)}, None, "'unknown' not pinned at 1: no such item"),
        ({"pinned": pins(j=1), "blocked": ["j"]}, None, "'j' not pinned at 1: it is blocked"),
        (
            {"pinned": pins(j=1), "blocked_labels": {"category": ["z"]}},
            None,
            "'j' not pinned at 1: it is blocked",
        ),
        ({"pinned": pins(j=1)}, allowing("abcd"), "'j' not pinned at 1: it is not eligible here"),
        (
            {"pinned": pins(j=1)},
            excluding("j"),
            "'j' not pinned at 1: it is excluded for this request",
        ),
        ({"pinned": pins(j=6)}, None, "'j' not pinned at 6: fewer places are shown"),
        ({"pinned": pins(j=5)}, None, "'j' not pinned at 5: the list is too short"),
    ],
)
def test_a_pin_that_cannot_be_shown_is_reported(
    settings: dict[str, object], requests: Requests | None, reason: str
) -> None:
    answer = rerank(Rules(**settings), "abd", 5, requests)
    assert ids(answer) == "abd"
    assert answer.notes == ((reason,),)


def test_an_unreachable_pin_stays_at_its_place_in_the_list() -> None:
    assert ids(rerank(Rules(pinned=pins(a=9)), "abc", 5)) == "abc"
    assert ids(rerank(Rules(pinned=pins(a=4)), "abc", 5)) == "abc"
    assert ids(rerank(Rules(pinned=pins(a=3)), "abc", 5)) == "bca"


def test_the_first_showable_pin_of_a_place_is_shown() -> None:
    both = Rules(pinned=pins(i=1, j=1))
    answer = rerank(both, "ab")
    assert ids(answer) == "iab"
    assert answer.notes == (("'i' pinned at 1", "'j' not pinned at 1: another pin has the place"),)
    substitute = rerank(both, "ab", requests=excluding("i"))
    assert ids(substitute) == "jab"


def test_an_item_is_pinned_once() -> None:
    rules = Rules(pinned=[*pins(j=3), *pins(j=1)])
    answer = rerank(rules, "abc")
    assert ids(answer) == "jabc"
    assert answer.notes == (("'j' pinned at 1", "'j' not pinned at 3: it is pinned further up"),)


def test_pinned_items_count_towards_caps() -> None:
    answer = rerank(Rules(pinned=pins(c=4), caps={"category": 1}), "adfbceg", 4)
    assert ids(answer) == "dfgcabe"


def test_pins_that_exceed_a_cap_are_reported() -> None:
    answer = rerank(Rules(pinned=pins(a=1, b=2), caps={"category": 1}), "cdf", 3)
    assert ids(answer) == "abdcf"
    assert "category 'x' shown 2 times: the cap of 1 was not held" in answer.notes[0]


def test_a_pin_can_be_a_pin_object() -> None:
    rules = Rules(pinned=(Pin(item_id="j", position=2),))
    assert ids(rerank(rules, "abc")) == "ajbc"
    assert repr(rules) == "Rules(pinned=({'item_id': 'j', 'position': 2},))"


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{"caps": {"categorie": 2}}, {"blocked_labels": {"categorie": ("x",)}}]
)
def test_an_unknown_column_is_reported_with_a_suggestion(settings: dict[str, object]) -> None:
    rule = next(iter(settings))
    with pytest.raises(
        SettingError, match=f"Rules: {rule}: 'categorie' is not a column .*did you mean 'category'"
    ):
        rerank(Rules(**settings), "")


def test_a_column_without_labels_is_rejected() -> None:
    with pytest.raises(
        SettingError, match="'price' has the role number and no labels; known: category"
    ):
        rerank(Rules(caps={"price": 2}), "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"caps": {"category": 0}}, "'caps.category' must be greater than or equal to 1, got 0"),
        ({"pinned": pins(a=0)}, "'pinned.0.position' must be greater than or equal to 1, got 0"),
        ({"pinned": [{"item_id": "a", "place": 1}]}, "'pinned.0.position' is missing"),
        ({"blocked": "a"}, "'blocked' must be"),
    ],
)
def test_an_invalid_setting_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=f"Rules: {message}"):
        Rules(**settings)


# -- everything at once ---------------------------------------------------------------------------

items = st.integers(0, len(IDS) - 1)
rows = st.lists(items, max_size=len(IDS), unique=True)
settings = st.fixed_dictionaries(
    {
        "blocked": st.lists(st.sampled_from(IDS), max_size=2),
        "blocked_labels": st.dictionaries(
            st.sampled_from(["category", "tags"]), st.lists(st.sampled_from("xyrt"), max_size=1)
        ),
        "caps": st.dictionaries(st.sampled_from(["category", "tags"]), st.integers(1, 3)),
        "pinned": st.lists(
            st.builds(Pin, item_id=st.sampled_from(IDS + "?"), position=st.integers(1, 8)),
            max_size=4,
        ),
    }
)
batches = st.lists(st.tuples(rows, st.lists(items, max_size=3)), max_size=4)


def by_definition(
    rules: Rules, row: list[int], exclude: list[int], n: int
) -> tuple[list[int], dict[int, int]]:
    """The list that follows from the rules, and the place of each shown pin, from 0."""
    config, columns = rules.config, {"category": [c and [c] for c in CATEGORIES], "tags": TAGS}

    def labels(item: int, column: str) -> set[str]:
        return set(columns[column][item] or ())

    blocked = {IDS.index(item) for item in config.blocked} | {
        item
        for item in range(len(IDS))
        for column, names in config.blocked_labels.items()
        if labels(item, column) & set(names)
    }
    left = [item for item in row if item not in blocked]
    places: dict[int, int] = {}
    for pin in sorted(config.pinned, key=lambda pin: pin.position):
        item = IDS.find(pin.item_id)
        fits = pin.position - 1 <= len([i for i in left if i != item]) + len(places)
        if item < 0 or item in blocked | set(exclude) or pin.position > n or not fits:
            continue
        if item not in places and pin.position - 1 not in places.values():
            places[item] = pin.position - 1
            left = [i for i in left if i != item]
    at = {place: item for item, place in places.items()}
    used = Counter((c, label) for item in places for c in config.caps for label in labels(item, c))
    total, made = len(left) + len(places), []
    for place in range(total):
        fitting = [
            item
            for item in left
            if place >= n
            or all(
                used[c, label] < cap for c, cap in config.caps.items() for label in labels(item, c)
            )
        ]
        made.append(at[place] if place in at else (fitting or left)[0])
        if place not in at:
            left.remove(made[-1])
            used.update((c, label) for c in config.caps for label in labels(made[-1], c))
    return made, places


@given(settings, batches, st.integers(0, 12))
def test_every_list_equals_a_direct_application_of_the_rules(
    given_settings: dict[str, object], batch: list[tuple[list[int], list[int]]], n: int
) -> None:
    rules = Rules(**given_settings)
    exclude = [away for _, away in batch]
    allowed = [[item for item in row if item not in away] for row, away in batch]
    found = Candidates.of([(row, -np.arange(len(row))) for row in allowed])
    requests = replace(Requests.of([[]] * len(batch)), exclude=Ragged.of(exclude))
    answer = rules.rerank(requests, found, n, INVENTORY, {})
    for row, (candidates, away) in enumerate(zip(allowed, exclude)):
        expected, places = by_definition(rules, candidates, away, n)
        made, notes = answer.candidates[row].tolist(), answer.notes[row]
        assert made == expected
        for item, place in places.items():
            assert made[place] == item
            assert f"'{IDS[item]}' pinned at {place + 1}" in notes
        assert sum("pinned" in note for note in notes) == len(rules.config.pinned)
        assert_caps_hold_or_are_reported(rules, made[:n], notes)


def assert_caps_hold_or_are_reported(
    rules: Rules, shown: list[int], notes: tuple[str, ...]
) -> None:
    reported = {note for note in notes if "was not held" in note}
    exceeded = set()
    for column, cap in rules.config.caps.items():
        labels = [c and [c] for c in CATEGORIES] if column == "category" else TAGS
        counts = Counter(label for item in shown for label in labels[item] or ())
        exceeded |= {
            f"{column} '{label}' shown {count} times: the cap of {cap} was not held"
            for label, count in counts.items()
            if count > cap
        }
    assert reported == exceeded


@given(rows, st.integers(1, 3), st.integers(0, 12))
def test_a_category_cap_is_exceeded_only_if_no_list_can_hold_it(
    row: list[int], cap: int, n: int
) -> None:
    found = Candidates.of([(row, -np.arange(len(row)))])
    answer = Rules(caps={"category": cap}).rerank(Requests.of([[]]), found, n, INVENTORY, {})
    labels = Counter(CATEGORIES[item] for item in row)
    most = sum(count if label is None else min(cap, count) for label, count in labels.items())
    reported = any("was not held" in note for note in answer.notes[0])
    assert reported == (most < min(n, len(row)))
