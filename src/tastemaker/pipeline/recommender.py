"""What is fitted, saved and promoted: named components and the placements they serve."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from tastemaker.artifact import ArtifactReader, create_artifact, open_artifact
from tastemaker.component import FitOptions, Retriever, SimilarItems
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import Catalogue
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.data.schema import EventKind
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.vocabulary import text_id
from tastemaker.errors import (
    ArtifactError,
    NotFittedError,
    ProjectError,
    SettingError,
    UnknownIdError,
    near_miss,
)
from tastemaker.pipeline.pipeline import Pipeline
from tastemaker.pipeline.recommendations import Recommendations
from tastemaker.project import Placement, component_class, find_project, load_project
from tastemaker.statistics import ItemStatistics
from tastemaker.world import World

KIND = "recommender"
USERS_AT_A_TIME = 4_096


class Recommender:
    """Fitted components and the placements that wire them.

    Args:
        retrievers: name → retriever.
        placements: name → placement; the first is the default.

    Attributes:
        world: what is known of items, after `fit` or `load`.
        data: the events behind known users' histories, after `fit` or `attach`.
        version: the artifact it was loaded from, or empty.
    """

    world: World

    def __init__(
        self, retrievers: Mapping[str, Retriever], placements: Mapping[str, Placement]
    ) -> None:
        self.retrievers = dict(retrievers)
        self.placements = dict(placements)
        if not self.placements:
            raise SettingError("a recommender needs at least one placement")
        for name, placement in self.placements.items():
            Pipeline.check(f"placement '{name}'", self.retrievers, placement.retrievers)
        self.data: Dataset | None = None
        self.kinds: dict[str, EventKind] = {}
        self.version = ""

    @classmethod
    def from_project(cls, path: str | Path | None = None) -> "Recommender":
        """Builds the components a project file names, unfitted.

        Args:
            path: the file; by default `tastemaker.toml` here or in a parent folder.

        Raises:
            ProjectError: the file is missing, malformed or wrong.
        """
        project = load_project(find_project(Path.cwd()) if path is None else Path(path))
        sections = project.file.retrievers.items()
        return cls({name: s.build(name) for name, s in sections}, project.file.placements)

    def fit(self, data: Dataset, options: FitOptions = FitOptions()) -> Self:
        """Fits every component on all the events of `data`."""
        for retriever in self.retrievers.values():
            retriever.fit(data, options)
        self.world = World.of(data)
        self.kinds = data.kinds
        return self.attach(data)

    def attach(self, data: Dataset) -> Self:
        """Takes the histories of known users from `data`, whose items must be those fitted on.

        Raises:
            ArtifactError: the items or the kinds of event differ.
        """
        if list(self.kinds.items()) != list(data.kinds.items()):
            raise ArtifactError(
                "the kinds of event are not those of this artifact: [events.*] has changed since "
                "training; train again"
            )
        if self.world.catalogue.items.digest != data.catalogue.items.digest:
            raise ArtifactError(
                "the data's items are not those of this artifact: the data has changed since "
                "training; train again"
            )
        self.data = data
        return self

    def pipeline(self, placement: str | None = None) -> Pipeline:
        """The road of one placement.

        Raises:
            ProjectError: there is no such placement.
        """
        quotas = self._placement(placement)[1].retrievers
        sources = {name: self.retrievers[name] for name in quotas}
        return Pipeline(sources, quotas, self.version)

    def recommend(
        self,
        user_id: str | int | None = None,
        *,
        history: Sequence[str | int] | None = None,
        n: int = 20,
        placement: str | None = None,
        at: int | None = None,
    ) -> Recommendations:
        """A list for one user, known or not.

        Args:
            user_id: whose history to take; an unknown user is answered like a stranger. Ids are
                text; an integer 1 is "1".
            history: item ids liked, oldest first, instead of a known history for taste; what a
                known user has seen or blocked still stays away. Ids nobody knows are left out.
            n: how many items.
            placement: which wiring; by default the first.
            at: the moment of the request, microseconds; by default just after the last event.

        Raises:
            NotFittedError: neither fitted nor loaded.
            ProjectError: there is no such placement.
        """
        self._require_world()
        user_id = None if user_id is None else text_id(user_id)
        if isinstance(history, str):
            raise SettingError(f"'history' must be a list of item ids, got the text {history!r}")
        liked = [text_id(item) for item in history or ()]
        moment = self._latest() if at is None else at
        name, settings = self._placement(placement)
        seen = SeenPolicy.of(self.kinds, settings.seen)
        known = -1 if self.data is None or user_id is None else self.data.users.index(user_id)
        if self.data is not None and known >= 0:
            requests = self.data.requests(
                np.array([known]), np.array([moment]), seen=seen, placement=name
            )
            if history is not None:
                told = self._told(liked, moment, seen)
                away = Ragged.of([np.union1d(told.exclude[0], requests.exclude[0])])
                requests = replace(requests, history=told.history, exclude=away)
        else:
            requests = replace(self._told(liked, moment, seen), user_id=(user_id,))
        requests = replace(requests, placement=name)
        return self.pipeline(name).recommend(requests, n, world=self.world)

    def _told(self, liked: Sequence[str], moment: int, seen: SeenPolicy) -> Requests:
        """A stranger's request who tells what they liked: events of the first positive kind."""
        items = self.world.catalogue.items.indices(liked)
        known = items[items >= 0].tolist()
        kind = next((c for c, k in enumerate(self.kinds.values()) if k.role == "positive"), 0)
        repeats = len(seen.window) > 0 and seen.window[kind] == 0
        return Requests.of([known], time=moment, exclude=[[] if repeats else known])

    def recommend_all(
        self, *, n: int = 20, placement: str | None = None
    ) -> Iterator[Recommendations]:
        """A list for every known user, a few thousand at a time.

        Raises:
            NotFittedError: no data is attached.
        """
        self._require_world()
        if self.data is None:
            raise NotFittedError(self)
        name, settings = self._placement(placement)
        seen = SeenPolicy.of(self.kinds, settings.seen)
        pipeline = self.pipeline(name)
        for start in range(0, len(self.data.users), USERS_AT_A_TIME):
            users = np.arange(start, min(start + USERS_AT_A_TIME, len(self.data.users)))
            moments = np.full(len(users), self._latest())
            requests = self.data.requests(users, moments, seen=seen, placement=name)
            yield pipeline.recommend(requests, n, world=self.world)

    def similar(
        self, item_id: str | int, *, n: int = 20, retriever: str | None = None
    ) -> tuple[str, Candidates]:
        """The items most like one, and the name of the source that says so.

        Args:
            item_id: the item.
            n: how many.
            retriever: the source to ask; by default the first that can answer.

        Raises:
            UnknownIdError: nobody knows the item.
            ProjectError: the source does not exist or cannot answer.
        """
        self._require_world()
        item_id = text_id(item_id)
        index = self.world.catalogue.items.index(item_id)
        if index < 0:
            raise UnknownIdError(f"no item has the id '{item_id}'")
        able = {k: r for k, r in self.retrievers.items() if isinstance(r, SimilarItems)}
        if not able:
            raise ProjectError(
                "none of the retrievers can name similar items; add item_knn, ease or als"
            )
        name = next(iter(able)) if retriever is None else retriever
        if name not in able:
            raise ProjectError(
                f"no retriever '{name}' can name similar items{near_miss(name, able)}"
            )
        return name, able[name].similar(np.array([index], np.int32), n, self.world)

    def save(self, folder: str | Path) -> None:
        """Writes an artifact; training twice on the same data gives the same bytes.

        Raises:
            ArtifactError: the folder exists.
            NotFittedError: neither fitted nor loaded.
        """
        self._require_world()
        about = {
            "components": {
                name: {"use": r.name, "settings": r.config.model_dump(mode="json")}
                for name, r in self.retrievers.items()
            },
            "placements": {n: p.model_dump(mode="json") for n, p in self.placements.items()},
            "kinds": {n: k.model_dump(mode="json") for n, k in self.kinds.items()},
            "items": self.world.catalogue.items.digest,
            "watermark": self.world.watermark,
            "clock": self.world.clock,
        }
        with create_artifact(Path(folder), KIND, about) as writer:
            self.world.catalogue.save(writer.child("catalogue"))
            self.world.statistics.save(writer.child("statistics"))
            for name, retriever in self.retrievers.items():
                retriever.save(writer.child("components").child(name))

    @classmethod
    def load(cls, folder: str | Path) -> "Recommender":
        """Maps an artifact from disk; `attach` data to serve known users.

        Raises:
            ArtifactError: missing, damaged, foreign, or of components that are not installed.
        """
        reader, manifest = open_artifact(Path(folder), KIND)
        try:
            recommender = cls._assembled(reader, manifest["about"])
        except ProjectError as problem:
            raise ArtifactError(
                f"{folder}: {problem}; install the package that provides it"
            ) from None
        except (KeyError, TypeError, ValueError) as problem:
            raise ArtifactError(
                f"{folder}: its manifest does not describe a recommender of this version "
                f"({' '.join(str(problem).split())}); train again"
            ) from None
        recommender.version = Path(folder).name
        return recommender

    @classmethod
    def _assembled(cls, reader: ArtifactReader, about: dict[str, Any]) -> "Recommender":
        retrievers = {
            name: component_class(told["use"], Retriever)(**told["settings"]).load(
                reader.child("components").child(name)
            )
            for name, told in about["components"].items()
        }
        placements = {n: Placement.model_validate(p) for n, p in about["placements"].items()}
        recommender = cls(retrievers, placements)
        recommender.kinds = {n: EventKind.model_validate(k) for n, k in about["kinds"].items()}
        recommender.world = World(
            Catalogue.load(reader.child("catalogue")),
            ItemStatistics.load(reader.child("statistics")),
            about["watermark"],
            about["clock"],
        )
        return recommender

    def _latest(self) -> int:
        """Just after the last event, also of data that went on after the training."""
        return max(self.world.watermark, 0 if self.data is None else self.data.end)

    def _placement(self, name: str | None) -> tuple[str, Placement]:
        chosen = next(iter(self.placements)) if name is None else name
        if chosen not in self.placements:
            raise ProjectError(f"no placement '{chosen}'{near_miss(chosen, self.placements)}")
        return chosen, self.placements[chosen]

    def _require_world(self) -> None:
        if not hasattr(self, "world"):
            raise NotFittedError(self)
