"""Looks at the files and writes a commented project file: the work behind `init`."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from tastemaker.data.catalogue import TagsColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.propose import propose_schema
from tastemaker.data.read import open_table
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.table import LINE
from tastemaker.data.times import parse_duration
from tastemaker.errors import DataError
from tastemaker.statistics import ItemStatistics

_ROWS_TO_LOOK_AT = 200_000
_EASE_ITEMS = 20_000
_TEST_SHARE = 0.1
_CONTENT_QUOTA = 50
_NEWCOMERS_QUOTA = 20
_RANKER_LIKES = 5_000
_RANKER_USERS = 100
_RANKER = [
    "",
    "[rankers.main]",
    'use = "gbm"',
    'loss = "lambdarank"  # orders by what is wanted; "binary" predicts probabilities',
    "",
    "[training]",
    f"window = {_TEST_SHARE}  # the ranker learns from the last 3 windows of this length",
]
_EXPLORE = [
    "",
    "[rerankers.fresh]",
    'use = "explore"  # now and then a place goes to a newcomer, so that it becomes known',
]
_DIVERSE = 'with [rerankers.diverse] use = "mmr": more varied lists'
_HALF_LIVES = ("1h", "6h", "1d", "2d", "7d", "30d", "90d", "365d")
_FAST = 1.1  # from this gain of the best half-life over the longest, trends count most
_PARQUET_ENDINGS = (".parquet", ".pq")
_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", *_PARQUET_ENDINGS)
_EVENT_NAMES = ("event", "rating", "interaction", "log", "click", "transaction", "order", "view")
_ITEM_NAMES = ("item", "movie", "product", "article", "video", "book", "song", "track", "artist")
_USER_NAMES = ("user", "customer", "visitor", "member")


def find_tables(folder: Path) -> dict[str, Path]:
    """The files in a folder that look like events, items and users, by their names.

    Raises:
        DataError: none looks like an event log, or several do.
    """
    files = sorted(p for p in folder.iterdir() if p.name.lower().endswith(_ENDINGS))
    found: dict[str, Path] = {}
    for table, names in (("events", _EVENT_NAMES), ("items", _ITEM_NAMES), ("users", _USER_NAMES)):
        named = [p for p in files if p.name.lower().startswith(names) and p not in found.values()]
        if named:
            found[table] = min(named, key=lambda p: (p.name.lower().find("."), p.name))
    if "events" not in found:
        if len(files) == 1:
            return {"events": files[0]}
        shown = ", ".join(p.name for p in files) or "no CSV or Parquet file"
        raise DataError(f"which file holds the events? found {shown}; say --events FILE")
    return found


def look_at(path: Path) -> tuple[pl.DataFrame, str | None]:
    """The beginning of a table with inferred types, and its delimiter if it is not the usual.

    Raises:
        DataError: the file cannot be used, whatever its delimiter.
    """
    refusal: DataError | None = None
    for separator in (None, ";", "\t", "|"):
        try:
            with open_table(path, Schema(separator=separator)) as table:
                head = table.frame.head(_ROWS_TO_LOOK_AT).drop(LINE).collect()
                return _inferred(head), separator
        except DataError as problem:
            refusal = refusal or problem
            if "look separated by" not in str(problem):
                break
    raise refusal or DataError(f"{path.name}: cannot be read")


def _inferred(frame: pl.DataFrame) -> pl.DataFrame:
    """Text columns that hold nothing but numbers, as numbers."""
    columns = []
    for column in frame:
        for kind in (pl.Int64, pl.Float64):
            number = column.cast(kind, strict=False) if column.dtype == pl.String else column
            if number.null_count() == column.null_count():
                break
        else:
            number = column
        columns.append(number)
    return pl.DataFrame(columns)


def propose_project(folder: Path, tables: dict[str, Path]) -> tuple[str, Dataset]:
    """The text of a commented `tastemaker.toml`, and the data as it reads it.

    Args:
        folder: where the project file will lie.
        tables: events, and items and users if there are any.

    Raises:
        DataError: a file cannot be used, or its columns cannot be recognized.
    """
    frames, separators = {}, set()
    for name, path in tables.items():
        frames[name], separator = look_at(path)
        if path.suffix.lower() not in _PARQUET_ENDINGS:
            separators.add(separator)
    if len(separators) > 1:
        raise DataError("the files are separated differently; use one delimiter, or Parquet")
    schema = propose_schema(frames["events"], frames.get("items"), frames.get("users"))
    separator = separators.pop() if separators else None
    schema = schema.model_copy(update={"separator": separator})
    schema = _with_rare_kinds(schema, frames["events"], tables["events"])
    data = Dataset.from_files(
        tables["events"], items=tables.get("items"), users=tables.get("users"), schema=schema
    )
    relative = {name: _relative(path, folder) for name, path in tables.items()}
    return _write(schema, relative, data), data


def _with_rare_kinds(schema: Schema, head: pl.DataFrame, path: Path) -> Schema:
    """Adds kinds that do not stand among the first rows."""
    column = schema.event_columns.get("event_type", "event_type")
    if column not in head.columns or head.height < _ROWS_TO_LOOK_AT:
        return schema
    with open_table(path, schema) as table:
        names = table.frame.select(pl.col(column).cast(pl.String).unique()).collect()
    whole = propose_schema(
        names.rename({column: "event_type"}).with_columns(user_id=pl.lit("u"), item_id=pl.lit("i"))
    )
    return schema.model_copy(update={"kinds": whole.kinds})


def _relative(path: Path, folder: Path) -> str:
    whole, base = path.resolve(), folder.resolve()
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) else whole.as_posix()


def _write(schema: Schema, tables: dict[str, str], data: Dataset) -> str:
    lines = [
        "# What the data is, which sources there are, and what each place on the page shows.",
        "# `tastemaker validate` checks the data, `train` fits, `evaluate` measures.",
        "",
        "[data]",
        *(f"{name} = {_quoted(path)}" for name, path in tables.items()),
    ]
    if schema.separator:
        lines.append(f"separator = {_quoted(schema.separator)}")
    if schema.clock != "absolute":
        lines.append(f'clock = "{schema.clock}"  # no column of moments was found')
    for table in ("event", "item", "user"):
        renamed: dict[str, str] = getattr(schema, f"{table}_columns")
        if renamed:
            lines += ["", f"[data.columns.{table}s]  # ours = theirs"]
            lines += [f"{ours} = {_quoted(theirs)}" for ours, theirs in renamed.items()]
    if schema.default_kind:
        lines += [
            "",
            "[data.defaults]",
            f"event_type = {_quoted(schema.default_kind)}  # the kind of rows that bring none",
        ]
    for table in ("item", "user"):
        roles = getattr(schema, f"{table}_roles")
        if roles:
            lines += ["", f"[{table}s.roles]  # role: text, tags, category, number or time"]
            for name, role in roles.items():
                extra = f", separator = {_quoted(role.separator)}" if role.separator else ""
                lines.append(f'{_key(name)} = {{ role = "{role.role}"{extra} }}')
    for name, kind in schema.kinds.items():
        lines += ["", f"[events.{_key(name)}]", *_kind_lines(kind)]
    return "\n".join([*lines, *_sources(data), *_split_lines(data)]) + "\n"


def _kind_lines(kind: EventKind) -> list[str]:
    if kind.like is not None:
        return [
            f"like = {kind.like}  # liked at this value or above",
            *(
                [f"dislike = {kind.dislike}  # disliked at this value or below; neutral between"]
                if kind.dislike is not None
                else []
            ),
        ]
    if kind.role == "negative":
        return [
            'role = "negative"  # kept apart from what is liked',
            "# blocks = true  # never show the item to this user again",
        ]
    if kind.role == "exposure":
        return ['role = "exposure"  # shown, says nothing about taste']
    return [f"weight = {kind.weight}"]


def _sources(data: Dataset) -> list[str]:
    """Which retrievers suit the data, and how they share the candidates."""
    quotas = {"ease": 200, "item_knn": 100, "als": 100, "trending": 100, "popular": 10}
    settings = dict.fromkeys(quotas, "")
    comment = "how many candidates each may give, and its weight in the order"
    if data.clock == "absolute":
        half_life, gain = _half_life(data)
        settings["trending"] = f'half_life = "{half_life}"'
        if gain >= _FAST:
            quotas |= {"als": 50, "ease": 100, "item_knn": 50, "trending": 300}
            comment += "; what is popular changes fast here"
    else:
        del quotas["trending"]
    if len(data.catalogue) > _EASE_ITEMS:
        quotas = {"sparse_ease": quotas.pop("ease"), **quotas}
    ranks, explores = _can_learn_to_rank(data), False
    if any(isinstance(column, TagsColumn) for column in data.catalogue.columns.values()):
        quotas["content"] = _CONTENT_QUOTA
        explores = ranks  # without a ranker nothing holds back what is new
    if explores:
        quotas["newcomers"] = _NEWCOMERS_QUOTA
        settings["newcomers"] = 'young = "30d"  # new for so long after its first event'
    settings |= dict.fromkeys(quotas.keys() - settings.keys(), "")
    lines = []
    for name in quotas:
        lines += ["", f"[retrievers.{name}]", f'use = "{name}"']
        lines += [settings[name]] if settings[name] else []
    shares = ", ".join(f"{name} = {quota}" for name, quota in quotas.items())
    return [
        *lines,
        *(_RANKER if ranks else []),
        *(_EXPLORE if explores else []),
        "",
        "[placements.home]",
        f"# {comment}",
        f"retrievers = {{ {shares} }}",
        *(['ranker = "main"'] if ranks else []),
        f'rerankers = ["fresh"]  # or ["diverse", "fresh"], {_DIVERSE}'
        if explores
        else f'# rerankers = ["diverse"]  # {_DIVERSE}',
        '# seen = { view = "allow", purchase = "exclude for 90d" }  # a kind not named: exclude',
    ]


def _can_learn_to_rank(data: Dataset) -> bool:
    """Whether there is enough past to learn from, in moments of time."""
    likes = int((data.events.weight > 0).sum())
    return data.clock == "absolute" and likes >= _RANKER_LIKES and len(data.users) >= _RANKER_USERS


def _half_life(data: Dataset) -> tuple[str, float]:
    """The half-life whose popularity best foretold what was liked next, and its gain.

    Judged before the last fifth of the events, which the proposed split keeps for its windows, by
    the mean of 1 / log₂(1 + rank) of the items liked next in the ranking as of the moment; the
    gain is over the longest half-life.
    """
    time = np.sort(data.events.time)
    log = data.before(int(time[round((1 - 2 * _TEST_SHARE) * len(time))])).events
    liked = np.flatnonzero(log.weight > 0)
    liked = liked[np.argsort(log.time[liked], kind="stable")]
    if not len(liked):
        return _HALF_LIVES[-1], 1.0
    time, item = log.time[liked], log.item[liked]
    places = np.unique(np.linspace(0.5, 0.96, 20) * len(liked)).astype(np.int64)
    ahead = max(1, len(liked) // 50)
    statistics = ItemStatistics.of(log, len(data.catalogue), data.kinds)

    def foretold(text: str) -> float:
        half_life = parse_duration(text, "half_life")
        total = 0.0
        for place in places:
            weight = statistics.decayed(int(time[place]), half_life)
            rank = np.empty(len(weight))
            rank[np.argsort(-weight, kind="stable")] = np.arange(len(weight))
            total += float((1 / np.log2(2 + rank[item[place : place + ahead]])).mean())
        return total

    found = {text: foretold(text) for text in _HALF_LIVES}
    best = max(found, key=lambda text: found[text])
    return best, found[best] / found[_HALF_LIVES[-1]]


def _split_lines(data: Dataset) -> list[str]:
    if data.clock != "absolute":
        return ["", "# [split] needs a clock: map a column of moments to evaluate by time"]
    return [
        "",
        "[split]",
        f'test = {_TEST_SHARE}  # the last tenth of the events; or a duration such as "30d"',
    ]


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for DEL, which JSON leaves bare."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else _quoted(name)
