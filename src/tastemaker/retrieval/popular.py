"""The items that most users liked: the baseline, and the answer for anonymous users."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import Capabilities, FitOptions, Retriever, Task
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.index import ranked_top_n
from tastemaker.inventory import Inventory


class PopularConfig(Settings):
    """`Popular` has no settings."""


class Popular(Retriever):
    """Items ranked by the number of distinct users who liked them in the training data.

    Attributes:
        order: int32[items with at least one like], most users first; ties by lower index.
        users: float32[same], the number of users who liked each.

    Cost: `fit` reads the events once; a request skips its excluded items.

    Example:
        >>> Popular()
        Popular()
    """

    name = "popular"
    capabilities: ClassVar = Capabilities(history="none", empty_history=True)
    reason_text: ClassVar = "popular"
    config: PopularConfig
    order: NDArray[np.int32]
    users: NDArray[np.float32]

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by counting the users of each item."""
        counts = dataset.interactions(reduce="binary").sum(axis=0).astype(np.float32)
        order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
        self.order, self.users = order.astype(np.int32), counts[order]
        self.n_fitted = len(dataset.catalogue)
        return self

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """The most popular eligible items."""
        self.require_fitted()
        one = np.zeros(len(requests), np.int64)
        return ranked_top_n([(self.order, self.users)], one, requests, n)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the ranking."""
        writer.array("order", self.order)
        writer.array("users", self.users)
        writer.json("fitted", {"items": self.n_fitted})

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps the ranking."""
        self.order, self.users = reader.array("order"), reader.array("users")
        self.n_fitted = reader.json("fitted")["items"]
        return self
