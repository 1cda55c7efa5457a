"""Synthetic data sets of any size whose true preferences are known in closed form.

For tests, simulation and benchmarks: recommendations can be compared with the true probabilities.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from tastemaker.config import Settings
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import UnknownIdError

KINDS = ("view", "purchase", "dislike")
SCHEMA = Schema(
    kinds={
        "view": EventKind(),
        "purchase": EventKind(weight=6.0),
        "dislike": EventKind(role="negative", hide_item=True),
    },
    time_unit="us",
    item_roles={
        "title": ColumnRole(role="text"),
        "tags": ColumnRole(role="tags", separator="|"),
        "category": ColumnRole(role="category"),
        "published": ColumnRole(role="time"),
    },
)
_END = 1_704_067_200 * MICROSECONDS["s"]  # 2024-01-01: never in the future
_OLDEST = 365 * MICROSECONDS["d"]  # initial items were published within the previous year
_GAP = MICROSECONDS["m"]  # mean time between two events of a session
_STYLES = 12
_ROUNDS = 100


class SyntheticSettings(Settings):
    """The parameters of a synthetic data set."""

    users: int = Field(1_000, ge=1)
    """Number of users."""
    items: int = Field(2_000, ge=1)
    """Number of items at the end."""
    events: int = Field(50_000, ge=1)
    """Number of logged events."""
    tastes: int = Field(10, ge=1, le=1_000)
    """Number of item clusters of equal size."""
    days: int = Field(90, ge=1, le=3_650)
    """Time span in days; session starts are uniformly distributed over it."""
    popularity: float = Field(1.0, ge=0, le=5)
    """Exponent of Zipf's law within a taste; 0 makes its items equally popular."""
    concentration: float = Field(0.1, gt=0, le=1_000)
    """Dirichlet parameter of the users' mixtures: small for one taste per user, large for all."""
    activity: float = Field(1.0, ge=0, le=3)
    """Spread of the users' activity (σ of a log-normal law); 0 makes users equally active."""
    session_events: float = Field(5.0, ge=1)
    """Mean number of events in a session; events of a session are about a minute apart."""
    drift: float = Field(0.3, ge=0, le=1)
    """Share of a user's mixture that is gradually replaced between the first and the last day."""
    new_items: float = Field(0.2, ge=0, lt=1)
    """Share of the items that are published within the time span, uniformly distributed."""
    repeats: bool = False
    """Whether a user may choose an item again."""
    purchases: float = Field(0.1, ge=0, le=1)
    """Probability of a purchase per unit of the user's share in the item's taste."""
    dislikes: float = Field(0.05, ge=0, le=1)
    """Probability of a dislike per unit of the user's lack of share in the item's taste."""
    seed: int = Field(0, ge=0)
    """Equal settings and seed give equal data."""

    @model_validator(mode="after")
    def _an_item_per_taste(self) -> Self:
        if self.tastes > self.items:
            raise ValueError(f"needs an item per taste: {self.tastes} tastes, {self.items} items")
        if self.purchases + self.dislikes > 1:
            raise ValueError("'purchases' and 'dislikes' must not exceed 1 together")
        return self


class SyntheticWorld:
    """A synthetic event log with its items and the true preferences.

    A latent-class model (Hofmann & Puzicha 1999). Item i belongs to one taste c(i), with weight
    w_i by Zipf's law; user u has a mixture θ_u over tastes, which moves linearly from one draw of
    a Dirichlet distribution to another. With d the drift and s the elapsed share of the time span
    at time t,

        θ_u(t)     = (1 − d·s)·θ_u(first) + d·s·θ_u(last)
        P(i | u,t) = θ_u(t)[c(i)] · w_i / Σ w_j,   over the j of taste c(i) published by t

    and without repeats, normalized over the items that u has not chosen before t. The choice of i
    is a purchase with probability `purchases`·θ_u(t)[c(i)], a dislike with probability
    `dislikes`·(1 − θ_u(t)[c(i)]), otherwise a view.

    Without repeats, users who have nearly exhausted their tastes stop early, so there may be fewer
    events than requested. Cost: 10 M events in seconds, about 150 bytes per event.

    Args:
        settings: the fields of `SyntheticSettings`.

    Attributes:
        settings: the parameters.
        events: user_id, item_id, event_type (text), timestamp (int64, microseconds); ordered by
            time.
        items: item_id, title, tags (joined by `|`), category (text), published (int64,
            microseconds); item `i7` is row 7.
        start: the first moment, microseconds.
        end: the moment up to which sessions start.

    Raises:
        SettingError: a setting is unknown or out of range.

    >>> world = SyntheticWorld(users=50, items=100, events=1_000, seed=3)
    >>> truth = world.probabilities(["u0", "u7"], world.end)
    >>> truth.shape, bool(np.allclose(truth.sum(axis=1), 1))
    ((2, 100), True)
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = SyntheticSettings.checked(settings, owner=type(self).__name__)
        self.end = _END
        self.start = _END - self.settings.days * MICROSECONDS["d"]
        streams = np.random.SeedSequence(self.settings.seed).spawn(4)
        items, mixtures, moments, choices = (np.random.default_rng(s) for s in streams)
        self._create_items(items)
        self._create_mixtures(mixtures)
        user, time = self._moments(moments)
        item, kind = self._choices(choices, user, time)
        chosen = np.flatnonzero(item >= 0)
        log = chosen[np.argsort(time[chosen], kind="stable")]
        user_ids = pl.Series([f"u{index}" for index in range(self.settings.users)])
        self.events = pl.DataFrame(
            {
                "user_id": user_ids.gather(user[log]),
                "item_id": self.items["item_id"].gather(item[log]),
                "event_type": pl.Series(KINDS).gather(kind[log]),
                "timestamp": time[log],
            }
        )

    def dataset(self) -> Dataset:
        """The events and items as a data set, without the true preferences."""
        return Dataset.from_frames(self.events, items=self.items, schema=SCHEMA)

    def probabilities(
        self, users: Sequence[str], times: ArrayLike, *, kind: str | None = None
    ) -> NDArray[np.float64]:
        """The true probability of each item to be the user's next choice.

        Args:
            users: n user ids.
            times: one moment for all, or int64[n]; microseconds.
            kind: only choices that result in this kind of event; rows then sum to less than 1.

        Returns:
            float64[n, items], columns in the order of `items`. Rows sum to 1, or to 0 for a user
            who, without repeats, has chosen every item.

        Raises:
            UnknownIdError: the user or the kind does not exist.
        """
        moments = np.broadcast_to(np.asarray(times, np.int64), (len(users),))
        mixture = self._mixture(self._index(users), moments)
        begin, stop = self._published(np.arange(self.settings.tastes), moments[:, None])
        per_weight = mixture / (self._cumulative[stop] - self._cumulative[begin])
        truth: NDArray[np.float64] = per_weight[:, self._taste] * self._weight
        truth[self._release > self._elapsed(moments)[:, None]] = 0.0
        if not self.settings.repeats:
            row, item = self._past(users, moments)
            truth[row, item] = 0.0
            total = truth.sum(axis=1, keepdims=True)
            np.divide(truth, total, out=truth, where=total > 0)
        if kind is not None:
            if kind not in KINDS:
                raise UnknownIdError(f"unknown kind '{kind}'; known: {', '.join(KINDS)}")
            truth *= self._reactions(mixture)[KINDS.index(kind)][:, self._taste]
        return truth

    def best(self, user: str, time: int, n: int) -> list[str]:
        """The ids of the n items that are most probably the user's next choice, best first."""
        truth = self.probabilities([user], time)[0]
        first = np.argsort(-truth, kind="stable")[:n]
        return [f"i{index}" for index in first if truth[index] > 0]

    def _create_items(self, rng: np.random.Generator) -> None:
        """Draws tastes, weights and publication times; also sorts items by (taste, publication).

        The items of a taste published by a moment are then consecutive slots, and an item is drawn
        by inverting the cumulated weights between the ends of that range.
        """
        settings = self.settings
        n, tastes = settings.items, settings.tastes
        self._taste = np.arange(n) % tastes
        by_taste = np.lexsort((rng.random(n), self._taste))
        sizes = np.bincount(self._taste, minlength=tastes)
        self._begin = np.concatenate([[0], np.cumsum(sizes)])
        rank = np.empty(n)
        rank[by_taste] = np.arange(n) - self._begin[self._taste[by_taste]] + 1
        self._weight = rank**-settings.popularity
        published = self.start - rng.integers(0, _OLDEST, n)
        # The first item of every taste is old, so no taste is ever empty.
        new = tastes + rng.permutation(n - tastes)[: int(settings.new_items * n)]
        published[new] = rng.integers(self.start + 1, self.end, len(new))
        self._release = np.maximum(published - self.start, 0)
        self._slots = np.lexsort((self._release, self._taste))
        self._releases = self._release_key(self._taste, self._release)[self._slots]
        self._cumulative = np.concatenate([[0.0], np.cumsum(self._weight[self._slots])])
        styles = rng.integers(0, _STYLES, n)
        shelves = round(tastes**0.5)
        self.items = pl.DataFrame(
            {
                "item_id": [f"i{index}" for index in range(n)],
                "title": [f"Item {i} of taste {taste}" for i, taste in enumerate(self._taste)],
                "tags": [f"taste{t}|style{s}" for t, s in zip(self._taste, styles)],
                "category": [f"shelf{taste % shelves}" for taste in self._taste],
                "published": published,
            }
        )

    def _create_mixtures(self, rng: np.random.Generator) -> None:
        """Draws θ(first) and θ(last), float64[2, users, tastes], and cumulates them per row.

        The cumulated values of row r lie between r and r + 1.
        """
        tastes, users = self.settings.tastes, self.settings.users
        law = np.full(tastes, self.settings.concentration)
        self._mixtures = np.stack([rng.dirichlet(law, users), rng.dirichlet(law, users)])
        steps = np.cumsum(self._mixtures.reshape(-1, tastes), axis=1)
        steps[:, -1] = 1.0
        self._steps = (np.minimum(steps, 1.0) + np.arange(len(steps))[:, None]).ravel()

    def _moments(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The user and time of every event, in the order of (user, time)."""
        settings = self.settings
        activity = np.exp(settings.activity * rng.standard_normal(settings.users))
        counts = rng.multinomial(settings.events, activity / activity.sum())
        user = np.repeat(np.arange(settings.users), counts)
        opens = rng.random(len(user)) < 1 / settings.session_events
        opens[np.concatenate([[0], np.cumsum(counts)[:-1]])[counts > 0]] = True
        session = np.cumsum(opens) - 1
        gone = np.cumsum((rng.standard_exponential(len(user)) * _GAP).astype(np.int64) + 1)
        begins = rng.integers(self.start, self.end, session[-1] + 1)
        time = (begins - gone[opens])[session] + gone
        return user, time[np.lexsort((time, user))]

    def _choices(
        self, rng: np.random.Generator, user: NDArray[np.int64], time: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """The item chosen at every event (−1: none was left), and the kind of event."""
        item = self._draw(rng, user, time)
        if not self.settings.repeats:
            self._redraw_repeats(rng, user, time, item)
        share = self._share(user, self._taste[item], time)
        _, purchase, dislike = self._reactions(share)
        chance = rng.random(len(item))
        kind = np.where(chance < purchase, 1, np.where(chance < purchase + dislike, 2, 0))
        return item, kind.astype(np.int8)

    def _draw(
        self, rng: np.random.Generator, user: NDArray[np.int64], time: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """One independent choice per event: a taste, then an item that is already published."""
        tastes = self.settings.tastes
        row = user + self.settings.users * (rng.random(len(user)) < self._moved(time))
        place = np.searchsorted(self._steps, row + rng.random(len(user)), side="right")
        taste = np.minimum(place - row * tastes, tastes - 1)
        begin, stop = self._published(taste, time)
        low, high = self._cumulative[begin], self._cumulative[stop]
        target = low + rng.random(len(user)) * (high - low)
        slot = np.searchsorted(self._cumulative, target, side="right") - 1
        item: NDArray[np.int64] = self._slots[np.clip(slot, begin, stop - 1)]
        return item

    def _redraw_repeats(
        self,
        rng: np.random.Generator,
        user: NDArray[np.int64],
        time: NDArray[np.int64],
        item: NDArray[np.int64],
    ) -> None:
        """Draws again, in place, if a user chose the item before; −1 after too many rounds.

        Equivalent to drawing the events one by one with rejection: an event gives up an item only
        to an earlier event that has it, so a rejected item remains taken.
        """
        active = np.arange(len(user))
        for _ in range(_ROUNDS):
            pair = user[active] * self.settings.items + item[active]
            order = np.argsort(pair, kind="stable")
            again = active[order[1:][pair[order[1:]] == pair[order[:-1]]]]
            if not len(again):
                return
            again.sort()
            item[again] = self._draw(rng, user[again], time[again])
            pending = np.zeros(self.settings.users, np.bool_)
            pending[user[again]] = True
            active = active[pending[user[active]]]
        pair = user[active] * self.settings.items + item[active]
        first = np.unique(pair, return_index=True)[1]
        item[np.delete(active, first)] = -1

    def _past(
        self, users: Sequence[str], moments: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows and items of all choices of the users before their moments."""
        query = pl.DataFrame({"user_id": users, "moment": moments, "row": range(len(users))})
        past = self.events.join(query, on="user_id").filter(pl.col("timestamp") < pl.col("moment"))
        item = past["item_id"].str.slice(1).cast(pl.Int64)
        return past["row"].cast(pl.Int64).to_numpy(), item.to_numpy()

    def _index(self, users: Sequence[str]) -> NDArray[np.int64]:
        count = self.settings.users
        for user in users:
            if not (user[1:].isdecimal() and user == f"u{int(user[1:])}" and int(user[1:]) < count):
                raise UnknownIdError(f"unknown user '{user}'; known: u0 to u{count - 1}")
        return np.array([int(user[1:]) for user in users], np.int64)

    def _elapsed(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Microseconds since the start, clipped to the time span."""
        return np.clip(times - self.start, 0, self.end - self.start)

    def _moved(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """d·s: the share of the last day's mixture."""
        return self.settings.drift * self._elapsed(times) / (self.end - self.start)

    def _share(
        self, user: NDArray[np.int64], taste: NDArray[np.int64], times: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """θ_user(time)[taste], element by element."""
        first, last = self._mixtures[0][user, taste], self._mixtures[1][user, taste]
        share: NDArray[np.float64] = first + self._moved(times) * (last - first)
        return share

    def _mixture(self, user: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.float64]:
        """θ_user(time), float64[n, tastes]."""
        return self._share(user[:, None], np.arange(self.settings.tastes), times[:, None])

    def _reactions(
        self, share: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The probabilities of view, purchase and dislike, in the order of `KINDS`."""
        purchase = self.settings.purchases * share
        dislike = self.settings.dislikes * (1 - share)
        return 1 - purchase - dislike, purchase, dislike

    def _release_key(
        self, taste: NDArray[np.int64], elapsed: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """One integer that sorts by (taste, publication)."""
        return taste * (self.end - self.start + 1) + elapsed

    def _published(
        self, taste: NDArray[np.int64], times: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first slot, and one past the last, of a taste's items published by a moment."""
        key = self._release_key(taste, self._elapsed(times))
        stop = np.searchsorted(self._releases, key, side="right")
        return np.broadcast_to(self._begin[taste], stop.shape), stop
