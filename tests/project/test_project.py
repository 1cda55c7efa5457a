import os
from pathlib import Path
from typing import Any

import pytest

from tastemaker.component import Component, Ranker, Reranker, Retriever
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import ClockError, ProjectError
from tastemaker.pipeline import Recommender
from tastemaker.project import Training, component_class, find_project, load_project
from tastemaker.ranking import GBM
from tastemaker.reranking import MMR, Rules
from tastemaker.retrieval import ALS
from tastemaker.split import holdout

GOOD = """
[data]
events = "events.csv"
[events.view]
weight = 1.0
[events.buy]
weight = 6.0
[retrievers.als]
type = "als"
factors = 8
[retrievers.popular]
type = "popular"
[placements.home]
retrievers = { als = 20, popular = 5 }
seen = { view = "allow", buy = "exclude for 90d" }
[split]
test = "7d"
"""

RANKED = """
[data]
events = "events.csv"
[events.view]
[events.buy]
weight = 6.0
[events.hide]
role = "negative"
[retrievers.als]
type = "als"
[retrievers.popular]
type = "popular"
[rankers.main]
type = "gbm"
trees = 50
objectives = ["view", "buy"]
[rankers.any]
type = "gbm"
[rerankers.diverse]
type = "mmr"
relevance = 0.7
[rerankers.shop]
type = "rules"
caps = { brand = 3 }
pinned = [{ item_id = "hello", position = 1 }]
[training]
slices = 4
window = "10d"
[placements.home]
retrievers = { als = 20, popular = 5 }
ranker = "main"
rerankers = ["diverse", "shop"]
[placements.home.objective_weights]
view = 0.3
buy = 0.7
[placements.home.budget]
total = 60
rank = 20.5
[placements.cart]
retrievers = { popular = 20 }
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "tastemaker.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(ProjectError) as caught:
        load_project(written(folder, text))
    first, *others = str(caught.value).split("\n")
    assert not others or first == f"tastemaker.toml: {len(others)} errors"
    return str(caught.value)


def test_a_project_file_declares_data_and_components(tmp_path: Path) -> None:
    project = load_project(written(tmp_path, GOOD))
    assert project.folder == tmp_path
    assert project.state == tmp_path / ".tastemaker"
    assert [file.path for file in project.data_files()["events"]] == [tmp_path / "events.csv"]
    assert project.schema.kind_names == ("view", "buy")
    assert project.file.placements["home"].retrievers == {"als": 20, "popular": 5}
    assert project.file.split.test == "7d"
    built = project.file.retrievers["als"].build("als", Retriever)
    assert isinstance(built, ALS)
    assert built.config.factors == 8


def test_a_project_file_may_have_any_name(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD).rename(tmp_path / "shop.toml")
    assert load_project(path).path == path


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert load_project(written(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())).file.data.events


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("[split]", "[splitt]", "unknown section [splitt]; did you mean [split]?"),
        ("[data]", "[data]\nevnts = 1", "[data]: unknown setting 'evnts'; did you mean 'events'?"),
        (
            "weight = 1.0",
            "wieght = 1.0",
            "[events.view]: unknown setting 'wieght'; did you mean 'weight'?",
        ),
        ('test = "7d"', 'tests = "7d"', "[split]: unknown setting 'tests'; did you mean 'test'?"),
        ("seen =", "sen =", "[placements.home]: unknown setting 'sen'; did you mean 'seen'?"),
        ("factors", "factor", "[retrievers.als]: unknown setting 'factor'; did you mean 'factors'"),
        ('"als"', '"asl"', "no retriever is called 'asl'; did you mean 'als'?"),
        (
            "als = 20",
            "als2 = 20",
            "[placements.home] retrievers: unknown retriever 'als2'; did you mean 'als'?",
        ),
        ("view =", "veiw =", "seen: 'veiw' is not a declared event type; did you mean 'view'?"),
        (
            "[events.view]",
            '[data.defaults]\nevent_type = "vew"\n[events.view]',
            "event_type: 'vew' is not a declared event type; did you mean 'view'?",
        ),
    ],
)
def test_a_near_miss_gets_a_suggestion(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    assert right in GOOD
    assert message in refusal(tmp_path, GOOD.replace(right, wrong, 1))


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("als = 20", "als = 0", "[placements.home] retrievers.als must be at least 1, got 0"),
        ("als = 20", "als = -3", "als must be at least 1, got -3"),
        (
            "als = 20",
            'als = "many"',
            "[placements.home] retrievers.als must be a valid integer, got",
        ),
        ("als = 20", "als = 1.5", "[placements.home] retrievers.als must be a valid integer, got"),
        (
            "{ als = 20, popular = 5 }",
            "{}",
            "[placements.home] retrievers: no retriever is listed: add at least one",
        ),
        (
            "factors = 8",
            "factors = -3",
            "[retrievers.als] factors must be greater than or equal to 1, got -3",
        ),
        (
            "factors = 8",
            'factors = "lots"',
            "[retrievers.als] factors must be a valid integer, got 'lots'",
        ),
        ("weight = 1.0", "weight = -1.0", "[events.view] weight must be greater than 0, got -1.0"),
        ('"allow"', '"never"', "seen.view must be 'exclude', 'allow' or 'exclude for 30d'"),
        (
            '"exclude for 90d"',
            '"exclude for long"',
            "seen.buy must be 'exclude', 'allow' or 'exclude for 30d', got 'exclude for long'",
        ),
        ('events = "events.csv"', "", "[data] events is missing: write events = "),
        ('[data]\nevents = "events.csv"', "", "no [data] table: write [data] with events = "),
        (
            'type = "als"',
            "",
            "[retrievers.als] type is missing: name the component, such as type = ",
        ),
        (
            'test = "7d"',
            "test = []",
            "[split] test must be a duration such as '30d' or a share between",
        ),
        ('test = "7d"', 'requests = "random"', "[split] requests must be 'sampled', 'first'"),
        ("weight = 1.0", 'role = "liked"', "[events.view] role must be 'positive', 'negative'"),
        (
            "weight = 1.0",
            "positive_threshold = 2\nnegative_threshold = 3",
            "'negative_threshold' (3.0) must be below 'positive_threshold' (2.0)",
        ),
        ("[split]", '[items.roles]\ntags = { role = "tags" }\n[split]', "requires a 'separator'"),
        (
            "[split]",
            '[items.roles]\nx = { role = "color" }\n[split]',
            "[items.roles] x.role must be 'text'",
        ),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    assert right in GOOD
    assert message in refusal(tmp_path, GOOD.replace(right, wrong, 1))


# --- rankers, rerankers, training ---


def test_a_project_file_declares_rankers_and_rerankers(tmp_path: Path) -> None:
    file = load_project(written(tmp_path, RANKED)).file
    home = file.placements["home"]
    assert (home.ranker, home.rerankers) == ("main", ("diverse", "shop"))
    assert home.objective_weights == {"view": 0.3, "buy": 0.7}
    assert (home.budget.total, home.budget.rank, home.budget.rerank) == (60, 20.5, None)
    assert (file.training.slices, file.training.window) == (4, "10d")
    assert file.training.requests == Training().requests
    ranker = file.rankers["main"].build("main", Ranker)
    assert isinstance(ranker, GBM)
    assert ranker.objectives == ("view", "buy")
    assert ranker.config.trees == 50
    cart = file.placements["cart"]
    assert (cart.ranker, cart.rerankers, cart.objective_weights) == (None, (), {})


def test_a_recommender_is_built_from_the_project_file(tmp_path: Path) -> None:
    made = Recommender.from_project(written(tmp_path, RANKED))
    diverse, shop = made.rerankers["diverse"], made.rerankers["shop"]
    assert isinstance(diverse, MMR)
    assert diverse.config.relevance == 0.7
    assert isinstance(shop, Rules)
    assert shop.config.caps == {"brand": 3}
    assert shop.config.pinned[0].item_id == "hello"
    assert list(made.rankers) == ["main", "any"]
    assert made.training.window == "10d"


def test_a_file_without_rankers_has_none(tmp_path: Path) -> None:
    file = load_project(written(tmp_path, GOOD)).file
    assert (file.rankers, file.rerankers, file.training) == ({}, {}, Training())


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            "[rankers.main]",
            "[ranker.main]",
            "unknown section [ranker.main]; did you mean [rankers.main]?",
        ),
        ("[training]", "[trainings]", "unknown section [trainings]; did you mean [training]?"),
        ("slices = 4", "slice = 4", "[training]: unknown setting 'slice'; did you mean 'slices'?"),
        (
            "[placements.home.objective_weights]",
            "[placements.home.objective_weight]",
            "did you mean 'objective_weights'?",
        ),
        (
            "total = 60",
            "totl = 60",
            "[placements.home.budget]: unknown setting 'totl'; did you mean 'total'?",
        ),
        (
            "ranker = ",
            "rankr = ",
            "[placements.home]: unknown setting 'rankr'; did you mean 'ranker'?",
        ),
        (
            "rerankers = ",
            "reranker = ",
            "[placements.home]: unknown setting 'reranker'; did you mean 'rerankers'?",
        ),
        ('"gbm"\ntrees', '"gmb"\ntrees', "no ranker is called 'gmb'; did you mean 'gbm'?"),
        ('type = "mmr"', 'type = "mrr"', "no reranker is called 'mrr'; did you mean 'mmr'?"),
        ('type = "mmr"', 'type = "gbm"', "no reranker is called 'gbm'"),
        ('type = "gbm"\ntrees', 'type = "als"\ntrees', "no ranker is called 'als'"),
        ("trees = 50", "tree = 50", "[rankers.main]: unknown setting 'tree'; did you mean 'trees'"),
        ("relevance =", "relevnce =", "[rerankers.diverse]: unknown setting 'relevnce'; did you"),
        (
            'ranker = "main"',
            'ranker = "man"',
            "[placements.home] ranker: unknown ranker 'man'; did",
        ),
        ('["diverse", "shop"]', '["divers"]', "unknown reranker 'divers'; did you mean 'diverse'?"),
        (
            "view = 0.3",
            "veiw = 0.3",
            "[placements.home.objective_weights]: the ranker 'main' does not predict 'veiw'; did "
            "you mean 'v",
        ),
        (
            '["view", "buy"]',
            '["view", "by"]',
            "[rankers.main] objectives: 'by' is not a positive event type; did",
        ),
    ],
)
def test_a_near_miss_gets_a_suggestion_with_its_section(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    assert right in RANKED
    error = refusal(tmp_path, RANKED.replace(right, wrong, 1))
    assert message in error
    assert error.startswith("tastemaker.toml: ")


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("trees = 50", "trees = 0", "[rankers.main] trees must be greater than or equal to 1"),
        ("trees = 50", 'loss = "auc"', "[rankers.main] loss must be 'binary' or 'lambdarank'"),
        ('["view", "buy"]', '["view", "view"]', "[rankers.main] objectives: names 'view' twice"),
        (
            '["view", "buy"]',
            '["view", "hide"]',
            "'hide' is not a positive event type; known: buy, view",
        ),
        (
            "relevance = 0.7",
            "relevance = 1.5",
            "[rerankers.diverse] relevance must be less than",
        ),
        ("brand = 3", "brand = 0", "[rerankers.shop] caps.brand must be greater than or equal"),
        (
            "position = 1",
            "position = 0",
            "pinned: entry 1: position must be greater than or equal to 1",
        ),
        ("position = 1", "place = 1", "[rerankers.shop]"),
        ("slices = 4", "slices = 1", "[training] slices must be greater than or equal to 2, got 1"),
        ('"10d"', '"10 dogs"', "[training] window must be a duration or a share between 0 and 1"),
        (
            '"10d"',
            "1.5",
            "[training] window must be a duration or a share between 0 and 1, got 1.5",
        ),
        ('"10d"', "0", "[training] window must be a duration or a share between 0 and 1"),
        ('"10d"', "[]", "[training] window must be a duration such as '30d' or a share"),
        ("total = 60", "total = 0", "[placements.home.budget] total must be greater than 0, got 0"),
        ("total = 60", 'total = "1s"', "[placements.home.budget] total must be a valid number"),
        ("total = 60", "total = inf", "[placements.home.budget] total must be a finite number"),
        (
            "buy = 0.7",
            'buy = "a lot"',
            "[placements.home.objective_weights] buy must be a valid number",
        ),
        (
            "buy = 0.7",
            "buy = nan",
            "[placements.home.objective_weights] buy must be a finite number",
        ),
        (
            'ranker = "main"\n',
            "",
            "[placements.home.objective_weights]: no ranker predicts these objectives",
        ),
        (
            '"main"\nrerankers',
            '"any"\nrerankers',
            "the ranker 'any' does not predict 'view'; known: relevant",
        ),
        (
            '["diverse", "shop"]',
            '"diverse"',
            "[placements.home] rerankers must be a list, got 'diverse'; write rerankers = ",
        ),
        (
            "{ popular = 20 }",
            '{ popular = 20 }\nranker = "main"',
            "[placements.home] and [placements.cart] share the ranker 'main'; declare one for each",
        ),
        ("[rankers.main]", '[rankers."a b"]', '[rankers."a b"]: a name may contain letters'),
        ("[rerankers.shop]", "[rerankers.pipeline]", "must not be merged or ranked or pipeline"),
    ],
)
def test_invalid_rankers_and_rerankers_are_refused(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    assert right in RANKED
    assert message in refusal(tmp_path, RANKED.replace(right, wrong, 1))


@pytest.mark.parametrize("part", ["events", "retrievers", "placements"])
def test_each_part_needs_at_least_one_entry(tmp_path: Path, part: str) -> None:
    kept = [s for s in GOOD.split("[") if not s.startswith(f"{part}.")]
    text = f"{part} = {{}}\n" + "[".join(kept)
    if part == "retrievers":
        text = text.replace("{ als = 20, popular = 5 }", "{ als = 20 }")
    assert f"tastemaker.toml: no [{part}." in refusal(tmp_path, text)


@pytest.mark.parametrize("text", [f"x = {'[' * 5_000}", f"x = {'9' * 5_000}"], ids=["deep", "long"])
def test_toml_that_python_cannot_read_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).startswith("tastemaker.toml: malformed TOML: ")


def test_a_project_file_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tastemaker.toml")
    with pytest.raises(ProjectError, match="is not a file"):
        load_project(tmp_path / "tastemaker.toml")


def test_an_override_of_a_missing_section_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASTEMAKER_STORE__URL", "sqlite")
    assert "store must be a table, got 5" in refusal(tmp_path, f"store = 5\n{GOOD}")


@pytest.mark.parametrize("text", ["[data", "events == 1", 'a = "', "[data]\n[data]\n"])
def test_malformed_toml_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith("tastemaker.toml: malformed TOML: ")
    assert "line" in message or "end of document" in message


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    assert "not UTF-8 text" in refusal(tmp_path, b'[data]\nevents = "\xe9.csv"\n')


def test_a_missing_file_is_refused_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"no such file; write one with `tastemaker init`"):
        load_project(tmp_path / "tastemaker.toml")


def test_a_folder_is_not_a_project_file(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="is not a file"):
        load_project(tmp_path)


def test_a_project_is_found_in_the_nearest_parent(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    far = written(tmp_path, GOOD)
    assert find_project(deep) == far
    near = written(tmp_path / "a" / "b", GOOD)
    assert find_project(deep) == near


def test_a_project_is_found_from_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    path = written(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path / "deep")
    assert find_project(Path()) == path


def test_without_a_project_the_fix_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"no tastemaker\.toml here or in a parent folder"):
        find_project(tmp_path)


def test_the_split_of_a_project_is_the_one_it_names(tmp_path: Path) -> None:
    rows = [f"u{u},i{(u + t) % 9},view,{1_700_000_000 + 86_400 * t}" for u in range(5)
            for t in range(30)]  # fmt: skip
    text = "\n".join(["user_id,item_id,event_type,timestamp", *rows])
    (tmp_path / "events.csv").write_text(text + "\n")
    settings = 'test = "5d"\nvalidation = "10d"\ngap = "1d"\nhorizon = "2d"\nrequests = "first"'
    project = load_project(written(tmp_path, GOOD.replace('test = "7d"', settings)))
    split = project.split(project.read(), project.file.placements["home"])
    assert split.protocol["request_moments"] == "first"
    assert split.protocol["horizon"] == "2d"
    assert split.protocol["gap"] == "1d"
    start, day = 1_700_000_000 * 10**6, MICROSECONDS["d"]
    assert split.before_test.end - 1 <= start + 24 * day
    assert split.train.events.time.max() <= start + 13 * day
    assert split.test.notes["relevant_but_seen"] == 0  # views may repeat


def test_a_project_without_times_is_split_by_holdout(tmp_path: Path) -> None:
    rows = [f"u{u},i{(u + t) % 9}" for u in range(8) for t in range(6)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id", *rows]) + "\n")
    settings = (
        'type = "holdout"\ntest = 0.3\nvalidation = 0.2\nmin_user = 2\nmin_item = 3\nseed = 4'
    )
    text = GOOD.replace('test = "7d"', settings)
    text = text.replace("[events.view]", '[data.defaults]\nevent_type = "view"\n[events.view]', 1)
    project = load_project(written(tmp_path, text.replace("[data]", '[data]\nclock = "none"', 1)))
    data = project.read()
    split = project.split(data, project.file.placements["home"])
    wanted = holdout(data, test=0.3, validation=0.2, min_user=2, min_item=3, seed=4)
    assert split.protocol == wanted.protocol
    assert split.test.truth.values.tolist() == wanted.test.truth.values.tolist()
    project.require_clock(to_evaluate=True)


@pytest.mark.parametrize("clock", ["none", "ordinal"])
def test_everything_that_needs_times_is_reported_at_once(tmp_path: Path, clock: str) -> None:
    text = RANKED.replace("[data]", f'[data]\nclock = "{clock}"', 1)
    text = text.replace('type = "popular"', 'type = "trending"')
    project = load_project(written(tmp_path, text))
    with pytest.raises(ClockError) as caught:
        project.require_clock(to_evaluate=True)
    first, source, ranker, split = str(caught.value).split("\n")
    assert first == "tastemaker.toml: 3 errors"
    assert source.startswith("  [retrievers.popular] trending needs times, but [data] clock is ")
    assert ranker.startswith('  [placements.home] ranker = "main": a ranker learns from later ')
    assert "remove ranker and objective_weights, or map a column of times" in ranker
    assert 'write type = "holdout" and test = 0.2 under [split]' in split
    with pytest.raises(ClockError, match="2 errors"):
        project.require_clock()


def test_an_order_is_enough_for_some_components(tmp_path: Path) -> None:
    text = GOOD.replace('type = "popular"', 'type = "sequential_rules"')
    for clock, is_enough in (("absolute", True), ("ordinal", True), ("none", False)):
        changed = text.replace("[data]", f'[data]\nclock = "{clock}"', 1)
        project = load_project(written(tmp_path, changed))
        if is_enough:
            project.require_clock()
        else:
            with pytest.raises(ClockError, match="sequential_rules needs the order of events"):
                project.require_clock()


# --- the registry ---


@pytest.mark.parametrize("name", ["als", "ease", "item_knn", "popular", "trending"])
def test_our_components_are_registered_under_their_own_name(name: str) -> None:
    assert component_class(name, Retriever).name == name


class _Point:
    """An entry point of an installed package."""

    def __init__(self, name: str, loaded: Any) -> None:
        self.name, self.value, self._loaded = name, f"package:{name}", loaded

    def load(self) -> Any:
        return self._loaded


class Theirs(ALS):
    name = "theirs"


def test_an_installed_package_may_offer_a_retriever(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [_Point("theirs", Theirs), _Point("odd", dict), _Point("other", ALS)]
    monkeypatch.setattr("tastemaker.project.registry.entry_points", lambda group: points)
    assert component_class("theirs", Retriever) is Theirs
    with pytest.raises(ProjectError, match=r"'odd' \(package:odd\) is not a Retriever"):
        component_class("odd", Retriever)
    with pytest.raises(ProjectError, match="must declare name = 'other', but its class has 'als'"):
        component_class("other", Retriever)
    with pytest.raises(ProjectError, match="'thiers'; did you mean 'theirs'"):
        component_class("thiers", Retriever)


class TheirRanker(GBM):
    name = "theirs"


class TheirReranker(Rules):
    name = "theirs"


@pytest.mark.parametrize(("part", "made"), [(Ranker, TheirRanker), (Reranker, TheirReranker)])
def test_an_installed_package_may_offer_rankers_and_rerankers(
    monkeypatch: pytest.MonkeyPatch, part: type[Component], made: type[Component]
) -> None:
    kind = part.__name__.lower()
    points = {f"tastemaker.{kind}s": [_Point("theirs", made), _Point("odd", ALS)]}
    monkeypatch.setattr("tastemaker.project.registry.entry_points", lambda group: points[group])
    assert component_class("theirs", part) is made
    with pytest.raises(ProjectError, match=rf"the {kind} 'odd' .* is not a {part.__name__}"):
        component_class("odd", part)
    with pytest.raises(ProjectError, match=f"no {kind} is called 'thiers'; did you mean 'theirs'"):
        component_class("thiers", part)


def test_a_project_can_use_a_ranker_of_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"tastemaker.rankers": [_Point("theirs", TheirRanker)]}
    monkeypatch.setattr(
        "tastemaker.project.registry.entry_points", lambda group: points.get(group, [])
    )
    text = RANKED.replace('type = "gbm"\ntrees', 'type = "theirs"\ntrees')
    built = load_project(written(tmp_path, text)).file.rankers["main"].build("main", Ranker)
    assert isinstance(built, TheirRanker)
    assert built.config.trees == 50


@pytest.mark.parametrize(
    ("name", "part"), [("gbm", Ranker), ("mmr", Reranker), ("rules", Reranker)]
)
def test_our_rankers_and_rerankers_are_registered(name: str, part: type[Component]) -> None:
    assert component_class(name, part).name == name


def test_a_package_that_cannot_be_loaded_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(_Point):
        def load(self) -> Any:
            raise ImportError("no module named 'torch'")

    points = [Broken("deep", None)]
    monkeypatch.setattr("tastemaker.project.registry.entry_points", lambda group: points)
    with pytest.raises(ProjectError, match=r"'deep'.* cannot be loaded: no module named 'torch'"):
        component_class("deep", Retriever)


def test_a_retriever_that_inherits_its_settings_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tuned(ALS):
        name = "tuned"

    points = [_Point("tuned", Tuned)]
    monkeypatch.setattr("tastemaker.project.registry.entry_points", lambda group: points)
    project = load_project(written(tmp_path, GOOD.replace('type = "als"', 'type = "tuned"')))
    built: Retriever = project.file.retrievers["als"].build("als", Retriever)
    assert isinstance(built, Tuned)
    assert built.config.factors == 8
