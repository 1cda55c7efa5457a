"""Session-based nearest neighbours: items liked in sessions similar to the current one."""

from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Histories
from tastemaker.data.ragged import Ragged, offsets_of, ranges, rows_of
from tastemaker.data.requests import Requests
from tastemaker.data.times import parse_duration
from tastemaker.index.exact import ScoreChunk
from tastemaker.index.heap import best_first, keep
from tastemaker.retrieval.neighbors.visits import visits_of
from tastemaker.retrieval.opinions import DislikeSettings
from tastemaker.retrieval.scoring import ScoringRetriever

_MAX_LIFETIMES = 32.0
"""Maximum age of the latest compared session, in lifetimes of `age_decay`."""
_MIN_SIMILARITY = np.float32(2.0**-100)
"""Smaller similarities are ignored, as float32 loses their precision or rounds them to 0."""


class SessionKNNConfig(DislikeSettings):
    """Settings of `SessionKNN`."""

    method: Literal["vsknn", "stan"] = "vsknn"
    """How to compare sessions and score their items. With sessions split by time, V-SkNN was better
    on all data tried; if every user is one long session, STAN is better."""
    neighbors: int = Field(200, ge=1)
    """Number of the most similar sessions to use."""
    sample: int = Field(2_000, ge=1)
    """Maximum number of sessions to compare: the latest that share an item with the current one."""
    session_gap: str = "30m"
    """A session ends after a pause longer than this: a number and s, m, h, d or w. If the data has
    no absolute times, all likes of a user are one session."""
    longest: int = Field(100, ge=1)
    """Maximum number of items of the current session to use: the latest."""
    rarity: float = Field(0.0, ge=0, le=2)
    """Exponent of the inverse session frequency by which a candidate's score is multiplied."""
    item_decay: float = Field(5.0, gt=0)
    """STAN's λ₁: items of the current session this many places ago have weight 1/e."""
    age_decay: str = "20d"
    """STAN's λ₂: sessions of this age have weight 1/e; without absolute times, all have weight
    1."""
    distance_decay: float = Field(5.0, gt=0)
    """STAN's λ₃: items this many places from the shared item have weight 1/e."""

    @field_validator("session_gap", "age_decay")
    @classmethod
    def _is_duration(cls, value: str, info: ValidationInfo) -> str:
        parse_duration(value, str(info.field_name))
        return value


class SessionKNN(ScoringRetriever):
    """Nearest sessions: V-SkNN (Ludewig & Jannach 2018) or STAN (Garg et al. 2019).

    The current session s is the part of the history after the last pause. It has l distinct items
    at places p = 1 … l. Among the latest sessions that share an item with s, the most similar are
    its neighbours. The score of a candidate is a sum over the neighbours n that contain it:

    - V-SkNN: Σ sim(s, n)/(l + 1 − p*), with sim(s, n) = Σ over shared items of p/l, and p* the
      latest place of a shared item;
    - STAN: Σ sim(s, n)·exp(−|q − q*|/λ₃), with sim(s, n) = Σ over shared items of
      exp(−(l − p)/λ₁)/√(l·|n|) · exp(−age of n/λ₂), q the candidate's place in n and q* that of
      the latest shared item;

    times ln(1 + sessions/sessions with the candidate)^rarity.

    Attributes:
        session_offsets: int64[sessions + 1]; sessions are in the order of their ends.
        session_items: int32[total], the distinct items of each session, by their last place.
        session_end: int64[sessions], microseconds.
        holder_offsets: int64[items + 1].
        holders: int32[total], for each item the latest sessions that contain it, latest first.
        frequency: float32[items], the factor of a candidate's score.
        moments: bool[1], whether times are absolute.

    Cost: `fit`, a sort of the events; a request, (items of its session) × sample +
    neighbors × items of a session, and a pass over the items.

    Example:
        >>> SessionKNN(method="stan", neighbors=100)
        SessionKNN(method='stan', neighbors=100)
    """

    name = "session_knn"
    capabilities: ClassVar = Capabilities(history="native", holds_users=True)
    reason_text: ClassVar[str] = "popular in sessions like yours"
    config: SessionKNNConfig
    session_offsets: NDArray[np.int64]
    session_items: NDArray[np.int32]
    session_end: NDArray[np.int64]
    holder_offsets: NDArray[np.int64]
    holders: NDArray[np.int32]
    frequency: NDArray[np.float32]
    moments: NDArray[np.bool_]

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by storing the sessions, and the sessions that contain each item."""
        n_items = len(dataset.catalogue)
        options.require_memory(
            80 * len(dataset.events),
            f"SessionKNN on {len(dataset.events):,} events",
            "fit it on a later part of the log",
        )
        visits = visits_of(dataset, parse_duration(self.config.session_gap, "session_gap"))
        n = len(visits)
        end = visits.time[visits.offsets[1:] - 1]
        kept = _last_places(rows_of(visits.offsets), visits.item)
        sizes = np.bincount(rows_of(visits.offsets)[kept], minlength=n)
        by_end = np.argsort(end, kind="stable")
        starts = offsets_of(sizes)[:-1][by_end]
        self.session_items = visits.item[kept][ranges(starts, sizes[by_end])]
        self.session_offsets = offsets_of(sizes[by_end])
        self.session_end = end[by_end]
        self._invert(n_items)
        self.moments = np.array([dataset.clock == "absolute"])
        self.n_fitted = n_items
        return self

    def _invert(self, n_items: int) -> None:
        """Stores the latest `sample` sessions of each item; earlier ones are never compared."""
        session = rows_of(self.session_offsets)
        order = np.lexsort((-session, self.session_items))
        held = np.bincount(self.session_items, minlength=n_items)
        counts = np.minimum(held, self.config.sample)
        entries = ranges(offsets_of(held)[:-1], counts)
        self.holders = session[order][entries].astype(np.int32)
        self.holder_offsets = offsets_of(counts)
        inverse = np.log1p(len(self.session_end) / np.maximum(held, 1))
        self.frequency = np.power(inverse, self.config.rarity).astype(np.float32)

    def present(self, histories: Histories) -> Ragged:
        """The distinct likes of the last session of each history, the latest last."""
        usable = (histories.weight > 0) & (histories.item >= 0) & (histories.item < self.n_fitted)
        row = rows_of(histories.offsets)[usable]
        item, time = histories.item[usable], histories.time[usable]
        last = np.ones(len(row), np.bool_)
        if self.moments[0]:
            pause = parse_duration(self.config.session_gap, "session_gap")
            begins = np.ones(len(row), np.bool_)
            begins[1:] = (row[1:] != row[:-1]) | (time[1:] - time[:-1] > pause)
            session = np.cumsum(begins)
            final = np.searchsorted(row, row, side="right") - 1
            last = session == session[final] if len(row) else last
        row, item = row[last], item[last]
        kept = _last_places(row, item)
        row, item = row[kept], item[kept]
        sizes = np.bincount(row, minlength=len(histories))
        counts = np.minimum(sizes, self.config.longest)
        entries = ranges(offsets_of(sizes)[1:] - counts, counts)
        return Ragged(offsets_of(counts), item[entries])

    def scores(self, requests: Requests) -> ScoreChunk:
        """The scores of all items from the sessions similar to each current one."""
        present, config = self.present(requests.history), self.config
        age = float(parse_duration(config.age_decay, "age_decay")) if self.moments[0] else np.inf
        decays = (config.item_decay, age, config.distance_decay)

        def score(chunk: slice) -> NDArray[np.float32]:
            dense = np.zeros((chunk.stop - chunk.start, self.n_fitted), np.float32)
            _score(
                *(present.offsets[chunk.start : chunk.stop + 1], present.values),
                *(requests.time[chunk], self.session_offsets, self.session_items),
                *(self.session_end, self.holder_offsets, self.holders, self.frequency),
                *(config.method == "stan", decays, config.sample, config.neighbors, dense),
            )
            return dense

        return score

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the sessions."""
        for name in _ARRAYS:
            writer.array(name, getattr(self, name))

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps the sessions."""
        self.frequency = reader.array("frequency", np.float32, (None,))
        self.n_fitted = len(self.frequency)
        self.session_end = reader.array("session_end", np.int64, (None,))
        sessions = len(self.session_end)
        self.session_items = reader.array("session_items", np.int32, (None,), below=self.n_fitted)
        self.session_offsets = reader.offsets("session_offsets", sessions, len(self.session_items))
        self.holders = reader.array("holders", np.int32, (None,), below=sessions)
        self.holder_offsets = reader.offsets("holder_offsets", self.n_fitted, len(self.holders))
        self.moments = reader.array("moments", np.bool_, (1,))
        return self


_ARRAYS = (
    *("session_offsets", "session_items", "session_end", "holder_offsets", "holders"),
    *("frequency", "moments"),
)


def _last_places(row: NDArray[np.int64], item: NDArray[np.int32]) -> NDArray[np.int64]:
    """The last entry of each item in each row, ascending, int64[distinct]."""
    place = np.arange(len(row))
    order = np.lexsort((place, item, row))
    last = np.ones(len(row), np.bool_)
    last[:-1] = (np.diff(row[order]) != 0) | (np.diff(item[order]) != 0)
    return np.sort(order[last])


@kernel
def _score(  # type: ignore[no-untyped-def]
    offsets, present, now, session_offsets, session_items, session_end, holder_offsets, holders,
    frequency, stan, decays, sample, neighbors, scores,
):  # fmt: skip
    """Adds the contributions of the nearest sessions to the scores of each current session."""
    item_decay, age_decay, distance_decay = decays
    n_sessions = len(session_end)
    shared = np.zeros(n_sessions, np.float64)
    met = np.zeros(n_sessions, np.bool_)  # `shared` can underflow to 0
    latest = np.empty(n_sessions, np.int32)
    touched = np.empty(n_sessions, np.int32)
    near = np.empty(min(neighbors, n_sessions), np.int32)
    similarity = np.empty(len(near), np.float32)
    for request in range(len(scores)):
        items = present[offsets[request] : offsets[request + 1]]
        length, together = len(items), 0
        for place in range(length):
            weight = (place + 1) / length
            if stan:
                weight = np.exp(-(length - 1 - place) / item_decay)
            for entry in range(holder_offsets[items[place]], holder_offsets[items[place] + 1]):
                session = holders[entry]
                if not met[session]:
                    met[session] = True
                    touched[together] = session
                    together += 1
                shared[session] += weight
                latest[session] = place
        oldest = n_sessions if together > sample else 0
        compared = 0
        while compared < sample and oldest > 0:  # from the latest backwards
            oldest -= 1
            compared += int(met[oldest])
        kept, youngest = 0, np.inf
        for session in touched[:together]:
            if session >= oldest:
                youngest = min(youngest, max(now[request] - session_end[session], 0))
        since = max(youngest - _MAX_LIFETIMES * age_decay, 0.0)  # for a log that ended long ago
        for session in touched[:together]:
            if session >= oldest:
                strength = shared[session]
                if stan:
                    size = session_offsets[session + 1] - session_offsets[session]
                    age = max(now[request] - session_end[session], 0)
                    decay = np.exp(-(age - since) / age_decay)
                    strength = strength / np.sqrt(np.float64(length * size)) * decay
                if strength > _MIN_SIMILARITY:
                    kept = keep(np.float32(strength), session, near, similarity, kept)
            shared[session], met[session] = 0, False
        best_first(near, similarity, kept)
        for rank in range(kept):
            session = near[rank]
            held = session_items[session_offsets[session] : session_offsets[session + 1]]
            if stan:
                middle = 0
                for place in range(len(held)):
                    middle = place if held[place] == items[latest[session]] else middle
                for place in range(len(held)):
                    gain = similarity[rank] * np.exp(-abs(place - middle) / distance_decay)
                    if gain < _MIN_SIMILARITY:
                        continue
                    scores[request, held[place]] += np.float32(gain) * frequency[held[place]]
            else:
                gain = similarity[rank] / np.float32(length - latest[session])
                for item in held:
                    scores[request, item] += gain * frequency[item]
