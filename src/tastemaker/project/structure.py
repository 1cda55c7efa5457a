"""Checks the structure of a project file: unknown or misplaced settings, and wrong shapes.

Each error is reported and then repaired in the values, so that later checks find other errors and
none that only follow from it.
"""

from typing import Any, get_args, get_origin

from pydantic import BaseModel

from tastemaker.errors import closest, did_you_mean
from tastemaker.faults import Path, choices, inside, members, names_of
from tastemaker.project import fixes
from tastemaker.project.places import PLACEHOLDERS, home_of, is_component
from tastemaker.project.problems import Problems
from tastemaker.project.sections import ComponentSection, ProjectFile, TableFile
from tastemaker.project.toml_file import shown, table_name

_VERY_CLOSE = 0.8
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Structure:
    """Compares the values of a file with their expected types.

    Args:
        problems: collects the errors; the values in its source are repaired in place.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._values = problems.source.values

    def repair(self) -> None:
        """Checks and repairs the whole file."""
        self.table(ProjectFile, self._values, ())

    def table(self, model: type[BaseModel], table: dict[str, Any], place: Path) -> None:
        """Checks and repairs one table of named settings.

        Args:
            model: the settings that the table may have.
            table: its values, repaired in place.
            place: its place in the file.
        """
        for name in [name for name in table if name not in model.model_fields]:
            self._unknown(model, table, name, place)
        for name in list(table):
            field = model.model_fields.get(name)
            if field is not None:
                self._entry(field.annotation, table, name, place)

    def _entry(self, annotation: Any, table: dict[str, Any], name: str, place: Path) -> None:
        """Keeps, converts or removes one value of a table."""
        where = (*place, name)
        value = table[name]
        name_there = self._problems.source.name_of(where)
        is_double = isinstance(value, list) and bool(value) and name_there.endswith("]]")
        if is_double and _is_table(annotation) and not _is_list(annotation):
            header = table_name(tuple(map(str, where)))
            self._problems.note(where, f"must be one table: write {header} with single brackets")
            table[name] = value = value[0]
        if isinstance(value, dict):
            self._inner(annotation, table, name, where)
        elif isinstance(value, list):
            self._list(annotation, table, name, where)
        elif _is_list(annotation) and not _is_files(annotation):
            self._problems.add(
                where, f"must be a list, got {shown(value)}; {fixes.listed(name, value)}"
            )
            table[name] = [value]
        elif _is_table(annotation) and not (isinstance(value, str) and _is_files(annotation)):
            self._not_a_table(annotation, table, name, where)
        elif where not in self._problems.source.variables:
            self._plain(annotation, table, name, where)

    def _inner(self, annotation: Any, table: dict[str, Any], name: str, where: Path) -> None:
        """Checks a table inside a table."""
        value = table[name]
        for member in members(annotation):
            item = get_args(member)[0] if get_origin(member) in (tuple, list) else member
            if isinstance(item, type) and issubclass(item, BaseModel):
                if item is not member and not issubclass(item, TableFile):
                    self._problems.add(where, f"must be a list of tables; write {name} = [{{ … }}]")
                    table[name] = [value]
                if not issubclass(item, ComponentSection):
                    self.table(item, value, where)
                elif "type" not in value and "use" in value:
                    self._unknown(item, value, "use", where)
                elif "type" in value:  # other settings depend on the component
                    self._entry(str, value, "type", where)
                return
            if get_origin(item) is dict:
                self._named_tables(get_args(item)[1], value, where)
                return
        self._problems.add(where, f"must be {fixes.kinds(annotation)}, got a table")
        del table[name]

    def _named_tables(self, annotation: Any, table: dict[str, Any], place: Path) -> None:
        """Checks a table whose keys the user chooses."""
        for name in list(table):
            around = inside(ProjectFile, place[0])
            for part in place[1:-1]:
                around = inside(around, part)
            plain = str if str in members(annotation) else int | float
            is_known = len(place) > 2 and name in names_of(around)
            if is_known and not isinstance(table[name], plain):
                above, own = (table_name(tuple(map(str, p))) for p in (place[:-1], place))
                self._problems.note(place, f"'{name}' belongs under {above}: write it above {own}")
                self._move((*map(str, place[:-1]), name), table.pop(name))
            else:
                self._entry(annotation, table, name, place)

    def _list(self, annotation: Any, table: dict[str, Any], name: str, where: Path) -> None:
        """Checks a list of values or of tables."""
        value = table[name]
        item = next((get_args(m)[0] for m in members(annotation) if _is_list(m)), None)
        if item is None:
            text = f"must be {fixes.kinds(annotation)}, got a list{fixes.single(name, value)}"
            if _is_table(annotation):
                text = f"must be a table, got a list{fixes.table(annotation, value, where)}"
            self._problems.add(where, text)
            del table[name]
            return
        for number, inner in enumerate(value):
            at = (*where, number)
            if isinstance(inner, dict) and isinstance(item, type) and issubclass(item, BaseModel):
                self.table(item, inner, at)
            elif not isinstance(inner, dict | list) and not _is_table(item):
                holder = {name: inner}
                self._plain(item, holder, name, at)
                value[number] = holder.get(name, inner)

    def _not_a_table(self, annotation: Any, table: dict[str, Any], name: str, where: Path) -> None:
        """Reports a plain value in the place of a table."""
        value = table.pop(name)
        home = home_of(name, value, where[:-1], self._values) if len(where) == 1 else None
        if home is not None:
            self._misplaced(where, name, value, home)
            return
        fix = fixes.table(annotation, value, where)
        self._problems.add(where, f"must be a table, got {shown(value)}{fix}")

    def _plain(self, annotation: Any, table: dict[str, Any], name: str, where: Path) -> None:
        """Reports and repairs a plain value of the wrong type, such as text for a number."""
        value, types = table[name], list(members(annotation))
        has_choices = bool(choices(annotation))
        key = f"{name} = " if where[-1] == name else ""  # not for an entry of a list
        is_text, is_number = str in types or has_choices, int in types or float in types
        if isinstance(value, str) and not is_text and is_number:
            number = _number(value)
            if number is None:
                return  # the check of the values reports it
            fix = f"write it without quotes: {key}{value.strip()}"
            table[name] = number
        elif bool in types and not isinstance(value, bool):
            boolean = _BOOLEANS.get(str(value).lower())
            fix = "" if boolean is None else f"write {key}{shown(boolean)}, without quotes"
            del table[name]
        elif isinstance(value, bool) and bool not in types and (is_number or is_text):
            fix = ""
            del table[name]
        elif isinstance(value, int | float) and is_text and not is_number and not has_choices:
            fix = f'write it in quotes: {key}"{shown(value)}"'
            del table[name]
        else:
            return
        text = f"must be {fixes.kinds(annotation)}, got {shown(value)}"
        self._problems.add(where, f"{text}; {fix}" if fix else text)

    def _unknown(
        self, model: type[BaseModel], table: dict[str, Any], name: str, place: Path
    ) -> None:
        """Reports a setting that this table does not have: misspelled or misplaced."""
        value = table.pop(name)
        known = list(model.model_fields)
        suggestion = closest(name, known, _VERY_CLOSE)
        if (
            suggestion is not None
            and not place
            and isinstance(value, dict) != _takes_table(model, suggestion)
        ):
            suggestion = None
        if (now := fixes.RENAMED.get(name)) in known:
            suggestion = now
        home = None if suggestion else home_of(name, value, place, self._values)
        suggestion = suggestion or closest(name, known)
        if home is not None:
            self._misplaced((*place, name), name, value, home)
            return
        if suggestion is not None and suggestion == now:
            owner, text = place, f"'{name}' was renamed: write '{suggestion}'"
        elif place or not isinstance(value, dict):
            owner, text = place, f"unknown setting '{name}'{did_you_mean(name, known)}"
        else:
            owner, text = (), self._unknown_section(name, value, suggestion)
        variables = self._problems.source.variables
        if (*place, name) in variables:
            owner = (*place, name)
            variables[*place, suggestion or name] = variables[owner]
        self._problems.note(owner, text)
        if suggestion is not None:
            self._problems.source.rename(name, suggestion)
        if not _merged(table, suggestion, value):
            self._problems.broken.add((*place, suggestion or name))

    def _unknown_section(self, name: str, value: dict[str, Any], suggestion: str | None) -> str:
        headers = self._problems.source.headers_under(name)
        header = headers[0] if headers else (name,)
        text = f"unknown section {table_name(header)}"
        if suggestion is not None:
            return f"{text}; did you mean {table_name((suggestion, *header[1:]))}?"
        if "type" in value:
            return f"{text}; did you mean {table_name(('retrievers', *header))}?"
        return text + did_you_mean(name, list(ProjectFile.model_fields))

    def _misplaced(self, where: Path, name: str, value: Any, home: Path) -> None:
        """Reports a setting in the wrong table, and moves it."""
        last, own = str(where[-1]), tuple(map(str, home))
        if not own:
            text = f"'{last}' is a top-level section: write {table_name((last,))}"
        elif isinstance(value, dict):
            text = f"'{last}' belongs in {table_name(own)}: write {table_name((*own, last))}"
        else:
            text = f"'{last}' belongs under {table_name(own)}"
        self._problems.note(where[:-1], text)
        self._move((*own, name), value)

    def _move(self, path: tuple[str, ...], value: Any) -> None:
        """Moves a value to its table, unless the place is taken or its names are unknown."""
        if is_component(path) or set(path) & set(PLACEHOLDERS):
            return
        at = self._values
        for part in path[:-1]:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                return
        at.setdefault(path[-1], value)


def _merged(table: dict[str, Any], name: str | None, value: Any) -> bool:
    """Merges a value into the table under the intended name; returns whether that worked."""
    if name is None:
        return False
    there = table.setdefault(name, value)
    if there is value:
        return True
    if not (isinstance(there, dict) and isinstance(value, dict)):
        return False
    for inner in value:
        there.setdefault(inner, value[inner])
    return True


def _takes_table(model: type[BaseModel], name: str) -> bool:
    return _is_table(model.model_fields[name].annotation)


def _is_table(annotation: Any) -> bool:
    return any(
        get_origin(member) is dict or (isinstance(member, type) and issubclass(member, BaseModel))
        for member in members(annotation)
    )


def _is_list(annotation: Any) -> bool:
    return any(get_origin(member) in (tuple, list) for member in members(annotation))


def _is_files(annotation: Any) -> bool:
    """Whether a plain path may replace the table."""
    for member in members(annotation):
        item = get_args(member)[0] if get_origin(member) is tuple else member
        if isinstance(item, type) and issubclass(item, TableFile):
            return True
    return False


def _number(text: str) -> int | float | None:
    try:
        return int(text) if text.strip().lstrip("+-").isdigit() else float(text)
    except ValueError:
        return None
