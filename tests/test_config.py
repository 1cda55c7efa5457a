from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from tastemaker.config import Settings
from tastemaker.errors import ProjectError, SettingError
from tastemaker.faults import faults_of
from tastemaker.retrieval import ALS


class Part(Settings):
    kind: Literal["a", "b"] = "a"
    size: int = Field(1, ge=1, le=10)

    @model_validator(mode="after")
    def _b_is_small(self) -> "Part":
        if self.kind == "b" and self.size > 5:
            raise ValueError(f"'b' has at most 5, got {self.size}")
        return self


class Whole(Settings):
    factors: int = Field(64, gt=0)
    """How many numbers describe an item."""
    rate: float = 0.1
    part: Part = Part()
    parts: dict[str, Part] = Field(default_factory=dict)
    maybe: Part | None = None
    needed: str


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"factors": -3}, "Whole: 'factors' must be greater than 0, got -3"),
        ({"factors": "many"}, "Whole: 'factors' must be a valid integer.*got 'many'"),
        ({"factor": 3}, r"Whole: unknown setting 'factor'; did you mean 'factors'\?"),
        ({"rate": float("nan")}, "Whole: 'rate' must be a finite number, got nan"),
        ({"part": {"kind": "c"}}, r"Whole: 'part\.kind' must be 'a' or 'b', got 'c'"),
        ({"part": {"sise": 3}}, r"unknown setting 'part\.sise'; did you mean 'size'\?"),
        ({"maybe": {"sise": 3}}, r"unknown setting 'maybe\.sise'; did you mean 'size'\?"),
        ({"parts": {"x": {"sise": 3}}}, r"unknown setting 'parts\.x\.sise'; did you mean 'size'\?"),
        ({"parts": {"x": {"size": 11}}}, r"'parts\.x\.size' must be less than or equal to 10, got"),
        ({"parts": {"x": {"kind": "b", "size": 6}}}, r"Whole: 'parts\.x' 'b' has at most 5, got 6"),
    ],
)
def test_a_wrong_setting_names_owner_setting_constraint_and_value(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        Whole.checked({"needed": "x", **values}, owner="Whole")
    assert "\n" not in str(caught.value)


def test_all_wrong_settings_are_named_in_one_line() -> None:
    values = {"factors": -3, "factr": 1, "part": {"kind": "c"}, "rate": "high", "parts": [1]}
    with pytest.raises(SettingError) as caught:
        Whole.checked(values, owner="Whole")
    assert str(caught.value) == (
        "Whole: 'factors' must be greater than 0, got -3; 'rate' must be a valid number, got "
        "'high'; 'part.kind' must be 'a' or 'b', got 'c'; 'parts' must be a table, got [1]; "
        "'needed' is missing; unknown setting 'factr'; did you mean 'factors'?"
    )


def test_a_component_names_all_its_wrong_settings() -> None:
    with pytest.raises(SettingError) as caught:
        ALS(factors=-3, sed=1)
    assert str(caught.value).startswith(
        "ALS: 'factors' must be greater than or equal to 1, got -3; unknown setting 'sed'; known: "
    )


def test_a_value_of_several_types_has_one_fault() -> None:
    class Window(Settings):
        length: str | float = 0.2

    (fault,) = faults_of(Window, {"length": []})
    assert (fault.path, fault.text) == (("length",), "text or a valid number")


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(SettingError, match=r"^Whole: 'needed' is missing$"):
        Whole.checked({}, owner="Whole")


def test_the_caller_chooses_the_error() -> None:
    with pytest.raises(ProjectError, match=r"^tastemaker\.toml: "):
        Whole.checked({"needed": 1}, owner="tastemaker.toml", error=ProjectError)


def test_settings_never_change() -> None:
    settings = Whole(needed="x")
    with pytest.raises(ValidationError, match="frozen"):
        settings.factors = 3  # type: ignore[misc]


def test_the_docstring_of_a_field_is_its_description() -> None:
    assert Whole.model_fields["factors"].description == "How many numbers describe an item."
