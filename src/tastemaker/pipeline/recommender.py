"""What is fitted, saved and promoted: named components and the placements they serve."""

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
from tastemaker.pipeline.fitting_parts import FitsParts
from tastemaker.pipeline.fusion import Fusion
from tastemaker.pipeline.latency import LatencyTracker
from tastemaker.pipeline.pipeline import DEFAULT_N
from tastemaker.pipeline.saving import Parts, described, refusing
from tastemaker.pipeline.wiring import check_own_rankers, check_quotas, check_stages
from tastemaker.project import Placement, Training, find_project, load_project
from tastemaker.project.sections import ProjectFile


class Recommender(FitsParts):
    """Fitted components and the placements that wire them.

    Args:
        retrievers: name → retriever.
        placements: name → placement; the first is the default.
        rankers: name → ranker.
        rerankers: name → reranker.
        training: how rankers learn.

    Attributes:
        inventory: what is known of items, after `fit` or `load`.
        data: the events behind known users' histories, after `fit` or `attach`.
        version: the artifact it was loaded from, or empty.
        learned: ranker → what learning came to, after `fit`.
        fusions: placement → its quotas and weights, where they were learned.
        sequence: how far into a store's log it has learned; 0 from files.
        store: which store that was; empty for files.
        sources: table → fingerprint of the file it has learned from; empty for frames, and for
            what was saved before this was told.
        made_by: the version of Tastemaker that fitted it; empty where that was not told.
        left_out: source → why it was not fitted; those that did not fit into the memory budget.
        notes: what of the events was left out of training, a sentence each.
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
            stated = Fusion.stated(placement).quotas
            check_quotas(f"placement '{name}'", self.retrievers, stated)
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
        self._stated = Wiring(self.retrievers, self.placements)
        self._watches = {name: LatencyTracker() for name in self.placements}
        self._declared: dict[str, tuple[Inventory, FeatureSet]] = {}

    @classmethod
    def from_project(cls, path: str | Path | None = None) -> "Recommender":
        """Builds the components a project file names, unfitted.

        Args:
            path: the file; by default `tastemaker.toml` here or in a parent folder.

        Raises:
            ProjectError: the file is missing, malformed or wrong.
        """
        found = find_project(Path.cwd()) if path is None else Path(path)
        return cls.from_file(load_project(found).file)

    @classmethod
    def from_file(cls, file: ProjectFile) -> "Recommender":
        """Builds the components of a project file that was read already, unfitted.

        Raises:
            ProjectError: a component or a setting of one is wrong.
        """
        return cls(
            {name: part.build(name, Retriever) for name, part in file.retrievers.items()},
            file.placements,
            {name: part.build(name, Ranker) for name, part in file.rankers.items()},
            {name: part.build(name, Reranker) for name, part in file.rerankers.items()},
            file.training,
        )

    def clone(self) -> "Recommender":
        """The same components and placements, not fitted."""
        wiring = self._stated if self.left_out else Wiring(self.retrievers, self.placements)
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

        Fusions and rankers learn from windows of the past (`learn`). A ranker that orders no
        better than the fusion and the best single source is not used; where it would be worse
        over sources fitted on everything, its sources stay as old as those it was judged over.
        `learned` and `fusions` say what came of it.

        Where a source does not fit into the memory budget, undescribed items of few users are left
        out, as `notes` says (`Dataset.described`). Where that does not help, the source is left
        out, as long as every placement has another one; `left_out` says why.

        Args:
            data: what to learn from.
            options: seed, threads, memory budget, progress.
            keep_items: whether the catalogue must stay as it is.

        Raises:
            ClockError: there is a ranker, and times are no moments.
            DataError: there is not enough past for a ranker to learn from.
            MemoryBudgetError: something else than one of several sources does not fit.
            SettingError: a reranker names something that is not there.
            TooManyItemsError: with `keep_items`, undescribed items would have to be left out.
        """
        options = self.within_budget(options)
        if self.left_out:  # of an earlier fit
            self.retrievers = dict(self._stated.retrievers)
            self.placements = dict(self._stated.placements)
        self.left_out = {}
        while True:
            try:
                self._fit_components(data, options)
                break
            except SourceMemoryError as problem:
                failed = problem.with_traceback(None)  # which holds what was fitted so far
            data = self._with_less(failed, data, options, keep_items)
        self.inventory = self._fitted_inventory = Inventory.of(data)
        self.kinds = data.kinds
        self.sequence, self.store, self.sources = data.sequence, data.store, data.sources
        self.made_by = tastemaker.__version__
        self.notes = data.left_out.lines()
        self.try_rerankers()
        return self.attach(data)

    def try_rerankers(self) -> None:
        """Runs every placement's rerankers on no requests, so that a wrong setting is found now.

        Raises:
            SettingError: a reranker names a column, a space or a source that is not there.
        """
        for name in self.placements:
            pipeline = self.pipeline(name)
            for reranker in pipeline.rerankers.values():
                nothing = (Requests.of([]), Candidates.none(0), DEFAULT_N)
                reranker.rerank(*nothing, self.inventory, pipeline.retrievers)

    def add_items(self, ids: Any, attributes: Mapping[str, Any] | None = None) -> None:
        """Takes up items that came after training; they can be recommended at once.

        Sources that extend learn of them from their attributes; others find them when they are
        liked, or not before the next training. Nothing is refitted, and an artifact saved
        later holds the fitted items alone.

        Args:
            ids: the new items' ids: a list, array or series of text, integers or whole floats.
            attributes: column → a list, array or series with one value per new item: text, a list
                of tags, a category, a number, a moment (a datetime, a date, ISO 8601 text or
                microseconds); None, NaN or NaT where it is missing. A column not named is missing
                for them all. A mapping or a pandas frame.

        Raises:
            NotFittedError: neither fitted nor loaded.
            SettingError: an id is known already or stands twice, a column is not in the
                catalogue, or a value does not fit its column. Nothing is taken up then.
        """
        self._require_world()
        named = new_ids(ids, self.inventory.catalogue.items)
        known = new_attributes(self.inventory.catalogue, len(named), attributes)
        self._move_to(self.inventory.with_items(named, known))

    def with_inventory(
        self, inventory: Inventory, changed: NDArray[np.int64] = NO_ITEMS
    ) -> "Recommender":
        """The same fitted components in a later world; this one stays as it is.

        What a server swaps when events or items have come: requests under way keep theirs.

        Args:
            inventory: this one's, with events or items added, or items described again.
            changed: int64[m], the items described again.
        """
        moved = copy(self)
        moved._move_to(inventory, changed)
        return moved

    def without_items(self, ids: Sequence[str]) -> "Recommender":
        """The same, but items are not shown any more; ids it does not know are passed over."""
        indices = self.inventory.catalogue.items.indices(list(ids))
        changed = copy(self)
        changed.withdrawn = np.sort(indices[indices >= 0]).astype(np.int32)
        return changed

    def _move_to(self, inventory: Inventory, changed: NDArray[np.int64] = NO_ITEMS) -> None:
        """Sources that extend learn of the items the world has more, and of later ones changed.

        What they know of the fitted items comes from the training.
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
        self._declared = {}
        if self._attached is not None:
            self.data = self._placed(self._attached)

    def attach(self, data: Dataset) -> Self:
        """Takes the histories of known users from `data`, whose items must be those fitted on.

        Items that came later may be there as well. What was done with them counts once they are
        added (`add_items`), before or after this, and is left out until then.

        Raises:
            ArtifactError: fitted items are missing, or the kinds of event differ.
        """
        if list(self.kinds.items()) != list(data.kinds.items()):
            raise ArtifactError(
                "the kinds of event are not those of this artifact: [events.*] has changed since "
                "training; train again"
            )
        fitted = self._fitted_inventory.catalogue
        if fitted.items.digest != data.catalogue.items.digest:
            known = data.catalogue.items.indices(fitted.items.ids(range(len(fitted))))
            if (known < 0).any():
                raise ArtifactError(
                    "the data's items are not those of this artifact: the data has changed since "
                    "training; train again"
                )
        self._attached = data
        self.data = self._placed(data)
        return self

    def _placed(self, data: Dataset) -> Dataset:
        """Attached data with the indices of the present catalogue."""
        catalogue = self.inventory.catalogue
        if catalogue.items.digest == data.catalogue.items.digest:
            return data
        return data.onto(
            catalogue, data.catalogue.items.indices(catalogue.items.ids(range(len(catalogue))))
        )

    def settings(self) -> dict[str, Any]:
        """Which components there are, with which settings, and how they are wired."""
        return {
            "components": described(self.retrievers),
            "rankers": described(self.rankers),
            "rerankers": described(self.rerankers),
            "training": self.training.model_dump(mode="json"),
            "placements": {n: p.model_dump(mode="json") for n, p in self.placements.items()},
        }

    def save(self, folder: str | Path) -> None:
        """Writes an artifact; training twice on the same data gives the same bytes.

        Items and events taken up since the training are no part of it.

        Raises:
            ArtifactError: the folder exists.
            NotFittedError: neither fitted nor loaded.
        """
        self._require_world()
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
            ArtifactError: missing, damaged, foreign, or of components that are not installed.
        """
        parts, about = Parts.load(Path(folder))
        with refusing(Path(folder)):
            recommender = cls(
                parts.retrievers,
                {n: Placement.model_validate(p) for n, p in about["placements"].items()},
                parts.rankers,
                parts.rerankers,
                Training.model_validate(about["training"]),
            )
            recommender.learned = about["learned"]
            recommender.fusions = {n: Fusion(**told) for n, told in about["fusions"].items()}
            recommender.kinds = {n: EventKind.model_validate(k) for n, k in about["kinds"].items()}
            recommender.sequence, recommender.store = about["sequence"], about["store"]
            recommender.sources = dict(about.get("data", {}))
            recommender.made_by = about.get("made_by", "")
            told = about.get("left_out", {})
            recommender.left_out = {name: LeftOutSource(**one) for name, one in told.items()}
            recommender.notes = list(about.get("notes", []))
        recommender.inventory = recommender._fitted_inventory = parts.inventory
        recommender.version = Path(folder).name
        return recommender
