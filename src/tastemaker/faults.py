"""Validation faults of settings: each invalid setting with its path, constraint and value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]
"""Names and positions that lead to a value, from the outermost table inwards."""

_TEXTS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "byte_size": "a number of bytes such as 8GiB",
    "byte_size_unit": "a number of bytes such as 8GiB",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_parsing": "a valid number",
    "float_type": "a valid number",
    "int_from_float": "a valid integer",
    "int_parsing": "a valid integer",
    "int_parsing_size": "a valid integer",
    "int_type": "a valid integer",
    "list_type": "a list",
    "model_attributes_type": "a table",
    "model_type": "a table",
    "string_type": "text",
    "tuple_type": "a list",
}
_SHAPES = ("dict_type", "list_type", "tuple_type")
_LENGTHS = {
    "string_too_long": "at most {max_length} characters long",
    "string_too_short": "at least {min_length} characters long",
    "too_long": "a {noun} of at most {max_length} entries",
    "too_short": "a {noun} of at least {min_length} entries",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One setting that is missing, unknown or invalid.

    Attributes:
        path: the path to the setting.
        kind: `unknown`, `missing`, `wrong` (the value must be `text`), or `rule` (`text` is the
            violated rule).
        text: the constraint or the rule.
        value: the invalid value.
        known: for an unknown name, the valid names; for a value of a fixed set, the set.
    """

    path: Path
    kind: Literal["unknown", "missing", "wrong", "rule"]
    text: str = ""
    value: Any = None
    known: tuple[str, ...] = ()


def faults_of(settings: type[BaseModel], values: Mapping[str, Any]) -> list[Fault]:
    """All faults of `values` as settings of a class; empty if they are valid.

    Args:
        settings: the settings class.
        values: name → value.
    """
    try:
        settings.model_validate(dict(values))
    except ValidationError as problem:
        return faults_in(settings, problem)
    return []


def faults_in(settings: type[BaseModel], problem: ValidationError) -> list[Fault]:
    """The faults that a failed validation found.

    Args:
        settings: the settings class.
        problem: the error that the validation raised.
    """
    found: dict[Path, Fault] = {}
    for details in _of_fitting_members(problem.errors(include_url=False)):
        fault = _fault(settings, details)
        earlier = found.get(fault.path)
        if earlier is None:
            found[fault.path] = fault
        elif fault.text not in earlier.text.split(" or "):  # each type of a union has one fault
            found[fault.path] = replace(earlier, text=f"{earlier.text} or {fault.text}")
    return list(found.values())


def _of_fitting_members(every: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without those of union members whose shape (table, list) does not match."""
    places = [details["loc"] for details in every]

    def is_of_another(details: ErrorDetails) -> bool:
        if details["type"] not in _SHAPES or not _is_member(details["loc"][-1]):
            return False
        *above, member = details["loc"]
        size = len(above)
        return any(
            place[:size] == tuple(above) and len(place) > size + 1 and place[size] != member
            for place in places
        )

    return [details for details in every if not is_of_another(details)]


def _is_member(part: str | int) -> bool:
    """Whether a part of an error location names a member of a union."""
    return isinstance(part, str) and part.startswith(("dict[", "list[", "tuple["))


def _fault(settings: type[BaseModel], details: ErrorDetails) -> Fault:
    path, at = list[str | int](), settings
    kind, context = details["type"], details.get("ctx", {})
    for part in details["loc"]:
        if _is_member(part):
            continue
        step = inside(at, part)
        if step is None:
            break  # what follows names a member of a union
        path.append(part)
        at = step
    if kind == "extra_forbidden":
        name = details["loc"][-1]
        return Fault((*path, name), "unknown", value=details["input"], known=tuple(names_of(at)))
    where = tuple(path)
    if kind == "missing":
        return Fault(where, "missing")
    if kind in ("value_error", "assertion_error"):
        return Fault(where, "rule", str(context.get("error", "is wrong")), details["input"])
    known = choices(at) if kind == "literal_error" else ()
    return Fault(where, "wrong", _text(details), details["input"], known)


def _text(details: ErrorDetails) -> str:
    """The constraint on the value, as text."""
    kind = details["type"]
    if kind in _TEXTS:
        return _TEXTS[kind]
    if kind in _LENGTHS:
        noun = "table" if details["ctx"].get("field_type") == "Dictionary" else "list"
        text = _LENGTHS[kind].format(**details["ctx"], noun=noun)
        return text.replace("1 characters", "1 character").replace("1 entries", "1 entry")
    text = details["msg"].removeprefix("Input should be ")
    return text if text != details["msg"] else "a valid value"


def members(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows, without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from members(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for argument in get_args(annotation):
            yield from members(argument)
    elif annotation is not type(None):
        yield annotation


def inside(annotation: Any, part: str | int) -> Any:
    """The type of an element of a value of this type; None if the type has no elements.

    Args:
        annotation: the type of the value.
        part: a name, or a position in a list.
    """
    for member in members(annotation):
        arguments = get_args(member)
        if isinstance(member, type) and issubclass(member, BaseModel):
            field = member.model_fields.get(str(part))
            if field is not None:
                return field.annotation
        elif get_origin(member) is dict:
            return arguments[1]
        elif get_origin(member) in (tuple, list) and isinstance(part, int):
            return arguments[0]
    return None


def names_of(annotation: Any) -> list[str]:
    """The setting names of a table of this type."""
    return [
        name
        for member in members(annotation)
        if isinstance(member, type) and issubclass(member, BaseModel)
        for name in member.model_fields
    ]


def choices(annotation: Any) -> tuple[str, ...]:
    """The allowed words of a value that is one of a fixed set."""
    return tuple(
        str(choice)
        for member in members(annotation)
        if get_origin(member) is Literal
        for choice in get_args(member)
    )
