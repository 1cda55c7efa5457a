"""The shape of a project file: unknown and misplaced settings, tables and values mixed up.

Each error is reported and then repaired in the values, so that the checks that follow find what
else is wrong and nothing that only follows from it.
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
    """Walks the values of a file beside the types they must have.

    Args:
        problems: takes the errors; its source has the values, which are repaired in place.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._values = problems.source.values

    def repair(self) -> None:
        """Looks at the whole file."""
        self.table(ProjectFile, self._values, ())

    def table(self, model: type[BaseModel], table: dict[str, Any], place: Path) -> None:
        """One table of named settings.

        Args:
            model: what it may hold.
            table: what it holds; repaired.
            place: where it is.
        """
        for name in [name for name in table if name not in model.model_fields]:
            self._unknown(model, table, name, place)
        for name in list(table):
            field = model.model_fields.get(name)
            if field is not None:
                self._entry(field.annotation, table, name, place)

    def _entry(self, annotation: Any, table: dict[str, Any], name: str, place: Path) -> None:
        """One value of a table: kept, converted, or removed."""
        where = (*place, name)
        value = table[name]
        name_there = self._problems.source.name_of(where)
        is_double = isinstance(value, list) and bool(value) and name_there.endswith("]]")
        if is_double and _is_table(annotation) and not _is_list(annotation):
            header = table_name(tuple(map(str, where)))
            self._problems.note(where, f"is one table: write {header} with single brackets")
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
            self._no_table(annotation, table, name, where)
        elif where not in self._problems.source.variables:
            self._plain(annotation, table, name, where)

    def _inner(self, annotation: Any, table: dict[str, Any], name: str, where: Path) -> None:
        """A table inside a table."""
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
                elif "type" in value:  # its settings are known when the component is
                    self._entry(str, value, "type", where)
                return
            if get_origin(item) is dict:
                self._free(get_args(item)[1], value, where)
                return
        self._problems.add(where, f"must be {fixes.kinds(annotation)}, got a table")
        del table[name]

    def _free(self, annotation: Any, table: dict[str, Any], place: Path) -> None:
        """A table whose names the user chooses."""
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
        """A list: of values, or of tables."""
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

    def _no_table(self, annotation: Any, table: dict[str, Any], name: str, where: Path) -> None:
        """A plain value where a table belongs."""
        value = table.pop(name)
        home = home_of(name, value, where[:-1], self._values) if len(where) == 1 else None
        if home is not None:
            self._belongs(where, name, value, home)
            return
        fix = fixes.table(annotation, value, where)
        self._problems.add(where, f"must be a table, got {shown(value)}{fix}")

    def _plain(self, annotation: Any, table: dict[str, Any], name: str, where: Path) -> None:
        """A plain value of another type: text for a number, and the like."""
        value, types = table[name], list(members(annotation))
        words = bool(choices(annotation))
        key = f"{name} = " if where[-1] == name else ""  # not before one entry of a list
        is_text, is_number = str in types or words, int in types or float in types
        if isinstance(value, str) and not is_text and is_number:
            number = _number(value)
            if number is None:
                return  # what it must be is checked with the values
            told = f"write it without quotes: {key}{value.strip()}"
            table[name] = number
        elif bool in types and not isinstance(value, bool):
            meant = _BOOLEANS.get(str(value).lower())
            told = "" if meant is None else f"write {key}{shown(meant)}, without quotes"
            del table[name]
        elif isinstance(value, bool) and bool not in types and (is_number or is_text):
            told = ""
            del table[name]
        elif isinstance(value, int | float) and is_text and not is_number and not words:
            told = f'write it in quotes: {key}"{shown(value)}"'
            del table[name]
        else:
            return
        text = f"must be {fixes.kinds(annotation)}, got {shown(value)}"
        self._problems.add(where, f"{text}; {told}" if told else text)

    def _unknown(
        self, model: type[BaseModel], table: dict[str, Any], name: str, place: Path
    ) -> None:
        """A setting that this table does not have: misspelt, or it belongs elsewhere."""
        value = table.pop(name)
        known = list(model.model_fields)
        meant = closest(name, known, _VERY_CLOSE)
        if (
            meant is not None
            and not place
            and isinstance(value, dict) != _takes_table(model, meant)
        ):
            meant = None
        if (now := fixes.RENAMED.get(name)) in known:
            meant = now
        home = None if meant else home_of(name, value, place, self._values)
        meant = meant or closest(name, known)
        if home is not None:
            self._belongs((*place, name), name, value, home)
            return
        if meant is not None and meant == now:
            owner, text = place, f"'{name}' is called '{meant}' now"
        elif place or not isinstance(value, dict):
            owner, text = place, f"unknown setting '{name}'{did_you_mean(name, known)}"
        else:
            owner, text = (), self._unknown_section(name, value, meant)
        variables = self._problems.source.variables
        if (*place, name) in variables:
            owner = (*place, name)
            variables[*place, meant or name] = variables[owner]
        self._problems.note(owner, text)
        if meant is not None:
            self._problems.source.rename(name, meant)
        if not _joined(table, meant, value):
            self._problems.broken.add((*place, meant or name))

    def _unknown_section(self, name: str, value: dict[str, Any], meant: str | None) -> str:
        headers = self._problems.source.headers_under(name)
        header = headers[0] if headers else (name,)
        text = f"unknown section {table_name(header)}"
        if meant is not None:
            return f"{text}; did you mean {table_name((meant, *header[1:]))}?"
        if "type" in value:
            return f"{text}; did you mean {table_name(('retrievers', *header))}?"
        return text + did_you_mean(name, list(ProjectFile.model_fields))

    def _belongs(self, where: Path, name: str, value: Any, home: Path) -> None:
        """A setting that stands in another table than its own."""
        last, own = str(where[-1]), tuple(map(str, home))
        if not own:
            text = f"'{last}' is a section of its own: write {table_name((last,))}"
        elif isinstance(value, dict):
            text = f"'{last}' belongs in {table_name(own)}: write {table_name((*own, last))}"
        else:
            text = f"'{last}' belongs under {table_name(own)}"
        self._problems.note(where[:-1], text)
        self._move((*own, name), value)

    def _move(self, path: tuple[str, ...], value: Any) -> None:
        """Puts a value where it belongs, if nothing is there; names in capitals are unknown."""
        if is_component(path) or set(path) & set(PLACEHOLDERS):
            return
        at = self._values
        for part in path[:-1]:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                return
        at.setdefault(path[-1], value)


def _joined(table: dict[str, Any], name: str | None, value: Any) -> bool:
    """Puts a value under the name that was meant, beside what is there; whether all found room."""
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
    """Whether a path alone will do for the table."""
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
