"""All errors of a handwritten project file are reported at once, with its own names."""

import copy
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.errors import DataError, ProjectError
from tastemaker.faults import names_of
from tastemaker.project import load_project
from tastemaker.project.sections import (
    Budget,
    Data,
    EventFile,
    Placement,
    ProjectFile,
    SplitSection,
)

HEAD = '[data]\nevents = "events.csv"\n'
VIEW = "[events.view]\n"
SOURCE = '[retrievers.popular]\ntype = "popular"\n'
HOME = "[placements.home]\nretrievers = { popular = 20 }\n"
REST = VIEW + SOURCE + HOME
NAME = "tastemaker.toml"


def lines_of(text: str) -> list[str]:
    """The errors of a file, without the file name and the count."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        path.write_text(text, encoding="utf-8")
        try:
            load_project(path)
        except ProjectError as problem:
            first, *others = str(problem).split("\n")
            if not others:
                assert first.startswith(f"{NAME}: ")
                return [first.removeprefix(f"{NAME}: ")]
            assert first == f"{NAME}: {len(others)} errors"
            assert all(line.startswith("  ") for line in others)
            return [line.removeprefix("  ") for line in others]
    return []


BROKEN: dict[str, tuple[str, list[str]]] = {
    "nothing": (
        "",
        [
            'no [data] table: write [data] with events = "FILE"',
            "no [events.TYPE] table: declare each event type, such as [events.view]",
            "no [retrievers.NAME] table: declare each source, such as [retrievers.popular] with "
            'type = "popular"',
            "no [placements.NAME] table: declare each recommendation list, such as "
            "[placements.home] with retrievers = { popular = 100 }",
        ],
    ),
    "sections in the singular": (
        HEAD + "[event.view]\nwieght = 2.0\n"
        '[retriever.als]\ntype = "als"\nfactors = -3\nsed = 1\n'
        "[placement.home]\nretrievers = { als = 20 }\n",
        [
            "unknown section [event.view]; did you mean [events.view]?",
            "unknown section [retriever.als]; did you mean [retrievers.als]?",
            "unknown section [placement.home]; did you mean [placements.home]?",
            "[events.view]: unknown setting 'wieght'; did you mean 'weight'?",
            "[retrievers.als]: unknown setting 'sed'; known: alpha, confidence, "
            "conjugate_gradient_steps, dislike_weight, factors, frequency_scaling, index, "
            "iterations, regularization",
            "[retrievers.als] factors must be greater than or equal to 1, got -3",
        ],
    ),
    "a misspelt [data]": (
        '[dat]\nevents = "e.csv"\n' + REST,
        ["unknown section [dat]; did you mean [data]?"],
    ),
    "one wrong setting in each of two sources": (
        HEAD + VIEW + '[retrievers.als]\ntype = "als"\nfactor = 3\n'
        '[retrievers.trending]\ntype = "trending"\nhalf_life = "long"\n'
        "[placements.home]\nretrievers = { als = 20, trending = 5 }\n",
        [
            "[retrievers.als]: unknown setting 'factor'; did you mean 'factors'?",
            "[retrievers.trending] half_life must be a duration such as '30d', '12h' or "
            "'90m', got 'long'",
        ],
    ),
    "settings in the wrong place": (
        'separator = ";"\ntest = 0.3\n' + HEAD
        + 'user_id = "userId"\npositive_threshold = 4.0\n' + VIEW
        + '[retrievers.trending]\ntype = "trending"\n'
        '[placements.home]\nretrievers = { trending = 20 }\nhalf_life = "2d"\n',
        [
            "'separator' belongs under [data]",
            "'test' belongs under [split]",
            "[data]: 'user_id' belongs under [data.columns.events]",
            "[data]: 'positive_threshold' belongs under [events.view]",
            "[placements.home]: 'half_life' belongs under [retrievers.trending]",
        ],
    ),
    "columns at the wrong level": (
        HEAD + '[data.columns]\nuser_id = "userId"\n' + REST,
        ["[data.columns]: 'user_id' belongs under [data.columns.events]"],
    ),
    "columns the wrong way round": (
        HEAD + '[data.columns.events]\nuserId = "user_id"\nitm_id = "item"\n' + REST,
        [
            "[data.columns.events]: unknown column 'userId'; did you mean 'user_id'? (our name "
            'comes first: write user_id = "userId")',
            "[data.columns.events]: unknown column 'itm_id'; did you mean 'item_id'?",
        ],
    ),
    "a file outside [data]": (
        'events = "events.csv"\n[retrievers.popular]\ntype = "popular"\n' + HOME,
        [
            "'events' belongs under [data]",
            "no [events.TYPE] table: declare each event type, such as [events.view]",
        ],
    ),
    "plain values for tables": (
        HEAD + '[events]\nview = 1.0\n[retrievers]\npopular = "popular"\n'
        '[placements]\nhome = ["popular"]\n[items.roles]\ntitle = "text"\ngenres = "tags"\n',
        [
            "[events] view must be a table, got 1.0; write [events.view] with weight = 1.0",
            "[retrievers] popular must be a table, got 'popular'; write [retrievers.popular] with "
            'type = "popular"',
            "[placements] home must be a table, got a list; write [placements.home] with "
            "retrievers = { popular = 100 }",
            '[items.roles] title must be a table, got \'text\'; write title = { role = "text" }',
            "[items.roles] genres must be a table, got 'tags'; write genres = "
            '{ role = "tags", separator = "|" }',
        ],
    ),
    "quoted numbers and truths": (
        HEAD + '[events.rating]\npositive_threshold = "4.0"\nnegative_threshold = 2.0\n'
        'hide_item = "false"\n' + SOURCE
        + '[placements.home]\nretrievers = { popular = "20" }\n[split]\ntest = "0.2"\n',
        [
            "[events.rating] positive_threshold must be a valid number, got '4.0'; write it "
            "without quotes: positive_threshold = 4.0",
            "[events.rating] hide_item must be true or false, got 'false'; write hide_item = "
            "false, without quotes",
            "[placements.home] retrievers.popular must be a valid integer, got '20'; write it "
            "without quotes: popular = 20",
            "[split] test must be a duration such as '30d' or a share between 0 and 1, got '0.2'; "
            "write it without quotes: test = 0.2",
        ],
    ),
    "tables and lists for plain values": (
        HEAD + "clock = { unit = 1 }\nseparator = 5\n" + VIEW + 'replaces = "view"\n'
        + '[retrievers.popular]\ntype = ["popular"]\n' + HOME + 'ranker = ["main"]\n',
        [
            "[data] clock must be 'absolute', 'ordinal' or 'none', got a table",
            '[data] separator must be text, got 5; write it in quotes: separator = "5"',
            '[events.view] replaces must be a list, got \'view\'; write replaces = ["view"]',
            "[retrievers.popular] type must be text, got a list; write type = \"popular\"",
            '[placements.home] ranker must be text, got a list; write ranker = "main"',
        ],
    ),
    "several event files": (
        '[data]\nevents = []\n' + REST,
        ["[data] events must be a list of at least 1 entry, got []"],
    ),
    "more event types than one byte counts": (
        HEAD + "".join(f"[events.e{number}]\n" for number in range(128)) + SOURCE + HOME,
        ["events must be a table of at most 127 entries, got a table"],
    ),
    "one of several event files": (
        '[[data.events]]\nfile = "a.csv"\n[[data.events]]\nfle = "b.csv"\nevent_type = "vew"\n'
        'separator = "much too long"\nencoding = "utf-99"\n' + REST,
        [
            "[[data.events]] file 2: unknown setting 'fle'; did you mean 'file'?",
            "[[data.events]] file 2: separator must be at most 8 characters long, got "
            "'much too long'",
            "[[data.events]] file 2: encoding: unknown encoding 'utf-99'; use one such as utf-8, "
            "cp1252, latin-1 or utf-16",
            "[[data.events]] file 2: event_type: 'vew' is not a declared event type; did you mean "
            "'view'?",
        ],
    ),
    "a file without a path": (
        '[data]\nevents = ["a.csv", { separator = ";" }]\n' + REST,
        ['[data] events: file 2: file is missing: write file = "FILE"'],
    ),
    "names that are not declared": (
        HEAD + '[data.defaults]\nevent_type = "vew"\n[events.view]\nreplaces = ["likes"]\n'
        '[events.like]\n' + SOURCE + '[rankers.main]\ntype = "gbm"\nobjectives = ["veiw"]\n'
        '[placements.home]\nretrievers = { populer = 20, popular = 0 }\nranker = "man"\n'
        'rerankers = ["divers"]\nseen = { vieww = "allow", like = "never" }\n',
        [
            "[data.defaults] event_type: 'vew' is not a declared event type; did you mean 'view'?",
            "[events.view] replaces: 'likes' is not a declared event type; did you mean 'like'?",
            "[rankers.main] objectives: 'veiw' is not a positive event type; did you mean 'view'?",
            "[placements.home] retrievers: unknown retriever 'populer'; did you mean 'popular'?",
            "[placements.home] retrievers.popular must be at least 1, got 0",
            "[placements.home] rerankers: unknown reranker 'divers': declare it under "
            "[rerankers.divers]",
            "[placements.home] seen: 'vieww' is not a declared event type; did you mean 'view'?",
            "[placements.home] seen.like must be 'exclude', 'allow' or 'exclude for 30d', got "
            "'never'",
            "[placements.home] ranker: unknown ranker 'man'; did you mean 'main'?",
        ],
    ),
    "a value nobody predicts": (
        HEAD + VIEW + "[events.buy]\n" + SOURCE + '[rankers.main]\ntype = "gbm"\n'
        'objectives = ["view"]\n' + HOME + 'ranker = "main"\n'
        "[placements.home.objective_weights]\npurchase = 1.0\nseen = { view = \"allow\" }\n",
        [
            "[placements.home.objective_weights]: 'seen' belongs under [placements.home]: write it "
            "above [placements.home.objective_weights]",
            "[placements.home.objective_weights]: the ranker 'main' does not predict 'purchase'; "
            "known: view",
        ],
    ),
    "settings below the table of their own": (
        HEAD + VIEW + SOURCE + '[rankers.main]\ntype = "gbm"\nobjectives = ["view"]\n' + HOME
        + '[placements.home.objective_weights]\nview = 1.0\nranker = "main"\n'
        "[placements.home.budget]\ntotal = 50\nseen = { view = \"allow\" }\n",
        [
            "[placements.home.objective_weights]: 'ranker' belongs under [placements.home]: write "
            "it above [placements.home.objective_weights]",
            "[placements.home.budget]: 'seen' belongs in [placements.home]: write "
            "[placements.home.seen]",
        ],
    ),
    "components of another part": (
        HEAD + VIEW + '[retrievers.popular]\ntype = "gbm"\n[rerankers.x]\n' + HOME,
        [
            '[rerankers.x] type is missing: name the component, such as type = "rules"',
            "[retrievers.popular] type: no retriever is called 'gbm'; it is a ranker: declare it "
            "under [rankers.NAME]",
        ],
    ),
    "words of a fixed set": (
        HEAD + 'clock = "absolut"\n[events.view]\nrole = "postive"\n' + SOURCE + HOME,
        [
            "[data] clock must be 'absolute', 'ordinal' or 'none', got 'absolut'; did you mean "
            "'absolute'?",
            "[events.view] role must be 'positive', 'negative', 'neutral' or 'exposure', got "
            "'postive'; did you mean 'positive'?",
        ],
    ),
    "settings that do not fit together": (
        HEAD + "[events.a]\npositive_threshold = 2\nnegative_threshold = 3\n"
        "[events.b]\nweight = -1\nnegative_threshold = 3\n"
        + SOURCE + HOME,
        [
            "[events.a]: 'negative_threshold' (3.0) must be below 'positive_threshold' (2.0)",
            "[events.b] weight must be greater than 0, got -1",
            "[events.b]: 'negative_threshold' requires 'positive_threshold'",
        ],
    ),
    "what follows from a wrong value": (
        HEAD + '[events.a]\npositive_threshold = "much"\nnegative_threshold = 3\n' + SOURCE + HOME,
        ["[events.a] positive_threshold must be a valid number, got 'much'"],
    ),
    "a table declared as a list": (
        HEAD + "[[events.view]]\nweight = 2.0\n" + SOURCE + HOME,
        ["[[events.view]] must be one table: write [events.view] with single brackets"],
    ),
    "settings of the other split": (
        HEAD + REST + '[split]\ntype = "holdout"\ntest = "30d"\ngap = "1d"\nrequests = "first"\n',
        [
            "[split]: 'gap' belongs to type \"by_time\", but this split has type \"holdout\": "
            'remove it, or write type = "by_time"',
            "[split]: 'requests' belongs to type \"by_time\", but this split has type \"holdout\": "
            'remove it, or write type = "by_time"',
            "[split] test must be a share between 0 and 1 for type \"holdout\", such as 0.2, got "
            "'30d'",
        ],
    ),
    "settings of a holdout in a split by time": (
        HEAD + REST + "[split]\nseed = 3\nmin_item = -1\ngap = \"long\"\ntest = 1.5\n",
        [
            "[split] min_item must be greater than or equal to 0, got -1",
            "[split]: 'seed' belongs to type \"holdout\", but this split has type \"by_time\": "
            'remove it, or write type = "holdout"',
            "[split] test must be a duration such as '30d' or a share between 0 and 1, got 1.5",
            "[split] gap must be a duration such as '30d', got 'long'",
        ],
    ),
    "a holdout that leaves nothing": (
        HEAD + REST + '[split]\ntype = "holdout"\ntest = 0.6\n',
        ["[split]: 'test' + 'validation' must be below 1, got 1.2"],
    ),
    "a section inside another": (
        HEAD + "[data.split]\ntest = 0.3\n" + REST,
        ["[data]: 'split' is a top-level section: write [split]"],
    ),
    "a component outside its section": (
        HEAD + VIEW + '[als]\ntype = "als"\n' + SOURCE + HOME,
        ["unknown section [als]; did you mean [retrievers.als]?"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_all_errors_are_reported_in_the_terms_of_the_file(case: str) -> None:
    text, lines = BROKEN[case]
    assert lines_of(text) == lines


def test_the_sources_of_a_broken_section_are_not_unknown() -> None:
    broken = '[retrievers.als]\ntype = "als"\nfactors = 0\n[retrievers.x]\ntype = "populr"\n'
    home = "[placements.home]\nretrievers = { als = 20, x = 10 }\n"
    assert lines_of(HEAD + VIEW + broken + home) == [
        "[retrievers.als] factors must be greater than or equal to 1, got 0",
        "[retrievers.x] type: no retriever is called 'populr'; did you mean 'popular'?",
    ]


def test_an_error_in_a_variable_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_SERVER__PORT", "many")
    monkeypatch.setenv("TASTEMAKER_SERVER__HOTS", "here")
    monkeypatch.setenv("TASTEMAKER_SERVER__WORKERS", "2")
    assert lines_of(HEAD + REST) == [
        "TASTEMAKER_SERVER__HOTS: unknown setting 'hots'; did you mean 'host'?",
        "TASTEMAKER_SERVER__PORT must be a valid integer, got 'many'",
    ]


SYNTAX = {
    'events = "C:\\data\\events.csv"': '\\ begins an escape between " and ": write '
    "\"C:/data/events.csv\" or 'C:\\data\\events.csv'",
    "events = events.csv": 'text needs quotes: write events = "events.csv"',
    'test = 0.2\ntest = "30d"': "'test' is declared twice in this table: keep one of the two",
    "[data]\n[split]\n[data]": "[data] is declared twice: put all its keys under the first one",
    "test 0.2": "= is missing: write test = 0.2",
    "test: 0.2": "write test = 0.2",
    'rerankers = "a", "b"': 'a list needs brackets: write rerankers = ["a", "b"]',
    "rerankers = a, b": 'a list needs brackets: write rerankers = ["a", "b"]',
    "events = \u201ce.csv\u201d": "the quotation mark \u201c is not valid in TOML: put text "
    'between " and "',
    "test = 30d": 'text needs quotes: write test = "30d"',
    "hide_item = True": "write hide_item = true",
    "ranker = None": "TOML has no None: remove the line to use the default of 'ranker'",
    "positive_threshold = 4,5": "write positive_threshold = 4.5 for a number, [4, 5] for a list",
    "test = 20%": "write the percentage as a share: test = 0.2",
    "like =": "'like' has no value: write one after =, or remove the line",
    "[data": "a table header must end with ]: write [data]",
    'events = "e.csv': 'the text has no closing quote: write " after it',
}


@pytest.mark.parametrize("text", SYNTAX)
def test_the_usual_causes_of_malformed_toml_are_named(text: str) -> None:
    (line,) = lines_of(text + "\n")
    number = text.count("\n") + 1
    assert line.startswith("malformed TOML: ")
    assert re.search(rf"\(at (line {number}, column \d+|end of document)\)", line)
    assert line.endswith(f"; {SYNTAX[text]}")


def test_files_that_cannot_be_opened_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "items").mkdir()
    (tmp_path / "views.csv").write_text("")
    text = '[data]\nevents = ["view.csv", "views.csv"]\nitems = "items"\nusers = "no/users.csv"\n'
    path = tmp_path / NAME
    path.write_text(text + REST)
    with pytest.raises(DataError) as caught:
        load_project(path).read()
    assert str(caught.value).split("\n") == [
        f"{NAME}: 3 errors",
        f"  [data] events: file 1: {tmp_path}/view.csv: no such file; did you mean 'views.csv'?",
        f"  [data] items: {tmp_path}/items: is a folder; specify a file in it",
        f"  [data] users: {tmp_path}/no/users.csv: no such file; its folder "
        f"{tmp_path}/no does not exist either",
    ]


# --- any change of a valid file ---

VALID: dict[str, Any] = {
    "data": {
        "events": [{"file": "a.csv", "event_type": "view"}, {"file": "b.csv", "separator": ";"}],
        "items": "items.csv",
        "clock": "absolute",
        "columns": {"events": {"user_id": "userId"}},
        "defaults": {"event_type": "view"},
        "max_bad_rows": {"events": 0.1},
    },
    "items": {"roles": {"genres": {"role": "tags", "separator": "|"}}},
    "events": {
        "view": {"weight": 1.0, "replaces": ["buy"]},
        "buy": {"weight": 6.0, "strength": "log"},
        "rating": {"positive_threshold": 4.0, "negative_threshold": 2.0, "unrated": [0]},
    },
    "retrievers": {
        "als": {"type": "als", "factors": 8, "index": "exact"},
        "popular": {"type": "popular"},
    },
    "rankers": {"main": {"type": "gbm", "objectives": ["view"], "trees": 5}},
    "rerankers": {"shop": {"type": "rules", "pinned": [{"item_id": "a", "position": 1}]}},
    "training": {"slices": 2, "memory": "8GiB", "require_improvement": False},
    "placements": {
        "home": {
            "retrievers": {"als": 20, "popular": 5},
            "ranker": "main",
            "objective_weights": {"view": 1.0},
            "rerankers": ["shop"],
            "seen": {"view": "allow"},
            "budget": {"total": 50},
        }
    },
    "split": {"type": "by_time", "test": "7d", "gap": "1d"},
    "server": {"port": 8000},
}
OTHERS: list[Any] = [0, -1, 2.5, True, "x", "4.0", "true", [], ["x"], [1, 2], {}, {"x": 1}, [{}]]
LEAKS = ("pydantic", "Input should", "type=", "Traceback", "http", "validation error", "Error")
TABLES = (ProjectFile, Data, EventFile, Placement, Budget, SplitSection)


def toml(value: Any, path: tuple[str, ...] = ()) -> str:
    """Tables with headers; everything below the second level is inline."""
    if not path:
        plain = {key: inner for key, inner in value.items() if not isinstance(inner, dict)}
        lines = "".join(f'"{key}" = {inline(inner)}\n' for key, inner in plain.items())
        return lines + "".join(toml(value[key], (key,)) for key in value if key not in plain)
    body = "\n".join(f'"{key}" = {inline(inner)}' for key, inner in value.items())
    return f'["{path[0]}"]\n{body}\n'


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{k}" = {inline(v)}' for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {*value, *(key for inner in value.values() for key in keys_of(inner))}
    if isinstance(value, list):
        return {key for inner in value for key in keys_of(inner)}
    return set()


def spots(value: Any) -> list[tuple[Any, Any]]:
    """All places in the file: the container, and the key or position."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in pairs:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += spots(inner)
    return found


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """A valid file with up to three changes: dropped, misspelled, or of another type."""
    values = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(0, 3))):
        holder, key = draw(st.sampled_from(spots(values)))
        kind = draw(st.sampled_from(["drop", "misspell", "change", "add"]))
        if kind == "drop":
            del holder[key]
        elif kind == "misspell" and isinstance(holder, dict) and len(key) > 2:
            at = draw(st.integers(0, len(key) - 2))
            holder[key[:at] + key[at + 1] + key[at] + key[at + 2 :]] = holder.pop(key)
        elif kind == "add" and isinstance(holder, dict):
            name = draw(
                st.sampled_from(["separator", "test", "half_life", "user_id", "zz", "type"])
            )
            holder[name] = copy.deepcopy(draw(st.sampled_from(OTHERS)))
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(OTHERS)))
        if not spots(values):
            break
    return values


def test_the_unchanged_file_is_valid() -> None:
    assert lines_of(toml(VALID)) == []


@settings(max_examples=250, deadline=None, derandomize=True)
@given(changed())
def test_any_change_is_valid_or_reported_with_its_place(values: dict[str, Any]) -> None:
    known = {name for table in TABLES for name in names_of(table)} | keys_of(values)
    lines = lines_of(toml(values))
    assert len(lines) == len(set(lines))
    for line in lines:
        assert known & set(re.findall(r"\w+", line)), line
        assert not [leak for leak in LEAKS if leak in line], line
