"""Intact arrays with values that a kernel cannot use are refused on load."""

from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactWriter, create_artifact, open_artifact
from tastemaker.component import Retriever
from tastemaker.errors import ArtifactError
from tastemaker.retrieval import EASE, GraphFilter, ItemKNN, Propagation, SessionKNN, UserKNN
from tastemaker.testing.small import OPTIONS, small_dataset

DAMAGED: list[tuple[type[Retriever], str]] = [
    (SessionKNN, "session_items"),
    (SessionKNN, "session_end"),
    (SessionKNN, "holders"),
    (SessionKNN, "holder_offsets"),
    (UserKNN, "fans"),
    (UserKNN, "fan_offsets"),
    (UserKNN, "figures"),
    (GraphFilter, "blocks"),
    (GraphFilter, "root"),
    (Propagation, "index/order"),
    (Propagation, "index/blocks"),
    (Propagation, "norms"),
    (EASE, "weights"),
]


class _Damaging:
    """Writes everything unchanged except for one array."""

    def __init__(self, writer: ArtifactWriter, target: str, damage: Any, inside: str = "") -> None:
        self._writer, self._inside = writer, inside
        self._target, self._damage = target, damage

    def child(self, name: str) -> "_Damaging":
        inside = f"{self._inside}{name}/"
        return _Damaging(self._writer.child(name), self._target, self._damage, inside)

    def array(self, name: str, values: NDArray[Any]) -> None:
        hit = self._inside + name == self._target
        self._writer.array(name, self._damage(values) if hit else values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


def _halved(values: NDArray[Any]) -> NDArray[Any]:
    return values[: len(values) // 2]


def _negative(values: NDArray[Any]) -> NDArray[Any]:
    return values - values.dtype.type(10**6)


def _loaded(model: Retriever, target: str, damage: Any, folder: Path) -> Retriever:
    with create_artifact(folder, "model", {}) as writer:
        model.save(_Damaging(writer, target, damage))  # type: ignore[arg-type]
    return type(model)().load(open_artifact(folder, "model")[0])


@pytest.mark.parametrize(("model", "target"), DAMAGED)
def test_an_array_that_a_kernel_cannot_use_is_refused(
    model: type[Retriever], target: str, tmp_path: Path
) -> None:
    fitted = model().fit(small_dataset(), OPTIONS)
    assert _loaded(fitted, target, lambda values: values, tmp_path / "whole").n_fitted
    damages = [_halved]
    if target.rpartition("/")[2] in {"session_items", "holders", "fans", "order", "fan_offsets"}:
        damages.append(_negative)
    for place, damage in enumerate(damages):
        # A shorter array can be a valid model of fewer items, which the catalogue check refuses.
        with pytest.raises(ArtifactError, match="train again"):
            _loaded(fitted, target, damage, tmp_path / f"damaged-{place}")


def test_a_matrix_of_items_must_be_square(tmp_path: Path) -> None:
    fitted = ItemKNN().fit(small_dataset(), OPTIONS)
    fitted.weights = fitted.weights[:10]
    with pytest.raises(ArtifactError, match="not square"):
        _loaded(fitted, "", None, tmp_path / "v")
