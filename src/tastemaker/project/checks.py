"""Checks across the sections of a project file: every name used must be declared."""

import re
from collections.abc import Iterable
from math import inf
from typing import Any

from tastemaker.component import RELEVANT, Component, Ranker
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
"""Names that an evaluation uses for all sources: before ranking, after it, and in the end."""
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_COLUMNS = {"events": EVENT_COLUMNS, "items": ("item_id",), "users": ("user_id",)}


class Checks:
    """Checks every name that one section takes from another.

    Args:
        file: the settings, without the invalid ones.
        problems: collects the errors.
    """

    def __init__(self, file: ProjectFile, problems: Problems) -> None:
        self._file = file
        self._problems = problems
        self._built: dict[Path, Component] = {}
        self._types = list(dict.fromkeys([*file.events, *problems.names("events")]))

    def check(self) -> None:
        """Runs all checks."""
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
        self._shared_rankers()
        self._split(self._file.split)

    # --- data ---

    def _data(self) -> None:
        data = self._file.data
        self._event_type(("data", "defaults", "event_type"), data.defaults.event_type)
        self._encoding(("data", "encoding"), data.encoding)
        for name, role in self._file.users.roles.items():
            if role.role not in USER_ROLES:
                text = f'role "{role.role}" is not supported for user columns; write one of '
                self._problems.add(
                    ("users", "roles", name), f"{text}{', '.join(USER_ROLES)}, or remove it"
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
        """Reports an event type that is used but not declared."""
        if name is None or name in self._types or not self._types:
            return
        self._problems.add(
            place, f"'{name}' is not a declared event type{did_you_mean(name, self._types)}"
        )

    # --- components ---

    def _component(self, place: tuple[str, str], section: ComponentSection, part: Any) -> None:
        """Reports a component that is not registered or has invalid settings."""
        if not _PLAIN.fullmatch(place[1]) or place[1] in RESERVED:
            self._problems.add(
                place,
                "a name may contain letters, digits, _ and -, and must not be "
                f"{' or '.join(RESERVED)}",
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
            del self._built[place]  # its objectives are unknown

    def _named_type(self, place: Path, name: str, part: Any) -> None:
        """Reports an undeclared event type, or a non-positive one for a ranker."""
        if part is not Ranker:
            self._event_type(place, name)
            return
        positive = [
            other
            for other in self._types
            if other not in self._file.events or self._file.events[other].role == "positive"
        ]
        if self._types and name not in positive:
            text = f"'{name}' is not a positive event type{did_you_mean(name, positive)}"
            self._problems.add(place, text)

    # --- placements ---

    def _placement(self, name: str, placement: Placement) -> None:
        place = ("placements", name)
        if not placement.retrievers and not self._problems.is_broken(*place, "retrievers"):
            self._problems.add((*place, "retrievers"), "no retriever is listed: add at least one")
        for source, quota in placement.sources.items():
            self._require_declared((*place, "retrievers"), "retriever", source)
            if quota is not None and quota < 1:
                text = f"must be at least 1, got {quota}"
                self._problems.add((*place, "retrievers", source), text)
        self._weights((*place, "weights"), placement)
        for reranker in placement.rerankers:
            self._require_declared((*place, "rerankers"), "reranker", reranker)
        for kind, rule in placement.seen.items():
            self._seen((*place, "seen"), kind, rule)
        if placement.ranker is not None:
            self._require_declared((*place, "ranker"), "ranker", placement.ranker)
            self._objective_weights((*place, "objective_weights"), placement)
        elif placement.objective_weights and not self._problems.is_broken(*place, "ranker"):
            text = "no ranker predicts these objectives: add one with ranker = "
            text += '"NAME", or remove objective_weights'
            self._problems.add((*place, "objective_weights"), text)

    def _weights(self, place: Path, placement: Placement) -> None:
        """Reports missing or invalid weights: either every source has a weight, or none has."""
        weights = placement.weights or {}
        for source, weight in weights.items():
            if source not in placement.sources:
                text = f"unknown source '{source}'{did_you_mean(source, placement.sources)}"
                self._problems.add(place, text)
            elif not 0 <= weight < inf:
                self._problems.add(
                    (*place, source), f"must be a number of at least 0, got {weight}"
                )
        missing = [source for source in placement.sources if source not in weights]
        if weights and missing:
            lines = ", ".join(f"{source} = 0.1" for source in missing)
            self._problems.add(place, f"no weight for {', '.join(missing)}: add {lines}")
        if weights and not any(weights.values()):
            self._problems.add(place, "must not all be 0")

    def _require_declared(self, place: Path, kind: str, name: str) -> None:
        """Reports a component that a placement uses but no section declares."""
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
        """Whether a whole section is invalid or missing, which is reported only once."""
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
                text = f"must be 'exclude', 'allow' or 'exclude for 30d', got {shown(rule)}"
                self._problems.add((*place, kind), text)

    def _objective_weights(self, place: Path, placement: Placement) -> None:
        """Reports weights for objectives that the ranker does not predict."""
        ranker = self._built.get(("rankers", str(placement.ranker)))
        if not isinstance(ranker, Ranker):
            return
        predicted = ranker.objectives or (RELEVANT,)
        for name in placement.objective_weights:
            if name not in predicted:
                text = f"the ranker '{placement.ranker}' does not predict '{name}'"
                self._problems.add(place, f"{text}{did_you_mean(name, predicted)}")
        if len(placement.objective_weights) > 1 and ranker.kind == "order":
            text = f"the ranker '{placement.ranker}' predicts an order, not probabilities, so its "
            text += "objectives cannot be added up; write "
            text += f'loss = "binary" under [rankers.{placement.ranker}]'
            self._problems.add(place, text)

    def _shared_rankers(self) -> None:
        """Reports rankers that several placements share."""
        served: dict[str, str] = {}
        for name, placement in self._file.placements.items():
            if placement.ranker is None or placement.ranker not in self._file.rankers:
                continue
            if placement.ranker in served:
                first = served[placement.ranker]
                self._problems.lines.append(
                    f"[placements.{first}] and [placements.{name}] share the ranker "
                    f"'{placement.ranker}'; declare one for each, because a ranker is trained on "
                    "the sources of one placement"
                )
            served[placement.ranker] = name

    # --- split ---

    def _split(self, split: SplitSection) -> None:
        """Reports split settings that belong to the other type or have an invalid length."""
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
                text = f"'test' + 'validation' must be below 1, got {total:g}"
                self._problems.note(("split",), text)


def _wrong_length(name: str, value: Any, split: str) -> str:
    """The error in the length of a window; empty if it is valid."""
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
    expected = "a duration such as '30d' or a share between 0 and 1"
    if name in ("gap", "horizon"):
        expected = "a duration such as '30d'"
    elif split == "holdout":
        expected = 'a share between 0 and 1 for type "holdout", such as 0.2'
    text = f"must be {expected}, got {shown(value)}"
    try:
        quoted = is_duration and 0 < float(value) < 1
    except ValueError:
        quoted = False
    return f"{text}; write it without quotes: {name} = {value}" if quoted else text


def _no_component(use: str, part: Any, problem: ProjectError) -> str:
    """The error for a name that is not a registered component of this part."""
    if (now := fixes.RENAMED_COMPONENTS.get(use)) in our_names(part):
        return f"'{use}' was renamed: write '{now}'"
    for section, other in PARTS.items():
        if other is not part and use in our_names(other):
            kind, theirs = part.__name__.lower(), other.__name__.lower()
            return (
                f"no {kind} is called '{use}'; it is a {theirs}: declare it under [{section}.NAME]"
            )
    return str(problem)
