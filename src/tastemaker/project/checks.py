"""What must hold between the sections of a project file: every name used is declared."""

import re
from collections.abc import Iterable
from math import inf
from typing import Any

from tastemaker.component import WANTED, Component, Ranker
from tastemaker.data.packed import text_codec
from tastemaker.data.profiles import ROLES as USER_ROLES
from tastemaker.data.schema import EVENT_COLUMNS
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import parse_duration
from tastemaker.errors import DataError, InputError, ProjectError, did_you_mean
from tastemaker.faults import Path
from tastemaker.project import fixes
from tastemaker.project.places import PARTS, home_of
from tastemaker.project.problems import Problems
from tastemaker.project.registry import component_class, our_names
from tastemaker.project.sections import ComponentSection, Placement, ProjectFile, SplitSection
from tastemaker.project.structure import Structure
from tastemaker.project.toml_file import shown, table_name, written
from tastemaker.project.values import usable

RESERVED = ("merged", "ranked", "pipeline")
"""What an evaluation calls all sources together: before the ranker, after it, and in the end."""
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_COLUMNS = {"events": EVENT_COLUMNS, "items": ("item_id",), "users": ("user_id",)}


class Checks:
    """Looks at every name that one section uses of another.

    Args:
        file: the settings, without those that are wrong.
        problems: takes the errors.
    """

    def __init__(self, file: ProjectFile, problems: Problems) -> None:
        self._file = file
        self._problems = problems
        self._built: dict[Path, Component] = {}
        self._types = list(dict.fromkeys([*file.events, *problems.names("events")]))

    def check(self) -> None:
        """Checks everything."""
        for section in ("events", "retrievers", "placements"):
            declared = getattr(self._file, section)
            if not declared and not self._problems.is_broken(section):
                self._problems.lines.append(fixes.needed(section))
        self._data()
        for name, kind in self._file.events.items():
            for other in kind.replaces:
                self._event_type(("events", name, "replaces"), other)
        for section, part in PARTS.items():
            for name, settings in getattr(self._file, section).items():
                self._component((section, name), settings, part)
        for name, placement in self._file.placements.items():
            self._placement(name, placement)
        self._own_rankers()
        self._split(self._file.split)

    # --- data ---

    def _data(self) -> None:
        data = self._file.data
        self._event_type(("data", "defaults", "event_type"), data.defaults.event_type)
        self._encoding(("data", "encoding"), data.encoding)
        for name, role in self._file.users.roles.items():
            if role.role not in USER_ROLES:
                told = f'role "{role.role}" of a user column is used by nothing; write one of '
                self._problems.add(
                    ("users", "roles", name), f"{told}{', '.join(USER_ROLES)}, or remove it"
                )
        for table, known in _COLUMNS.items():
            self._columns(("data", "columns", table), getattr(data.columns, table), known)
            files = getattr(data, table)
            is_list = isinstance(self._problems.source.values["data"].get(table), list)
            for number, file in enumerate(files if isinstance(files, tuple) else (files,)):
                place: Path = ("data", table, number) if is_list else ("data", table)
                if file is not None:
                    self._columns((*place, "columns"), file.columns, known)
                    self._encoding((*place, "encoding"), file.encoding)
                    kind = getattr(file, "event_type", None)
                    self._event_type((*place, "event_type"), kind)

    def _columns(self, place: Path, columns: dict[str, str], known: Iterable[str]) -> None:
        for ours, theirs in columns.items():
            if ours in known:
                continue
            home = home_of(ours, theirs, place, self._problems.source.values)
            text = f"unknown column '{ours}'{did_you_mean(ours, known)}"
            if theirs in known:
                first = f"our name comes first: write {theirs} = {written(ours)}"
                self._problems.note(place, f"{text} ({first})" if text.endswith("?") else first)
            elif home is not None and len(home) == 1:
                self._problems.note(place, f"'{ours}' belongs under {table_name((str(home[0]),))}")
            else:
                self._problems.note(place, text)

    def _encoding(self, place: Path, encoding: str | None) -> None:
        try:
            text_codec(encoding or "utf-8")
        except DataError as problem:
            self._problems.add(place, str(problem))

    def _event_type(self, place: Path, name: str | None) -> None:
        """An event type that is used must be declared."""
        if name is None or name in self._types or not self._types:
            return
        self._problems.add(
            place, f"'{name}' is not a declared event type{did_you_mean(name, self._types)}"
        )

    # --- components ---

    def _component(self, place: tuple[str, str], section: ComponentSection, part: Any) -> None:
        """A component is registered, and its settings are right."""
        if not _PLAIN.fullmatch(place[1]) or place[1] in RESERVED:
            self._problems.add(
                place,
                f"a name is made of letters, digits, _ and -, and is none of {', '.join(RESERVED)}",
            )
        try:
            config = component_class(section.type, part).config_class()
        except ProjectError as problem:
            self._problems.add((*place, "type"), _no_component(section.type, part, problem))
            return
        before = len(self._problems.lines)
        values = dict(section.model_extra or {})
        Structure(self._problems).table(config, values, place)
        usable(config, values, place, self._problems)
        if len(self._problems.lines) > before:
            self._problems.broken.add(place)
            return
        self._built[place] = component = section.build(place[1], part)
        before = len(self._problems.lines)
        for setting in ("kinds", "objectives"):
            for name in getattr(component.config, setting, ()):
                self._named_type((*place, setting), name, part)
        if len(self._problems.lines) > before:
            del self._built[place]  # what it predicts is not known

    def _named_type(self, place: Path, name: str, part: Any) -> None:
        """Components name declared event types; rankers predict positive ones."""
        if part is not Ranker:
            self._event_type(place, name)
            return
        positive = [
            other
            for other in self._types
            if other not in self._file.events or self._file.events[other].role == "positive"
        ]
        if self._types and name not in positive:
            told = f"'{name}' is not a positive event type{did_you_mean(name, positive)}"
            self._problems.add(place, told)

    # --- placements ---

    def _placement(self, name: str, placement: Placement) -> None:
        place = ("placements", name)
        if not placement.retrievers and not self._problems.is_broken(*place, "retrievers"):
            self._problems.add((*place, "retrievers"), "names no retriever")
        for source, quota in placement.sources.items():
            self._used((*place, "retrievers"), "retriever", source)
            if quota is not None and quota < 1:
                told = f"must be at least 1, got {quota}"
                self._problems.add((*place, "retrievers", source), told)
        self._weights((*place, "weights"), placement)
        for reranker in placement.rerankers:
            self._used((*place, "rerankers"), "reranker", reranker)
        for kind, rule in placement.seen.items():
            self._seen((*place, "seen"), kind, rule)
        if placement.ranker is not None:
            self._used((*place, "ranker"), "ranker", placement.ranker)
            self._value((*place, "objective_weights"), placement)
        elif placement.objective_weights and not self._problems.is_broken(*place, "ranker"):
            told = "there is no ranker to predict these objectives: name one with ranker = "
            told += '"NAME", or remove objective_weights'
            self._problems.add((*place, "objective_weights"), told)

    def _weights(self, place: Path, placement: Placement) -> None:
        """Each source has a weight, or none has."""
        weights = placement.weights or {}
        for source, weight in weights.items():
            if source not in placement.sources:
                told = f"unknown source '{source}'{did_you_mean(source, placement.sources)}"
                self._problems.add(place, told)
            elif not 0 <= weight < inf:
                self._problems.add(
                    (*place, source), f"must be a number of at least 0, got {weight}"
                )
        missing = [source for source in placement.sources if source not in weights]
        if weights and missing:
            lines = ", ".join(f"{source} = 0.1" for source in missing)
            self._problems.add(place, f"name no weight for {', '.join(missing)}: add {lines}")
        if weights and not any(weights.values()):
            self._problems.add(place, "must not all be 0")

    def _used(self, place: Path, kind: str, name: str) -> None:
        """A component that a placement names is declared."""
        section = f"{kind}s"
        declared = {*getattr(self._file, section), *self._problems.names(section)}
        if name in declared or self._is_unusable(section):
            return
        text = f"unknown {kind} '{name}'{did_you_mean(name, declared)}"
        for other in PARTS:
            if other != section and name in getattr(self._file, other):
                text = f"'{name}' is declared under {table_name((other, name))}, not as a {kind}"
        if not declared:
            text = f"unknown {kind} '{name}': declare it under {table_name((section, name))}"
        self._problems.add(place, text)

    def _is_unusable(self, section: str) -> bool:
        """Whether a whole section is wrong, or misses altogether, which is reported once."""
        if (section,) in self._problems.broken:
            return True
        return section == "retrievers" and not (
            self._file.retrievers or self._problems.names(section)
        )

    def _seen(self, place: Path, kind: str, rule: str) -> None:
        if kind not in self._types:
            self._event_type(place, kind)
        elif kind in self._file.events:
            try:
                SeenPolicy.of(self._file.events, {kind: rule})
            except InputError:
                told = f"must be 'exclude', 'allow' or 'exclude for 30d', got {shown(rule)}"
                self._problems.add((*place, kind), told)

    def _value(self, place: Path, placement: Placement) -> None:
        """Objectives that count are predicted."""
        ranker = self._built.get(("rankers", str(placement.ranker)))
        if not isinstance(ranker, Ranker):
            return
        predicted = ranker.objectives or (WANTED,)
        for name in placement.objective_weights:
            if name not in predicted:
                told = f"the ranker '{placement.ranker}' predicts no '{name}'"
                self._problems.add(place, f"{told}{did_you_mean(name, predicted)}")
        if len(placement.objective_weights) > 1 and ranker.kind == "order":
            told = f"the ranker '{placement.ranker}' only orders, so that objectives cannot be "
            told += f'added up; write loss = "binary" under [rankers.{placement.ranker}]'
            self._problems.add(place, told)

    def _own_rankers(self) -> None:
        """Each ranker serves one placement alone."""
        served: dict[str, str] = {}
        for name, placement in self._file.placements.items():
            if placement.ranker is None or placement.ranker not in self._file.rankers:
                continue
            if placement.ranker in served:
                first = served[placement.ranker]
                self._problems.lines.append(
                    f"[placements.{first}] and [placements.{name}] share the ranker "
                    f"'{placement.ranker}'; declare one for each, since it learns over one "
                    "placement's sources"
                )
            served[placement.ranker] = name

    # --- split ---

    def _split(self, split: SplitSection) -> None:
        """The settings of a split belong to its type, and are durations or shares."""
        if self._problems.is_broken("split", "type"):
            return
        theirs = split.of_other_type()
        for name in theirs:
            self._problems.note(("split",), theirs[name])
        for name in ("test", "validation", "gap", "horizon"):
            value = getattr(split, name)
            if value is None or name in theirs or self._problems.is_broken("split", name):
                continue
            if text := _wrong_length(name, value, split.type):
                self._problems.add(("split", name), text)
        shares = [split.test, split.test if split.validation is None else split.validation]
        if split.type == "holdout" and not self._problems.is_broken("split"):
            total = sum(share for share in shares if isinstance(share, float | int))
            if total >= 1:
                told = f"'test' + 'validation' must be below 1, got {total:g}"
                self._problems.note(("split",), told)


def _wrong_length(name: str, value: Any, split: str) -> str:
    """What is wrong with the length of a window; empty if nothing is."""
    is_duration = isinstance(value, str)
    if is_duration and split == "by_time":
        try:
            parse_duration(value, name)
        except InputError:
            pass
        else:
            return ""
    elif not is_duration and 0 < value < 1:
        return ""
    wanted = "a duration such as '30d' or a share between 0 and 1"
    if name in ("gap", "horizon"):
        wanted = "a duration such as '30d'"
    elif split == "holdout":
        wanted = 'a share between 0 and 1 for type "holdout", such as 0.2'
    text = f"must be {wanted}, got {shown(value)}"
    try:
        quoted = is_duration and 0 < float(value) < 1
    except ValueError:
        quoted = False
    return f"{text}; write it without quotes: {name} = {value}" if quoted else text


def _no_component(use: str, part: Any, problem: ProjectError) -> str:
    """That a name is registered under no component of this part, or under one of another."""
    if (now := fixes.RENAMED_COMPONENTS.get(use)) in our_names(part):
        return f"'{use}' is called '{now}' now"
    for section, other in PARTS.items():
        if other is not part and use in our_names(other):
            kind, theirs = part.__name__.lower(), other.__name__.lower()
            return (
                f"no {kind} is called '{use}'; it is a {theirs}: declare it under [{section}.NAME]"
            )
    return str(problem)
