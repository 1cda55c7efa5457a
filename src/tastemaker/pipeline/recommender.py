"""The recommender: named components and the placements that use them; fitted, saved and loaded."""

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import tastemaker
from tastemaker.component import NO_ITEMS, FitOptions, Ranker, Reranker, Retriever, SupportsNewItems
from tastemaker.data.additions import new_attributes, new_ids
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.schema import EventKind
from tastemaker.errors import ArtifactError, SettingError, SourceMemoryError
from tastemaker.features import FeatureSet
from tastemaker.inventory import Inventory
from tastemaker.pipeline.fitting import LeftOutSource, Wiring
from tastemaker.pipeline.fitting_parts import FittingMixin
from tastemaker.pipeline.fusion import Fusion
from tastemaker.pipeline.latency import LatencyTracker
from tastemaker.pipeline.pipeline import DEFAULT_N
from tastemaker.pipeline.saving import Parts, artifact_errors, component_settings
from tastemaker.pipeline.wiring import check_own_rankers, check_quotas, check_stages
from tastemaker.project import Placement, Training, find_project, load_project
from tastemaker.project.sections import ProjectFile


class Recommender(FittingMixin):
    """Fitted components and the placements that use them.

    Args:
        retrievers: name → retriever.
        placements: name → placement; the first is the default.
        rankers: name → ranker.
        rerankers: name → reranker.
        training: how rankers learn.

    Attributes:
        inventory: item data, after `fit` or `load`.
        data: the events of known users, after `fit` or `attach`.
        version: the name of the artifact it was loaded from, or empty.
        learned: ranker → the results of learning to rank, after `fit`.
        fusions: placement → its quotas and weights, if they were learned.
        sequence: the position in a store's log up to which it has learned; 0 for files.
        store: the id of that store; empty for files.
        sources: table → fingerprint of the file it has learned from; empty for frames, and for
            artifacts of versions that did not record it.
        made_by: the version of Tastemaker that fitted it; empty if it was not recorded.
        left_out: source → why it was not fitted; the sources that exceeded the memory budget.
        notes: what was left out of training, one sentence each.
    """

    inventory: Inventory
    _fitted_inventory: Inventory

    def __init__(
        self,
        retrievers: Mapping[str, Retriever],
        placements: Mapping[str, Placement],
        rankers: Mapping[str, Ranker] | None = None,
        rerankers: Mapping[str, Reranker] | None = None,
        training: Training = Training(),
    ) -> None:
        self.retrievers = dict(retrievers)
        self.placements = dict(placements)
        self.rankers = dict(rankers or {})
        self.rerankers = dict(rerankers or {})
        self.training = training
        if not self.placements:
            raise SettingError("a recommender needs at least one placement")
        for name, placement in self.placements.items():
            quotas = Fusion.stated(placement).quotas
            check_quotas(f"placement '{name}'", self.retrievers, quotas)
            check_stages(f"placement '{name}'", placement, self.rankers, self.rerankers)
        check_own_rankers(self.placements)
        self.data: Dataset | None = None
        self._attached: Dataset | None = None
        self.kinds: dict[str, EventKind] = {}
        self.version = ""
        self.learned: dict[str, dict[str, float]] = {}
        self.fusions: dict[str, Fusion] = {}
        self.sequence = 0
        self.store = ""
        self.sources: dict[str, str] = {}
        self.made_by = ""
        self.left_out: dict[str, LeftOutSource] = {}
        self.notes: list[str] = []
        self.withdrawn = np.empty(0, np.int32)
        self._configured = Wiring(self.retrievers, self.placements)
        self._latencies = {name: LatencyTracker() for name in self.placements}
        self._feature_sets: dict[str, tuple[Inventory, FeatureSet]] = {}

    @classmethod
    def from_project(cls, path: str | Path | None = None) -> "Recommender":
        """Builds an unfitted recommender from a project file.

        Args:
            path: the file; by default `tastemaker.toml` in the current or a parent folder.

        Raises:
            ProjectError: the file is missing, malformed or invalid.
        """
        file_path = find_project(Path.cwd()) if path is None else Path(path)
        return cls.from_file(load_project(file_path).file)

    @classmethod
    def from_file(cls, file: ProjectFile) -> "Recommender":
        """Builds an unfitted recommender from a loaded project file.

        Raises:
            ProjectError: a component does not exist or one of its settings is invalid.
        """
        return cls(
            {name: part.build(name, Retriever) for name, part in file.retrievers.items()},
            file.placements,
            {name: part.build(name, Ranker) for name, part in file.rankers.items()},
            {name: part.build(name, Reranker) for name, part in file.rerankers.items()},
            file.training,
        )

    def clone(self) -> "Recommender":
        """A copy with the same components and placements, not fitted."""
        wiring = self._configured if self.left_out else Wiring(self.retrievers, self.placements)
        return Recommender(
            {name: part.clone() for name, part in wiring.retrievers.items()},
            wiring.placements,
            {name: part.clone() for name, part in self.rankers.items()},
            {name: part.clone() for name, part in self.rerankers.items()},
            self.training,
        )

    def fit(
        self, data: Dataset, options: FitOptions = FitOptions(), *, keep_items: bool = False
    ) -> Self:
        """Fits every component on all the events of `data`.

        Fusions and rankers learn from windows of the past (`learn`). A ranker is used only if it
        orders better than the fusion and the best single source. If the ranker would be worse
        with sources fitted on all events, its placement keeps the sources that the ranker was
        evaluated with. `learned` and `fusions` hold the results.

        If a source exceeds the memory budget, items without a description and with few users are
        left out; `notes` reports this (`Dataset.described`). If that is not enough, the source is
        left out, provided that every placement has another one; `left_out` gives the reason.

        Args:
            data: the events to learn from.
            options: seed, threads, memory budget, progress.
            keep_items: whether the catalogue must stay as it is.

        Raises:
            ClockError: there is a ranker, and the times of events are not moments.
            DataError: the data is too short for a ranker to learn from.
            MemoryBudgetError: a component exceeds the memory budget and cannot be left out.
            SettingError: a reranker names a column, a space or a source that does not exist.
            TooManyItemsError: with `keep_items`, undescribed items would have to be left out.
        """
        options = self.within_budget(options)
        if self.left_out:  # of an earlier fit
            self.retrievers = dict(self._configured.retrievers)
            self.placements = dict(self._configured.placements)
        self.left_out = {}
        while True:
            try:
                self._fit_components(data, options)
                break
            except SourceMemoryError as problem:
                failed = problem.with_traceback(None)  # the traceback holds the fitted sources
            data = self._reduced(failed, data, options, keep_items)
        self.inventory = self._fitted_inventory = Inventory.of(data)
        self.kinds = data.kinds
        self.sequence, self.store, self.sources = data.sequence, data.store, data.sources
        self.made_by = tastemaker.__version__
        self.notes = data.left_out.lines()
        self.try_rerankers()
        return self.attach(data)

    def try_rerankers(self) -> None:
        """Runs the rerankers of every placement on an empty batch, to detect wrong settings early.

        Raises:
            SettingError: a reranker names a column, a space or a source that does not exist.
        """
        for name in self.placements:
            pipeline = self.pipeline(name)
            for reranker in pipeline.rerankers.values():
                empty = (Requests.of([]), Candidates.none(0), DEFAULT_N)
                reranker.rerank(*empty, self.inventory, pipeline.retrievers)

    def add_items(self, ids: Any, attributes: Mapping[str, Any] | None = None) -> None:
        """Adds items that appeared after training; they can be recommended immediately.

        Sources that support new items read their attributes. Other sources find them once they
        have events, or only after the next training. Nothing is refitted, and an artifact saved
        later holds the fitted items only.

        Args:
            ids: the new items' ids: a list, array or series of text, integers or whole floats.
            attributes: a mapping or a pandas frame: column → a list, array or series with one
                value per new item: text, a list of tags, a category, a number, a moment (a
                datetime, a date, ISO 8601 text or microseconds); None, NaN or NaT if it is
                missing. A column that is not given is missing for all new items.

        Raises:
            NotFittedError: neither fitted nor loaded.
            SettingError: an id is known already or given twice, a column is not in the
                catalogue, or a value does not fit its column. No item is added then.
        """
        self._require_inventory()
        item_ids = new_ids(ids, self.inventory.catalogue.items)
        columns = new_attributes(self.inventory.catalogue, len(item_ids), attributes)
        self._set_inventory(self.inventory.with_items(item_ids, columns))

    def with_inventory(
        self, inventory: Inventory, changed: NDArray[np.int64] = NO_ITEMS
    ) -> "Recommender":
        """A copy with the same fitted components and a later inventory.

        A server swaps recommenders when it receives events or items. Requests in progress keep the
        recommender they started with.

        Args:
            inventory: this inventory with events or items added, or with changed items.
            changed: int64[m], the items whose attributes changed.
        """
        updated = copy(self)
        updated._set_inventory(inventory, changed)
        return updated

    def without_items(self, ids: Sequence[str]) -> "Recommender":
        """A copy that no longer shows some items; unknown ids are ignored."""
        indices = self.inventory.catalogue.items.indices(list(ids))
        reduced = copy(self)
        reduced.withdrawn = np.sort(indices[indices >= 0]).astype(np.int32)
        return reduced

    def _set_inventory(self, inventory: Inventory, changed: NDArray[np.int64] = NO_ITEMS) -> None:
        """Replaces the inventory; sources that support new items read added and changed ones.

        Changes of fitted items are ignored: sources know those from training.
        """
        later = np.unique(changed[changed >= inventory.catalogue.n_fitted])
        if len(inventory.catalogue) > len(self.inventory.catalogue) or len(later):
            self.retrievers = {
                name: part.with_items(inventory.catalogue, later)
                if isinstance(part, SupportsNewItems)
                else part
                for name, part in self.retrievers.items()
            }
        self.inventory = inventory
        self._feature_sets = {}
        if self._attached is not None:
            self.data = self._aligned(self._attached)

    def attach(self, data: Dataset) -> Self:
        """Uses `data` for the histories of known users; it must contain the fitted items.

        It may contain later items too. Their events count once the items are added (`add_items`),
        before or after this call, and are ignored until then.

        Raises:
            ArtifactError: fitted items are missing, or the event types differ.
        """
        if list(self.kinds.items()) != list(data.kinds.items()):
            raise ArtifactError(
                "the event types differ from those of this artifact: [events.*] has changed since "
                "training; train again"
            )
        fitted = self._fitted_inventory.catalogue
        if fitted.items.digest != data.catalogue.items.digest:
            known = data.catalogue.items.indices(fitted.items.ids(range(len(fitted))))
            if (known < 0).any():
                raise ArtifactError(
                    "the data lacks items of this artifact: the data has changed since training; "
                    "train again"
                )
        self._attached = data
        self.data = self._aligned(data)
        return self

    def _aligned(self, data: Dataset) -> Dataset:
        """The data with the item indices of the current catalogue."""
        catalogue = self.inventory.catalogue
        if catalogue.items.digest == data.catalogue.items.digest:
            return data
        return data.onto(
            catalogue, data.catalogue.items.indices(catalogue.items.ids(range(len(catalogue))))
        )

    def settings(self) -> dict[str, Any]:
        """The components with their settings, the training settings and the placements."""
        return {
            "components": component_settings(self.retrievers),
            "rankers": component_settings(self.rankers),
            "rerankers": component_settings(self.rerankers),
            "training": self.training.model_dump(mode="json"),
            "placements": {n: p.model_dump(mode="json") for n, p in self.placements.items()},
        }

    def save(self, folder: str | Path) -> None:
        """Writes an artifact; training twice on the same data gives the same bytes.

        The artifact does not contain items and events added after training.

        Raises:
            ArtifactError: the folder exists.
            NotFittedError: neither fitted nor loaded.
        """
        self._require_inventory()
        about = {
            **self.settings(),
            "learned": self.learned,
            "fusions": {name: fusion.to_dict() for name, fusion in self.fusions.items()},
            "kinds": {n: k.model_dump(mode="json") for n, k in self.kinds.items()},
            "sequence": self.sequence,
            "store": self.store,
            "data": self.sources,
            "made_by": self.made_by,
            "left_out": {name: one.to_dict() for name, one in self.left_out.items()},
            "notes": self.notes,
        }
        parts = Parts(self.retrievers, self.rankers, self.rerankers, self._fitted_inventory)
        parts.save(Path(folder), about, [name for name in self.learned if self._is_enabled(name)])

    @classmethod
    def load(cls, folder: str | Path) -> "Recommender":
        """Maps an artifact from disk; `attach` data to serve known users.

        Raises:
            ArtifactError: the artifact is missing, damaged or of another kind, or its components
                are not installed.
        """
        parts, about = Parts.load(Path(folder))
        with artifact_errors(Path(folder)):
            recommender = cls(
                parts.retrievers,
                {n: Placement.model_validate(p) for n, p in about["placements"].items()},
                parts.rankers,
                parts.rerankers,
                Training.model_validate(about["training"]),
            )
            recommender.learned = about["learned"]
            recommender.fusions = {n: Fusion(**one) for n, one in about["fusions"].items()}
            recommender.kinds = {n: EventKind.model_validate(k) for n, k in about["kinds"].items()}
            recommender.sequence, recommender.store = about["sequence"], about["store"]
            recommender.sources = dict(about.get("data", {}))
            recommender.made_by = about.get("made_by", "")
            left_out = about.get("left_out", {})
            recommender.left_out = {name: LeftOutSource(**one) for name, one in left_out.items()}
            recommender.notes = list(about.get("notes", []))
        recommender.inventory = recommender._fitted_inventory = parts.inventory
        recommender.version = Path(folder).name
        return recommender
