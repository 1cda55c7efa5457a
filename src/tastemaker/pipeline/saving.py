"""Saves the parts of a recommender as an artifact, and loads them."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.component import Component, Ranker, Reranker, Retriever
from tastemaker.data.catalogue import Catalogue
from tastemaker.data.profiles import ProfileSchema
from tastemaker.errors import ArtifactError, ProjectError
from tastemaker.inventory import Inventory
from tastemaker.project import component_class
from tastemaker.statistics import ItemStatistics

ComponentT = TypeVar("ComponentT", bound=Component)

KIND = "recommender"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a recommender: named components, and the inventory they were fitted with."""

    retrievers: Mapping[str, Retriever]
    rankers: Mapping[str, Ranker]
    rerankers: Mapping[str, Reranker]
    inventory: Inventory

    def save(self, folder: Path, about: Mapping[str, Any], fitted_rankers: Collection[str]) -> None:
        """Writes an artifact atomically.

        Args:
            folder: the folder to create; must not exist.
            about: the manifest entries of the recommender, with its `component_settings`.
            fitted_rankers: the names of the fitted rankers.

        Raises:
            ArtifactError: the folder exists.
        """
        manifest = {
            **about,
            "items": self.inventory.catalogue.items.digest,
            "watermark": self.inventory.watermark,
            "clock": self.inventory.clock,
            "profiles": self.inventory.profiles.to_dict(),
        }
        with create_artifact(folder, KIND, manifest) as writer:
            self.inventory.catalogue.save(writer.child("catalogue"))
            self.inventory.statistics.save(writer.child("statistics"))
            for name, retriever in self.retrievers.items():
                retriever.save(writer.child("components").child(name))
            for name in fitted_rankers:
                self.rankers[name].save(writer.child("rankers").child(name))

    @classmethod
    def load(cls, folder: Path) -> "tuple[Parts, dict[str, Any]]":
        """Maps an artifact from disk; returns the parts and the manifest entries.

        Raises:
            ArtifactError: the artifact is missing, damaged or of another kind, or its components
                are not installed.
        """
        reader, manifest = open_artifact(folder, KIND)
        with artifact_errors(folder):
            about = manifest["about"]
            retrievers = _built(about["components"], Retriever)
            for name, retriever in retrievers.items():
                retriever.load(reader.child("components").child(name))
            rankers = _built(about["rankers"], Ranker)
            for name in [n for n, notes in about["learned"].items() if notes["enabled"]]:
                rankers[name].load(reader.child("rankers").child(name))
            inventory = Inventory(
                Catalogue.load(reader.child("catalogue")),
                ItemStatistics.load(reader.child("statistics")),
                about["watermark"],
                about["clock"],
                _profiles(about),
            )
            _check_consistency(folder, inventory, retrievers, about["items"])
            return cls(retrievers, rankers, _built(about["rerankers"], Reranker), inventory), about


@contextmanager
def artifact_errors(folder: Path) -> Iterator[None]:
    """Converts the errors that an incompatible manifest causes to `ArtifactError`."""
    try:
        yield
    except ProjectError as problem:
        raise ArtifactError(f"{folder}: {problem}; install the package that provides it") from None
    except (LookupError, AttributeError, TypeError, ValueError, OverflowError) as problem:
        raise ArtifactError(
            f"{folder}: its manifest does not describe a recommender of this version "
            f"({' '.join(str(problem).split())}); train again"
        ) from None


def _check_consistency(
    folder: Path, inventory: Inventory, retrievers: Mapping[str, Retriever], digest: str
) -> None:
    """Raises if the parts were fitted on different catalogues: their item indices would differ."""
    items = inventory.catalogue.items
    if items.digest != digest:
        raise ArtifactError(f"{folder}: the catalogue is not the fitted one; train again")
    sizes = {f"retriever '{name}'": part.n_fitted for name, part in retrievers.items()}
    for what, size in {"statistics": inventory.statistics.n_items, **sizes}.items():
        if size != len(items):
            raise ArtifactError(
                f"{folder}: {what} was fitted on a catalogue of {size:,} items, but the artifact "
                f"has {len(items):,}; train again"
            )


def _profiles(about: Mapping[str, Any]) -> ProfileSchema:
    """The user columns it was fitted with; empty if the artifact does not record them."""
    return ProfileSchema.from_dict(about["profiles"]) if "profiles" in about else ProfileSchema()


def component_settings(parts: Mapping[str, Component]) -> dict[str, dict[str, Any]]:
    """Name → the type and the settings of a component, as in a manifest."""
    return {
        name: {"type": part.name, "settings": part.config.model_dump(mode="json")}
        for name, part in parts.items()
    }


def _built(saved: Mapping[str, dict[str, Any]], part: type[ComponentT]) -> dict[str, ComponentT]:
    """The unfitted components of saved `component_settings`."""
    return {n: component_class(s["type"], part)(**s["settings"]) for n, s in saved.items()}
