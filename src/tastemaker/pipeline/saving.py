"""A recommender's parts as an artifact: components, catalogue and statistics, and back again."""

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
    """What a recommender is made of: named components, and the world they were fitted in."""

    retrievers: Mapping[str, Retriever]
    rankers: Mapping[str, Ranker]
    rerankers: Mapping[str, Reranker]
    inventory: Inventory

    def save(self, folder: Path, about: Mapping[str, Any], fitted_rankers: Collection[str]) -> None:
        """Writes an artifact; it appears whole or not at all.

        Args:
            folder: where; must not exist yet.
            about: what the recommender tells of itself, with the components as `described`.
            fitted_rankers: the rankers that have learned something.

        Raises:
            ArtifactError: the folder exists.
        """
        told = {
            **about,
            "items": self.inventory.catalogue.items.digest,
            "watermark": self.inventory.watermark,
            "clock": self.inventory.clock,
            "profiles": self.inventory.profiles.to_dict(),
        }
        with create_artifact(folder, KIND, told) as writer:
            self.inventory.catalogue.save(writer.child("catalogue"))
            self.inventory.statistics.save(writer.child("statistics"))
            for name, retriever in self.retrievers.items():
                retriever.save(writer.child("components").child(name))
            for name in fitted_rankers:
                self.rankers[name].save(writer.child("rankers").child(name))

    @classmethod
    def load(cls, folder: Path) -> "tuple[Parts, dict[str, Any]]":
        """Maps an artifact from disk; the parts, and what the recommender told of itself.

        Raises:
            ArtifactError: missing, damaged, foreign, or of components that are not installed.
        """
        reader, manifest = open_artifact(folder, KIND)
        with refusing(folder):
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
            _check_fit(folder, inventory, retrievers, about["items"])
            return cls(retrievers, rankers, _built(about["rerankers"], Reranker), inventory), about


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Turns whatever a manifest of another version causes into one reason to refuse it."""
    try:
        yield
    except ProjectError as problem:
        raise ArtifactError(f"{folder}: {problem}; install the package that provides it") from None
    except (LookupError, AttributeError, TypeError, ValueError, OverflowError) as problem:
        raise ArtifactError(
            f"{folder}: its manifest does not describe a recommender of this version "
            f"({' '.join(str(problem).split())}); train again"
        ) from None


def _check_fit(
    folder: Path, inventory: Inventory, retrievers: Mapping[str, Retriever], digest: str
) -> None:
    """Refuses parts of different fits: an item's index would mean another item in each."""
    items = inventory.catalogue.items
    if items.digest != digest:
        raise ArtifactError(f"{folder}: its catalogue is not the one it was fitted on; train again")
    sizes = {f"retriever '{name}'": part.n_fitted for name, part in retrievers.items()}
    for what, size in {"statistics": inventory.statistics.n_items, **sizes}.items():
        if size != len(items):
            raise ArtifactError(
                f"{folder}: its {what} was fitted on a catalogue of {size:,} items, its own has "
                f"{len(items):,}; train again"
            )


def _profiles(about: Mapping[str, Any]) -> ProfileSchema:
    """The user columns it was fitted with; none where a version does not record them."""
    return ProfileSchema.from_dict(about["profiles"]) if "profiles" in about else ProfileSchema()


def described(parts: Mapping[str, Component]) -> dict[str, dict[str, Any]]:
    """Name → which component, with which settings."""
    return {
        name: {"type": part.name, "settings": part.config.model_dump(mode="json")}
        for name, part in parts.items()
    }


def _built(told: Mapping[str, dict[str, Any]], part: type[ComponentT]) -> dict[str, ComponentT]:
    """What `described` told of, unfitted."""
    return {n: component_class(t["type"], part)(**t["settings"]) for n, t in told.items()}
