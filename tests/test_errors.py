import pytest

from tastemaker import errors
from tastemaker.errors import NotFittedError, TastemakerError, did_you_mean


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("SettingError", ValueError), ("ProjectError", ValueError), ("DataError", ValueError),
        ("ClockError", ValueError), ("UnknownIdError", LookupError),
        ("NotFittedError", RuntimeError), ("ArtifactError", RuntimeError),
        ("MemoryBudgetError", MemoryError),
    ],
)  # fmt: skip
def test_every_error_derives_from_the_tree_and_a_builtin(name: str, builtin: type) -> None:
    error = getattr(errors, name)
    assert issubclass(error, TastemakerError)
    assert issubclass(error, builtin)


def test_invalid_input_raises_an_input_error() -> None:
    wrong = {c.__name__ for c in errors.InputError.__subclasses__()}
    assert {"SettingError", "ProjectError", "DataError", "UnknownIdError"} <= wrong
    assert "ArtifactError" not in wrong


def test_the_tree_in_the_module_docstring_is_complete() -> None:
    def below(error: type) -> set[str]:
        return {error.__name__}.union(*(below(child) for child in error.__subclasses__()))

    drawn = errors.__doc__ or ""
    ours = {n for n in below(TastemakerError) if getattr(errors, n, None) is not None}
    assert ours == {n for n in ours if n in drawn}


def test_an_unfitted_component_says_how_to_fix_it() -> None:
    class ALS:
        pass

    assert str(NotFittedError(ALS())) == "ALS is not fitted: call fit(dataset) first"


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("factor", ["factors", "seed"], "; did you mean 'factors'?"),
        ("USERID", ["userId", "itemId"], "; did you mean 'userId'?"),
        ("xyz", ["b", "a"], "; known: a, b"),
        ("xyz", [], ""),
    ],
)
def test_an_unknown_name_is_answered_with_a_hint(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint
