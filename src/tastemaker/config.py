"""Frozen settings: declared once with bounds and a description, validated with clear messages.

Components, the project file and the data schema are built from `Settings`.
"""

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tastemaker.errors import InputError, SettingError, did_you_mean
from tastemaker.faults import Fault, faults_in

SettingsT = TypeVar("SettingsT", bound="Settings")


class Settings(BaseModel):
    """Base class of all settings: frozen, no unknown names, field docstrings as descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @classmethod
    def checked(
        cls, values: Mapping[str, Any], *, owner: str, error: type[InputError] = SettingError
    ) -> Self:
        """Builds the settings from `values`.

        Args:
            values: name → value, from a caller or a file.
            owner: the owner of the settings; starts the error message.
            error: the exception class to raise.

        Raises:
            error: names are unknown (the message suggests close matches) or values are out of
                range; one message lists all of them.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as problem:
            lines = map(_message, faults_in(cls, problem))
            raise error(f"{owner}: {'; '.join(lines)}") from None


def _message(fault: Fault) -> str:
    """A message with the setting's name, the constraint and the value."""
    name = ".".join(map(str, fault.path))
    if fault.kind == "unknown":
        return f"unknown setting '{name}'{did_you_mean(str(fault.path[-1]), fault.known)}"
    if fault.kind == "missing":
        return f"'{name}' is missing"
    if fault.kind == "rule":
        return f"'{name}' {fault.text}" if name else fault.text
    return f"'{name}' must be {fault.text}, got {fault.value!r}"
