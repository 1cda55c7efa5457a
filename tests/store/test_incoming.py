import math
import struct
import subprocess
import sys
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tastemaker.data.clean import clean_events
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.table import frame_table
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import DataError
from tastemaker.store import EventRow, check_event
from tastemaker.store.incoming import FIELDS, LARGEST_CONTEXT, LONGEST_ID
from tastemaker.store.new_ids import NewIds

NOW = 1_750_000_000_123_456
DAY = MICROSECONDS["d"]
KINDS = {
    "view": EventKind(),
    "rating": EventKind(positive_threshold=4, negative_threshold=2),
    "7": EventKind(role="negative"),
}
GOOD = {"user_id": "u", "item_id": "i", "event_type": "view"}


def checked(default_kind: str | None = None, **fields: Any) -> EventRow:
    return check_event({**GOOD, **fields}, KINDS, default_kind, NOW)


def refusal(**fields: Any) -> str:
    with pytest.raises(DataError) as refused:
        checked(**fields)
    return str(refused.value)


# --- valid events ---


def test_an_event_with_all_fields_is_stored_unchanged() -> None:
    row = checked(
        event_id="e1", user_id=42, item_id="i/1", event_type="rating", value=4.5,
        timestamp="2024-02-29T12:00:00+02:00", session="s", recommendation_id="r", position=3,
        context={"page": "home", "é": [1, None]},
    )  # fmt: skip
    assert row == EventRow(
        "e1", "42", "i/1", "rating", 4.5, 1_709_200_800_000_000, NOW, "s", "r", 3,
        '{"page": "home", "é": [1, null]}',
    )  # fmt: skip


def test_an_event_with_required_fields_gets_an_id_and_a_time() -> None:
    row = check_event({"user_id": "u", "item_id": "i"}, KINDS, "view", NOW)
    assert (row.kind, row.value, row.time, row.received) == ("view", None, NOW, NOW)
    assert (row.session, row.recommendation_id, row.position, row.context) == (None,) * 4
    again = check_event({"user_id": "u", "item_id": "i"}, KINDS, "view", NOW)
    assert row.event_id != again.event_id


@pytest.mark.parametrize(
    ("timestamp", "time"),
    [
        (NOW, NOW),
        (NOW // 1000, NOW // 1000 * 1000),
        (NOW / 1e6, NOW),
        (str(NOW // 10**6), NOW // 10**6 * 10**6),
        ("1970-01-01", 0),
        (None, NOW),
        (NOW + DAY, NOW),
        (NOW + 1, NOW),
    ],
)
def test_a_timestamp_unit_follows_its_size_and_is_never_future(timestamp: Any, time: int) -> None:
    assert checked(timestamp=timestamp).time == time


@pytest.mark.parametrize("id_", ["null", "None", "NaN", "<NA>", "-", r"\N", " x "])
def test_a_null_word_is_a_valid_event_id(id_: str) -> None:
    assert checked(event_id=id_).event_id == id_


@pytest.mark.parametrize("id_", ["", " ", "\t"])
def test_an_empty_event_id_is_refused(id_: str) -> None:
    assert refusal(event_id=id_) == f"empty event_id {id_!r}: omit it, or set an id"


@pytest.mark.parametrize("name", ["event_id", "session", "recommendation_id"])
def test_compared_fields_accept_any_text(name: str) -> None:
    assert getattr(checked(**{name: "1.5"}), name) == "1.5"
    assert getattr(checked(**{name: 7}), name) == "7"
    assert getattr(checked(**{name: "a\tb"}), name) == "a\tb"


@pytest.mark.parametrize(
    "id_", ["a'b", 'a"b', "a/b", "a:b", "😀", "é" * 500, "NaNa", "0", "1.5x", "1.2.3"]
)
def test_an_unusual_id_is_kept(id_: str) -> None:
    row = checked(user_id=id_, item_id=id_)
    assert (row.user_id, row.item_id) == (id_, id_)


def test_an_integral_float_id_becomes_an_integer() -> None:
    assert checked(user_id="17850.0").user_id == checked(user_id=17850.0).user_id == "17850"
    assert checked(item_id="-3.00").item_id == "-3"


# --- error messages name the field and the value ---


@pytest.mark.parametrize("name", ["user_id", "item_id"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "missing {}"),
        ("", "missing {}"),
        ("  ", "missing {}, got '  '"),
        ("NaN", "missing {}, got 'NaN'"),
        (r"\N", r"missing {}, got '\\N'"),
        ("1.25", "float {} '1.25': write ids as integers or text"),
        ("1.5e+3", "float {} '1.5e+3': write ids as integers or text"),
        (1.5, "'{}' must be text or an integer, got 1.5"),
        (True, "'{}' must be text or an integer, got True"),
        (["a"], "'{}' must be text or an integer, got ['a']"),
        ("a\nb", r"line break or control character in {} 'a\nb'"),
        ("a\x00", r"line break or control character in {} 'a\x00'"),
        ("a\x9b", r"line break or control character in {} 'a\x9b'"),
        ("a\u2028", r"line break or control character in {} 'a\u2028'"),
        ("\ud800", r"unpaired surrogate in {} '\ud800': send valid UTF-8"),
        ("x" * 1001, "'{}' is longer than 1,000 bytes: '" + "x" * 79 + "…"),
        ("é" * 501, "'{}' is longer than 1,000 bytes: '" + "é" * 79 + "…"),
        (10**1000, "'{}' is longer than 1,000 bytes: 1" + "0" * 79 + "…"),
    ],
)
def test_an_invalid_id_is_refused(name: str, value: Any, message: str) -> None:
    assert refusal(**{name: value}) == message.format(name)


@pytest.mark.parametrize("name", ["event_id", "session", "recommendation_id"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "'{}' must be text or an integer, got 1.5"),
        (False, "'{}' must be text or an integer, got False"),
        ("x" * (LONGEST_ID + 1), "'{}' is longer than 1,000 bytes: '" + "x" * 79 + "…"),
        ("\udfff", r"unpaired surrogate in {} '\udfff': send valid UTF-8"),
    ],
)
def test_an_invalid_text_is_refused(name: str, value: Any, message: str) -> None:
    assert refusal(**{name: value}) == message.format(name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"usr_id": 1}, "unknown field 'usr_id'; did you mean 'user_id'?"),
        ({"event_type": "veiw"}, "unknown event_type 'veiw'; did you mean 'view'?"),
        ({"event_type": "VIEW"}, "unknown event_type 'VIEW'; did you mean 'view'?"),
        ({"event_type": ["view"]}, "unknown event_type ['view']; known: 7, rating, view"),
        ({"event_type": True}, "unknown event_type True; known: 7, rating, view"),
        ({"event_type": None}, "missing event_type: use one of view, rating, 7"),
        ({"event_type": "rating"}, "event_type 'rating' is a rating and requires a 'value'"),
        ({"value": "4"}, "'value' must be a finite number, got '4'"),
        ({"value": math.inf}, "'value' must be a finite number, got inf"),
        ({"value": 3.5e38}, "'value' must be a finite number, got 3.5e+38"),
        ({"value": 10**400}, "'value' must be a finite number, got 1" + "0" * 79 + "…"),
        ({"timestamp": "soon"}, "unreadable timestamp 'soon': use ISO 8601 or an epoch number"),
        ({"timestamp": ""}, "unreadable timestamp '': use ISO 8601 or an epoch number"),
        ({"timestamp": True}, "unreadable timestamp True: use ISO 8601 or an epoch number"),
        ({"timestamp": {}}, "unreadable timestamp {}: use ISO 8601 or an epoch number"),
        ({"timestamp": "1/2/24"}, "unreadable timestamp '1/2/24': use ISO 8601 or an epoch number"),
        ({"timestamp": -1}, "timestamp before 1970: -1"),
        ({"timestamp": "1969-12-31T23:59:59"}, "timestamp before 1970: '1969-12-31T23:59:59'"),
        ({"timestamp": NOW + DAY + 1}, f"timestamp in the future: {NOW + DAY + 1}"),
        ({"position": 0}, "'position' must be an integer from 1 to 100,000, got 0"),
        ({"position": 100_001}, "'position' must be an integer from 1 to 100,000, got 100001"),
        ({"position": 1.0}, "'position' must be an integer from 1 to 100,000, got 1.0"),
        ({"position": "1"}, "'position' must be an integer from 1 to 100,000, got '1'"),
        ({"position": True}, "'position' must be an integer from 1 to 100,000, got True"),
        ({"context": ["a"]}, "'context' must be an object, got ['a']"),
        ({"context": {"a": math.nan}}, "'context' must be valid JSON, got {'a': nan}"),
        ({"context": {"a": "\ud800"}}, r"'context' must be valid JSON, got {'a': '\ud8"),
        ({"context": {"a": {1}}}, "'context' must be valid JSON, got {'a': {1}}"),
        ({"context": {"a": "x" * LARGEST_CONTEXT}}, "'context' is longer than 10,000 characters: "),
    ],
)  # fmt: skip
def test_an_invalid_field_is_named_with_its_value(fields: dict[str, Any], message: str) -> None:
    assert refusal(**fields).startswith(message)


def test_invalid_values_of_any_type_only_raise_data_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for name in FIELDS:
        for odd in (deep, {"a": deep}, b"x", object(), -(10**9999), "x" * 10**6, float("-inf")):
            assert len(refusal(**{name: odd})) < 300


def test_a_number_too_long_to_print_is_refused() -> None:
    long = 10**9_999
    assert refusal(user_id=long) == "'user_id' is longer than 1,000 bytes: a very long int"
    assert refusal(timestamp=long).startswith("unreadable timestamp a very long int")


# --- an event is validated like the same row of a file ---

IDS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["nan", "None", " <NA> ", r"\N", "1.", "-.5e3", "1e5", "٣.٣", "\u2003"]),
    st.sampled_from(["a\x7f", "a\x00b", "a\x1fb", "\n"]),
    st.integers(-(2**63), 2**63 - 1),
)  # fmt: skip
_DAY = st.dates().map(str)
_CLOCK = st.sampled_from(
    ["", "T10:20", " 10:20:30", "t23:59:60", "T24:00:00", "T10:20:30.5", "T10:20:30.1234567", "T10",
     "T10:20:30.", "T10:20:30,5", "T25:61"]
)  # fmt: skip
_ZONE = st.sampled_from(
    ["", "Z", "z", " UTC", "+02", "-0230", " +05:30", "+02:", "+24:00", "+01:60", "CET", "-23:59"]
)
MOMENTS = st.one_of(
    st.tuples(st.sampled_from(["", " "]), _DAY, _CLOCK, _ZONE).map("".join),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2 * 10**9),
    st.floats(allow_nan=False),
    st.floats(0, 2e12),
    st.integers(1969, 2101).map(lambda year: year * 10_000 + 1231),
    st.integers(0, 2 * 10**15).map(str),
    st.text("0123456789.eE+-TZ: ", max_size=12),
)
ROWS = st.fixed_dictionaries(
    {"user_id": IDS, "item_id": IDS},
    optional={
        "event_type": st.sampled_from(["view", "rating", "7", 7, "", "null", "View", 8]),
        "value": st.one_of(
            st.floats(), st.integers(-(2**63), 2**63 - 1), st.just(3.402824e38), st.booleans()
        ),
        "timestamp": MOMENTS,
        "event_id": IDS.filter(lambda id_: str(id_).strip()),  # an empty cell is not an id
    },
)


def from_a_file(row: dict[str, Any], schema: Schema) -> dict[str, Any] | None:
    """The event read as the only row of a table; None if it is rejected."""
    frame = {"value": None, "timestamp": NOW, **row}
    try:
        log, _ = clean_events(frame_table(pl.LazyFrame([frame]), "events"), schema, NOW)
    except DataError:  # a table without a valid row is refused
        return None
    return log.row(0, named=True) if log.height else None


@settings(max_examples=300)
@given(row=ROWS, default=st.sampled_from(["view", "rating", None]))
@example(row={"user_id": "u", "item_id": "i", "value": math.nan}, default="view")
@example(row={"user_id": "u", "item_id": "i", "timestamp": "1970-01-01"}, default="view")
def test_an_event_is_validated_like_a_row_of_a_file(
    row: dict[str, Any], default: str | None
) -> None:
    found = from_a_file(row, Schema(kinds=KINDS, default_kind=default))
    try:
        event = check_event(row, KINDS, default, NOW)
    except DataError:
        event = None
    assert (event is None) == (found is None)
    if event is None or found is None:
        return
    assert (event.user_id, event.item_id) == (str(found["user_id"]), str(found["item_id"]))
    assert event.kind == list(KINDS)[found["kind"]]
    assert event.value == found["value"]
    assert event.time == min(found["time"], NOW)
    if found.get("event_id") is not None:
        assert event.event_id == str(found["event_id"])


def test_a_boolean_value_is_one_or_zero_as_in_a_file() -> None:
    for event_type in ("view", "rating"):
        assert checked(event_type=event_type, value=True).value == 1.0
        assert checked(event_type=event_type, value=False).value == 0.0


def test_a_value_is_stored_as_in_a_numeric_column() -> None:
    assert checked(value=0.1).value == struct.unpack("<f", struct.pack("<f", 0.1))[0]
    assert checked(value=math.nan).value is None


def test_an_event_without_an_id_gets_a_unique_id() -> None:
    ids = {checked().event_id for _ in range(1_000)}
    assert len(ids) == 1_000
    script = (
        "import random; random.seed(1)\n"
        "from tastemaker.store.incoming import check_event\n"
        "from tastemaker.data.schema import EventKind\n"
        f"print(check_event({GOOD!r}, {{'view': EventKind()}}, None, {NOW}).event_id)"
    )
    for _ in range(2):  # in every process
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
        ids.add(result.stdout.decode().strip())
    assert len(ids) == 1_002
    assert {len(id_) for id_ in ids} == {32}


def test_a_forked_process_generates_different_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    given = NewIds()
    given()
    forked = NewIds()
    forked._left, forked._process = [*given._left], given._process
    ids = {given() for _ in range(2_000)}
    assert len(ids) == 2_000
    monkeypatch.setattr("tastemaker.store.new_ids.os.getpid", lambda: -1)
    assert not ids & {forked() for _ in range(2_000)}
