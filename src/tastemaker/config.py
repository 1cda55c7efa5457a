"""Frozen settings: declared once with bounds and a one-line meaning, checked with a clear message.

Components, the project file and the data schema are all made of `Settings`.
"""

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from tastemaker.errors import InputError, SettingError, near_miss

SettingsT = TypeVar("SettingsT", bound="Settings")


class Settings(BaseModel):
    """Base of every settings class: frozen, no unknown names, field docstrings as descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @classmethod
    def checked(
        cls, values: Mapping[str, Any], *, owner: str, error: type[InputError] = SettingError
    ) -> Self:
        """Builds the settings from `values`.

        Args:
            values: name → value, as a caller or a file gave them.
            owner: who the settings are for; begins the message of an error.
            error: the class to raise.

        Raises:
            error: a name is unknown (with its near miss) or a value is out of range.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as problem:
            raise error(_explain(cls, owner, problem.errors()[0])) from None


def _explain(settings: type[BaseModel], owner: str, problem: ErrorDetails) -> str:
    """One line for the first thing that is wrong: owner, name, constraint, value."""
    path = [str(part) for part in problem["loc"]]
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = _fields_at(settings, path[:-1])
        return f"{owner}: unknown setting '{name}'{near_miss(path[-1], known)}"
    if problem["type"] == "missing":
        return f"{owner}: '{name}' is missing"
    constraint = problem["msg"]
    for prefix in ("Input should be ", "Value error, "):
        constraint = constraint.removeprefix(prefix)
    if problem["type"] == "value_error":
        return f"{owner}: '{name}' {constraint}" if name else f"{owner}: {constraint}"
    return f"{owner}: '{name}' must be {constraint}, got {problem['input']!r}"


def _fields_at(settings: type[BaseModel], path: list[str]) -> list[str]:
    """The names allowed at a path inside nested settings; tables keyed by the user are skipped."""
    current: Any = settings
    for part in path:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
        field = current.model_fields.get(part)
        current = _innermost(field.annotation) if field else current
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [field.alias or name for name, field in current.model_fields.items()]
    return []


def _innermost(annotation: Any) -> Any:
    """`Model` out of `Model`, `Model | None` and `dict[str, Model]`."""
    arguments = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    return _innermost(arguments[-1]) if arguments else annotation
